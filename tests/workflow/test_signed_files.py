"""The addresses a node gets its files by: one file, one lease, a short time."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from assay.runs.intervals import current_intervals
from assay.runs.models import CaseRun


@pytest.fixture
def order(stage):
    stage.submit()
    stage.check()
    return stage.api().claim(slots=1, cached_images=[])


def status_of(url: str) -> int:
    answer = Client().get(url)
    if answer.streaming:
        b"".join(answer.streaming_content)
    return answer.status_code


@pytest.mark.catalogue(
    95,
    attack="an input's address used later, changed, or after the lease",
    verdict="404",
    guard="signed, short-lived, bound to the lease",
)
def test_an_address_opens_one_file_for_as_long_as_the_lease_is_held(order, monkeypatch):
    url = order.inputs[0].url
    assert status_of(url) == 200
    assert status_of(url[:-3] + "abc") == 404
    seconds = current_intervals().signed_url_seconds
    later = (timezone.now() + timedelta(seconds=seconds + 1)).timestamp()
    with monkeypatch.context() as patch:
        patch.setattr("django.core.signing.time.time", lambda: later)
        assert status_of(url) == 404
    assert status_of(url) == 200
    CaseRun.objects.filter(id=order.case_run_id).update(fence=order.fence + 1)
    assert status_of(url) == 404
    CaseRun.objects.filter(id=order.case_run_id).update(fence=order.fence, status=CaseRun.Status.DONE)
    assert status_of(url) == 404
