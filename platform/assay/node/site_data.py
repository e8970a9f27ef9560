"""A site's data in the form in which it lies: a manifest, an nnU-Net or Decathlon folder, BIDS, or two folders of images and labels.

The files stay where they are. Which form it is and how its inputs are called in the challenge is written down once
(`assay site data add`). Every run reads the folder anew and compares its root.
"""

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from assay import private_files
from assay.client.errors import ClientError
from assay.client.importing import bids, nnunet
from assay.client.importing.datasets import case_id_of, refuse_unpaired, volumes_in
from assay.client.importing.draft import Draft
from assay.client.importing.options import Options
from assay.node.dicom_cases import holds_dicom_cases, read_dicom_cases
from assay.node.folder import MANIFEST, REFERENCE, FolderCase, FolderInvalid, read_folder
from assay.node.joining import write_config
from assay.node.registry import DataRegistration, register_data
from assay.node.review import SMALLEST_GROUP
from assay.node.site_problems import SiteProblem, read_kept
from evaluator.errors import EvaluatorError
from evaluator.protocol import InputKind, OutputKind, Protocol
from evaluator.scoring import score_case
from evaluator.volumes import CANONICAL_SUFFIX, read_channels_of, write_canonical

DICOM = "DICOM"
DATA, SECRET, VERSIONS = "data.json", "data.key", "versions"
SECRET_BYTES = 32
ADD_AGAIN = "assay site data add FOLDER"
CHECKED_METRICS = frozenset({"dice", "iou", "nsd", "hd", "hd95", "assd"})
"""What is at its best value when a mask is compared with itself."""
FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"), ("imagesTs", "labelsTs"), ("images", "masks"), ("img", "gt"))
"""How people call the folder of images and the folder of references, where nothing else says it."""


@dataclass(frozen=True, kw_only=True)
class SiteData:
    """Where the data lies and how it is read. `inputs` names the challenge's inputs: input of the challenge → name in the data."""

    source: str
    form: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    pipeline: str = ""
    values: Mapping[str, int] = field(default_factory=dict)
    """Of DICOM references: label of the protocol → its value."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of DICOM references: label of the protocol → name of the structure, where it has another one."""
    cache: str = ""
    """Where label maps made from DICOM references lie."""

    @property
    def folder(self) -> Path:
        """The folder of the data."""
        return Path(self.source)

    def cases(self) -> list[FolderCase]:
        """The cases as they lie there now. Raises FolderInvalid or ClientError."""
        if self.form == DICOM:
            cases = read_dicom_cases(self.folder, values=self.values, names=self.labels, cache=Path(self.cache))
        else:
            cases = _READERS[self.form](self.folder, self.pipeline)
        if not self.inputs:
            return cases
        return [_renamed(case, self.inputs) for case in cases]

    def examine(self, *, secret: bytes, cases: Sequence[FolderCase] | None = None) -> DataRegistration:
        """The root of the data and the number of cases, as they are now."""
        return register_data(cases if cases is not None else self.cases(), folder=self.folder, secret=secret)

    def keep(self, home: Path, *, root_sha256: str, case_count: int) -> None:
        """Write down what was added."""
        document = {**asdict(self), "root_sha256": root_sha256, "case_count": case_count}
        write_config(home / DATA, json.dumps(document, indent=2) + "\n")

    @classmethod
    def kept(cls, home: Path) -> tuple[Self, DataRegistration] | None:
        """What was added on this machine, and the root that was registered."""
        try:
            document = read_kept(home / DATA, remedy=ADD_AGAIN)
        except FileNotFoundError:
            return None
        try:
            root, count = document.pop("root_sha256"), document.pop("case_count")
            return cls(**document), DataRegistration(root_sha256=root, case_count=count)
        except (KeyError, TypeError) as error:
            raise SiteProblem(
                f"{home / DATA} cannot be read: found {error}; expected what `assay site data add` wrote. What to do: {ADD_AGAIN}"
            ) from error


def recognise(
    source: Path,
    *,
    protocol: Protocol,
    inputs: Mapping[str, str],
    pipeline: str = "",
    labels: Mapping[str, str] | None = None,
    cache: Path | None = None,
) -> SiteData:
    """Which form the data has, and which of its inputs is which of the challenge's. Raises FolderInvalid or ClientError."""
    form = _form_of(source)
    data = SiteData(source=str(source.absolute()), form=form, pipeline=pipeline)
    if form == DICOM:
        data = replace(
            data,
            values={label.name: label.values[0] for label in protocol.labels if label.values},
            labels=labels or {},
            cache=str((cache or source.with_name(f"{source.name}-references")).absolute()),
        )
    found = list(dict.fromkeys(name for case in data.cases() for name in case.inputs))
    wanted = [item.name for item in protocol.inputs]
    return replace(data, inputs=_matched(wanted=wanted, found=found, said=inputs))


