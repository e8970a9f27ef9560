"""A timeout of a container that others kept from its processors is no timeout of the algorithm."""

import contextlib
import os
import subprocess

import pytest

from containers.spec import Limits
from containers.usage.starvation import Starvation, busy_seconds
from containers.verdicts import Reason, Verdict

TICKS = os.sysconf("SC_CLK_TCK")


class Tasks:
    """A cgroup with these tasks."""

    def __init__(self, *numbers):
        self.numbers = numbers

    def tasks(self):
        return iter(self.numbers)


@pytest.fixture
def proc(tmp_path):
    """Writes what the kernel says: busy seconds of processors 0 and 1, and how long tasks have waited."""

    def write(*, busy, waited):
        rows = [f"cpu{number} {seconds * TICKS} 0 0 500 70 0 0 0 0 0" for number, seconds in enumerate(busy)]
        (tmp_path / "stat").write_text("\n".join(["cpu 1 2 3 4 5 6 7 8 9 10", *rows, "intr 5"]) + "\n")
        for task, seconds in waited.items():
            (tmp_path / str(task)).mkdir(exist_ok=True)
            (tmp_path / str(task) / "schedstat").write_text(f"1 {seconds * 1_000_000_000} 3\n")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("busy", "waited", "used", "lost"),
    [
        ((110, 50), {7: 6}, 4, 6.0),  # one task on processor 0: it waited 6 of 10 s, and others used 6
        ((110, 50), {7: 0}, 0, 0.0),  # it slept, however busy others were
        ((110, 50), {7: 8, 8: 8}, 10, 0.0),  # two tasks of its own on one processor
        ((110, 50), {7: 90}, 4, 6.0),  # what others used bounds it
        ((110, 50), {}, 4, 0.0),  # the kernel does not say
        ((110, 50), {7: 6}, None, 0.0),
    ],
)
def test_waiting_counts_where_others_used_the_processor(proc, busy, waited, used, lost):
    starvation = Starvation(cpu_ids=(0,), proc=proc(busy=(100, 50), waited=dict.fromkeys(waited, 0)))
    proc(busy=busy, waited=waited)
    starvation.look(Tasks(*waited, 999))
    assert starvation.lost_seconds(cpu_seconds=used) == lost


def test_on_two_processors_the_loss_is_shared_among_the_tasks_that_run_at_once(proc):
    starvation = Starvation(cpu_ids=(0, 1), proc=proc(busy=(0, 0), waited={7: 0, 8: 0}))
    proc(busy=(10, 10), waited={7: 5, 8: 5})
    starvation.look(Tasks(7, 8))
    assert starvation.lost_seconds(cpu_seconds=10) == 5.0


def test_a_machine_that_says_nothing_has_lost_nothing(tmp_path):
    assert busy_seconds((0,), proc=tmp_path) == 0.0
    assert Starvation(cpu_ids=(0,), proc=tmp_path).lost_seconds(cpu_seconds=1.0) == 0.0


@contextlib.contextmanager
def others_on(cpu: int, count: int):
    """So many programs of others that use one processor."""
    spinning = ["taskset", "-c", str(cpu), "python3", "-c", "while True: pass"]
    running = [subprocess.Popen(spinning) for _ in range(count)]
    try:
        yield
    finally:
        for program in running:
            program.kill()
            program.wait()


@pytest.mark.docker
@pytest.mark.xdist_group("engine")
def test_a_timeout_on_a_processor_that_others_use_is_this_machines_and_a_sleeper_is_not_excused(
    python_in_sandbox, spec_of
):
    limits = Limits(**(vars(spec_of().limits) | {"wall_seconds": 4}))
    with others_on(0, 6):
        starved = python_in_sandbox("while True: pass", limits=limits, cpu_ids=(0,))
        # Not Python: on a slow machine its start alone waits for the processor longer than is excused.
        asleep = python_in_sandbox("", command=("sleep", "600"), limits=limits, cpu_ids=(0,))
    assert (starved.verdict, starved.reason) == (Verdict.INFRASTRUCTURE, Reason.MACHINE_BUSY)
    assert (asleep.verdict, asleep.reason) == (Verdict.TIMEOUT, Reason.TIME_LIMIT)
