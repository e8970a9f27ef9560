"""What a team decides about its own submissions: which one stands for it, and which one it takes back.

Both hold until the phase closes. After that a board that teams can still change would be no result.
"""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError
from assay.accounts.models import Team, User
from assay.challenges.models import Phase
from assay.submissions.limits import moment
from assay.submissions.models import Submission


def choose_submission(*, submission: Submission, user: User, now: datetime) -> bool:
    """Let this submission stand for its team, instead of the one before. `False`: it does already.

    Raises `ConflictError` once the phase has closed, where the phase leaves the choice to nobody, and for one that was taken back.
    """
    refuse_after_closing(phase=submission.phase, now=now)
    if submission.phase.leaderboard_shows != "chosen":
        raise ConflictError(
            _("In this phase teams do not choose which submission counts."),
            found=_("the board shows: %(rule)s") % {"rule": submission.phase.leaderboard_shows},
        )
    with transaction.atomic():
        Phase.objects.select_for_update(no_key=True).get(pk=submission.phase_id)
        found = Submission.objects.get(pk=submission.pk)
        if found.is_withdrawn or found.is_disqualified or found.status in ("failed", "cancelled"):
            raise ConflictError(
                _("This submission cannot stand for your team."),
                found=_("withdrawn, disqualified, or ended without a score"),
                what_to_do=_("Choose another one."),
            )
        if found.is_chosen:
            return False
        Submission.objects.filter(phase=found.phase_id, team=found.team_id, is_chosen=True).update(is_chosen=False)
        Submission.objects.filter(pk=found.pk).update(is_chosen=True)
        _record(submission, verb="chosen", user=user, now=now)
    return True


def withdraw(*, submission: Submission, user: User, now: datetime) -> bool:
    """Take a submission off the board at its own team's wish. It stays charged. `False`: it was taken back already."""
    refuse_after_closing(phase=submission.phase, now=now)
    return _set_withdrawn(submission, is_withdrawn=True, verb="withdrawn", user=user, now=now)


def take_up_again(*, submission: Submission, user: User, now: datetime) -> bool:
    """Undo a withdrawal. `False`: there was none."""
    refuse_after_closing(phase=submission.phase, now=now)
    return _set_withdrawn(submission, is_withdrawn=False, verb="taken_up_again", user=user, now=now)


def refuse_after_closing(*, phase: Phase, now: datetime) -> None:
    """Raise `ConflictError` once the phase has closed."""
    if now >= phase.closes_at:
        raise ConflictError(
            _("The phase has closed, and what counts is fixed."),
            code="phase_closed",
            found=_("closed at %(moment)s") % {"moment": moment(phase.closes_at)},
            what_to_do=_("Ask the organizers."),
        )


def chosen_division(*, phase: Phase, team: Team, wanted: str) -> str:
    """The division of a submission: the one that is named, or the team's last. Raises `InvalidError` where neither is one of the phase."""
    divisions: Sequence[str] = phase.divisions
    if not divisions:
        if wanted:
            raise InvalidError(
                _("This phase has no divisions."), found=wanted, expected=_("no division"), field="division"
            )
        return ""
    last = phase.submissions.filter(team=team).order_by("-number").values_list("division", flat=True).first()
    division = wanted or last or ""
    if division not in divisions:
        raise InvalidError(
            _("Say in which division you compete."),
            found=division or _("nothing"),
            expected=", ".join(divisions),
            field="division",
        )
    return division


def _set_withdrawn(submission: Submission, *, is_withdrawn: bool, verb: str, user: User, now: datetime) -> bool:
    with transaction.atomic():
        rows = Submission.objects.filter(pk=submission.pk, is_withdrawn=not is_withdrawn, imported_from="")
        changed = rows.update(is_withdrawn=is_withdrawn, is_chosen=False)
        if changed:
            _record(submission, verb=verb, user=user, now=now)
    return bool(changed)


def _record(submission: Submission, *, verb: str, user: User, now: datetime) -> None:
    record_event(
        actor=user,
        verb=f"submission.{verb}",
        subject=submission,
        challenge_slug=submission.challenge.slug,
        now=now,
        phase=submission.phase.slug,
    )
