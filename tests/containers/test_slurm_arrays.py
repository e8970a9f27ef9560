"""Containers that start at the same time become one array of Slurm: what is asked of `sbatch`, and what each container is told.

The programs of Slurm are scripts here. `test_slurm.py` and the journey play the same on a real Slurm.
"""

import json
import os
import subprocess
import threading
from contextlib import contextmanager

import pytest

from containers.engines import WALL_LABEL
from containers.engines.slurm import SlurmEngine, slurm_environment
from containers.engines.slurm_arrays import Line, Start, array_script, task_of
from containers.errors import EngineRefused, EngineUnreachable, StartRefused
from waits import until

TWO_CORES, ONE_CORE = ("--cpus-per-task=2",), ("--cpus-per-task=1",)


class Sbatch:
    """A submit that keeps its first caller waiting, so that others come to stand in the line."""

    def __init__(self, *, refuses=lambda words: False, silent=False):
        self.asked = []
        self.scripts = []
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        self.refuses, self.silent = refuses, silent

    def __call__(self, words, script):
        number = len(self.asked)
        self.asked.append(list(words))
        self.scripts.append(script)
        self.has_begun.set()
        assert self.may_go_on.wait(30)
        if self.silent and number:
            raise EngineUnreachable("Slurm is silent")
        if self.refuses(words):
            raise EngineRefused("no arrays here")
        return str(70 + number)


@contextmanager
def one_under_way(sbatch, folder, *, others):
    """A line whose first start is under way while the others, name → request, come to stand in it. Gives every start, by name."""
    line = Line(submit=sbatch)
    starts = {}
    for name, request in {"first": TWO_CORES, **others}.items():
        (folder / name).mkdir()
        starts[name] = Start(name=name, folder=folder / name, request=request)
    raised = {}

    def go(name):
        try:
            line.submitted(starts[name])
        except (EngineRefused, EngineUnreachable) as problem:
            raised[name] = problem

    threads = [threading.Thread(target=go, args=(name,)) for name in starts]
    threads[0].start()
    assert sbatch.has_begun.wait(30)
    for count, thread in enumerate(threads[1:], start=1):
        thread.start()
        until(lambda count=count: line.standing() == count)
    sbatch.may_go_on.set()
    for thread in threads:
        thread.join(30)
    yield starts, raised


def test_starts_that_wait_in_line_become_the_tasks_of_one_array(tmp_path):
    sbatch = Sbatch()
    with one_under_way(sbatch, tmp_path, others=dict.fromkeys(["b", "c", "d"], TWO_CORES)) as (starts, raised):
        assert raised == {}
    alone, array = sbatch.asked
    assert alone == ["--job-name=first", f"--output={tmp_path}/first/slurm.out", *TWO_CORES]
    assert array[1:] == ["--output=/dev/null", "--array=0-2", *TWO_CORES]
    assert (starts["first"].job, task_of(tmp_path / "first")) == ("70", ("", ""))
    assert sorted(starts[name].job for name in "bcd") == ["71_0", "71_1", "71_2"]
    for name in "bcd":
        array_name, index = task_of(tmp_path / name)
        assert array == [f"--job-name={array_name}", *array[1:]]
        assert starts[name].job == f"71_{index}"
        assert f"{index}) exec python3 -I -S {tmp_path}/{name}/launcher.py" in sbatch.scripts[1]


def test_only_starts_that_ask_for_the_same_share_an_array(tmp_path):
    sbatch = Sbatch()
    others = {"b": ONE_CORE, "c": TWO_CORES, "d": ONE_CORE}
    with one_under_way(sbatch, tmp_path, others=others) as (starts, _):
        assert {starts[name].job.partition("_")[0] for name in "bd"} != {starts["c"].job}
    assert sorted(words[-1] for words in sbatch.asked) == [*ONE_CORE, *TWO_CORES, *TWO_CORES]
    assert [words[-2:] for words in sbatch.asked if "--array=0-1" in words] == [["--array=0-1", *ONE_CORE]]


def test_where_the_array_is_refused_every_start_hears_its_own_answer(tmp_path):
    sbatch = Sbatch(refuses=lambda words: any(word.startswith("--array") for word in words) or "--job-name=c" in words)
    with one_under_way(sbatch, tmp_path, others=dict.fromkeys(["b", "c"], TWO_CORES)) as (starts, raised):
        assert starts["first"].job == "70"
        assert starts["b"].job
        assert {name: type(problem) for name, problem in raised.items()} == {"c": EngineRefused}
    assert task_of(tmp_path / "b") == ("", ""), "it is no task of an array any more"


