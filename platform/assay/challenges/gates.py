"""Which phase a phase comes after: `requires_phase` of `challenge.yaml`, checked as a whole and written into the rows.

A team submits to a phase with a gate once one of its submissions was scored in the phase before (`submissions.gates` says when).
"""

from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from assay.challenges.definition import ChallengeDefinition
from assay.challenges.models import Challenge

SET_WITH_GATES = ("requires_rank", "carry_over")
"""What a row may only say together with the phase before it."""


def check_gates(*, challenge: Challenge | None, definition: ChallengeDefinition) -> None:
    """Refuse a phase before that is not there, and phases that wait for each other. Raises `InvalidError`."""
    before: dict[str, str] = {}
    if challenge is not None:
        before = {phase.slug: phase.requires_phase for phase in challenge.phases.select_related("requires")}
    before |= {phase.slug: phase.requires_phase for phase in definition.phases}
    for slug, needed in before.items():
        if needed and needed not in before:
            raise InvalidError(
                _("`requires_phase` of %(slug)s names a phase that is not there.") % {"slug": slug},
                found=needed,
                expected=_("one of %(slugs)s") % {"slugs": ", ".join(other for other in before if other != slug)},
            )
    for slug in before:
        waited_for = [slug]
        while needed := before[waited_for[-1]]:
            if needed in waited_for:
                raise InvalidError(
                    _("Phases wait for each other, so that nobody can begin."),
                    found=" → ".join([*waited_for, needed]),
                    expected=_("a first phase without `requires_phase`"),
                )
            waited_for.append(needed)


def set_gates(*, challenge: Challenge, definition: ChallengeDefinition) -> None:
    """Write which phase each comes after. Every phase is there by now, and `check_gates` was passed."""
    keys = dict(challenge.phases.values_list("slug", "pk"))
    for wanted in definition.phases:
        if wanted.requires_phase:
            rows = challenge.phases.filter(slug=wanted.slug)
            together = {name: getattr(wanted, name) for name in SET_WITH_GATES}
            rows.update(requires=keys[wanted.requires_phase], **together)