def _form_of(source: Path) -> str:
    if (source / MANIFEST).is_file():
        return "manifest"
    if bids.recognises(source):
        return "BIDS"
    if nnunet.recognises(source):
        return "nnU-Net"
    if _pair_of_folders(source) is not None:
        return "folders"
    if holds_dicom_cases(source):
        return DICOM
    if any(source.rglob("*.dcm")):
        raise FolderInvalid(
            f"{source} holds DICOM files, and neither a segmentation (SEG), a structure set (RTSTRUCT) nor {MANIFEST}. Expected a folder "
            f"per case with its series and its reference, or a {MANIFEST} that names a folder with one DICOM series as an input"
        )
    raise FolderInvalid(
        f"{source} has no form that is known: expected {MANIFEST}, dataset.json (nnU-Net, Decathlon), dataset_description.json (BIDS), "
        f"or two folders such as {' and '.join(FOLDERS[0])}"
    )


def _matched(*, wanted: Sequence[str], found: Sequence[str], said: Mapping[str, str]) -> dict[str, str]:
    """Input of the challenge → name in the data. Same names go together, and one goes with one."""
    unknown = [*(name for name in said if name not in wanted), *(name for name in said.values() if name not in found)]
    lower = {name.lower(): name for name in found}
    matched = {name: said.get(name) or lower.get(name.lower(), "") for name in wanted}
    if len(wanted) == 1 and len(found) == 1:
        matched = {wanted[0]: found[0]}
    if unknown or not all(matched.values()):
        raise FolderInvalid(
            f"it is not clear which input is which: the challenge has {', '.join(wanted)}; the data has {', '.join(found) or 'none'}. "
            "Say it, as in --input ct=image"
        )
    return matched


def _renamed(case: FolderCase, inputs: Mapping[str, str]) -> FolderCase:
    lacking = [name for name in inputs.values() if name not in case.inputs]
    if lacking:
        raise FolderInvalid(f"case {case.case_id} has no {', '.join(lacking)}")
    return FolderCase(
        case_id=case.case_id,
        inputs={name: case.inputs[theirs] for name, theirs in inputs.items()},
        references=case.references,
        attributes=case.attributes,
    )


def _read_manifest(source: Path, _pipeline: str) -> list[FolderCase]:
    return read_folder(source)


def _read_bids(source: Path, pipeline: str) -> list[FolderCase]:
    return _cases_of(bids.read_bids(source, options=Options(pipeline=pipeline)))


def _read_nnunet(source: Path, _pipeline: str) -> list[FolderCase]:
    return _cases_of(nnunet.read_nnunet(source, options=Options()))


def _read_folders(source: Path, _pipeline: str) -> list[FolderCase]:
    pair = _pair_of_folders(source)
    if pair is None:
        raise FolderInvalid(f"{source} has no longer a folder of images beside a folder of labels")
    images, labels = (volumes_in(folder) for folder in pair)
    refuse_unpaired(source.name, without_reference=set(images) - set(labels), without_image=set(labels) - set(images))
    seen: set[str] = set()
    return [
        FolderCase(
            case_id=case_id_of(name, seen=seen),
            inputs={"image": images[name]},
            references={REFERENCE: labels[name]},
            attributes={},
        )
        for name in sorted(images)
    ]


def _pair_of_folders(source: Path) -> tuple[Path, Path] | None:
    for one, other in FOLDERS:
        if (source / one).is_dir() and (source / other).is_dir():
            return source / one, source / other
    return None


def _cases_of(draft: Draft) -> list[FolderCase]:
    if len(draft.testsets) != 1:
        raise FolderInvalid(f"found {len(draft.testsets)} sets of cases in the folder; expected one")
    (cases,) = draft.testsets.values()
    return [
        FolderCase(
            case_id=case.case_id,
            inputs={name: _path(file, case.case_id) for name, file in case.inputs.items()},
            references={name or REFERENCE: _path(file, case.case_id) for name, file in case.references.items()},
            attributes=dict(case.attributes),
        )
        for case in cases
    ]


def _path(file: object, case_id: str) -> Path:
    if not isinstance(file, Path):
        raise FolderInvalid(
            f"case {case_id} keeps several channels in one file; expected one file per input: split it first (assay import does that)"
        )
    return file.resolve()


_READERS = {"manifest": _read_manifest, "BIDS": _read_bids, "nnU-Net": _read_nnunet, "folders": _read_folders}


def refuse_close_version(found: DataRegistration, *, home: Path, released_roots: set[str]) -> None:
    """Refuse data that differs from released data by a few patients: the results of both would give these patients away.

    The server compares numbers of cases only. Here the cases themselves are compared, so an exchange of one patient is seen too.
    """
    for root in released_roots - {found.root_sha256}:
        try:
            earlier = read_kept(home / VERSIONS / f"{root}.json", remedy="bring it back from a backup")
        except FileNotFoundError:
            continue
        apart = found.patients_apart(earlier)
        if apart < SMALLEST_GROUP:
            raise FolderInvalid(
                f"this data differs from data that has released results by {apart} cases; expected none, or at least {SMALLEST_GROUP}. "
                "The results of both would give away these few patients. Keep the earlier data, or wait for more cases"
            )


