"""What a site and the readers of the sites' board are answered, one class per document. A site reads its order in
`assay/node/site_orders.py`.
"""

from typing import Any
from uuid import UUID

from ninja import Field, Schema

from assay.api.v1.schemas import SignedDocument
from assay.evaluation_sites.boards import Duel, Weighting
from assay.evaluation_sites.selectors import SiteColumn


class Joined(Schema):
    """The site's token is shown this once. `server_key`: what the server signs with."""

    name: str
    title: str
    challenge: str
    phase: str
    token: str
    server_key: str


class SiteEnrolled(Schema):
    """A site without a key. Its token is shown this once."""

    name: str
    title: str
    token: str


class KeyChanged(Schema):
    public_key: str


class SiteLeft(Schema):
    name: str
    status: str


class AboutSite(Schema):
    """Who the site is to the server, and the rules of its phase."""

    name: str
    title: str
    challenge: str
    phase: str
    protocol: dict[str, Any]
    evaluator_version: str
    is_waiting: bool = Field(description="For an organizer, who has to approve the key.")
    public_key: str
    server_key: str


class DatasetOut(Schema):
    root_sha256: str
    case_count: int


class SiteImage(Schema):
    image_id: str
    sha256: str
    bytes: int
    url: str
    sealed_bytes: int | None
    """Length of the image as it is with `?sealed=true`: encrypted to the key that the site named in its terms. Null: it named none."""


class SiteOrder(Schema):
    """One submission to evaluate: the rules, the signed order of a site with a key, and where the image lies."""

    evaluation_id: UUID
    fence: int
    lease_seconds: float
    submission: str
    root_sha256: str
    protocol: dict[str, Any]
    evaluator_version: str
    order: SignedDocument | None
    groups: dict[str, list[str]]
    image: SiteImage


class SiteLeaseKept(Schema):
    lease_seconds: float


class SiteEnded(Schema):
    """Where the evaluation is now, with the server's receipt for a signed release."""

    evaluation_id: UUID
    status: str
    receipt: SignedDocument | None


class SiteCellOut(Schema):
    """One submission at one site. A recalled result has no numbers."""

    mean: float | None
    sd: float | None
    n: int | None
    failures: dict[str, int | None]
    groups: dict[str, dict[str, Any]]
    is_recalled: bool
    because: str
    interval: tuple[float, float] | None = Field(description="95 % of the mean, where the spread was released.")


class SiteEntry(Schema):
    """One line of the sites' board."""

    rank: int | None
    team: str
    name: str
    number: int
    submission_id: UUID
    mean: float | None
    worst: float | None
    worst_site: str
    best: float | None
    heterogeneity: float | None
    sites: dict[str, dict[str, float | None]]
    cells: dict[str, SiteCellOut]


class SiteBoardOut(Schema):
    """Without sites and entries where you may not see it."""

    phase: str
    metric: str
    weighting: Weighting
    is_provisional: bool = False
    sites: list[SiteColumn] = []
    entries: list[SiteEntry] = []
    duels: list[list[Duel | None]] = Field([], description="Every row against every other; null on the diagonal.")
    is_visible: bool


class SiteLogLine(Schema):
    number: int
    at: str = Field(description="As it was hashed.")
    kind: str
    site: str
    document_sha256: str
    previous: str
    sha256: str
    document: dict[str, Any] | None = Field(description="Null while results are hidden. Its hash stays.")


class SiteLogOut(Schema):
    """The whole log, with a signed head. Each line names the hash of the line before."""

    site_log: int
    entries: list[SiteLogLine]
    head: SignedDocument
