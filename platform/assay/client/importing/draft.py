"""What an importer makes of a source, and the bundle that is written from it.

An importer only reads and returns a `Draft`. `write_draft` checks the draft's protocol, writes the bundle beside the place where
it belongs, and moves it there at the end: a failed import leaves nothing behind.
"""

import csv
import functools
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from assay.client.errors import ClientError
from assay.client.importing.sources import refuse_links_outside
from evaluator.spreadsheets import harmless_row

NOT_IN_A_SLUG = re.compile(r"[^a-z0-9]+")
NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.+-]+")
NOT_IN_A_CASE_ID = re.compile(r"[^A-Za-z0-9._-]+")
VOLUME_ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd")
PREPARATION = timedelta(days=14)
OPEN = timedelta(days=60)
NOTES = "IMPORTED.md"


class Kind(StrEnum):
    """What became of a part of the source."""

    TAKEN = "taken"
    CHANGED = "changed"
    MISSING = "no counterpart"


@dataclass(frozen=True, kw_only=True)
class Note:
    """One line of the plan: a part of the source, and what became of it."""

    kind: Kind
    source: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One volume of a 4-D image, which is written as a file of its own."""

    path: Path
    index: int


@dataclass(frozen=True, kw_only=True)
class AnswerTable:
    """A table of true values that all cases share. It is written with the column `case` first, as the scorer reads it."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


File = Path | Channel | AnswerTable


@dataclass(frozen=True, kw_only=True)
class DraftCase:
    """One case: its files by input and by structure (`""`: one reference for all), and its attributes."""

    case_id: str
    references: Mapping[str, File]
    inputs: Mapping[str, File] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DraftPhase:
    """One phase. Times that the source does not give are made up and noted."""

    slug: str
    title: str
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    kind: str = "container"
    testset: str = ""
    submission_limit: int | None = None
    submission_window_days: int = 1
    submission_limit_total: int | None = None
    is_embargoed: bool = False
    protocol: Mapping[str, Any] | None = None
    """Where it differs from the challenge's."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A challenge as an importer understood it."""

    format: str
    slug: str
    title: str
    protocol: Mapping[str, Any]
    phases: tuple[DraftPhase, ...]
    notes: tuple[Note, ...]
    summary: str = ""
    description: str = ""
    rules: str = ""
    licence: str = ""
    modality: str = ""
    anatomy: str = ""
    citation: str = ""
    contact: str = ""
    requires_approval: bool = False
    testsets: Mapping[str, tuple[DraftCase, ...]] = field(default_factory=dict)
    kept: Mapping[str, Path] = field(default_factory=dict)
    """Files and folders of the source that lie beside the bundle as they are: bundle path → source path."""


class Notes:
    """Collects the plan's lines."""

    def __init__(self) -> None:
        self.lines: list[Note] = []

    def taken(self, source: str, text: str) -> None:
        """This part of the source is in the bundle."""
        self.lines.append(Note(kind=Kind.TAKEN, source=source, text=text))

    def changed(self, source: str, text: str) -> None:
        """This part is in the bundle in another form, or was decided by us."""
        self.lines.append(Note(kind=Kind.CHANGED, source=source, text=text))

    def missing(self, source: str, text: str) -> None:
        """This part has no counterpart and is not in the bundle."""
        self.lines.append(Note(kind=Kind.MISSING, source=source, text=text))


def slug_of(text: str, *, fallback: str = "imported") -> str:
    """A name for addresses."""
    return NOT_IN_A_SLUG.sub("-", text.lower()).strip("-")[:80].strip("-") or fallback


def name_of(text: str, *, fallback: str = "image") -> str:
    """An identifier for an input or an output."""
    return NOT_IN_A_NAME.sub("_", text).strip("_.+-")[:80] or fallback


