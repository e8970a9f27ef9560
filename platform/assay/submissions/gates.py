"""Whether a team has passed the phase before: what `requires_phase` and `requires_rank` of a phase ask for.

A team passes with a submission that was scored and is neither withdrawn nor disqualified. A rank is looked at once the phase before is
over: until then it moves, and whether somebody is among the best would tell what an embargo hides.
"""

from datetime import datetime

from django.utils.translation import gettext as _

from assay.accounts.models import Team
from assay.challenges.models import Phase
from assay.submissions.limits import Condition, moment
from assay.submissions.models import Submission


def gate_condition(*, phase: Phase, team: Team, now: datetime) -> Condition:
    """Whether the team may begin this phase, which has a phase before it. Two queries."""
    assert phase.requires is not None  # noqa: S101  # for the type checker: callers ask only where there is one
    before = phase.requires
    words = {"title": before.title}
    scored = before.submissions.filter(
        team=team, status=Submission.Status.DONE, is_disqualified=False, is_withdrawn=False
    )
    if phase.requires_rank is None:
        if scored.exists():
            return Condition(ok=True, text=_("your team was scored in %(title)s") % words)
        return Condition(
            ok=False,
            text=_("your team has no scored submission in %(title)s") % words,
            cure=_("Submit to %(title)s first; one that is scored opens this phase.") % words,
        )
    words["rank"] = str(phase.requires_rank)
    if not before.is_over(now):
        return Condition(
            ok=False,
            text=_("who goes on is settled when %(title)s is over") % words,
            cure=_("The best %(rank)s of %(title)s go on after %(moment)s.")
            % {**words, "moment": moment(before.late_until or before.closes_at)},
        )
    if scored.filter(entries__part="whole", entries__rank__lte=phase.requires_rank).exists():
        return Condition(ok=True, text=_("your team is among the best %(rank)s of %(title)s") % words)
    return Condition(
        ok=False,
        text=_("your team is not among the best %(rank)s of %(title)s") % words,
        cure=_("This phase is for them. Ask the organizers if a rank is wrong."),
    )
