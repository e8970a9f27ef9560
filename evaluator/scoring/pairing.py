"""Which prediction belongs to which reference: by name, walking the references, and reporting whatever is left over.

A case is a volume file in the references folder (its name without extension is the case) or a folder there (one file, or one per
structure). Its prediction is looked for in this order: where the protocol's output template puts it. A file of the same name with
any volume extension. A folder of the same name. Names are the same where Unicode says so: macOS writes é in two characters. Nothing is
guessed from similar names: those that only look like a case's are told.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.errors import EvaluatorError
from evaluator.protocol import OutputKind, Protocol
from evaluator.volumes import PAIR_VOXELS, is_left_behind

VOLUME_EXTENSIONS = (".nii.gz", ".nii", ".mha", ".nrrd", ".hdr", ".hdr.gz", ".tif", ".tiff")
"""A `.hdr` stands for its pair: the voxels lie beside it under the same name (`.img`, `.img.gz`)."""
OTHER_VOLUMES = (".nhdr", ".mhd", ".mgz", ".mgh", ".dcm", ".tif", ".tiff")
"""Formats that people have and nobody reads here: named, never called missing."""


@dataclass(frozen=True, kw_only=True)
class CaseFiles:
    """The files of one case. `predictions` is empty when none was found."""

    case_id: str
    references: Mapping[str, Path]
    predictions: Mapping[str, Path]


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Every case of the references, and the predictions that belong to no case."""

    cases: tuple[CaseFiles, ...]
    leftover: tuple[str, ...]
    not_read: tuple[str, ...] = ()
    """Files of formats that are not read, among references and predictions."""
    lookalikes: tuple[str, ...] = ()
    """Predictions whose names look like that of a case without one, and are another."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Cases without a prediction."""
        return tuple(case.case_id for case in self.cases if not case.predictions)


def pair_folders(*, protocol: Protocol, references: Path, predictions: Path, follows_links: bool = False) -> Pairing:
    """Pair two folders. Raises EvaluatorError when the references hold no case or one case twice.

    Links among the predictions are followed only for people who score files of their own: a stranger's could lead to a reference.
    """
    for folder in (references, predictions):
        if not folder.is_dir():
            raise EvaluatorError(f"{folder.name} is a file; expected a folder, one volume file or folder per case")
    found: dict[str, Mapping[str, Path]] = {}
    for entry in sorted(path for path in references.iterdir() if not is_left_behind(path.name)):
        files = _files_of(entry)
        if not files:
            continue
        case_id = case_name(entry) if entry.is_file() else entry.name
        if case_id in found:
            raise EvaluatorError(f"case {case_id} has two references; expected one file or one folder per case")
        found[case_id] = {name: path.resolve() for name, path in files.items()}
    if not found:
        expected = f"one {', '.join(VOLUME_EXTENSIONS)} file or folder per case"
        other = [*_other_volumes(references), *_capitals(references)]
        there = f" that are read ({', '.join(other[:3])} {'are' if len(other) > 1 else 'is'} not)" if other else ""
        raise EvaluatorError(f"the references folder holds no volumes{there}; expected {expected}")
    spelled = {unicodedata.normalize("NFC", path.name): path for path in predictions.iterdir()}
    cases = tuple(
        CaseFiles(case_id=case_id, references=files, predictions=_prediction(protocol, case_id, predictions, spelled))
        for case_id, files in found.items()
    )
    used = {path for case in cases for path in case.predictions.values()}
    leftover = (path for path in _volumes_below(predictions) if path not in used)
    names = tuple(str(path.relative_to(predictions)) for path in leftover)
    not_read = (
        *_other_volumes(references),
        *_capitals(references),
        *(_other_volumes(predictions) if predictions != references else ()),
    )
    return Pairing(
        cases=tuple(map(_followed, cases)) if follows_links else cases,
        leftover=names,
        not_read=tuple(not_read),
        lookalikes=tuple(_lookalikes([case.case_id for case in cases if not case.predictions], names)),
    )


def _lookalikes(missing: Sequence[str], leftover: Sequence[str]) -> Iterator[str]:
    """Leftover predictions that somebody would take for that of a case without one: other capitals, spaces, dashes."""
    by_look = {_look(case_id): case_id for case_id in missing}
    for name in leftover:
        if (case_id := by_look.get(_look(case_name(Path(name.lower()))))) is not None:
            yield f"{name} (case {case_id})"


def _look(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in folded if character.isalnum() or character == ".")


def _other_volumes(folder: Path) -> list[str]:
    """Files of formats that are not read, and voxels of a pair whose header is not there."""
    return [
        str(path.relative_to(folder))
        for path in _files_below(folder)
        if path.name.lower().endswith(OTHER_VOLUMES)
        or (path.name.endswith(PAIR_VOXELS) and not any(header.exists() for header in _headers_of(path)))
    ]


def _headers_of(voxels: Path) -> list[Path]:
    stem = voxels.name.removesuffix(".gz").removesuffix(".img")
    return [voxels.with_name(f"{stem}{ending}") for ending in (".hdr", ".hdr.gz")]


def _capitals(references: Path) -> list[str]:
    """References whose ending is spelled in capitals: such a prediction is listed as one without a reference."""
    return [
        str(path.relative_to(references))
        for path in _files_below(references)
        if path.name.lower().endswith(VOLUME_EXTENSIONS) and not path.name.endswith(VOLUME_EXTENSIONS)
    ]


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not is_left_behind(path.relative_to(folder)))


def _followed(case: CaseFiles) -> CaseFiles:
    return replace(case, predictions={name: path.resolve() for name, path in case.predictions.items()})


def case_name(path: Path) -> str:
    """The file's name without its volume extension."""
    for extension in VOLUME_EXTENSIONS:
        if path.name.endswith(extension):
            return path.name.removesuffix(extension)
    return path.name


def _files_of(entry: Path) -> dict[str, Path]:
    """The volumes of one entry by name: itself, or the files of a folder."""
    members: Iterable[Path] = [entry] if entry.is_file() else sorted(entry.iterdir()) if entry.is_dir() else []
    volumes = (path for path in members if not is_left_behind(path.name) and path.name.endswith(VOLUME_EXTENSIONS))
    return {case_name(path): path for path in volumes}


def _prediction(protocol: Protocol, case_id: str, folder: Path, spelled: Mapping[str, Path]) -> dict[str, Path]:
    """The files of a case's prediction. `spelled`: what lies in the folder, by its name in Unicode's composed form."""
    templated = {name: folder / file for name, file in protocol.written_files(case_id).items() if "{" not in file}
    is_per_case = any("{case}" in output.file for output in protocol.outputs)
    if is_per_case and protocol.output.kind is OutputKind.MASK_PER_STRUCTURE:
        present = {name: path for name, path in templated.items() if path.is_file()}
        if present:
            return present
    elif is_per_case and templated[protocol.output.name].is_file():
        return {protocol.output.name: templated[protocol.output.name]}
    for extension in VOLUME_EXTENSIONS:
        path = spelled.get(unicodedata.normalize("NFC", f"{case_id}{extension}"))
        if path is not None and path.is_file():
            return {protocol.output.name: path}
    below = spelled.get(unicodedata.normalize("NFC", case_id), folder / case_id)
    return _files_of(below) if below.is_dir() else {}


def _volumes_below(folder: Path) -> list[Path]:
    return [path for path in _files_below(folder) if path.name.lower().endswith(VOLUME_EXTENSIONS)]
