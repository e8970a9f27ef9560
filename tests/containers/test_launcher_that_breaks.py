"""A launcher that fails after the container's start, as on a full disk, is no ending of the algorithm's."""

import json
import os

import pytest

from containers.engines.apptainer import ApptainerEngine
from containers.engines.slurm import SlurmEngine
from containers.errors import lacks_space
from containers.sandbox.runner import failure, why_lost
from containers.verdicts import Reason, Verdict

BROKEN = {
    "launcher": os.getpid(),
    "started_at": 5.0,
    "finished_at": 9.0,
    "is_broken": True,
    "error": "OSError: the output could not be copied: cp: error writing 'x': No space left on device",
}


def container(folder, *, told):
    """A folder as an engine writes it, and as the launcher left it."""
    place = folder / "containers" / "assay-one"
    place.mkdir(parents=True)
    (place / "container.json").write_text(json.dumps({"created_at": 1.0, "body": {"Labels": {}}}))
    (place / "state.json").write_text(json.dumps(told))
    return place


@pytest.mark.parametrize(("told", "is_lost"), [(BROKEN, True), ({**BROKEN, "is_broken": False}, False)])
def test_apptainer_says_that_such_a_container_is_lost(tmp_path, told, is_lost):
    container(tmp_path, told=told)
    state = ApptainerEngine(base_url="apptainer", folder=tmp_path).state("assay-one")
    assert (state.is_running, state.is_lost, state.error) == (False, is_lost, BROKEN["error"])


def test_a_container_that_ends_between_two_looks_is_not_lost(tmp_path, monkeypatch):
    ended = {"launcher": os.getpid(), "started_at": 5.0, "finished_at": 9.0, "wall_seconds": 4.0, "exit_code": 0}
    place = container(tmp_path, told={"launcher": os.getpid(), "started_at": 5.0})

    def has_just_gone(_process):
        (place / "state.json").write_text(json.dumps(ended))
        return False

    monkeypatch.setattr("containers.engines.apptainer.is_alive", has_just_gone)
    state = ApptainerEngine(base_url="apptainer", folder=tmp_path).state("assay-one")
    assert (state.is_running, state.is_lost, state.exit_code, state.error) == (False, False, 0, "")


def test_a_launcher_that_died_without_a_word_has_lost_its_container(tmp_path, monkeypatch):
    container(tmp_path, told={"launcher": os.getpid(), "started_at": 5.0})
    monkeypatch.setattr("containers.engines.apptainer.is_alive", lambda _process: False)
    state = ApptainerEngine(base_url="apptainer", folder=tmp_path).state("assay-one")
    assert (state.is_running, state.is_lost) == (False, True)


@pytest.mark.parametrize("word", ["COMPLETED", "FAILED"])
def test_slurm_says_so_too_whatever_the_job_ended_with(tmp_path, word):
    place = container(tmp_path, told=BROKEN)
    engine = SlurmEngine(base_url="apptainer", folder=tmp_path)
    state = engine._ended(place, word=word, told=BROKEN)
    assert (state.is_lost, state.error) == (True, BROKEN["error"])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BROKEN["error"], Reason.DISK_FULL),
        ("cp: error writing 'x': Disk quota exceeded", Reason.DISK_FULL),
        ("the launcher ended before its container", Reason.ENGINE_RESTARTED),
        ("", Reason.ENGINE_RESTARTED),
    ],
)
def test_the_words_of_a_full_disk_are_known(error, reason):
    assert why_lost(error) == reason


@pytest.mark.parametrize(
    ("number", "reason"), [(28, Reason.DISK_FULL), (122, Reason.DISK_FULL), (5, Reason.SCRATCH_FAILED)]
)
def test_a_disk_or_a_quota_that_is_full_is_told_from_other_trouble(number, reason):
    error = OSError(number, os.strerror(number))
    result = failure(error)
    assert (result.verdict, result.reason) == (Verdict.INFRASTRUCTURE, reason)
    assert lacks_space(error) == (reason == Reason.DISK_FULL)