def keep_version(found: DataRegistration, *, home: Path) -> None:
    """Keep the keyed hashes of the cases, for the comparison with later versions. They stay here."""
    (home / VERSIONS).mkdir(mode=0o700, parents=True, exist_ok=True)
    write_config(home / VERSIONS / f"{found.root_sha256}.json", json.dumps(dict(found.cases)))


def kept_secret(home: Path, *, given: Path | None = None) -> bytes:
    """The key under which cases are named in the hash tree: made here at the first use, or brought from the site's other machine."""
    path = home / SECRET
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if given is not None:
        secret = given.read_bytes()
        if len(secret) != SECRET_BYTES:
            raise ClientError(
                f"{given} is no key of a site's data",
                found=f"{len(secret)} bytes",
                expected=f"the {SECRET} of the other machine",
            )
        private_files.replace(path, secret)
    elif not path.exists():
        private_files.replace(path, os.urandom(SECRET_BYTES))
    kept = path.read_bytes()
    if len(kept) != SECRET_BYTES:
        raise ClientError(
            f"{path} is no key of a site's data",
            found=f"{len(kept)} bytes",
            expected=f"{SECRET_BYTES} bytes",
            what_to_do="bring it back from a backup; with another key the same data has another root",
        )
    return kept


@dataclass(frozen=True, kw_only=True)
class SelfCheck:
    """What came of scoring the references against themselves, and against nothing. `problems` names cases: they stay here."""

    cases: int
    problems: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """What is sent of it."""
        return {"cases": self.cases, "problems": len(self.problems)}


def check_itself(cases: Sequence[FolderCase], *, protocol: Protocol) -> SelfCheck:
    """Score every reference against itself, and the first one against no prediction.

    A metric that does not reach its best value says that the reference is read in another way than it was meant: a wrong label value,
    a mask that is no label map, a grid that does not fit. Tables have no such check.
    """
    if protocol.output.kind is OutputKind.TABLE:
        return SelfCheck(cases=len(cases), problems=())
    problems = []
    for place, case in enumerate(cases):
        if not case.references:
            problems.append(f"{case.case_id}: found no reference; expected one")
            continue
        try:
            problems += [f"{case.case_id}: {text}" for text in _unreadable(case, protocol=protocol)]
            problems += [f"{case.case_id}: {text}" for text in _imperfect(case, protocol=protocol)]
            if place == 0:
                problems += [f"{case.case_id}, no prediction: {text}" for text in _too_good(case, protocol=protocol)]
        except EvaluatorError as problem:
            problems.append(f"{case.case_id}: {problem}")
    return SelfCheck(cases=len(cases), problems=tuple(problems))


def _unreadable(case: FolderCase, *, protocol: Protocol) -> list[str]:
    """The images of a case that cannot be given to a container."""
    images = {item.name for item in protocol.inputs if item.kind is InputKind.IMAGE}
    found = []
    for name, path in case.inputs.items():
        if name in images:
            try:
                read_channels_of(path)
            except EvaluatorError as problem:
                found.append(f"the input {name}: {problem}")
    return found


def _imperfect(case: FolderCase, *, protocol: Protocol) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        answers = {}
        for number, (name, path) in enumerate(case.references.items()):
            answers[protocol.output.name if name == REFERENCE else name] = _canonical(path, Path(scratch) / str(number))
        result = score_case(protocol=protocol, case_id=case.case_id, references=case.references, predictions=answers)
    checked = [row for row in result.rows if row.metric in checked_metrics(protocol)]
    found = [
        f"{row.metric} of {row.label or 'the case'} is {row.value} for the reference itself"
        for row in checked
        if row.value is not None and not math.isclose(row.value, checked_metrics(protocol)[row.metric], abs_tol=1e-9)
    ]
    if not any(row.value is not None for row in checked) and checked:
        found.append("no structure of the challenge is in the reference; are its values those of the protocol?")
    return found


def _too_good(case: FolderCase, *, protocol: Protocol) -> list[str]:
    result = score_case(protocol=protocol, case_id=case.case_id, references=case.references, predictions=None)
    return [
        f"{row.metric} of {row.label or 'the case'} is {row.value}, its best value"
        for row in result.rows
        if row.metric in checked_metrics(protocol) and row.value == checked_metrics(protocol)[row.metric]
    ]


def checked_metrics(protocol: Protocol) -> dict[str, float]:
    """Metric id → its best value, of those that an answer equal to the reference must reach."""
    return {
        spec.id: spec.metric.best
        for spec in protocol.metrics
        if spec.metric.name in CHECKED_METRICS and spec.metric.best is not None
    }


def _canonical(path: Path, stem: Path) -> Path:
    if path.is_file() and path.name.endswith(CANONICAL_SUFFIX):
        return path
    destination = stem.with_name(stem.name + CANONICAL_SUFFIX)
    write_canonical(read_channels_of(path), destination)
    return destination
