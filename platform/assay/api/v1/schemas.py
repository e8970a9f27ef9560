"""What goes over the wire, one class per document. Field names are the words of the project. Units are in the names."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Field, Schema
from pydantic import BaseModel, ConfigDict, HttpUrl

from assay.leaderboards.combining import CombinedBoard
from assay.leaderboards.rejudging import RankMove
from assay.leaderboards.selectors import Board, LeaderboardRow, MetricColumn
from assay.notices.models import ByMail, Delivery, Kind
from assay.workflow.operations.stuck import Stuck

LARGEST_COLUMN = 2**63 - 1
Offset = Annotated[int, Field(le=2**31 - 1)]
"""Where a page begins; below 0 is 0."""
Fence = Annotated[int, Field(ge=0, le=LARGEST_COLUMN)]
"""Of a lease; grows with every claim."""
RowKey = Annotated[int, Field(ge=0, le=LARGEST_COLUMN)]
"""What a row is called that has no other name."""
Slots = Annotated[int, Field(ge=1, le=64)]
"""How many cases a node runs at once."""


class SignUp(Schema):
    username: str = Field(min_length=1, max_length=150)
    email: str = Field(min_length=3, max_length=254)
    password: str = Field(min_length=1, max_length=256)
    display_name: str = Field("", max_length=80)


class TokenRequest(Schema):
    username: str
    password: str
    code: str = Field("", max_length=40, description="Of the second factor, where the account has one.")
    name: str = Field("assay", max_length=80)
    days: int = 30
    scopes: list[Literal["read", "submit", "organize", "operate"]] = Field([], description="Empty: all that you may.")


class TokenIssued(Schema):
    token: str
    expires_at: datetime


class TokenOut(Schema):
    id: UUID
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


class PersonOut(Schema):
    username: str
    display_name: str
    email: str
    is_staff: bool


class MemberOut(Schema):
    username: str
    display_name: str
    is_captain: bool


class TeamIn(Schema):
    name: str = Field(min_length=1, max_length=80)
    institution: str = Field("", max_length=120)


class TeamOut(Schema):
    slug: str
    name: str
    institution: str
    members: list[MemberOut]


class InviteIn(Schema):
    email: str = Field(min_length=3, max_length=254)


class InviteOut(Schema):
    token: str
    expires_at: datetime


class InviteAccepted(Schema):
    token: str


class NoticeOut(Schema):
    id: int
    kind: str
    subject: str
    text: str
    path: str
    at: datetime | None
    is_read: bool


class NoticesOut(Schema):
    notices: list[NoticeOut]
    older: int | None
    unread: int


class WishOut(Schema):
    kind: str
    is_shown: bool
    by_mail: str


class WishIn(Schema):
    kind: Kind
    is_shown: bool = True
    by_mail: ByMail = ByMail.NOW


class HookIn(Schema):
    url: str = Field(min_length=1, max_length=500)


class HookMade(Schema):
    id: UUID
    url: str
    secret: str


class HookOut(Schema):
    id: UUID
    url: str
    created_at: datetime
    failures: int
    disabled_at: datetime | None


class DeliveryOut(Schema):
    id: UUID
    event: str
    replay_of: UUID | None = Field(None, alias="replay_of_id")
    state: str = Field(description="`waits`, `arrived` or `given_up`.")
    at: datetime | None = Field(
        description="Null for a team's own submissions: how long they ran is told in coarse steps."
    )
    attempts: int
    status_code: int | None
    error: str
    done_at: datetime | None
    gave_up_at: datetime | None

    @staticmethod
    def resolve_at(row: Delivery) -> datetime | None:
        """When it was written."""
        return None if row.hides_time else row.at

    @staticmethod
    def resolve_done_at(row: Delivery) -> datetime | None:
        """When it arrived."""
        return None if row.hides_time else row.done_at

    @staticmethod
    def resolve_gave_up_at(row: Delivery) -> datetime | None:
        """When it was given up."""
        return None if row.hides_time else row.gave_up_at


class ChallengeInviteIn(Schema):
    addresses: list[Annotated[str, Field(min_length=3, max_length=254)]] = Field([], max_length=100)
    uses: int = Field(1, ge=1, le=1000, description="Of a link, where there are no addresses.")
    days: int = Field(30, ge=1, le=365, description="Of a link, where there are no addresses.")


class ChallengeInviteOut(Schema):
    id: int
    email: str
    uses_left: int
    created_at: datetime
    expires_at: datetime
    used_by: list[str]
    link: str | None = Field(None, description="Of a new link, shown this once.")


class InviteOpened(Schema):
    challenge: str
    title: str


class PhaseBrief(Schema):
    slug: str
    title: str
    kind: str
    opens_at: datetime
    closes_at: datetime
    is_open: bool
    is_paused: bool


class MembershipOut(Schema):
    role: str
    status: str
    team: str | None
    rules_version: int


class ChallengeBrief(Schema):
    slug: str
    title: str
    summary: str
    modality: str
    anatomy: str
    status: str
    participant_count: int
    phases: list[PhaseBrief]


class PublicationOut(Schema):
    """A request to publish a draft: `waiting`, `approved` or `refused`."""

    challenge: str
    title: str
    state: str
    asked_by: str
    asked_at: datetime
    reason: str


class ChallengeOut(Schema):
    slug: str
    title: str
    summary: str
    description: str
    rules: str
    licence: str
    citation: str
    contact: str
    modality: str
    anatomy: str
    status: str
    requires_approval: bool
    is_private: bool
    questions: list[str]
    rules_version: int
    organizers: list[str]
    membership: MembershipOut | None
    phases: list[PhaseBrief]
    publication: PublicationOut | None
    url: str


class ChallengeFile(Schema):
    source: str


class ChallengePush(Schema):
    source: str
    dry_run: bool = False


class ChangeOut(Schema):
    path: str
    text: str
    note: str


class LeakOut(Schema):
    """What one phase can give away of its hidden cases, in bits. `null`: there is no limit."""

    phase: str
    release: str
    bits_per_submission: float | None
    attempts_per_team: int | None
    bits_per_team: float | None
    teams: int
    text: str
    advice: str


class PushOut(Schema):
    changes: list[ChangeOut]
    leaks: list[LeakOut]
    challenge: ChallengeOut | None


class PublicationDecision(Schema):
    approve: bool
    reason: str = Field("", max_length=300)


class PoolOut(Schema):
    """A pool that belongs to somebody."""

    name: str
    note: str
    people: list[str]
    challenges: list[str]


class UseOut(Schema):
    """How much of one of your limits is used. `share` is from 0 to 1, or `null` without a limit."""

    name: str
    title: str
    used: str
    allowed: str
    share: float | None
    frees: str


Limit = Annotated[int, Field(ge=0, le=1_000_000)]


class PersonLimitsIn(Schema):
    """Limits of one person. `null`: the installation's. What is left out stays as it is."""

    drafts: Limit | None = None
    published: Limit | None = None
    storage_gib: Limit | None = None
    run_hours: Limit | None = None


