"""The node API's work order as this side reads it: frozen records, checked where a wrong value could do harm here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from containers.spec import Limits, OutputSpec, RunSpec
from evaluator.volumes import Grid, GridTolerance, TableForm


class OrderInvalid(Exception):
    """The work order cannot be carried out as it stands. The text says what was found and expected."""


@dataclass(frozen=True, kw_only=True)
class FileOrder:
    """One file to fetch: where it goes below the input mount, what it must be, where it is."""

    path: str
    sha256: str
    bytes: int
    url: str
    is_volume: bool = False
    """A canonical volume, which the container finds in the format of the path's name."""


@dataclass(frozen=True, kw_only=True)
class ExpectedOutput:
    """One file the algorithm must write, and the grid its voxels must lie on."""

    spec: OutputSpec
    grid: Grid | None
    case: str = ""
    """Which case of a cohort it belongs to; one name for all where there is one case, empty for a table of all cases."""
    is_document: bool = False
    """A JSON document beside what is scored."""
    rows: Mapping[str, str] = field(default_factory=dict)
    """Of a table: what a case is called in it → which case that is."""

    @property
    def cases(self) -> tuple[str, ...]:
        """The cases this file answers for."""
        return tuple(self.rows.values()) or (self.case,)


@dataclass(frozen=True, kw_only=True)
class InteractionOrder:
    """A case played in rounds: how many, and where a container finds its prompts and its last answer."""

    rounds: int
    prompts_path: str
    previous_path: str


@dataclass(frozen=True, kw_only=True)
class WorkOrder:
    """One case run under a lease."""

    case_run_id: str
    fence: int
    container_name: str
    lease_seconds: float
    heartbeat_seconds: float
    image_id: str
    image: FileOrder
    inputs: tuple[FileOrder, ...]
    limits: Limits
    command: tuple[str, ...] | None
    environment: Mapping[str, str]
    input_mount: str
    output_mount: str
    profile: str
    gpu_memory_tolerance_bytes: int
    outputs: tuple[ExpectedOutput, ...]
    allowed_values: frozenset[int] | None
    channels: int
    tolerance: GridTolerance
    table_form: TableForm | None = None
    """Of protocols that score a table."""
    tables: Mapping[str, str] = field(default_factory=dict)
    """Path below the input mount → text, of tables made for this container."""
    sockets: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Path below the input mount → entries, of the lists of sockets made for this container."""
    input_aliases: tuple[str, ...] = ()
    interaction: InteractionOrder | None = None

    def run_spec(self, *, input_dir: Path, gpu_uuids: tuple[str, ...] = (), cpu_ids: tuple[int, ...] = ()) -> RunSpec:
        """What the runner is given: the order, and the processors this node chose for it."""
        return RunSpec(
            name=self.container_name,
            image_id=self.image_id,
            input_dir=input_dir,
            outputs=tuple(output.spec for output in self.outputs),
            limits=self.limits,
            command=self.command,
            environment=dict(self.environment),
            input_mount=self.input_mount,
            input_aliases=self.input_aliases,
            output_mount=self.output_mount,
            profile=self.profile,
            gpu_memory_tolerance_bytes=self.gpu_memory_tolerance_bytes,
            gpu_uuids=gpu_uuids,
            cpu_ids=cpu_ids,
        )


def parse_order(document: Mapping[str, Any]) -> WorkOrder:
    """Read a work order. Raises OrderInvalid."""
    try:
        return _parse(document)
    except (KeyError, TypeError, ValueError) as error:
        raise OrderInvalid(f"the work order cannot be read ({error!r}); is this agent as new as the server?") from error


def safe_relative(path: str) -> PurePosixPath:
    """A path that stays below the folder it is joined to. Raises OrderInvalid."""
    found = PurePosixPath(path)
    if found.is_absolute() or ".." in found.parts or not found.parts:
        raise OrderInvalid(f"found the path {path!r}; expected a relative one without '..'")
    return found


def _parse(document: Mapping[str, Any]) -> WorkOrder:
    spec, image = document["spec"], document["image"]
    command, allowed, form = spec.get("command"), document.get("allowed_values"), document.get("table_form")
    interaction = document.get("interaction")
    return WorkOrder(
        case_run_id=document["case_run_id"],
        fence=int(document["fence"]),
        container_name=document["container_name"],
        lease_seconds=float(document["lease_seconds"]),
        heartbeat_seconds=float(document["heartbeat_seconds"]),
        image_id=image["image_id"],
        image=FileOrder(path="image.tar", sha256=image["sha256"], bytes=int(image["bytes"]), url=image["url"]),
        inputs=tuple(
            FileOrder(
                path=str(safe_relative(f["path"])),
                sha256=f["sha256"],
                bytes=int(f["bytes"]),
                url=f["url"],
                is_volume=bool(f.get("is_volume", False)),
            )
            for f in document["inputs"]
        ),
        limits=Limits(**spec["limits"]),
        command=tuple(command) if command else None,
        environment=spec.get("environment", {}),
        input_mount=spec["input_mount"],
        output_mount=spec["output_mount"],
        profile=spec["profile"],
        gpu_memory_tolerance_bytes=int(spec.get("gpu_memory_tolerance_bytes", 0)),
        outputs=tuple(
            ExpectedOutput(
                spec=OutputSpec(name=o["name"], path=str(safe_relative(o["path"])), max_bytes=int(o["max_bytes"])),
                grid=Grid.from_json(o["grid"]) if o.get("grid") else None,
                case=o.get("case", ""),
                is_document=bool(o.get("is_document", False)),
                rows=dict(o.get("rows", {})),
            )
            for o in spec["outputs"]
        ),
        allowed_values=frozenset(allowed) if allowed is not None else None,
        channels=int(document["channels"]),
        tolerance=GridTolerance(**document["geometry"]),
        table_form=(
            TableForm(
                columns=tuple(form["columns"]),
                delimiter=form["delimiter"],
                cells=form.get("cells", "text"),
                is_document=bool(form.get("is_document", False)),
            )
            if form
            else None
        ),
        input_aliases=tuple(spec.get("input_aliases", ())),
        interaction=InteractionOrder(
            rounds=int(interaction["rounds"]),
            prompts_path=str(safe_relative(interaction["prompts_path"])),
            previous_path=str(safe_relative(interaction["previous_path"])),
        )
        if interaction
        else None,
        tables={str(safe_relative(path)): str(text) for path, text in document.get("tables", {}).items()},
        sockets={str(safe_relative(path)): tuple(entries) for path, entries in document.get("sockets", {}).items()},
    )
