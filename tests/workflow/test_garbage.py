"""Garbage is what no row names, and nothing that one names ever goes: not in any order, not while others write."""

import io
import os
import tempfile
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

import factories
from assay.leaderboards.models import LeaderboardEntry
from assay.leaderboards.reports import make_report
from assay.runs.models import CaseRun
from assay.submissions.models import Submission
from assay.testsets import storage
from assay.workflow.flow.resuming import rerun_case
from assay.workflow.operations import garbage
from assay.workflow.operations.garbage import GRACE, delete_garbage, find_garbage, heaps_of

LATER = GRACE + timedelta(hours=1)


def clock_of_files() -> datetime:
    """What time the file system has: the kernel's, which `make test-future` does not move."""
    with tempfile.TemporaryFile() as file:
        return datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)


def put(key: str, *, content: bytes = b"12345") -> str:
    storage.save_file(key=key, stream=io.BytesIO(content), max_bytes=100)
    return key


def collect(*, after: timedelta = LATER) -> list[str]:
    """What is found and deleted at a later moment."""
    found = find_garbage(now=clock_of_files() + after)
    delete_garbage(found)
    return sorted(file.key for file in found)


def everything() -> set[str]:
    return {file.key for file in storage.walk()}


@pytest.fixture
def used(stage):
    """Files of every kind, with the rows that name them: cases, outputs, logs, an image, an upload, a report."""
    submission = stage.submit()
    stage.play()
    stage.script = type(stage).script
    rerun_case(submission_id=submission.pk, case_id="a", by=stage.scene.olga, now=timezone.now())
    stage.play()
    image = submission.image
    image.rewritten_key = put(f"images/{image.pk}/kept.tar")
    image.save()
    factories.complete_upload(user=stage.scene.pia, key=put("uploads/kept"))
    make_report(phase_id=stage.scene.phase.pk)
    kept = everything()
    assert {key.partition("/")[0] for key in kept} >= {"testsets", "runs", "images", "uploads", "reports"}
    return kept


def test_what_rows_name_stays_and_what_none_names_goes(stage, used):
    orphans = [put("runs/gone/0/a1/x.nii.gz"), put("images/gone/x.tar"), put("reports/0/7.html"), put("stray")]
    assert collect() == sorted(orphans)
    assert everything() == used
    assert collect() == [], "a second round finds nothing"


def test_a_young_file_is_left_alone_whoever_may_name_it_yet(stage, used):
    put("runs/new/0/a1/x.nii.gz")
    assert collect(after=GRACE - timedelta(minutes=1)) == []
    assert collect() == ["runs/new/0/a1/x.nii.gz"]


def test_a_deleted_submission_leaves_garbage_and_its_neighbour_none(stage, used):
    neighbour = stage.submit()
    stage.play()
    lost = Submission.objects.exclude(pk=neighbour.pk).get()
    outputs = {o["key"] for row in CaseRun.objects.filter(run__submission=lost) for o in row.outputs}
    kept = {o["key"] for row in CaseRun.objects.filter(run__submission=neighbour) for o in row.outputs}
    assert outputs
    assert kept
    LeaderboardEntry.objects.all().delete()
    lost.delete()
    collect()
    assert not outputs & everything()
    assert kept <= everything()


def test_a_row_that_appears_between_listing_and_reading_saves_its_file(stage, monkeypatch):
    """The other order would lose it: names read first, then a row, then the listing."""
    key = put("uploads/late")
    read = garbage.named_keys

    def somebody_is_faster():
        factories.complete_upload(user=stage.scene.pia, key=key)
        return read()

    monkeypatch.setattr(garbage, "named_keys", somebody_is_faster)
    assert key not in collect()
    assert key in everything()


def test_a_file_that_is_written_again_while_we_look_is_young(stage):
    key = put("images/1/x.tar")
    path = storage.local_path(key)
    long_ago = (clock_of_files() - timedelta(days=9)).timestamp()
    os.utime(path, (long_ago, long_ago))
    put(key, content=b"again")
    assert find_garbage(now=clock_of_files()) == []


def test_two_collectors_at_once_do_the_same_and_neither_fails(stage):
    put("stray")
    first, second = (find_garbage(now=clock_of_files() + LATER) for _ in range(2))
    delete_garbage(first)
    delete_garbage(second)
    assert "stray" not in everything()


def test_a_file_that_goes_while_we_look_is_left_out(stage, monkeypatch):
    put("a"), put("b")
    backend = type(storage.default_storage._wrapped)
    size = backend.size

    def vanishes(self, key):
        if key == "a":
            storage.delete_file("a")
        return size(self, key)

    monkeypatch.setattr(backend, "size", vanishes)
    assert {"a", "b"} & everything() == {"b"}


def test_the_command_says_what_and_how_much_and_deletes_only_when_told_to(stage, used, monkeypatch):
    put("runs/gone/0/a1/x.nii.gz"), put("runs/gone/0/a1/y.nii.gz"), put("stray")
    monkeypatch.setattr(garbage, "GRACE", timedelta(seconds=-1))
    out = StringIO()
    call_command("collect_garbage", "--list", stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[-3:] == [
        "runs: 2 files, 10 bytes",
        "stray: 1 file, 5 bytes",
        "3 files, 15 bytes would be deleted; add --delete to do it.",
    ]
    assert lines[0].split() == ["5", f"{clock_of_files():%Y-%m-%d}", "stray"]
    assert "stray" in everything()
    call_command("collect_garbage", "--delete", stdout=out)
    assert out.getvalue().splitlines()[-1] == "3 files, 15 bytes deleted."
    assert everything() == used


def test_heaps_are_told_by_folder_the_largest_first(stage):
    put("a/1", content=b"1"), put("b/1", content=b"123"), put("b/2", content=b"1")
    heaps = heaps_of([file for file in storage.walk() if file.key[0] in "ab" and file.key[1] == "/"])
    assert [(heap.folder, heap.files, heap.bytes) for heap in heaps] == [("b", 2, 4), ("a", 1, 1)]