def test_a_controller_that_is_silent_is_asked_once_for_all(tmp_path):
    sbatch = Sbatch(silent=True)
    with one_under_way(sbatch, tmp_path, others=dict.fromkeys(["b", "c"], TWO_CORES)) as (_, raised):
        assert {name: type(problem) for name, problem in raised.items()} == dict.fromkeys("bc", EngineUnreachable)
    assert len(sbatch.asked) == 2


def test_the_script_of_an_array_starts_the_folder_of_its_index_whatever_its_name(tmp_path):
    """A real shell reads it. `launcher.py` is a program that says who it is."""
    home = tmp_path / "home"
    folders = [home / name for name in ("plain", "with space; touch x", "$(touch y)")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "launcher.py").write_text("import sys; print(sys.argv[1:])")
    for index, folder in enumerate(folders):
        environment = {"PATH": os.defpath, "SLURM_ARRAY_TASK_ID": str(index)}
        script = array_script(folders)
        subprocess.run(["sh"], input=script, text=True, check=True, env=environment, cwd=home)
        assert (folder / "slurm.out").read_text() == f"{[str(folder), '--stay']}\n"
    assert sorted(path.name for path in home.iterdir()) == sorted(folder.name for folder in folders)


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """An engine whose Slurm is a folder of scripts: each writes down how it was called, and says what a file says."""
    programs, said = tmp_path / "bin", tmp_path / "said"
    programs.mkdir()
    said.mkdir()
    for name in ("sbatch", "squeue", "scancel", "scontrol", "sacct"):
        script = f'#!/bin/sh\necho "{name} $*" >>{said}/calls\n[ ! -e {said}/{name} ] || exec cat {said}/{name}\n'
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    engine = SlurmEngine(folder=tmp_path / "engine", options="--partition=gpu")
    engine.said = said
    return engine


def container(engine, name, *, task=""):
    """A container as `create` leaves it, as far as starting and cancelling look."""
    folder = engine.folder / "containers" / name
    folder.mkdir(parents=True)
    body = {"Labels": {WALL_LABEL: "90"}, "HostConfig": {"CpusetCpus": "0,1", "Memory": 2**30}}
    (folder / "container.json").write_text(json.dumps({"name": name, "created_at": 0.0, "body": body}))
    if task:
        (folder / "task").write_text(task)
    return folder


def test_a_start_alone_is_a_plain_job_with_what_the_phase_gives(scripted):
    (scripted.said / "sbatch").write_text("4711;cluster\n")
    folder = container(scripted, "assay-one")
    scripted.start("assay-one")
    assert (folder / "job").read_text() == "4711"
    called = (scripted.said / "calls").read_text()
    for word in (
        "--job-name=assay-one",
        "--cpus-per-task=2",
        "--mem=1088M",
        "--time=7",
        "--partition=gpu",
        "--no-requeue",
    ):
        assert word in called
    assert "--array" not in called


def test_a_refusal_of_slurm_is_a_start_that_was_refused(scripted, monkeypatch):
    def refuse(words, script):
        raise EngineRefused("sbatch: invalid partition")

    monkeypatch.setattr(scripted, "line", Line(submit=refuse))
    container(scripted, "assay-one")
    with pytest.raises(StartRefused, match="invalid partition"):
        scripted.start("assay-one")


def test_the_state_of_a_task_is_slurms_word_about_this_task(scripted):
    (scripted.said / "squeue").write_text("88_0|RUNNING\n88_1|PENDING\n88_10|FAILED\n")
    states = {}
    for index in (0, 1):
        folder = container(scripted, f"assay-{index}", task=f"assay-0-array {index}")
        (folder / "job").write_text(f"88_{index}")
        (folder / "state.json").write_text(json.dumps({"started_at": 5.0} if index == 0 else {}))
        states[index] = scripted.state(f"assay-{index}")
    assert (states[0].is_running, states[0].is_waiting) == (True, False)
    assert (states[1].is_running, states[1].is_waiting) == (False, True)


def test_a_task_whose_number_was_never_written_down_is_cancelled_by_array_and_index(scripted):
    """The agent died between `sbatch` and its answer. Other tasks of the array go on."""
    (scripted.said / "squeue").write_text("88_0\n88_1\n88_11\n")
    container(scripted, "assay-one", task="assay-zero-array 1")
    scripted.kill("assay-one")
    calls = (scripted.said / "calls").read_text().splitlines()
    assert calls[0].startswith("squeue --me --name=assay-zero-array --array")
    assert calls[1:] == ["scancel 88_1"]


def test_the_slots_of_one_process_share_one_line(scripted):
    assert SlurmEngine(folder=scripted.folder).line is scripted.line
    assert "PATH" in slurm_environment()
