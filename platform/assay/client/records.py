"""What the API tells us, as frozen records of our own: only what the command line shows, each field once."""

from collections.abc import Mapping
from dataclasses import dataclass
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
