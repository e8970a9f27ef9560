"""The only door to submissions and uploads, for every role. What you may not see does not exist for you."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from assay.accounts.errors import NotAllowedError, NotFoundError
from assay.accounts.models import Team, User
from assay.challenges.access import (
    Person,
    is_organizer,
    membership_of,
    organized_by,
    signed_in,
    visible_challenges,
    worked_on_by,
)
from assay.challenges.models import Membership, Phase
from assay.submissions.kept import kept_upload
from assay.submissions.models import Submission, Upload

SHOWN_WITH = ("challenge", "phase", "team", "submitted_by", "image", "protocol", "testset")


def visible_submissions(*, person: Person) -> QuerySet[Submission]:
    """Submissions of your teams and of challenges you organize. An operator sees all, somebody unknown none."""
    everything = Submission.objects.select_related(*SHOWN_WITH)
    if not isinstance(person, User):
        return everything.none()
    if person.is_staff:
        return everything
    return everything.filter(Q(team__in=_teams_of(person)) | Q(challenge__in=organized_by(person).values("challenge")))


def own_submissions(*, person: Person) -> QuerySet[Submission]:
    """Submissions of your teams alone. Somebody unknown has none."""
    return (
        Submission.objects.filter(team__in=_teams_of(person)) if isinstance(person, User) else Submission.objects.none()
    )


def _teams_of(user: User) -> QuerySet[Team]:
    return Team.objects.filter(members=user)


def get_submission(*, person: Person, submission_id: UUID) -> Submission:
    """A submission this person may see."""
    submission = visible_submissions(person=person).filter(pk=submission_id).first()
    if submission is None:
        raise _no_such_submission()
    return submission


def _no_such_submission() -> NotFoundError:
    return NotFoundError(_("There is no such submission."), what_to_do=_("Look at your list of submissions."))


def get_own_submission(*, person: Person, submission_id: UUID) -> tuple[Submission, User]:
    """A submission of a team this person is in. Organizers may see it, and are told that its team decides."""
    submission = get_submission(person=person, submission_id=submission_id)
    user = signed_in(person)
    if submission.team.members.filter(pk=user.pk).exists():
        return submission, user
    raise NotAllowedError(_("Only members of its team may do this."), what_to_do=_("Ask one of them."))


def get_readable_submission(*, person: Person, submission_id: UUID, now: datetime) -> Submission:
    """A submission this person may read: their own, one they organize, or anybody's that the release of its phase has opened."""
    own = visible_submissions(person=person).filter(pk=submission_id).first()
    if own is not None:
        return own
    opened = Submission.objects.filter(
        challenge__in=visible_challenges(person=person).values("pk"),
        phase__released_at__isnull=False,
        phase__release_after__contains=["submissions"],
        phase__is_anonymous=False,
        status=Submission.Status.DONE,
        is_withdrawn=False,
        is_hidden=False,
    )
    found = opened.select_related(*SHOWN_WITH).filter(pk=submission_id).first()
    if found is None or not found.phase.shows_results(now):
        raise _no_such_submission()
    return found


def get_submissions(*, person: Person, submission_ids: Collection[UUID]) -> list[Submission]:
    """All these submissions, or none: one this person may not see does not exist."""
    found = list(visible_submissions(person=person).filter(pk__in=submission_ids))
    if unknown := set(submission_ids) - {submission.pk for submission in found}:
        raise NotFoundError(
            _("There is no such submission."),
            found=str(min(unknown)),
            what_to_do=_("Look at your list of submissions."),
        )
    return found


def get_organized_submission(*, person: Person, submission_id: UUID) -> tuple[Submission, User]:
    """A submission to a challenge this person organizes. Its own team may see it, and is told that it may not do this."""
    submission = get_submission(person=person, submission_id=submission_id)
    user = signed_in(person)
    if is_organizer(person=user, challenge=submission.challenge):
        return submission, user
    raise NotAllowedError(
        _("Only organizers of this challenge may do this."), what_to_do=_("Ask one of its organizers.")
    )


def get_reviewed_submission(*, person: Person, submission_id: UUID) -> tuple[Submission, User]:
    """A submission to a challenge this person organizes or reviews."""
    user = signed_in(person)
    reviewed = worked_on_by(user).filter(role=Membership.Role.REVIEWER).values("challenge")
    rows = Submission.objects.select_related(*SHOWN_WITH).filter(pk=submission_id, challenge__in=reviewed)
    found = rows.first()
    return (found, user) if found else get_organized_submission(person=person, submission_id=submission_id)


def may_see_log(*, person: Person, submission: Submission) -> bool:
    """Organizers read every log. The team reads those of public cases only: a log is a way out for hidden data."""
    if is_organizer(person=person, challenge=submission.challenge):
        return True
    return submission.testset.is_public


def competing_team(*, person: Person, phase: Phase, team_slug: str = "") -> Team | None:
    """The team this person competes in here. `None` before joining. Naming another team is refused."""
    membership = membership_of(person=person, challenge=phase.challenge)
    team = membership.team if membership else None
    if team_slug and (team is None or team.slug != team_slug):
        raise NotAllowedError(
            _("You do not compete in this team here."),
            found=team_slug,
            expected=team.slug if team else _("a team you joined this challenge with"),
            what_to_do=_("Join the challenge with this team, or leave the team out."),
        )
    return team


def given_file(
    *, person: Person, team: Team | None, upload_id: UUID | None, sha256: str, purpose: str
) -> Upload | None:
    """A file that somebody names: an upload of theirs, or by its hash one that their team has handed in. None when neither is named."""
    if upload_id is not None:
        return get_upload(person=person, upload_id=upload_id)
    return kept_upload(user=signed_in(person), team=team, purpose=purpose, sha256=sha256.lower()) if sha256 else None


def get_upload(*, person: Person, upload_id: UUID) -> Upload:
    """One of your own uploads."""
    user = signed_in(person)
    upload = Upload.objects.filter(pk=upload_id, user=user).first()
    if upload is None:
        raise NotFoundError(_("There is no such upload."), what_to_do=_("Start a new one; unfinished ones expire."))
    return upload
