"""The submission limit, with everybody pressing the button at once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

import factories
import people
from assay.accounts.errors import AssayError
from assay.submissions.models import Submission
from assay.submissions.services import Entry, create_submission

ATTEMPTS, THREADS = 64, 8


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("limits", "accepted"),
    [
        ({"submission_limit": 3, "concurrent_limit": 1000}, 3),
        ({"submission_limit_total": 5, "concurrent_limit": 1000}, 5),
        ({"concurrent_limit": 2}, 2),
    ],
)
def test_no_race_gets_past_the_limit(limits, accepted):
    scene, now = people.scene(), timezone.now()
    for name, value in {"opens_at": now - timedelta(days=1), "closes_at": now + timedelta(days=1), **limits}.items():
        setattr(scene.phase, name, value)
    scene.phase.save()
    uploads = [factories.complete_upload(user=scene.pia) for _ in range(ATTEMPTS)]

    def submit(number: int) -> int:
        done = 0
        try:
            for upload in uploads[number::THREADS]:
                try:
                    entry = Entry(user=scene.pia, phase=scene.phase, team=scene.team, upload=upload, name="race")
                    create_submission(entry, now=now)
                    done += 1
                except AssayError:
                    continue
        finally:
            connection.close()
        return done

    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        assert sum(pool.map(submit, range(THREADS))) == accepted
    numbers = sorted(Submission.objects.values_list("number", flat=True))
    assert numbers == list(range(1, accepted + 1))
