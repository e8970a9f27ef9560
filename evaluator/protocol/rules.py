"""The scoring protocol: one document that decides every number of a challenge.

`load_protocol` takes a YAML file, YAML text or a plain mapping. It checks it (schema, then meaning) with errors that name the
line, writes every default out and hashes the result. Two documents that mean the same have the same hash, and what the
platform stores (`document`) reads back to the same protocol, because nothing in it depends on the order of keys.
"""

import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from evaluator.errors import EvaluatorError, ProtocolError
from evaluator.metrics.registry import REGISTRY, Direction, Metric
from evaluator.protocol.conventions import Conventions, Situation
from evaluator.protocol.document import normalise
from evaluator.protocol.modes import Defect, Mode, in_settings, with_defects
from evaluator.protocol.sockets import slug_of, socket_entry
from evaluator.protocol.source import Marks, check_schema, locate, read_source, walk
from evaluator.ranking.document.parse import parse_ranking
from evaluator.ranking.document.slips import refuse_slips
from evaluator.ranking.errors import ConfigError
from evaluator.volumes.geometry import GridTolerance
from evaluator.volumes.tables import DOCUMENT_SUFFIX, TableForm, delimiter_of, table_text

PROTOCOLS_FOLDER = Path(__file__).parents[1] / "protocols"


MOST_LABELS = 1000
LABEL_DIGITS = 5
"""Of a value in a label's name: references that a test set takes in hold at most 65535."""


class LabelRule(StrEnum):
    """Which values of a reference are labels, where the reference decides it."""

    PRESENT = "present"
    TO_MAXIMUM = "to_maximum"


class OutputKind(StrEnum):
    """What an algorithm writes."""

    LABEL_MAP = "label_map"
    MASK_PER_STRUCTURE = "mask_per_structure"
    MULTICHANNEL = "multichannel"
    TABLE = "table"
    JSON = "json"
    """A document beside what is scored: a value, boxes, points. It is kept, and an organizers' metric image gets it."""


@dataclass(frozen=True, kw_only=True)
class LabelSpec:
    """One structure: its voxel values (several make a region) or its channel, and how strictly it is measured."""

    name: str
    values: tuple[int, ...]
    channel: int | None
    tolerance_mm: float | None
    z_crop: str


class InputKind(StrEnum):
    """What an algorithm finds."""

    IMAGE = "image"
    """A volume, written in the format its file name says."""
    FILE = "file"
    """A file of the case as the organizer gave it: a picture, a list of points."""
    TABLE = "table"
    """Made by the platform: one row per case the container sees, from attributes of the case."""
    VALUE = "value"
    """A JSON document of the case, handed over as a file; a list of sockets tells it as well."""
    SOCKETS = "sockets"
    """Made by the platform: the list of the other inputs that a case has, as grand-challenge's inputs.json."""


