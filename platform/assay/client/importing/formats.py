"""The formats by name, how each is recognised, and the one way in: `read_source`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from assay.client.errors import ClientError
from assay.client.importing import bids, codabench, evalai, flare, grand_challenge, medperf, nnunet, tables
from assay.client.importing.draft import Draft
from assay.client.importing.options import Options
from assay.client.importing.platforms import opened


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format."""

    name: str
    what: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, Options, ExitStack], Draft]


FORMATS = (
    Format(
        name="codabench",
        what="CodaBench bundle (folder or zip with competition.yaml)",
        recognises=codabench.recognises,
        read=lambda source, options, stack: codabench.read_codabench(source, options=options, stack=stack),
    ),
    Format(
        name="evalai",
        what="EvalAI challenge (folder or zip with challenge_config.yaml)",
        recognises=evalai.recognises,
        read=lambda source, options, stack: evalai.read_evalai(source, options=options, stack=stack),
    ),
    Format(
        name="medperf",
        what="MedPerf container_config.yaml or mlcube.yaml",
        recognises=medperf.recognises,
        read=lambda source, options, _: medperf.read_medperf(source, options=options),
    ),
    Format(
        name="bids",
        what="BIDS with derivatives",
        recognises=bids.recognises,
        read=lambda source, options, _: bids.read_bids(source, options=options),
    ),
    Format(
        name="nnunet",
        what="nnU-Net v2 raw data set, or Medical Segmentation Decathlon (folder with dataset.json)",
        recognises=nnunet.recognises,
        read=lambda source, options, _: nnunet.read_nnunet(source, options=options),
    ),
    Format(
        name="grand-challenge",
        what="grand-challenge forge pack (JSON with algorithm_interfaces)",
        recognises=grand_challenge.recognises,
        read=lambda source, options, _: grand_challenge.read_grand_challenge(source, options=options),
    ),
    Format(
        name="flare",
        what="FLARE folder (images and labels without a description; needs --protocol)",
        recognises=flare.recognises,
        read=lambda source, options, _: flare.read_flare(source, options=options),
    ),
    Format(
        name="kaggle",
        what="Kaggle-style tables (solution.csv, sample_submission.csv)",
        recognises=tables.recognises,
        read=lambda source, options, _: tables.read_kaggle(source, options=options),
    ),
)


@contextmanager
def read_source(source: Path, *, format_name: str, options: Options) -> Iterator[Draft]:
    """The draft of what lies at `source`. What was unpacked for it is removed at the end. Raises `ClientError`."""
    if not source.exists():
        raise ClientError(f"{source} does not exist", expected="a folder, a zip or a description file")
    with ExitStack() as stack:
        folder = source if source.is_file() and source.suffix.lower() != ".zip" else stack.enter_context(opened(source))
        chosen = _chosen(folder, format_name=format_name, shown=source.name)
        yield chosen.read(folder, options, stack)


def _chosen(folder: Path, *, format_name: str, shown: str) -> Format:
    if format_name != "auto":
        named = next(item for item in FORMATS if item.name == format_name)
        if not named.recognises(folder):
            raise ClientError(f"{shown} is no {named.name} source", found=_contents(folder), expected=named.what)
        return named
    chosen = next((item for item in FORMATS if item.recognises(folder)), None)
    if chosen is None:
        raise ClientError(
            f"{shown} is in no format that we know",
            found=_contents(folder),
            expected="; ".join(item.what for item in FORMATS),
        )
    return chosen


def _contents(folder: Path) -> str:
    if folder.is_file():
        return folder.name
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    return (
        ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        if names
        else "an empty folder"
    )
