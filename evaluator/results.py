"""What scoring hands back: plain frozen records, and the only place where their JSON form is written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "ABORTED",
    "NOT_DEFINED",
    "NOT_MEASURED",
    "RESULT_FORMAT",
    "ROUND_MARK",
    "SPOILED",
    "CaseResult",
    "ScoreRow",
]

RESULT_FORMAT = 1
ROUND_MARK = "@"
"""`dice@3` is the Dice after the interactions 0 to 3. `dice` alone is the one after the last."""
SPOILED = "spoiled"
ABORTED = "aborted"
"""Reasons of values that are gone because of another value. What brought it about follows after a colon."""
NOT_DEFINED = "not_defined"
"""The reason of a value whose formula divides by zero or knows no distance, where the protocol says `compute`."""
NOT_MEASURED = "not_measured"
"""The reason of a value that nobody took: a run without telemetry, a metric image that did not run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreRow:
    """One metric of one label in one case. `value` is None when undefined. `reason` says why a value was substituted."""

    label: str
    metric: str
    value: float | None
    reason: str = ""

    def to_json(self) -> list[Any]:
        """As the platform stores it: [label, metric, value, reason]."""
        return [self.label, self.metric, self.value, self.reason]

    @classmethod
    def from_json(cls, row: Iterable[Any]) -> "ScoreRow":
        """The inverse of `to_json`."""
        label, metric, value, reason = row
        return cls(label=label, metric=metric, value=value, reason=reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseResult:
    """Every score of one case, in the protocol's order, and the backend that measured it."""

    case_id: str
    rows: tuple[ScoreRow, ...]
    backend: str = ""
    failure: str = ""
    """Why there was no usable prediction. Empty when there was one."""
    detail: str = ""
    """What was found wrong with the prediction and what was expected, in words. Empty where nothing was."""
    notes: tuple[str, ...] = ()
    """What the prediction holds that is not scored. Speaks of the prediction only, so a participant may read it."""
    reference_notes: tuple[str, ...] = ()
    """The same of the reference: for the organizer, never for a participant of a hidden phase."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "case": self.case_id,
            "backend": self.backend,
            "failure": self.failure,
            "detail": self.detail,
            "notes": list(self.notes),
            "reference_notes": list(self.reference_notes),
            "scores": [row.to_json() for row in self.rows],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "CaseResult":
        """The inverse of `to_json`."""
        return cls(
            case_id=document["case"],
            backend=document["backend"],
            failure=document["failure"],
            detail=document.get("detail", ""),
            notes=tuple(document.get("notes", ())),
            reference_notes=tuple(document.get("reference_notes", ())),
            rows=tuple(ScoreRow.from_json(row) for row in document["scores"]),
        )
