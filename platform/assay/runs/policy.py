"""What becomes of a run, given how its case runs stand: the failure policy, and what is told of it. Pure.

Algorithm faults are final for their case. `continue`: the other cases still run. Three time-outs in a row end it, because
they would only burn the node's time. `stop`: the first failure ends it. When every case failed there is nothing to score.
A fault of ours that outlived its retries, or a reference that cannot be used, ends the whole run, at no cost to the team.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assay.submissions.reasons import Fact, Told, told_of
from containers.verdicts import Verdict

TIMEOUTS_IN_A_ROW = 3
NOT_THE_ALGORITHMS = (Verdict.INFRASTRUCTURE, Verdict.REFERENCE_INVALID, Verdict.METRICS_FAILED)
"""Verdicts that end a whole run at no cost to the team."""


@dataclass(frozen=True, kw_only=True)
class CaseState:
    """How one case run stands. `finished_order` counts the endings (by time), None while it has not ended."""

    position: int
    status: str
    verdict: str = ""
    reason: str = ""
    is_canary: bool = False
    finished_order: int | None = None
    cases: int = 1
    """How many it stands for: all of them in cohort mode."""
    failed_in_cohort: tuple[tuple[str, str], ...] = ()
    """Verdict and reason of each case that failed in a cohort whose others are done."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the run ended."""

    status: str
    verdict: str
    fault: str
    told: Told


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do next: open the waiting cases, give up on the unrun ones, end the run."""

    opens_waiting: bool = False
    unrun_reason: str | None = None
    outcome: Outcome | None = None


def decide(states: Sequence[CaseState], *, on_case_failure: str, resources: dict[str, Any]) -> Decision:
    """The next step of a run. `resources` are the limits frozen on the submission. They are among the facts of the ending."""
    failed = _ended(states, "failed")
    open_states = [state for state in states if state.status in ("waiting", "queued")]
    broken = next((state for state in failed if state.verdict in NOT_THE_ALGORITHMS), None)
    if open_states and broken is not None:
        return Decision(unrun_reason=broken.verdict)
    if open_states and failed and on_case_failure == "stop":
        return Decision(unrun_reason=failed[0].verdict)
    if open_states and has_timeout_streak(states):
        return Decision(unrun_reason=Verdict.TIMEOUT)
    if open_states or any(state.status == "running" for state in states):
        canary_has_ended = all(state.finished_order is not None for state in states if state.is_canary)
        is_waiting = any(state.status == "waiting" for state in states)
        return Decision(opens_waiting=canary_has_ended and is_waiting)
    return Decision(outcome=_outcome(states, on_case_failure=on_case_failure, resources=resources))


def has_timeout_streak(states: Sequence[CaseState]) -> bool:
    """Whether three case runs that ended one after the other all ran out of time."""
    ended = [state.verdict for state in sorted(_finished(states), key=_order) if state.verdict != Verdict.UNRUN]
    streak = longest = 0
    for verdict in ended:
        streak = streak + 1 if verdict == Verdict.TIMEOUT else 0
        longest = max(longest, streak)
    return longest >= TIMEOUTS_IN_A_ROW


def is_kept(*, status: str, verdict: str) -> bool:
    """Whether what a case run came to stands when its run is taken up again: what the algorithm did does, what others did does not."""
    return status == "done" or (status == "failed" and verdict not in (*NOT_THE_ALGORITHMS, Verdict.UNRUN))


def _outcome(states: Sequence[CaseState], *, on_case_failure: str, resources: dict[str, Any]) -> Outcome:
    failed = [state for state in _ended(states, "failed") if state.verdict != Verdict.UNRUN]
    total = sum(state.cases for state in states)
    not_done = sum(len(state.failed_in_cohort) if state.status == "done" else state.cases for state in states)
    if any(state.status == "cancelled" for state in states):
        return Outcome(
            status="cancelled",
            verdict=Verdict.CANCELLED,
            fault="",
            told=told_of(Verdict.CANCELLED, resources=resources),
        )
    if not not_done:
        return Outcome(status="done", verdict=Verdict.OK, fault="", told=Told())
    broken = next((state for state in failed if state.verdict in NOT_THE_ALGORITHMS), None)
    if broken is not None:
        told = told_of(broken.verdict, resources=resources)
        return Outcome(status="failed", verdict=broken.verdict, fault=Verdict(broken.verdict).fault, told=told)
    first = _first_failure(states, failed)
    facts: dict[str, Fact] = {"failed": not_done, "total": total}
    if first.reason and first.verdict in (Verdict.OUTPUT_INVALID, Verdict.IMAGE_INVALID):
        facts["case_reason"] = first.reason
    if first.verdict == Verdict.TIMEOUT and has_timeout_streak(states):
        facts["in_a_row"] = TIMEOUTS_IN_A_ROW
    is_failed = not_done == total or on_case_failure == "stop"
    return Outcome(
        status="failed" if is_failed else "done",
        verdict=first.verdict,
        fault=Verdict(first.verdict).fault,
        told=told_of(first.verdict, resources=resources, **facts),
    )


def _first_failure(states: Sequence[CaseState], failed: Sequence[CaseState]) -> CaseState:
    in_cohorts = [failure for state in states for failure in state.failed_in_cohort]
    if failed or not in_cohorts:
        return failed[0] if failed else CaseState(position=0, status="failed", verdict=Verdict.UNRUN)
    verdict, reason = in_cohorts[0]
    return CaseState(position=0, status="failed", verdict=verdict, reason=reason)


def _finished(states: Sequence[CaseState]) -> list[CaseState]:
    return [state for state in states if state.finished_order is not None]


def _ended(states: Sequence[CaseState], status: str) -> list[CaseState]:
    return sorted((state for state in _finished(states) if state.status == status), key=_order)


def _order(state: CaseState) -> tuple[int, int]:
    return (state.finished_order or 0, state.position)