class ChallengeLimitsIn(Schema):
    """The hours of computing of one challenge in a period. `null`: the installation's."""

    run_hours: Limit | None


class PersonUseOut(Schema):
    """One of the largest users."""

    username: str
    drafts: int
    published: int
    stored_bytes: int
    run_seconds: float


class ChallengeUseOut(Schema):
    """One of the challenges that computed most. `allowed_seconds` is `null` without a limit."""

    slug: str
    run_seconds: float
    allowed_seconds: float | None


class LargestOut(Schema):
    people: list[PersonUseOut]
    challenges: list[ChallengeUseOut]


class PoolOwnersIn(Schema):
    """Whose a pool is. Nobody named: everybody's."""

    people: list[str] = []
    challenges: list[str] = []
    note: str = ""


class JoinIn(Schema):
    team: str | None = None
    answers: list[str] = Field([], max_length=20, description="one per question of the challenge, in its order")
    rules_version: int = Field(0, ge=0, le=1_000_000, description="the version of the rules that you accept")


class AnswerOut(Schema):
    question: str
    answer: str


class RulesIn(Schema):
    rules_version: int = Field(ge=1, le=1_000_000)


class ParticipantOut(Schema):
    answers: list[AnswerOut]
    rules_version: int
    rules_accepted_at: datetime | None
    username: str
    display_name: str
    email: str
    institution: str
    team: str | None
    status: str
    reason: str
    created_at: datetime


class CombinedName(Schema):
    """A board over several phases, as the challenge file names it."""

    slug: str
    title: str
    phases: list[str]
    by: str


class CombinedRow(Schema):
    """One team. A place is None where the team has no rank in that phase; it counts as the one behind the last."""

    rank: int
    team: str
    places: list[int | None]
    value: float


