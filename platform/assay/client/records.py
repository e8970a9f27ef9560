"""What the API tells us, as frozen records of our own: only what the command line shows, each field once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

FINISHED = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One submission as its participant may see it now."""

    id: str
    number: int
    name: str
    team: str
    challenge: str
    phase: str
    status: str
    verdict: str
    verdict_text: str
    cases_done: int
    cases_total: int
    cases_failed: int
    queue_position: int | None
    eta_seconds: float | None
    metrics: Mapping[str, Mapping[str, float | None]]
    url: str

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the API's answer."""
        progress = document.get("progress") or {}
        queue = document.get("queue") or {}
        return cls(
            id=document["id"],
            number=document["number"],
            name=document["name"],
            team=document.get("team") or "",
            challenge=document.get("challenge") or "",
            phase=document.get("phase") or "",
            status=document["status"],
            verdict=document.get("verdict") or "",
            verdict_text=document.get("verdict_text") or "",
            cases_done=progress.get("done") or 0,
            cases_total=progress.get("total") or 0,
            cases_failed=progress.get("failed") or 0,
            queue_position=queue.get("position"),
            eta_seconds=queue.get("eta_seconds"),
            metrics=document.get("metrics") or {},
            url=document.get("url") or "",
        )

    @property
    def has_finished(self) -> bool:
        """Whether nothing will change any more without somebody's doing."""
        return self.status in FINISHED

    @property
    def outcome(self) -> str:
        """One plain sentence about how it ended or where it stands."""
        if self.verdict_text:
            return self.verdict_text
        if self.cases_total and self.status in ("running", "scoring", "done"):
            failed = f", {self.cases_failed} failed" if self.cases_failed else ""
            return f"{self.cases_done} of {self.cases_total} cases{failed}"
        if self.queue_position:
            return f"position {self.queue_position} in the queue"
        return self.status


@dataclass(frozen=True, kw_only=True)
class Person:
    """The account that the token belongs to."""

    username: str
    display_name: str
    email: str

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the API's answer."""
        return cls(username=document["username"], display_name=document["display_name"], email=document["email"])


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One phase. Times are aware. `closes_at` is when the last submission is taken."""

    challenge: str
    slug: str
    title: str
    kind: str
    opens_at: datetime
    closes_at: datetime
    is_open: bool
    is_paused: bool

    @property
    def path(self) -> str:
        """CHALLENGE/PHASE, as every function here takes it."""
        return f"{self.challenge}/{self.slug}"

    @classmethod
    def from_json(cls, document: Mapping[str, Any], *, challenge: str) -> Self:
        """Read the API's answer."""
        return cls(
            challenge=challenge,
            slug=document["slug"],
            title=document["title"],
            kind=document["kind"],
            opens_at=datetime.fromisoformat(document["opens_at"]),
            closes_at=datetime.fromisoformat(document["closes_at"]),
            is_open=document["is_open"],
            is_paused=document["is_paused"],
        )


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """One challenge as you may see it."""

    slug: str
    title: str
    summary: str
    status: str
    phases: tuple[Phase, ...]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the API's answer."""
        slug = document["slug"]
        return cls(
            slug=slug,
            title=document["title"],
            summary=document["summary"],
            status=document["status"],
            phases=tuple(Phase.from_json(phase, challenge=slug) for phase in document["phases"]),
        )


@dataclass(frozen=True, kw_only=True)
class Score:
    """One metric of one label in one case. `value` is empty where it is undefined. `reason` says why."""

    label: str
    metric: str
    value: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case of a submission. `scores` is empty (`None`) where the phase does not release them."""

    case: str
    status: str
    verdict: str
    reason: str
    seconds: float | None
    peak_memory_bytes: int | None
    scores: tuple[Score, ...] | None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the API's answer."""
        rows = document["scores"]
        return cls(
            case=document["case"],
            status=document["status"],
            verdict=document["verdict"],
            reason=document["reason"],
            seconds=document["seconds"],
            peak_memory_bytes=document["peak_memory_bytes"],
            scores=None
            if rows is None
            else tuple(Score(label=r[0], metric=r[1], value=r[2], reason=r[3]) for r in rows),
        )


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A column of a leaderboard."""

    name: str
    unit: str
    direction: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of a leaderboard. `rank` is empty for a submission that is shown but not ranked."""

    rank: float | None
    team: str
    name: str
    score: float | None
    means: Mapping[str, float | None]
    sds: Mapping[str, float | None]
    cases_failed: int
    cases_total: int
    seconds_per_case: float | None
    peak_memory_bytes: int | None
    submission_id: str


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """A published ranking."""

    phase: str
    metrics: tuple[Metric, ...]
    entries: tuple[Entry, ...]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the API's answer."""
        metrics = tuple(
            Metric(name=m["name"], unit=m.get("unit") or "", direction=m.get("direction") or "")
            for m in document["metrics"]
        )
        return cls(phase=document["phase"], metrics=metrics, entries=tuple(_entry(row) for row in document["entries"]))


def _entry(row: Mapping[str, Any]) -> Entry:
    metrics: Mapping[str, Mapping[str, float | None]] = row.get("metrics") or {}
    return Entry(
        rank=row["rank"],
        team=row["team"],
        name=row["name"],
        score=row.get("score"),
        means={name: values.get("mean") for name, values in metrics.items()},
        sds={name: values.get("sd") for name, values in metrics.items()},
        cases_failed=row.get("failed_cases") or 0,
        cases_total=row.get("case_count") or 0,
        seconds_per_case=row.get("seconds_per_case"),
        peak_memory_bytes=row.get("peak_memory_bytes"),
        submission_id=row["submission_id"],
    )
