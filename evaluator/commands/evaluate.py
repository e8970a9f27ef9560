"""`assay evaluate`: the options of the command. What it does is in `evaluation.py`, which is imported when it is done."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

BACKENDS = ("auto", "cpu", "gpu", "numpy")
"""As `evaluator.backends` has them, said again here because that room needs NumPy. A test compares the two."""
_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _bytes(_context: click.Context, _option: click.Parameter, text: str) -> int:
    """Bytes of a size such as 500M or 4G."""
    text = text.strip().upper().removesuffix("B")
    unit = text[-1:] if text[-1:] in _SIZES else ""
    try:
        size = int(float(text.removesuffix(unit)) * _SIZES[unit])
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise click.BadParameter(f"found {text!r}, expected a size such as 500M or 4G")
    return size


def _writable(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """A file that can be written later: found out before the first case is scored, which may take hours."""
    if path is not None and not os.access(path.parent, os.W_OK | os.X_OK):
        found = "no permission to write there" if path.parent.is_dir() else f"no folder {str(path.parent)!r}"
        raise click.BadParameter(f"found {found}; expected a file in a folder that exists and can be written to")
    return path


def _folder_made(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """The folder of the pictures, made at once for the same reason."""
    if path is not None and find_spec("matplotlib") is None:
        raise click.BadParameter("pictures need matplotlib: pip install matplotlib")
    try:
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise click.BadParameter(f"{path}: {problem.strerror}") from problem
    return path


_FOLDER = click.Path(exists=True, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_PICTURES = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--protocol", "protocol_name", help="A published protocol's name or a YAML file.")
@click.option("--labels", help="Instead of a protocol: value:name:tolerance, such as 1:liver:5,2:spleen:3.")
@click.option("--metrics", default="dice,nsd,hd95", show_default=True, help="With --labels.")
@click.option("--references", required=True, type=_FOLDER, help="A folder of volumes, or one CSV for a table protocol.")
@click.option("--predictions", required=True, type=_FOLDER, help="The same, from the algorithm.")
@click.option(
    "-o", "--output", required=True, type=_FILE, callback=_writable, help="CSV: case,label,metric,value,reason,detail."
)
@click.option(
    "--json", "json_path", type=_FILE, callback=_writable, help="Scores, summary and provenance as one document."
)
@click.option("--figures", type=_PICTURES, callback=_folder_made, help="Folder for one PNG panel per case.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 256))
@click.option("--max-memory", default="4G", show_default=True, callback=_bytes, help="For all jobs together.")
@click.option("--backend", default="auto", show_default=True, type=click.Choice(BACKENDS))
@click.option("--strict", is_flag=True, help="Exit with 1 when a case failed or a file did not pair.")
def evaluate(**options: Any) -> None:
    """Score a folder of predictions against a folder of references.

    Exits with 1 where a reference cannot be used (the other cases are scored all the same), where no prediction can, and with
    --strict where any prediction failed or did not pair.
    """
    if (
        "numpy" not in sys.modules
    ):  # scoring multiplies no matrices: NumPy need not start a thread per processor for that
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from evaluator.commands.evaluation import evaluate_folders

    evaluate_folders(**options)