class CombinedOut(Schema):
    """`places` of each row are in the order of `phases`."""

    slug: str
    title: str
    by: str
    phases: list[str]
    rows: list[CombinedRow]
    why_hidden: str
    notices: list[str]

    @staticmethod
    def resolve_phases(board: CombinedBoard) -> list[str]:
        """Their names in addresses."""
        return [phase.slug for phase in board.phases]


class TaskOut(Schema):
    """`number` is its place in the file, from 0: what an act on it names."""

    number: int
    title: str
    due: date | None
    is_done: bool
    is_overdue: bool
    is_soon: bool


class TasksOut(Schema):
    """`made_from` names the state of the file: send it back with what is to be changed."""

    made_from: str
    tasks: list[TaskOut]


class TaskIn(Schema):
    """`add` takes a title and perhaps a last day. `done`, `again` and `remove` take a number. `usual` adds the usual ones."""

    act: Literal["add", "usual", "done", "again", "remove"]
    made_from: str = Field(max_length=128)
    number: int = Field(default=-1, ge=-1, le=10_000)
    title: str = Field(default="", max_length=400)
    due: str = Field(default="", max_length=40)


class Guesses(Schema):
    """What an estimate is made of. `each`: submissions of a team. `minutes`: of one case on a node."""

    teams: int = Field(default=20, ge=0, le=1_000_000)
    each: int = Field(default=5, ge=0, le=1_000_000)
    minutes: float = Field(default=2.0, ge=0, le=1_000_000)
    price_per_hour: float = Field(default=0.0, ge=0, le=1_000_000)


class EstimateOut(Schema):
    """Hours on nodes. `longest_hours`: where every case took its time limit."""

    phase: str
    cases: int
    hours: float
    gpu_hours: float
    longest_hours: float
    price: float


class DeletedFilesOut(Schema):
    """Of how many submissions the files are gone. What is unfinished or being scored is left out."""

    deleted: int


class HintOut(Schema):
    """What several teams have in common. A hint is no proof, and nothing follows from it by itself."""

    kind: str
    reason: str
    teams: list[str]
    submissions: list[str]


class DecisionIn(Schema):
    status: Literal["accepted", "rejected", "banned"]
    reason: str = Field("", max_length=300)


class DecisionsIn(DecisionIn):
    usernames: list[str] = Field(min_length=1, max_length=500)


class OrganizerIn(Schema):
    username: str


class ConditionOut(Schema):
    ok: bool
    text: str
    cure: str


class EligibilityOut(Schema):
    can_submit: bool
    text: str
    conditions: list[ConditionOut]
    remaining: int | None
    next_at: datetime | None


class QueueOut(Schema):
    length: int
    running: int
    median_wait_seconds: float | None
    seconds_per_case: float | None
    live_nodes: int
    why_waiting: str


class TestSetBrief(Schema):
    name: str
    version: int
    case_count: int
    is_public: bool
    sha256: str


class ProtocolOut(Schema):
    version: int
    sha256: str
    document: dict[str, Any]


class PhaseOut(PhaseBrief):
    challenge: str
    submission_limit: int | None
    submission_window_days: int
    submission_limit_total: int | None
    concurrent_limit: int
    running_limit: int | None
    running_limit_per_team: int | None
    max_image_bytes: int
    pool: str
    needs: list[str]
    leaderboard_shows: str
    requires_phase: str
    requires_rank: int | None
    late_until: datetime | None
    divisions: list[str]
    freeze_hours: int | None
    public_percent: int | None
    releases_at: datetime | None
    release_after: list[str]
    released_at: datetime | None
    review_days: int | None
    finalized_at: datetime | None
    carry_over: str
    is_embargoed: bool
    embargo_until: datetime | None
    shows_results: bool
    protocol: ProtocolOut
    testset: TestSetBrief | None
    eligibility: EligibilityOut
    queue: QueueOut


class SubmissionsIn(Schema):
    submission_ids: list[UUID] = Field(min_length=1, max_length=1000)


class FilesIn(SubmissionsIn):
    reason: str = Field(default="", max_length=300)


class CancelledOut(Schema):
    cancelled: list[UUID]


class RenameIn(Schema):
    slug: str = Field(max_length=80)


class RerunPhaseIn(Schema):
    challenge: str = Field(max_length=80)
    phase: str = Field(max_length=80)
    which: str = Field("best", max_length=10)
    dry_run: bool = False


class RerunCandidate(Schema):
    submission_id: UUID
    number: int
    team: str
    name: str
    why_not: str


class RerunPhaseOut(Schema):
    candidates: list[RerunCandidate]
    entered: list[UUID]
    hours: float
    """The longest that those which can run may take on nodes, one after the other."""


