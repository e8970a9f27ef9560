"""A pushed test set: from an upload of somebody to cases that count against the disk share of whoever made the challenge."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from assay.accounts.models import User
from assay.challenges.models import Challenge
from assay.submissions.models import Upload
from assay.submissions.space import refuse_over_quota
from assay.testsets.models import TestSet
from assay.testsets.services import ingest_testset


def push_testset(
    *,
    challenge: Challenge,
    user: User,
    upload: Upload | None,
    name: str,
    is_public: bool,
    phase_slugs: Sequence[str],
    now: datetime,
    accepts_identifying: bool = False,
    folder_on_server: Path | None = None,
) -> TestSet:
    """Make a new version from a complete upload, or from a folder on the server (see `ingest_testset`). Raises ConflictError where it is
    over the share.
    """
    testset = ingest_testset(
        challenge=challenge,
        user=user,
        archive_key=upload.key if upload else "",
        name=name,
        is_public=is_public,
        phase_slugs=phase_slugs,
        now=now,
        refuse_bytes=partial(_refuse_bytes, owner=challenge.created_by, upload=upload, now=now),
        accepts_identifying=accepts_identifying,
        folder_on_server=folder_on_server,
    )
    if upload is not None:
        Upload.objects.filter(pk=upload.pk).update(key="")  # the archive is deleted, so it takes no space from now on
    return testset


def _refuse_bytes(new_bytes: int, *, owner: User, upload: Upload | None, now: datetime) -> None:
    """The archive itself is deleted at the end, so where it is the owner's its bytes do not count twice."""
    freed = upload.total_bytes if upload is not None and upload.user_id == owner.pk else 0
    refuse_over_quota(user=owner, total_bytes=max(0, new_bytes - freed), now=now)
