"""How much of its hidden cases a phase can give away, in bits, and which `release` would give away less: for organizers.

One bit is one answer to a yes-or-no question about the hidden cases. What one submission can carry out follows from the protocol's
`release` (`disclosure.capacity_of`). A team multiplies it by its attempts, and the phase by its teams.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol as Shape

from assay.challenges.definition import parse_definition
from assay.challenges.models import Challenge, Membership, Phase
from assay.challenges.protocols import rules_of
from assay.evaluations.disclosure import AGGREGATE, LADDER, PER_CASE, VERDICT_ONLY, capacity_of
from evaluator.protocol import Protocol

RECOMMENDED_DELTA = 0.01
RECOMMENDED_TOTAL = 2
EXACT_BELOW = 100
"""Bits that are shown with a decimal."""


class Limits(Shape):
    """What a phase and a phase of a challenge file both say of attempts."""

    @property
    def opens_at(self) -> datetime: ...
    @property
    def closes_at(self) -> datetime: ...
    @property
    def submission_limit(self) -> int | None: ...
    @property
    def submission_window_days(self) -> int: ...
    @property
    def submission_limit_total(self) -> int | None: ...


@dataclass(frozen=True, kw_only=True)
class Leak:
    """What one phase can give away. Everything is an upper bound. `None` means that there is none."""

    phase: str
    title: str
    mode: str
    is_public: bool
    bits: float | None
    attempts: int | None
    teams: int
    advice: str = ""

    @property
    def bits_per_team(self) -> float | None:
        """One team that uses every attempt."""
        return None if self.bits is None or self.attempts is None else self.bits * self.attempts

    @property
    def bits_in_total(self) -> float | None:
        """All teams that take part now, together."""
        return None if self.bits_per_team is None else self.bits_per_team * self.teams

    @property
    def text(self) -> str:
        """In sentences."""
        if self.is_public:
            return "The test set is public, so nothing can leak."
        if self.bits is None:
            return "Teams see every case with its scores, time and log. A log can hold a hidden image, so there is no limit in bits."
        one = f"One submission can carry out about {in_bits(self.bits)} of hidden data."
        if self.bits_per_team is None:
            return f"{one} Attempts have no limit, so neither has the sum."
        attempts = f"{self.attempts} attempt{'s' if self.attempts != 1 else ''}"
        team = f"{one} With {attempts} a team can carry out {in_bits(self.bits_per_team)}"
        if not self.teams or self.bits_in_total is None:
            return f"{team}. No team takes part yet."
        if self.teams == 1:
            return f"{team}. One team takes part."
        return f"{team}, and the {self.teams} teams that take part {in_bits(self.bits_in_total)}."


def in_bits(bits: float) -> str:
    """`7.5 bits`, `25,380 bits`."""
    return f"{bits:.1f} bits" if bits < EXACT_BELOW else f"{bits:,.0f} bits"


def attempts_in(limits: Limits) -> int | None:
    """The most attempts one team has from opening to closing. `None` without a limit."""
    found = [] if limits.submission_limit_total is None else [limits.submission_limit_total]
    if limits.submission_limit is not None:
        windows = math.ceil((limits.closes_at - limits.opens_at) / timedelta(days=limits.submission_window_days))
        found.append(limits.submission_limit * windows)
    return min(found, default=None)


def advice_for(rules: Protocol, *, attempts: int | None) -> str:
    """The setting we would choose for a hidden test set. Empty where the phase has it."""
    mode = rules.release.mode
    coarse = replace(rules.release, mode=LADDER, rounding=None, delta=RECOMMENDED_DELTA)
    ladder = in_bits(capacity_of(replace(rules, release=coarse)))
    verdict = in_bits(capacity_of(replace(rules, release=replace(coarse, mode=VERDICT_ONLY))))
    parts = []
    if mode in (PER_CASE, AGGREGATE):
        parts.append(
            f"For a hidden test set we recommend `release: {{mode: ladder, delta: {RECOMMENDED_DELTA}}}` while teams still improve"
            f" ({ladder} per submission) and `release: verdict_only` in a final phase ({verdict})."
        )
    if attempts is None:
        parts.append(f"Limit the attempts, in a final phase with `submission_limit_total: {RECOMMENDED_TOTAL}`.")
    return " ".join(parts)


def leak_of(*, rules: Protocol, limits: Limits, phase: str, title: str, is_public: bool, teams: int) -> Leak:
    """What a phase with these rules and limits can give away."""
    attempts, mode = attempts_in(limits), rules.release.mode
    return Leak(
        phase=phase,
        title=title,
        mode=mode,
        is_public=is_public,
        bits=None if mode == PER_CASE else capacity_of(rules),
        attempts=attempts,
        teams=teams,
        advice="" if is_public else advice_for(rules, attempts=attempts),
    )


def leaks_of(challenge: Challenge, *, phases: Iterable[Phase]) -> list[Leak]:
    """What each phase can give away, for phases that were fetched with `protocol` and `chosen_testset__testset`. One query."""
    teams = team_total(challenge)
    return [
        leak_of(
            rules=rules_of(phase.protocol),
            limits=phase,
            phase=phase.slug,
            title=phase.title,
            is_public=_is_public(phase),
            teams=teams,
        )
        for phase in phases
    ]


def leaks_of_source(source: str, *, challenge: Challenge | None) -> list[Leak]:
    """The same of a challenge file that is pushed or checked. `challenge`: as it stands, where there is one. Two queries."""
    rows = (
        challenge.phases.select_related("chosen_testset__testset").defer("chosen_testset__testset__report")
        if challenge
        else ()
    )
    public = {phase.slug for phase in rows if _is_public(phase)}
    teams = team_total(challenge) if challenge else 0
    return [
        leak_of(
            rules=wanted.protocol,
            limits=wanted,
            phase=wanted.slug,
            title=wanted.title,
            is_public=wanted.slug in public,
            teams=teams,
        )
        for wanted in parse_definition(source).phases
    ]


def team_total(challenge: Challenge) -> int:
    """How many teams take part."""
    mine = challenge.memberships.filter(status=Membership.Status.ACCEPTED).exclude(team=None)
    return mine.values("team").distinct().count()


def _is_public(phase: Phase) -> bool:
    chosen = getattr(phase, "chosen_testset", None)
    return chosen is not None and chosen.testset.is_public
