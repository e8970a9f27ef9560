"""Giving space back, and never more than nobody needs."""

import io
import os
from datetime import timedelta

import pytest
from django.utils import timezone

from assay.runs.models import CaseRun
from assay.runs.specs import attempt_folder
from assay.testsets import storage
from assay.workflow.workers import tidying

NOW = 1_000_000_000.0
DAY = 86_400


@pytest.fixture
def scratch(tmp_path):
    root = tmp_path / "scratch"
    root.mkdir()
    return root


def put(path, *, kib: int, days_ago: float):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(kib * 1024))
    os.utime(path, (NOW - days_ago * DAY, NOW - days_ago * DAY))
    return path


def tidy(scratch, *, keep_kib: int = 100, now: float = NOW) -> int:
    return tidying.tidy_scratch(scratch, keep_bytes=keep_kib * 1024, now_seconds=now)


def test_the_least_recently_used_references_and_copies_go_first(scratch):
    old = put(scratch / "references" / "old.npz", kib=60, days_ago=9)
    copy = put(scratch / "cache" / "ab" / "image.tar", kib=60, days_ago=5)
    new = put(scratch / "references" / "new.npz", kib=30, days_ago=1)
    assert tidy(scratch) == 60 * 1024
    assert not old.exists()
    assert copy.exists()
    assert new.exists()


def test_what_fits_stays(scratch):
    kept = put(scratch / "references" / "a.npz", kib=100, days_ago=400)
    assert tidy(scratch) == 0
    assert kept.exists()


@pytest.mark.parametrize(("days_ago", "is_kept"), [(0.9, True), (1.1, False)])
def test_a_dead_workers_folder_goes_after_a_day(scratch, days_ago, is_kept):
    put(scratch / "score-abc" / "prediction.nii.gz", kib=1, days_ago=days_ago)
    os.utime(scratch / "score-abc", (NOW - days_ago * DAY, NOW - days_ago * DAY))
    tidy(scratch)
    assert (scratch / "score-abc").exists() is is_kept


def test_a_host_is_tidied_once_an_hour_at_most(scratch):
    tidy(scratch)
    os.utime(scratch / tidying.STAMP, (NOW, NOW))
    put(scratch / "references" / "big.npz", kib=200, days_ago=0)
    assert tidy(scratch, now=NOW + 3599) == 0
    assert tidy(scratch, now=NOW + 3601) == 200 * 1024


def test_a_host_that_never_scored_has_nothing_to_tidy(tmp_path):
    assert tidy(tmp_path / "nowhere") == 0


def test_what_an_abandoned_attempt_stored_is_deleted_and_what_counts_is_kept(stage):
    stage.submit()
    stage.check()
    order = stage.api().claim(slots=1, cached_images=[])
    stage.api().put_log(order, log=b"of the first attempt")
    stage.api().release(order, reason="node_stopping", counts=False)
    stage.play()
    case_run = CaseRun.objects.get(id=order.case_run_id)
    assert case_run.attempt == 2
    abandoned = f"{attempt_folder(case_run, attempt=1)}/log"
    assert storage.has_file(abandoned)
    assert tidying.forget_abandoned_attempts(now=timezone.now()) == 1
    assert not storage.has_file(abandoned)
    assert all(storage.has_file(output["key"]) for output in case_run.outputs)
    assert tidying.forget_abandoned_attempts(now=timezone.now()) == 0


def test_attempts_of_long_ago_are_not_looked_at_again(stage):
    stage.submit()
    stage.play()
    case_run = CaseRun.objects.first()
    CaseRun.objects.filter(pk=case_run.pk).update(attempt=2, finished_at=timezone.now() - timedelta(days=3))
    storage.save_file(key=f"{attempt_folder(case_run, attempt=1)}/log", stream=io.BytesIO(b"x"), max_bytes=9)
    assert tidying.forget_abandoned_attempts(now=timezone.now()) == 0
