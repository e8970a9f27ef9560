"""What a node is answered, one class per document. The node reads the work order in `assay/node/orders.py`."""

from typing import Any
from uuid import UUID

from ninja import Field, Schema

from containers.spec import Limits
from evaluator.volumes import GridTolerance, TableForm


class Registered(Schema):
    """How the node is enrolled, and how often it has to be heard of."""

    name: str
    pool: str
    installation: str
    slots: int
    lease_seconds: float
    heartbeat_seconds: float


class LeaseKept(Schema):
    """`cancel`: the node stops the container and hands the lease back."""

    cancel: bool
    lease_seconds: float


class CaseRunStatus(Schema):
    """Where the case run is now."""

    status: str


class StoredOutput(Schema):
    """What arrived of an output file."""

    sha256: str
    bytes: int


class StoredLog(Schema):
    """How much of the log was kept."""

    bytes: int


class RoundAsked(Schema):
    """The prompts of a round: null until they are made. The node asks again."""

    is_ready: bool
    prompts: list[dict[str, Any]] | None
    wall_seconds: float | None


class OrderedImage(Schema):
    image_id: str
    sha256: str
    bytes: int
    url: str


class OrderedInput(Schema):
    path: str = Field(description="Below the input mount.")
    sha256: str
    bytes: int
    url: str
    is_volume: bool = Field(
        description="A canonical volume, which the container finds in the format of the path's name."
    )


class OrderedOutput(Schema):
    name: str
    path: str = Field(description="Below the output mount.")
    max_bytes: int
    grid: dict[str, Any] | None = Field(description="Where the voxels must lie; null for what is no volume.")
    is_document: bool = False
    case: str = Field(description="Which case of a cohort; empty for one table of all cases.")
    rows: dict[str, str] = Field(description="Of a table: what a case is called in it, and which case that is.")


class OrderedSpec(Schema):
    """What the container is started with."""

    limits: Limits
    command: list[str] | None
    environment: dict[str, str]
    input_mount: str
    input_aliases: list[str]
    output_mount: str
    profile: str
    gpu_memory_tolerance_bytes: int
    outputs: list[OrderedOutput]


class OrderedRounds(Schema):
    """Of a case that is played in rounds."""

    rounds: int
    prompts_path: str
    previous_path: str


class WorkOrder(Schema):
    """Everything a node needs for one case run. Addresses are good for as long as the lease is."""

    case_run_id: UUID
    run_id: UUID
    fence: int
    container_name: str
    lease_seconds: float
    heartbeat_seconds: float
    image: OrderedImage
    inputs: list[OrderedInput]
    sockets: dict[str, list[dict[str, Any]]]
    tables: dict[str, str]
    spec: OrderedSpec
    interaction: OrderedRounds | None
    table_form: TableForm | None
    allowed_values: list[int] | None
    channels: int
    geometry: GridTolerance