def segmentation_protocol(
    *,
    name: str,
    title: str,
    labels: Mapping[str, Any],
    inputs: Sequence[Mapping[str, Any]],
    output: str,
    resources: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Our defaults for a source that says what the structures are and not how they are scored: Dice, NSD at 1 mm and HD95."""
    return {
        "protocol": 1,
        "name": name,
        "title": title,
        "labels": {label: _with_tolerance(values) for label, values in labels.items()},
        "inputs": [dict(item) for item in inputs],
        "outputs": [{"name": "segmentation", "kind": "label_map", "file": output}],
        "metrics": [{"name": "dice"}, {"name": "nsd"}, {"name": "hd95"}],
        "conventions": {
            "both_empty": {"dice": 1, "nsd": 1, "hd95": 0},
            "reference_empty": {"dice": 0, "nsd": 0, "hd95": "diagonal"},
            "prediction_empty": {"dice": 0, "nsd": 0, "hd95": "diagonal"},
            "failed": {"dice": 0, "nsd": 0, "hd95": "diagonal"},
        },
        "resources": dict(resources or {}),
        "ranking": {
            "version": 1,
            "metrics": [
                {"id": "dice", "direction": "max", "bounds": [0, 1]},
                {"id": "nsd", "direction": "max", "bounds": [0, 1]},
                {"id": "hd95", "direction": "min", "bounds": [0, None], "unit": "mm"},
            ],
            "missing": {"failed_case": {"dice": 0, "nsd": 0, "hd95": "diagonal"}},
            "scheme": {
                "type": "mean_of_ranks",
                "rank_at": ["case", "metric"],
                "aggregate": {"structure": "mean"},
            },
            "ties": {"method": "min"},
        },
    }


def _with_tolerance(values: Any) -> dict[str, Any]:
    return {**values, "tolerance_mm": 1} if isinstance(values, Mapping) else {"values": values, "tolerance_mm": 1}


DEFAULT_SCORING = (
    "Dice, NSD at 1 mm and HD95, ranked by the mean of ranks per case. Change `metrics`, `tolerance_mm` and `ranking` in "
    "challenge.yaml, or import with --protocol NAME."
)


def named_protocol(name: str) -> dict[str, Any]:
    """The document of a shipped protocol or of a protocol file. Raises `ClientError` where there is none."""
    from assay.client.scaffolding import usable_protocol  # the evaluator: only an import needs it

    return dict(usable_protocol(name).document)


def write_draft(draft: Draft, *, folder: Path, now: datetime) -> list[Path]:
    """Write the bundle into the new folder `folder`. Returns their paths, relative to it. Raises `ClientError`."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ClientError(f"{folder} is not empty", expected="a new folder", what_to_do="choose another name")
    check_protocols(draft)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_all(draft, folder=staging, now=now)
        staging.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def check_protocols(draft: Draft) -> None:
    """The protocol must be one that the server takes, so that a bundle never fails later for what is known now."""
    from evaluator.errors import ProtocolError
    from evaluator.protocol import load_protocol

    for document in (draft.protocol, *(phase.protocol for phase in draft.phases if phase.protocol)):
        if set(document) == {"use"}:
            continue
        try:
            load_protocol(dict(document))
        except ProtocolError as problem:
            raise ClientError(
                f"The rules that the {draft.format} source gives cannot be used: {problem.where}",
                found=str(problem.found),
                expected=str(problem.expected),
                what_to_do="mend the source, or give --protocol NAME",
            ) from problem


def _write_all(draft: Draft, *, folder: Path, now: datetime) -> None:
    notes = list(draft.notes)
    phases = [_dated(phase, now=now, notes=notes) for phase in draft.phases]
    _write(folder / "challenge.yaml", challenge_text(draft, phases=phases))
    for name, text in (("description", draft.description), ("rules", draft.rules)):
        if text.strip():
            _write(folder / "pages" / f"{name}.md", text.strip() + "\n")
    for name, cases in draft.testsets.items():
        write_cases(cases, folder=folder / f"{name}-cases")
    for target, source in draft.kept.items():
        refuse_links_outside(source)
        _copy(source, folder / target)
    _write(folder / NOTES, notes_text(draft, notes=notes))


def _dated(phase: DraftPhase, *, now: datetime, notes: list[Note]) -> dict[str, Any]:
    start = datetime(now.year, now.month, now.day, tzinfo=UTC)
    opens_at = phase.opens_at or (phase.closes_at - OPEN if phase.closes_at else start + PREPARATION)
    closes_at = phase.closes_at or opens_at + OPEN
    if phase.opens_at is None or phase.closes_at is None:
        text = f"opens {opens_at:%Y-%m-%d}, closes {closes_at:%Y-%m-%d}: the source gives no dates"
        notes.append(Note(kind=Kind.CHANGED, source=f"phase {phase.slug}", text=text))
    row: dict[str, Any] = {
        "slug": phase.slug,
        "title": phase.title,
        "kind": phase.kind,
        "opens_at": opens_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "closes_at": closes_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "submission_limit": phase.submission_limit,
        "submission_window_days": phase.submission_window_days if phase.submission_limit is not None else None,
        "submission_limit_total": phase.submission_limit_total,
        "testset": phase.testset or None,
        "is_embargoed": phase.is_embargoed or None,
        "protocol": dict(phase.protocol) if phase.protocol else None,
    }
    return {key: value for key, value in row.items() if value is not None}


def challenge_text(draft: Draft, *, phases: Sequence[Mapping[str, Any]]) -> str:
    """The challenge file."""
    head = {
        "slug": draft.slug,
        "title": draft.title,
        "summary": draft.summary,
        "licence": draft.licence,
        "modality": draft.modality,
        "anatomy": draft.anatomy,
        "citation": draft.citation,
        "contact": draft.contact,
    }
    document: dict[str, Any] = {key: value for key, value in head.items() if value}
    if draft.requires_approval:
        document["requires_approval"] = True
    document |= {"protocol": dict(draft.protocol), "phases": [dict(phase) for phase in phases]}
    text = yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)
    return f"# Imported from a {draft.format} source. {NOTES} says what was taken, what was changed and what is missing.\n{text}"


