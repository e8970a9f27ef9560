"""Objections to the results of a phase while they are under review, and when the results become final.

Results are provisional from their release until `review_days` later. A team that competes may object in that time. The results are final
once the time is over and every objection has its answer: the moment is kept in `Phase.finalized_at`.
"""

from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError, LimitReachedError, NotAllowedError, NotFoundError
from assay.accounts.models import User
from assay.challenges.access import Person, membership_of, signed_in
from assay.challenges.models import Phase
from assay.challenges.services import change_phase
from assay.submissions.limits import moment
from assay.submissions.models import Objection

LONGEST_TEXT = 4000
MOST_OPEN = 10
"""Open objections of one team in one phase."""


def object_to_results(*, phase: Phase, person: Person, text: str, now: datetime) -> Objection:
    """A team objects. Raises `NotAllowedError` without a submission, `ConflictError` outside the review."""
    user, words = signed_in(person), text.strip()
    membership = membership_of(person=user, challenge=phase.challenge)
    team = membership.team if membership else None
    if team is None or not phase.submissions.filter(team=team).exists():
        raise NotAllowedError(
            _("Teams that submitted to this phase may object."), what_to_do=_("Ask the organizers instead.")
        )
    if not 10 <= len(words) <= LONGEST_TEXT:
        raise InvalidError(
            _("Say in some words what is wrong."),
            found=_("%(count)s characters") % {"count": len(words)},
            expected=_("10 to %(most)s") % {"most": LONGEST_TEXT},
            field="text",
        )
    with transaction.atomic():
        locked = Phase.objects.select_for_update(no_key=True).get(pk=phase.pk)
        if not locked.is_in_review(now):
            ends = locked.review_ends_at
            raise ConflictError(
                _("The results are not under review now."),
                code="not_in_review",
                found=_("the review ended at %(moment)s") % {"moment": moment(ends)} if ends else _("no review"),
                what_to_do=_("Write to the organizers."),
            )
        if phase.objections.filter(team=team, state=Objection.State.OPEN).count() >= MOST_OPEN:
            raise LimitReachedError(
                _("Your team has %(most)s open objections.") % {"most": MOST_OPEN},
                expected=_("an answer to one of them first"),
            )
        objection = Objection.objects.create(phase=phase, team=team, written_by=user, text=words, created_at=now)
        record_event(
            actor=user,
            verb="phase.objected",
            subject=objection,
            challenge_slug=phase.challenge.slug,
            now=now,
            phase=phase.slug,
            team=team.slug,
        )
    return objection


def objections_seen_by(*, person: Person, phase: Phase, is_organizer: bool) -> QuerySet[Objection]:
    """Those of one's own team. All for organizers. Two queries."""
    rows = phase.objections.select_related("team", "written_by", "decided_by", "phase")
    if is_organizer:
        return rows
    membership = membership_of(person=person, challenge=phase.challenge)
    return rows.filter(team=membership.team) if membership and membership.team else rows.none()


def answer_objection(
    *, phase: Phase, objection_id: int, is_upheld: bool, answer: str, user: User, now: datetime
) -> Objection:
    """The organizers decide. Of two of them, one does. Upholding changes no score: rejudge, disqualify or reinstate what it is about."""
    words = answer.strip()
    if not words or len(words) > LONGEST_TEXT:
        raise InvalidError(
            _("The team reads your answer, so write one."),
            found=_("%(count)s characters") % {"count": len(words)},
            expected=_("1 to %(most)s") % {"most": LONGEST_TEXT},
            field="answer",
        )
    state = Objection.State.UPHELD if is_upheld else Objection.State.REJECTED
    with transaction.atomic():
        found = phase.objections.filter(pk=objection_id).first()
        if found is None:
            raise NotFoundError(_("There is no such objection."))
        open_ones = Objection.objects.filter(pk=found.pk, state=Objection.State.OPEN)
        if not open_ones.update(state=state, answer=words, decided_by=user, decided_at=now):
            raise ConflictError(_("This objection has its answer already."), found=str(found.state))
        found.refresh_from_db()
        record_event(
            actor=user,
            verb=f"objection.{state.value}",
            subject=found,
            challenge_slug=phase.challenge.slug,
            now=now,
            phase=phase.slug,
            team=found.team.slug,
        )
    return found


def due_finals(*, now: datetime) -> list[Phase]:
    """Phases whose review is over and answered, and whose results are not final yet."""
    waiting = Phase.objects.filter(released_at__isnull=False, review_days__isnull=False, finalized_at=None)
    answered = waiting.exclude(objections__state=Objection.State.OPEN).select_related("challenge", "protocol")
    return [phase for phase in answered if phase.review_ends_at is not None and phase.review_ends_at <= now]


def finalize(*, phase: Phase, user: User | None, now: datetime) -> Phase:
    """Make the results final. Raises `ConflictError` while they are under review, or an objection is open."""
    ends = phase.review_ends_at
    left = phase.objections.filter(state=Objection.State.OPEN).count()
    if ends is None or now < ends or left:
        raise ConflictError(
            _("The results cannot be final yet."),
            code="under_review",
            found=_("%(count)s open objections; the review ends at %(moment)s")
            % {"count": left, "moment": moment(ends) if ends else "–"},
            what_to_do=_("Answer every objection, and wait for the end of the review."),
        )
    if phase.finalized_at is not None:
        return phase
    return change_phase(phase=phase, user=user, now=now, verb="finalized", finalized_at=now)
