"""How many challenges one person may have, and how long their algorithms may run.

A challenge counts for whoever made it: who is listed as an organizer by somebody else pays nothing for that.
"""

from django.conf import settings
from django.utils.translation import gettext

from assay.accounts.errors import ConflictError
from assay.accounts.models import User
from assay.accounts.quotas import HOUR, draft_quota, published_quota, whom_to_ask
from assay.challenges.models import Challenge

Status = Challenge.Status
LIMITS = {Status.DRAFT: draft_quota, Status.PUBLISHED: published_quota}
WORDS = {
    Status.DRAFT: ("drafts", "Publish one of them, or ask an operator to delete one."),
    Status.PUBLISHED: ("published challenges", "Archive one of them (`is_archived: true`)."),
}


def challenge_count(user: User, *, status: Challenge.Status) -> int:
    """How many challenges of this status count for a person."""
    return Challenge.objects.filter(created_by=user, status=status).count()


def refuse_over_challenges(*, user: User, status: Challenge.Status) -> None:
    """Refuse one challenge more of this status. Raises ConflictError.

    The person's row is locked until the caller's transaction ends, so challenges made at once are counted one after the other.
    """
    owner = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    limit, (noun, cure) = LIMITS[status](owner), WORDS[status]
    if limit is None:
        return
    used = challenge_count(owner, status=status)
    if used >= limit:
        advice = f"{cure} {whom_to_ask()}"
        raise ConflictError(
            gettext("%(owner)s has %(used)s of %(limit)s %(noun)s, so one more is refused.")
            % {"owner": owner, "used": used, "limit": limit, "noun": noun},
            code="quota_reached",
            found=f"{used} {noun}",
            expected=f"at most {limit}",
            what_to_do=advice,
        )


def run_quota_of(challenge: Challenge) -> int | None:
    """Seconds on nodes within `ASSAY_QUOTA_PERIOD_DAYS`, of everything submitted to it: `ASSAY_QUOTA_CHALLENGE_RUN_HOURS`."""
    hours = (
        settings.QUOTA_CHALLENGE_RUN_HOURS or None if challenge.quota_run_hours is None else challenge.quota_run_hours
    )
    return None if hours is None else hours * HOUR