class _Plain(yaml.SafeDumper):
    """Writes short lists of plain values on one line, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _short_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    is_plain = all(not isinstance(item, list | dict) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=is_plain)


_Plain.add_representer(list, _short_list)


def write_cases(cases: Sequence[DraftCase], *, folder: Path) -> None:
    """The manifest and every file it names. Files are hard links where the file system allows it, else copies."""
    inputs = list(dict.fromkeys(name for case in cases for name in case.inputs))
    structures = list(dict.fromkeys(name for case in cases for name in case.references))
    attributes = list(dict.fromkeys(name for case in cases for name in case.attributes))
    columns = {name: f"reference:{name}" if name else "reference" for name in structures}
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(harmless_row(["case_id", *attributes, *(f"input:{name}" for name in inputs), *columns.values()]))
    for case in cases:
        row = [case.case_id, *(case.attributes.get(name, "") for name in attributes)]
        row += [_place(case.inputs.get(name), f"inputs/{name}", case.case_id, folder) for name in inputs]
        row += [
            _place(case.references.get(name), f"references/{name}".rstrip("/"), case.case_id, folder)
            for name in structures
        ]
        rows.writerow(harmless_row(row))
    _write(folder / "manifest.csv", text.getvalue())


def _place(file: File | None, below: str, case_id: str, folder: Path) -> str:
    if file is None:
        return ""
    if isinstance(file, Channel):
        target = folder / below / f"{case_id}.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_channel(file, target)
    elif isinstance(file, AnswerTable):
        target = folder / below / "answers.csv"
        if not target.exists():
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([("case", *file.columns), *file.rows])
            _write(target, text.getvalue())
    elif file.is_dir():
        target = folder / below / case_id
        _copy(file, target)
    else:
        target = folder / below / f"{case_id}{ending_of(file)}"
        _copy(file, target)
    return target.relative_to(folder).as_posix()


def ending_of(path: Path) -> str:
    """`.nii.gz` or the last suffix."""
    name = path.name.lower()
    return next((ending for ending in VOLUME_ENDINGS if name.endswith(ending)), path.suffix)


def without_ending(path: Path) -> str:
    """The file's name without `.nii.gz` or its last suffix."""
    return path.name[: len(path.name) - len(ending_of(path))] if ending_of(path) else path.name


def _write_channel(channel: Channel, target: Path) -> None:
    from evaluator.errors import EvaluatorError
    from evaluator.volumes import Channels, write_canonical

    try:
        image = _channels_of(channel.path)
    except EvaluatorError as problem:
        raise ClientError(f"{channel.path.name} cannot be read", found=str(problem)) from problem
    if channel.index >= len(image.arrays):
        raise ClientError(
            f"{channel.path.name} has too few channels",
            found=f"{len(image.arrays)}",
            expected=f"channel {channel.index + 1}, as the data set's description says",
        )
    write_canonical(Channels(arrays=[image.arrays[channel.index]], grid=image.grid), target)


@functools.lru_cache(maxsize=1)
def _channels_of(path: Path) -> Any:
    """The image last asked for: the channels of one case are written one after the other."""
    from evaluator.volumes import read_channels_of

    return read_channels_of(path)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=False, dirs_exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise ClientError(f"Two files of the source would become {target.name}", found=str(source))
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def notes_text(draft: Draft, *, notes: Sequence[Note]) -> str:
    """The plan as a page: what was taken, what was changed, what has no counterpart, and what to do next."""
    lines = [f"# Imported from {draft.format}", ""]
    for kind, title in (
        (Kind.TAKEN, "Taken as it is"),
        (Kind.CHANGED, "Changed or decided here"),
        (Kind.MISSING, "Without a counterpart"),
    ):
        rows = [note for note in notes if note.kind is kind]
        lines += [f"## {title}", "", *(f"- `{note.source}`: {note.text}" for note in rows or []), ""]
        if not rows:
            lines[-1:] = ["Nothing.", ""]
    lines += [
        "## Next",
        "",
        "```sh",
        "assay challenge push . --dry-run   # what would be made",
        "assay challenge push .",
    ]
    for name in draft.testsets:
        phases = " ".join(f"--phase {phase.slug}" for phase in draft.phases if phase.testset == name)
        lines.append(f"assay testset push {name}-cases --challenge {draft.slug} --name {name} {phases}".rstrip())
    return "\n".join([*lines, f"assay challenge publish {draft.slug}", "```", ""])


def as_json(draft: Draft) -> str:
    """The plan for programs."""
    return json.dumps(
        {
            "format": draft.format,
            "slug": draft.slug,
            "title": draft.title,
            "phases": [phase.slug for phase in draft.phases],
            "cases": {name: len(cases) for name, cases in draft.testsets.items()},
            "notes": [{"kind": str(note.kind), "source": note.source, "text": note.text} for note in draft.notes],
        },
        indent=2,
        ensure_ascii=False,
    )
