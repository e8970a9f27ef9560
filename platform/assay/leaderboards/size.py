"""Is the test set big enough? For organizers: from the scores of a phase, or before it from a pilot's table, which is not kept."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.leaderboards.reports import board_of
from assay.leaderboards.services import active_evaluations, case_counts
from evaluator.ranking import Plan, RankingError, parse_ranking, plan_table, read_scores

MOST_PILOT_BYTES = 2 * 2**20
MOST_ALGORITHMS = 30
"""The best few are planned for: a plan compares the winner with each of them."""
MOST_ROWS = 50_000
"""Cases times submissions whose scores a page reads. The report has the plan of larger boards."""
PILOT_SUFFIXES = (".csv", ".tsv", ".txt", ".json")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A plan, or why there is none. Of a pilot: which difference it is for, what was assumed of the table, and how many cases the
    phase's test set has, where those are what is counted.
    """

    plan: Plan | None = None
    why_not: str = ""
    difference: float | None = None
    notes: tuple[str, ...] = ()
    cases: int | None = None


def plan_of_phase(phase: Phase) -> Answer:
    """The plan from what the leaderboard shows now."""
    evaluations = active_evaluations(phase=phase)
    if not evaluations:
        return Answer(why_not=_("No submission is scored yet."))
    if sum(case_counts(evaluations).values()) > MOST_ROWS:
        return Answer(why_not=_("There are too many scores for a page. The report of the ranking has this table, too."))
    board = board_of(phase, evaluations=evaluations)
    try:
        return Answer(plan=plan_table(board.table, board.config, most=MOST_ALGORITHMS))
    except RankingError as error:
        return Answer(why_not=str(error))


def plan_of_pilot(phase: Phase, *, name: str, content: bytes, difference: str) -> Answer:
    """The plan from a pilot's table of scores by the ranking of the phase. Raises `InvalidError`."""
    suffix = Path(name).suffix.lower()
    if suffix not in PILOT_SUFFIXES:
        raise InvalidError(
            _("This is no table of scores that can be read here."),
            found=name[:100],
            expected=", ".join(PILOT_SUFFIXES),
            field="pilot",
        )
    if len(content) > MOST_PILOT_BYTES:
        raise InvalidError(_("The pilot's table is too large."), expected=_("at most 2 MB"), field="pilot")
    planned = _difference(difference)
    config = parse_ranking(rules_of(phase.protocol).ranking)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"pilot{suffix}"
        path.write_bytes(content)
        try:
            found = read_scores(path, config)
            plan = plan_table(found.table, found.config, difference=planned, most=MOST_ALGORITHMS)
        except RankingError as error:
            raise InvalidError(_("The pilot's table cannot be used."), found=str(error), field="pilot") from error
    chosen = getattr(phase, "chosen_testset", None)
    cases = chosen.testset.cases.count() if chosen is not None and plan.unit == "case" else None
    return Answer(plan=plan, difference=planned, notes=found.notes, cases=cases)


def _difference(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise InvalidError(
            _("The difference to find is no number above 0."),
            found=text[:40],
            expected=_("a number such as 0.01"),
            field="difference",
        )
    return value