class ObjectionIn(Schema):
    text: str = Field(max_length=4000)


class ObjectionAnswer(Schema):
    uphold: bool
    answer: str = Field(max_length=4000)


class ObjectionOut(Schema):
    id: int
    team: str
    text: str
    created_at: datetime
    state: str
    answer: str
    decided_at: datetime | None

    @staticmethod
    def resolve_team(row: Any) -> str:
        """The team's name."""
        return str(row["team"] if isinstance(row, dict) else row.team)


class EmbargoIn(Schema):
    until: datetime | None = None


class UploadOut(Schema):
    id: UUID
    filename: str
    purpose: str
    total_bytes: int
    offset_bytes: int
    sha256: str
    created_at: datetime
    expires_at: datetime
    is_complete: bool


class MetricImageIn(Schema):
    upload_id: UUID


class CodePartIn(Schema):
    kind: Literal["base", "wheels"]
    upload_id: UUID = Field(description="Of a `docker save` archive (purpose `image`), or of a zip (purpose `wheels`).")


class CodePartOut(Schema):
    kind: str
    version: int
    identity: str = Field(description="`sha256:…`, as protocols name it.")
    filename: str
    stored_bytes: int
    report: dict[str, Any]
    created_at: datetime


class MetricImageOut(Schema):
    image_id: str
    archive_sha256: str
    rewritten_bytes: int
    report: dict[str, Any]
    created_at: datetime


class TestSetIn(Schema):
    name: str = Field(pattern=r"^[a-z0-9-]{1,80}$")
    upload_id: UUID
    is_public: bool = False
    phases: list[str] = []
    accepts_identifying: bool = Field(
        False, description="Headers may hold names, dates and numbers of patients: they are pseudonyms."
    )


class TestSetOut(TestSetBrief):
    notice: str
    report: dict[str, Any]
    created_at: datetime
    frozen_at: datetime | None
    phases: list[str]


def file_of(kind: str) -> dict[str, Any]:
    """What the API's description says of an answer that is a file."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}}}
    return {"responses": {200: {"description": "OK", "content": content}}}


LOCATION = {
    "responses": {
        201: {
            "description": "Created",
            "headers": {
                "Location": {
                    "description": "Where the bytes go.",
                    "schema": {"type": "string", "format": "uri-reference"},
                }
            },
        }
    }
}
"""What the API's description says of an answer without a body, whose address is all that is told."""


class SubmissionIn(Schema):
    upload_id: UUID | None = Field(None, description="Either this or `sha256` or `reference`.")
    sha256: str = Field(
        "", max_length=64, description="Of an image that your team has handed in before. It need not be sent again."
    )
    reference: str = Field(
        "",
        max_length=300,
        description="Of an image in a registry, such as `ghcr.io/team/algorithm:1.0`. The server fetches it, by digest.",
    )
    registry_user: str = Field("", max_length=200)
    registry_password: str = Field(
        "", max_length=4000, description="Kept encrypted until the image is checked, then forgotten."
    )
    model_sha256: str = Field("", max_length=64, description="The same of a model, in place of `model_upload_id`.")
    model_upload_id: UUID | None = Field(
        None,
        description="A tar of weights, uploaded for the purpose `model`: its files lie in `model_folder`, read-only.",
    )
    model_folder: str = Field("/opt/ml/model", max_length=200)
    command: str = Field(
        "", max_length=2000, description="What the image's shell runs, where the phase says `takes_command: true`."
    )
    name: str = Field("", max_length=120)
    description: str = Field("", max_length=10_000)
    url: str = Field("", max_length=200)
    team: str = ""
    allow_duplicate: bool = False
    division: str = Field("", max_length=40)


class KeptFileOut(Schema):
    kind: str = Field(description="`image` or `model`.")
    sha256: str
    filename: str
    version: int = Field(description="Counts your team's images, or its models, from 1.")
    first_at: datetime
    bytes: int
    submissions: list[str] = Field(description="Names of the algorithms that were submitted with it, newest first.")


class TwinOut(Schema):
    number: int | None
    """Of your team's submission of the same file; null where there is none."""
    name: str


class ProgressOut(Schema):
    total: int
    done: int
    failed: int
    running: int = 0
    waiting: int = 0


class WaitingOut(Schema):
    position: int | None
    eta_seconds: float | None
    why: str = ""


class StepOut(Schema):
    name: str
    state: Literal["done", "current", "ahead", "failed"]