MADE_INPUTS = frozenset({InputKind.TABLE, InputKind.SOCKETS})
"""What the platform makes; everything else is a file of the case."""
ANY_SUFFIX = "*"
IMAGE_SUFFIXES_OF_SOCKETS = (".mha", ".tif", ".tiff")
"""The files that grand-challenge takes for the image of a socket."""


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One file an algorithm finds in its input folder. `file` may hold `{case}`."""

    name: str
    kind: InputKind
    file: str
    required: bool
    key: str
    """Of a table: the column with what the case is called inside the container."""
    columns: tuple[str, ...]
    """Of a table: attributes of cases, each a column. Nothing else of a case is told."""
    socket: str = ""
    """What a list of sockets calls it."""

    @property
    def slug(self) -> str:
        """The name of its socket: letters, digits and hyphens."""
        return self.socket or slug_of(self.name)

    @property
    def is_image(self) -> bool:
        """Whether it is a volume."""
        return self.kind is InputKind.IMAGE


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """One file, or one per structure, that an algorithm has to write. `file` may hold `{case}` and `{structure}`."""

    name: str
    kind: OutputKind
    file: str
    columns: tuple[str, ...]
    instances: bool
    """Of a label map: every value is one object of the only label, whatever its number (cells)."""
    cells: str = "text"
    """Of a table: what a cell holds. `points_3d` and the like are findings."""


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """One metric as this protocol computes it. `id` is its name in every table. `labels` empty means all."""

    id: str
    metric: Metric
    options: Mapping[str, Any]
    rounding: int | None
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one case run may consume and how it is started."""

    run_mode: str
    wall_seconds: float
    wall_seconds_per: str
    total_seconds: float | None
    memory_mb: int
    gpu_memory_mb: int | None
    cpus: int
    gpus: int
    pids: int
    shm_mb: int
    tmp_mb: int
    output_mb: int
    on_case_failure: str
    command: tuple[str, ...] | None
    environment: Mapping[str, str]
    input_mount: str
    input_aliases: tuple[str, ...]
    output_mount: str
    profile: str
    takes_command: bool = False
    """Whether a team says with each submission what is started, as TIRA and FeTA 2021 do."""
    code_base: str = ""
    """The base image of phases that take zips of code, `sha256:…`; empty where a phase takes images."""
    code_wheels: str = ""
    """The wheel house from which the code's requirements are installed; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """How the platform prompts an algorithm, round by round. Files lie in its input folder."""

    box: bool
    clicks: int
    prompts_file: str
    previous_file: str
    """The algorithm's own answer of the round before."""

    @property
    def rounds(self) -> int:
        """How many containers a case takes."""
        return int(self.box) + self.clicks


