"""A folder of cases on this machine, described by `manifest.csv` as for `assay testset push`. Nothing of it leaves.

```csv
case_id,site,input:t1,reference
A01,A,images/A01.nii.gz,labels/A01.nii.gz
```
"""

import csv
import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from evaluator.documents import read_json
from evaluator.errors import EvaluatorError
from evaluator.protocol import InputKind
from evaluator.volumes import (
    CANONICAL_SUFFIX,
    Grid,
    read_channels_of,
    read_grid,
    write_as_named,
    write_canonical,
)

MANIFEST = "manifest.csv"
NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_.-]")
INPUT, REFERENCE = "input:", "reference"


class FolderInvalid(Exception):
    """The folder cannot be used. The text says which line and what was expected."""


@dataclass(frozen=True, kw_only=True)
class FolderCase:
    """One case: absolute paths by name, and its attributes."""

    case_id: str
    inputs: Mapping[str, Path]
    references: Mapping[str, Path]
    attributes: Mapping[str, str]
    row: str = ""
    """What the case is called in a table of references, where its name here is another one."""


def read_folder(folder: Path) -> list[FolderCase]:
    """The cases of a folder, in the manifest's order. Raises FolderInvalid."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise FolderInvalid(
            f"{folder} has no {MANIFEST}; expected columns case_id, reference and input:<name> with paths in the folder"
        )
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FolderInvalid(
            f"{manifest} cannot be read: found {error}; expected text in UTF-8 with commas between its columns. What to do: save it as CSV "
            "(UTF-8)"
        ) from error
    cases = [_case(folder=folder.resolve(), row=row, line=line) for line, row in enumerate(rows, start=2)]
    if not cases:
        raise FolderInvalid(f"{manifest} names no case; expected one row per case")
    if len({case.case_id for case in cases}) != len(cases):
        raise FolderInvalid(f"{manifest} names a case twice; expected every case_id once")
    return cases


def _case(*, folder: Path, row: Mapping[str, str | None], line: int) -> FolderCase:
    case_id = (row.get("case_id") or "").strip()
    if not case_id:
        raise FolderInvalid(f"{MANIFEST}, line {line}: found no case_id; expected a name for the case")
    if None in row:
        raise FolderInvalid(
            f"{MANIFEST}, line {line}: found more cells than the first line has columns; expected as many. What to do: put a text with a "
            'comma into quotes, such as "Roe, Jane"'
        )
    inputs, references, attributes = {}, {}, {}
    for column, text in row.items():
        if not text or column == "case_id":
            continue
        if column.startswith(INPUT):
            inputs[column.removeprefix(INPUT)] = _inside(folder=folder, name=text, line=line)
        elif column == REFERENCE or column.startswith(f"{REFERENCE}:"):
            references[column.partition(":")[2] or REFERENCE] = _inside(folder=folder, name=text, line=line)
        else:
            attributes[column] = text
    return FolderCase(case_id=case_id, inputs=inputs, references=references, attributes=attributes)


def _inside(*, folder: Path, name: str, line: int) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder) or not path.exists():
        raise FolderInvalid(f"{MANIFEST}, line {line}: found {name!r}; expected a file that exists inside the folder")
    return path


def case_name(case: FolderCase) -> str:
    """What the case is called inside the container: on one's own machine, by its own name."""
    return NOT_IN_A_NAME.sub("-", case.case_id)


def made_place(folder: Path, path: str) -> Path:
    """Where a file of the input goes, its folders made so that the container's user may look into them."""
    destination = folder / path
    for parent in reversed(destination.relative_to(folder).parents):
        (folder / parent).mkdir(mode=0o755, exist_ok=True)
    return destination


def write_input_table(text: str, *, destination: Path) -> None:
    """A table made for the container."""
    destination.write_text(text, encoding="utf-8")
    destination.chmod(0o444)


def write_made_inputs(
    folder: Path, *, tables: Mapping[str, str], sockets: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    """What the platform makes for the container, once the case's own files lie in `folder`. Raises FolderInvalid."""
    for path, text in tables.items():
        write_input_table(text, destination=made_place(folder, path))
    for path, entries in sockets.items():
        told = [_with_value(entry, folder=folder) for entry in entries]
        write_input_table(json.dumps(told, indent=1), destination=made_place(folder, path))


def _with_value(entry: Mapping[str, Any], *, folder: Path) -> Mapping[str, Any]:
    """A Value socket tells its value beside the file that has it."""
    interface = entry["interface"]
    if interface["super_kind"] != "Value":
        return entry
    path = made_place(folder, str(PurePosixPath(interface["relative_path"])))
    try:
        return {**entry, "value": read_json(path.read_bytes())}
    except (OSError, EvaluatorError) as problem:
        raise FolderInvalid(f"the input {interface['slug']}: {problem}") from problem


def place_input(source: Path, *, destination: Path, kind: InputKind) -> None:
    """Put an input where the container will see it: an image in the format of its name there, other files as they are.

    An image is written anew, as a server does when it takes a test set. The text of its header (names, dates, descriptions) stays
    behind.
    """
    if kind is InputKind.IMAGE:
        with tempfile.TemporaryDirectory() as scratch:
            canonical = Path(scratch) / "image.nii.gz"
            write_canonical(read_channels_of(source), canonical)
            write_as_named(source=canonical, destination=destination)
    else:
        shutil.copyfile(source, destination)
    destination.chmod(0o444)


def grid_of(case: FolderCase) -> Grid | None:
    """The grid the case's prediction must lie on: its reference's, else its first image's; None where neither is a volume."""
    for path in [*case.references.values(), *case.inputs.values()]:
        if path.name.endswith(CANONICAL_SUFFIX):
            return read_grid(path)
        if path.is_dir() or path.name.lower().endswith((".nii", ".mha", ".nrrd", ".tif", ".tiff")):
            return read_channels_of(path).grid
    return None