class SubmissionOut(Schema):
    id: UUID
    number: int
    challenge: str
    phase: str
    team: str
    name: str
    description: str
    repository_url: str
    status: str
    stepper: list[StepOut]
    verdict: str
    reason: str
    """A code; `verdict_text` is its sentence in the language that is asked for."""
    facts: dict[str, str | int | float]
    verdict_text: str
    fault: str
    is_charged: bool
    is_disqualified: bool
    disqualified_reason: str
    is_withdrawn: bool
    is_chosen: bool
    is_late: bool
    division: str
    rerun_of: UUID | None
    created_at: datetime
    finished_at: datetime | None
    image: dict[str, Any] | None
    protocol_sha256: str
    testset_sha256: str
    progress: ProgressOut | None
    queue: WaitingOut | None
    metrics: dict[str, Any] | None
    url: str


class SubmissionPage(Schema):
    items: list[SubmissionOut]
    count: int


class Reason(Schema):
    reason: str = Field(min_length=3, max_length=300)


class CaseOut(Schema):
    case: str
    position: int
    status: str
    verdict: str
    reason: str
    seconds: float | None
    peak_memory_bytes: int | None
    attempt: int
    scores: list[list[Any]] | None


class RejudgeOut(Schema):
    evaluations: list[UUID]


class RejudgementOut(Schema):
    """Whose rank would move. `waiting`: evaluations that are ready."""

    waiting: int
    unfinished: int
    moves: list[RankMove]


class ActivatedOut(Schema):
    activated: int


class KeysOut(Schema):
    ed25519: str


class SignedDocument(BaseModel):
    """A document with its signature over all the rest: canonical JSON, Ed25519, base64. `assay verify` checks it.

    It is sent as it was signed: what else is in it depends on its kind.
    """

    model_config = ConfigDict(extra="allow")

    public_key: str
    signature: str


class ResumedOut(Schema):
    resumed: list[UUID]


class RerunOut(Schema):
    run: int


class LeaderboardOut(Schema):
    phase: str
    metrics: list[MetricColumn]
    entries: list[LeaderboardRow]
    count: int
    is_visible: bool
    why_hidden: str
    note: str
    """What the ranking lacks, and why; empty when nothing."""
    notices: list[str] = []
    """What this board is not about: private cases, submissions after a freeze."""

    @staticmethod
    def resolve_phase(board: Board) -> str:
        """The phase's name in addresses."""
        return board.phase.slug


class ImportIn(Schema):
    name: str = Field(min_length=1, max_length=80)
    source_url: HttpUrl
    layout: str = Field(max_length=40)
    files: dict[str, str] = Field(min_length=1, max_length=8)


class ImportOut(Schema):
    submission_id: UUID
    number: int
    cases: int
    caution: str


class StuckOut(Schema):
    kind: str
    key: str
    text: str
    since: datetime
    acts: list[str]
    submission_id: UUID | None

    @staticmethod
    def resolve_submission_id(line: Stuck) -> UUID | None:
        """Which submission is stuck, where one is."""
        return line.submission.pk if line.submission else None


class ActIn(Schema):
    kind: str = Field(max_length=20)
    key: str = Field(max_length=80)
    act: str = Field(max_length=20)


class NodeIn(Schema):
    name: str = Field(pattern=r"^[a-z0-9-]{1,60}$")
    pool: str = Field("default", pattern=r"^[a-z0-9-]{1,40}$")
    slots: Slots = 1
    most_slots: Slots | None = None
    """What the node may raise its slots to by itself; null: to 64."""


class NodeEnrolled(Schema):
    name: str
    pool: str
    token: str


class NodeOut(Schema):
    name: str
    pool: str
    status: str
    reason: str
    slots: int
    most_slots: int | None
    hourly_cost: Decimal | None
    last_seen_at: datetime | None
    inventory: dict[str, Any]


class UnservedPhase(Schema):
    phase: str
    """As in brains/final."""
    needs: str
    """What a case of it needs of a machine, in words."""


class NodeCostIn(Schema):
    hourly_cost: Decimal | None = Field(ge=0, max_digits=10, decimal_places=4)
    """In the installation's own currency. Null: unknown."""


class NodeCostOut(Schema):
    node: str
    challenge: str
    phase: str
    case_runs: int
    hours: float
    """Of the machine: a case run counts for its part of the node's slots."""
    cost: Decimal


class NodeStatusIn(Schema):
    status: Literal["active", "draining", "quarantined", "removed"]
    reason: str = Field(default="", max_length=200)
