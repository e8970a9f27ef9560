"""What one person may use of an installation. A number on the account goes before the installation's; neither: no limit.

The installation's numbers do not bind operators, who could raise their own. Counting is done where the things are: challenges in
`challenges/quotas.py`, bytes in `submissions/space.py`, hours of computing in `submissions/run_time.py`.
"""

from django.conf import settings

from assay.accounts.models import User

GIB = 2**30
HOUR = 3600


def whom_to_ask() -> str:
    """The end of every refusal."""
    contact = settings.OPERATORS_CONTACT
    return f"An operator can raise the limit{f': {contact}' if contact else ''}."


def limit_of(user: User, *, own: int | None, common: int) -> int | None:
    """The limit of a person: their own, else the installation's, where 0 is none."""
    if own is not None:
        return own
    return None if user.is_staff or not common else common


def storage_quota_bytes(user: User) -> int | None:
    """Bytes kept or announced at once: `ASSAY_QUOTA_STORAGE_GIB`."""
    gib = limit_of(user, own=user.quota_storage_gib, common=settings.QUOTA_STORAGE_GIB)
    return None if gib is None else gib * GIB


def draft_quota(user: User) -> int | None:
    """Challenges that nobody else sees: `ASSAY_QUOTA_DRAFTS`."""
    return limit_of(user, own=user.quota_drafts, common=settings.QUOTA_DRAFTS)


def published_quota(user: User) -> int | None:
    """Challenges that are public and not archived: `ASSAY_QUOTA_PUBLISHED`."""
    return limit_of(user, own=user.quota_published, common=settings.QUOTA_PUBLISHED)


def run_quota_seconds(user: User) -> int | None:
    """Time on nodes within `ASSAY_QUOTA_PERIOD_DAYS`, of everything this person submits: `ASSAY_QUOTA_RUN_HOURS`."""
    hours = limit_of(user, own=user.quota_run_hours, common=settings.QUOTA_RUN_HOURS)
    return None if hours is None else hours * HOUR