@dataclass(frozen=True, kw_only=True)
class MetricImage:
    """The organizers' own metric image, by the ID under which it runs, and what one run of it may consume."""

    image: str
    wall_seconds: float
    memory_mb: int
    cpus: int
    layout: str = "grand-challenge"
    """Where it finds what it scores: as grand-challenge or as CodaBench lays it out."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """What participants see while a phase hides its results."""

    mode: str
    rounding: int | None
    delta: float


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """A section the report of a ranking has besides the usual ones. `evaluator.reports.sections` says what each shows."""

    section: str
    by: str | None
    path: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A checked protocol. `document` is the normalised plain form, `sha256` the hash of its canonical JSON."""

    name: str
    title: str
    version: int
    preset: str
    document: dict[str, Any]
    sha256: str
    mode: Mode
    defects: tuple[Defect, ...]
    labels: tuple[LabelSpec, ...]
    labels_from_reference: LabelRule | None
    """Where set, `labels` holds one label that gives name and tolerance. `with_values_of` makes the labels of a case."""
    ignored_values: tuple[int, ...]
    unknown_values: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    metrics: tuple[MetricSpec, ...]
    conventions: Conventions
    geometry: GridTolerance
    resources: Resources
    interaction: Interaction | None
    ranking: Mapping[str, Any]
    release: Release
    breakdowns: tuple[str, ...]
    evaluation: MetricImage | None
    report: tuple[ReportSection, ...]

    @property
    def full_name(self) -> str:
        """The name and, where it is not the default, the mode: as `load_named_protocol` takes it."""
        return self.name if self.mode is Mode.CORRECTED else f"{self.name}@{self.mode}"

    @property
    def output(self) -> OutputSpec:
        """The output that is scored: the first one listed."""
        return self.outputs[0]

    @property
    def documents(self) -> frozenset[str]:
        """The names of the outputs that are JSON documents: kept, and never scored by us."""
        return frozenset(item.name for item in self.outputs if item.kind is OutputKind.JSON)

    def without_documents(self, files: Mapping[str, Path]) -> dict[str, Path]:
        """Output name → file, of what is scored."""
        return {name: path for name, path in files.items() if name not in self.documents}

    @property
    def allowed_values(self) -> frozenset[int] | None:
        """Voxel values a prediction may hold. None where unlisted values count as background or masks are binary."""
        if self.unknown_values == "background" or self.output.instances or self.output.kind is not OutputKind.LABEL_MAP:
            return None
        return frozenset({0, *self.ignored_values, *(value for label in self.labels for value in label.values)})

    def with_values_of(self, present: Sequence[int]) -> "Protocol":
        """The protocol for a case whose reference holds these values. Unchanged where the labels are fixed.

        Every value is a label of its own, `target 1`, `target 2`, …. A reference without any has one label: whatever is not
        background. EvaluatorError where there would be too many labels.
        """
        if self.labels_from_reference is None:
            return self
        values = [value for value in present if value != 0]
        if values and self.labels_from_reference is LabelRule.TO_MAXIMUM:
            values = list(range(1, max(values) + 1))
        if len(values) > MOST_LABELS:
            raise EvaluatorError(f"found {len(values)} values in the reference; expected at most {MOST_LABELS} labels")
        (template,) = self.labels
        labels = tuple(replace(template, name=f"{template.name} {value}", values=(value,)) for value in values)
        return replace(self, labels=labels or (replace(template, values=()),), labels_from_reference=None)

    def names_label(self, name: str) -> bool:
        """Whether a row of scores may have this label."""
        if self.labels_from_reference is not None:
            stem, _, value = name.rpartition(" ")
            if stem == self.labels[0].name and value.isdecimal() and len(value) <= LABEL_DIGITS:
                return str(int(value)) == value
        return any(label.name == name for label in self.labels)

    @property
    def channels(self) -> int:
        """How many channels the scored output has: 1 but for a multi-channel mask."""
        if self.output.kind is not OutputKind.MULTICHANNEL:
            return 1
        return 1 + max(label.channel or 0 for label in self.labels)

    @property
    def gpu_memory_tolerance_mb(self) -> float:
        """GPU memory that costs nothing: it is taken off each sample before the area under the curve is (FLARE)."""
        return max((float(spec.options["free_mb"]) for spec in self.metrics if "free_mb" in spec.options), default=0.0)

    @property
    def table_form(self) -> TableForm | None:
        """What the scored table has to look like. None where volumes are scored."""
        if self.output.kind is not OutputKind.TABLE:
            return None
        return TableForm(
            columns=tuple(label.name for label in self.labels),
            delimiter=delimiter_of(self.output.file),
            cells=self.output.cells,
            is_document=self.output.file.endswith(DOCUMENT_SUFFIX),
        )

    @property
    def has_shared_table(self) -> bool:
        """Whether one table answers for all cases."""
        form = self.table_form
        return form is not None and not form.is_document and "{case}" not in self.output.file

    def input_files(self, case_id: str) -> dict[str, str]:
        """Name → path below the input folder, of what comes from the case's own files."""
        files = (item for item in self.inputs if item.kind not in MADE_INPUTS)
        return {item.name: item.file.replace("{case}", case_id) for item in files}

    def input_tables(self, attributes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """Path below the input folder → text, of the tables made from the attributes of the cases a container sees.

        `attributes`: what each case is called inside the container → its attributes.
        """
        texts = {}
        for item in self.inputs:
            if item.kind is InputKind.TABLE:
                rows = [
                    (name, *(str(known.get(column, "")) for column in item.columns))
                    for name, known in attributes.items()
                ]
                text = table_text(columns=(item.key, *item.columns), rows=rows, delimiter=delimiter_of(item.file))
                texts[item.file] = text
        return texts

    def input_sockets(self, case_id: str, *, present: Collection[str]) -> dict[str, list[dict[str, Any]]]:
        """Path below the input folder → its entries, of the lists of sockets; `present` names the inputs that the case has."""
        entries = [
            socket_entry(item.slug, kind=item.kind.value, path=item.file.replace("{case}", case_id), case_id=case_id)
            for item in self.inputs
            if item.name in present and item.kind not in MADE_INPUTS
        ]
        return {item.file.replace("{case}", case_id): entries for item in self.inputs if item.kind is InputKind.SOCKETS}

    def output_files(self, case_id: str) -> dict[str, str]:
        """Name → path below the output folder. One entry per structure where each has its own file."""
        return {name: path for item in self.outputs for name, path in self._paths(item, case_id).items()}

    def written_files(self, case_id: str) -> dict[str, str]:
        """The same where a name has to be chosen: `images/slug/*` may be any one file, so it becomes `images/slug/output.mha`."""
        return {name: given_name(path) for name, path in self.output_files(case_id).items()}

    def archive_files(self, case_id: str) -> dict[str, str]:
        """Name → path in an archive that holds the predictions of every case.

        A path without `{case}` would be one file for all cases, so it lies in a folder named after the case. A table without
        `{case}` has a row per case and stands at its own path.
        """
        files: dict[str, str] = {}
        for item in self.outputs:
            stands_alone = "{case}" in item.file or (item.kind is OutputKind.TABLE and self.has_shared_table)
            folder = "" if stands_alone else f"{case_id}/"
            paths = {name: given_name(path) for name, path in self._paths(item, case_id).items()}
            files |= {name: folder + path for name, path in paths.items()}
        return files

    def _paths(self, item: OutputSpec, case_id: str) -> dict[str, str]:
        path = item.file.replace("{case}", case_id)
        if item.kind is OutputKind.MASK_PER_STRUCTURE:
            return {label.name: path.replace("{structure}", label.name) for label in self.labels}
        return {item.name: path}


def given_name(path: str) -> str:
    """A name for a path whose last part may be chosen freely: `images/slug/*` becomes `images/slug/output.mha`."""
    folder, _, last = path.rpartition("/")
    if not last.startswith(ANY_SUFFIX):
        return path
    return f"{folder}/output{last.removeprefix(ANY_SUFFIX) or IMAGE_SUFFIXES_OF_SOCKETS[0]}"


def load_protocol(
    source: Path | str | Mapping[str, Any],
    *,
    name: str | None = None,
    mode: Mode | None = None,
    written: Mapping[str, Any] | None = None,
) -> Protocol:
    """The protocol in a YAML file (a Path), YAML text (a str) or a plain mapping. ProtocolError says what is wrong where.

    `name` replaces the document's own name, as when a challenge takes over a published protocol. `mode` replaces its mode. Slips in the
    ranking are refused in what somebody wrote just now: a file, a text, or `written`, the new part of a mapping. A stored mapping is taken
    as it stands.
    """
    marks: Marks = {}
    if isinstance(source, Path):
        source = source.read_text(encoding="utf-8")
    if isinstance(source, str):
        document, marks = read_source(source)
        written = document
    else:
        document = json.loads(json.dumps(dict(source)))
        _refuse_not_finite(document)
    if name is not None:
        document["name"] = name
    if mode is not None:
        document["mode"] = mode.value
    check_schema(document, marks)
    normal = normalise(document, marks)
    if normal["mode"] == Mode.PUBLISHED:
        normal = _as_published(normal, marks)
    _check_ranking(normal, marks, written=None if written is None else written.get("ranking", {}))
    return _protocol(normal)


def _refuse_not_finite(document: Mapping[str, Any]) -> None:
    """The reader of YAML refuses NaN and infinity by itself. A mapping made in Python, or of a command line, may hold them."""
    for path, value in walk(document):
        if isinstance(value, float) and not math.isfinite(value):
            raise locate(path, {}, found=str(value), expected="a finite number")


def load_named_protocol(name: str) -> Protocol:
    """One of the protocols that come with the evaluator. `flare22@published` is its published mode."""
    stem, _, mode = name.partition("@")
    path = PROTOCOLS_FOLDER / f"{stem}.yaml"
    if "/" in stem or not path.is_file():
        known = ", ".join(named_protocols())
        raise ProtocolError(where="protocol", found=f"the name {name!r}", expected=f"one of {known}")
    if mode and mode not in tuple(Mode):
        raise ProtocolError(where="protocol", found=f"the mode {mode!r}", expected=f"one of {', '.join(Mode)}")
    return load_protocol(path, mode=Mode(mode) if mode else None)


def read_protocol(name: str) -> Protocol:
    """A YAML file when the text looks like one, else a published protocol."""
    return load_protocol(Path(name)) if Path(name).suffix in (".yaml", ".yml", ".json") else load_named_protocol(name)


def named_protocols() -> tuple[str, ...]:
    """The names `load_named_protocol` knows, in alphabetical order."""
    return tuple(sorted(path.stem for path in PROTOCOLS_FOLDER.glob("*.yaml")))


def hash_document(document: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a normalised document."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _as_published(normal: Mapping[str, Any], marks: Marks) -> dict[str, Any]:
    """The normal form with its defects in force, checked once more."""
    changed = with_defects(normal, marks)
    try:
        check_schema(changed, {})
        return normalise(changed, {})
    except ProtocolError as problem:
        raise in_settings(problem, marks) from problem


def _check_ranking(normal: Mapping[str, Any], marks: Marks, *, written: Mapping[str, Any] | None) -> None:
    """Whether the ranking part can be ranked by. Its own reader knows, and names the culprit before a colon."""
    try:
        config = parse_ranking(normal["ranking"])
        if written is not None:
            registered = {item["id"]: REGISTRY[item["name"]].direction for item in normal["metrics"]}
            better = {name: found is Direction.MAX for name, found in registered.items() if found}
            refuse_slips(config, written, "ranking", larger_is_better=better)
    except ConfigError as problem:
        where, _, text = str(problem).partition(": ")
        steps = [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", where)]
        found, _, expected = text.removeprefix("found ").partition("; expected ")
        raise locate(
            tuple(steps), marks, found=found, expected=expected or "a ranking that can be computed"
        ) from problem


def _protocol(document: dict[str, Any]) -> Protocol:
    geometry, resources = document["geometry"], document["resources"]
    command = None if resources["command"] is None else tuple(resources["command"])
    return Protocol(
        name=document["name"],
        title=document["title"],
        version=document["version"],
        preset=document["preset"],
        document=document,
        sha256=hash_document(document),
        mode=Mode(document["mode"]),
        defects=tuple(Defect.from_document(item) for item in document["defects"]),
        labels=tuple(LabelSpec(**{**label, "values": tuple(label["values"])}) for label in document["labels"]),
        labels_from_reference=LabelRule(document["labels_from_reference"])
        if document.get("labels_from_reference")
        else None,
        ignored_values=tuple(document["ignored_values"]),
        unknown_values=document["unknown_values"],
        inputs=tuple(
            InputSpec(**{**item, "kind": InputKind(item["kind"]), "columns": tuple(item["columns"])})
            for item in document["inputs"]
        ),
        outputs=tuple(
            OutputSpec(**{**item, "kind": OutputKind(item["kind"]), "columns": tuple(item["columns"])})
            for item in document["outputs"]
        ),
        metrics=tuple(_metric(item) for item in document["metrics"]),
        conventions=_conventions(document["conventions"]),
        geometry=GridTolerance(
            corner_voxels=geometry["corner_voxels"],
            spacing_relative=geometry["spacing_relative"],
            shape_only=geometry["compare"] == "shape",
            reorient=geometry["reorient"],
        ),
        resources=Resources(**{**resources, "command": command, "input_aliases": tuple(resources["input_aliases"])}),
        interaction=Interaction(**document["interaction"]) if document["interaction"] else None,
        ranking=document["ranking"],
        release=Release(**document["release"]),
        breakdowns=tuple(document["breakdowns"]),
        evaluation=MetricImage(**document["evaluation"]) if document["evaluation"] else None,
        report=tuple(ReportSection(**{**item, "path": tuple(item["path"])}) for item in document["report"]),
    )


def _metric(item: Mapping[str, Any]) -> MetricSpec:
    return MetricSpec(
        id=item["id"],
        metric=REGISTRY[item["name"]],
        options=MappingProxyType(item["options"]),
        rounding=item["rounding"],
        labels=tuple(item["labels"]),
    )


def _conventions(document: Mapping[str, Any]) -> Conventions:
    return Conventions(
        table={situation: document[situation.value] for situation in Situation}, by_failure=document["by_failure"]
    )
