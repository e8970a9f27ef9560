"""The runner's own logic on the scripted engine: no daemon, no waiting."""

import dataclasses
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from containers.engines import ContainerState, ImageFacts
from containers.engines.fake import EPOCH, FakeEnding, FakeEngine
from containers.errors import ContainerStuck, EngineRefused, EngineUnreachable
from containers.sandbox.runner import choose_cpus, image_problem, ran_out_of_memory, remove_leftovers
from containers.spec import OutputSpec
from containers.usage.cgroups import Totals
from containers.usage.telemetry import Meter
from containers.verdicts import Reason, Verdict


def writes(text="a mask", **ending):
    def script(call):
        (call.output_dir / "result.txt").write_text(text)
        return FakeEnding(**ending)

    return script


def test_a_well_behaved_algorithm_is_ok_and_its_output_is_ours(execute, spec_of):
    result = execute(spec_of(), FakeEngine(writes(log=b"hello")))
    assert (result.verdict, result.reason, result.exit_code, result.log) == (Verdict.OK, "", 0, b"hello")
    (output,) = result.outputs
    assert output.path.read_text() == "a mask"


def test_the_algorithm_sees_its_input_under_an_opaque_path(execute, spec_of):
    seen = []

    def script(call):
        seen.append((str(call.input_dir), (call.input_dir / "scan.txt").read_text()))
        return FakeEnding()

    execute(spec_of(), FakeEngine(script))
    ((path, content),) = seen
    assert content == "a scan"
    assert "secret-case-42" not in path


def test_time_is_measured_by_the_engine_and_over_the_limit_is_a_timeout(execute, spec_of, clock):
    result = execute(spec_of(), FakeEngine(writes(seconds=3600), clock=clock), clock=clock)
    assert (result.verdict, result.reason, result.exit_code) == (Verdict.TIMEOUT, "time_limit", 137)
    assert 20.0 < result.usage.wall_seconds < 20.2


def test_a_run_just_within_its_time_is_ok(execute, spec_of, clock):
    result = execute(spec_of(), FakeEngine(writes(seconds=19.9), clock=clock), clock=clock)
    assert (result.verdict, result.usage.wall_seconds) == (Verdict.OK, 19.9)


class ClockSetEngine(FakeEngine):
    """An engine whose clock is set while a container runs."""

    ahead = timedelta()

    def state(self, container_id):
        state = super().state(container_id)
        return state if state.finished_at is None else replace(state, finished_at=state.finished_at + self.ahead)


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_set_while_a_case_runs_is_no_timeout_and_no_failure(hours, execute, spec_of, clock):
    engine = ClockSetEngine(writes(seconds=3), clock=clock)
    engine.ahead = timedelta(hours=hours)
    result = execute(spec_of(), engine, clock=clock)
    assert result.verdict is Verdict.OK
    assert result.usage.wall_seconds < 4


def test_a_clock_that_is_set_back_makes_no_crash_of_a_timeout(execute, spec_of, clock):
    engine = ClockSetEngine(writes(seconds=3600), clock=clock)
    engine.ahead = timedelta(hours=-1)
    result = execute(spec_of(), engine, clock=clock)
    assert (result.verdict, result.reason) == (Verdict.TIMEOUT, "time_limit")
    assert 20.0 < result.usage.wall_seconds < 20.2


def test_cancellation_kills_within_five_seconds(execute, spec_of, clock):
    def should_cancel():
        return clock.now > 1007.0  # seven seconds in

    engine = FakeEngine(writes(seconds=3600), clock=clock)
    result = execute(spec_of(), engine, clock=clock, should_cancel=should_cancel)
    assert result.verdict is Verdict.CANCELLED
    assert 7.0 < result.usage.wall_seconds < 8.0


def test_an_exit_code_is_reported_as_it_is(execute, spec_of):
    result = execute(spec_of(), FakeEngine(writes(exit_code=137)))
    assert (result.verdict, result.exit_code) == (Verdict.NONZERO_EXIT, 137)


def test_no_output_is_missing_output(execute, spec_of):
    result = execute(spec_of(), FakeEngine())
    assert (result.verdict, result.reason) == (Verdict.OUTPUT_MISSING, "missing")


def test_a_container_that_saw_many_cases_may_fail_some_of_them(execute, spec_of):
    outputs = (OutputSpec(name="case-1", path="result.txt"), OutputSpec(name="case-2", path="other.txt"))
    result = execute(spec_of(outputs=outputs), FakeEngine(writes()))
    assert [output.name for output in result.outputs] == ["case-1"]
    assert [(problem.name, problem.verdict) for problem in result.problems] == [("case-2", Verdict.OUTPUT_MISSING)]


def test_too_many_bytes_of_output(execute, spec_of):
    result = execute(spec_of(), FakeEngine(writes("x" * (8 * 2**20 + 4096))))
    assert (result.verdict, result.reason) == (Verdict.OUTPUT_TOO_LARGE, "bytes_limit")


def test_too_many_files_of_output(execute, spec_of):
    def script(call):
        for number in range(65):
            (call.output_dir / str(number)).touch()
        return FakeEnding()

    result = execute(spec_of(), FakeEngine(script))
    assert (result.verdict, result.reason) == (Verdict.OUTPUT_TOO_LARGE, "files_limit")


def test_an_image_that_is_gone_is_our_fault(execute, spec_of):
    engine = FakeEngine(images={"sha256:other": ImageFacts(image_id="sha256:other")})
    result = execute(spec_of(), engine)
    assert (result.verdict, result.reason) == (Verdict.INFRASTRUCTURE, "image_absent")


def test_a_name_in_use_means_somebody_else_runs_this_case_run(execute, spec_of):
    engine = FakeEngine(writes())
    engine.create(name=spec_of().name, body={"Image": "sha256:fake"})
    result = execute(spec_of(), engine)
    assert (result.verdict, result.reason) == (Verdict.INFRASTRUCTURE, "name_taken")
    assert len(engine.containers) == 1, "the other one must not be touched"


class Unreachable(FakeEngine):
    """Does not answer `state` for a while, as during a restart of the daemon."""

    silent_until = 0.0

    def state(self, container_id):
        if self.clock.monotonic() < self.silent_until:
            raise EngineUnreachable("no answer")
        return super().state(container_id)


def test_a_container_that_outlives_a_silent_engine_is_watched_on_and_then_not_trusted(execute, spec_of, clock):
    engine = Unreachable(writes(seconds=5), clock=clock)
    engine.silent_until = clock.now + 10
    result = execute(spec_of(), engine, clock=clock)
    assert (result.verdict, result.reason) == (Verdict.INFRASTRUCTURE, "engine_restarted")
    assert engine.containers == {}


class Hasty(FakeEngine):
    """Restarts while the container runs, so quickly that no request goes without an answer."""

    def state(self, container_id):
        state = super().state(container_id)
        self.restarts += not state.is_running
        return state


def test_a_container_that_ended_with_an_engine_that_was_back_at_once_is_not_held_against_anybody(
    execute, spec_of, clock
):
    engine = Hasty(lambda _: FakeEnding(exit_code=137), clock=clock)
    result = execute(spec_of(), engine, clock=clock)
    assert (result.verdict, result.reason) == (Verdict.INFRASTRUCTURE, "engine_restarted")


def test_an_engine_that_stays_silent_is_infrastructure(execute, spec_of, clock):
    engine = Unreachable(writes(seconds=5), clock=clock)
    engine.silent_until = clock.now + 1000
    result = execute(spec_of(), engine, clock=clock)
    assert (result.verdict, result.reason) == (Verdict.INFRASTRUCTURE, "engine_unreachable")


class Immortal(FakeEngine):
    """Containers in uninterruptible sleep."""

    def kill(self, container_id):
        pass


def test_a_container_that_survives_being_killed_is_stuck(execute, spec_of, clock):
    result = execute(spec_of(), Immortal(writes(seconds=9999), clock=clock), clock=clock)
    assert (result.verdict, result.reason) == (Verdict.INFRASTRUCTURE, "container_stuck")


class Undeletable(FakeEngine):
    def remove(self, container_id):
        raise ContainerStuck("still there")


def test_a_container_that_cannot_be_removed_is_stuck(execute, spec_of):
    result = execute(spec_of(), Undeletable(writes()))
    assert (result.verdict, result.reason) == (Verdict.INFRASTRUCTURE, "container_stuck")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('exec: "predict": executable file not found in $PATH: unknown', Reason.ENTRY_POINT_NOT_RUNNABLE),
        ("exec format error", Reason.ENTRY_POINT_NOT_RUNNABLE),
        ("No command specified", Reason.ENTRY_POINT_NOT_RUNNABLE),
        ("error mounting /input: not a directory: unknown", Reason.MOUNT_POINT_BLOCKED),
        ('exec: "docker-init": executable file not found in $PATH', Reason.NONE),
        ("no space left on device", Reason.NONE),
        ("nvidia-container-cli: initialization error", Reason.NONE),
    ],
)
def test_the_engine_says_whether_the_image_or_itself_is_the_trouble(message, reason):
    assert image_problem(EngineRefused(message)) is reason


def test_an_entry_point_that_does_not_run_is_the_participants(execute, spec_of):
    result = execute(spec_of(), FakeEngine(lambda _: FakeEnding(start_error="executable file not found in $PATH")))
    assert (result.verdict, result.reason) == (Verdict.IMAGE_INVALID, "entry_point_not_runnable")


def test_a_start_that_fails_for_another_reason_is_ours(execute, spec_of):
    result = execute(spec_of(), FakeEngine(lambda _: FakeEnding(start_error="no space left on device")))
    assert (result.verdict, result.reason) == (Verdict.INFRASTRUCTURE, "engine_refused")


def test_leftovers_of_this_owner_are_removed_and_nobody_elses():
    engine = FakeEngine()
    for name, owner in [("assay-a", "here"), ("assay-b", "here"), ("assay-c", "elsewhere"), ("assay-d", "here/2")]:
        engine.create(name=name, body={"Image": "i", "Labels": {"assay.owner": owner}})
    assert remove_leftovers(engine, owner="here", keep={"assay-b"}) == 1
    assert [container.name for container in engine.containers.values()] == ["assay-b", "assay-c", "assay-d"]


def test_a_run_gets_as_many_cpus_as_it_asks_for_and_the_host_has(spec_of):
    spec = spec_of()
    assert choose_cpus(spec=spec, cpu_count=1) == (0,)
    assert len(choose_cpus(spec=spec, cpu_count=64)) == 1
    assert choose_cpus(spec=spec_of(cpu_ids=(5, 7)), cpu_count=64) == (5, 7)


class Forgetful(FakeEngine):
    """Logs an OOM kill as an event but leaves it out of the container's state, as Docker 20.10 does under load."""

    def state(self, container_id):
        return dataclasses.replace(super().state(container_id), is_out_of_memory=False)


def test_a_memory_kill_the_engine_only_logged_still_counts(execute, spec_of):
    result = execute(spec_of(), Forgetful(writes(is_out_of_memory=True)))
    assert (result.verdict, result.reason) == (Verdict.OUT_OF_MEMORY, "child_killed_for_memory")


NOTHING_COUNTED, LIMIT_REACHED = Totals(), Totals(limit_hits=5)


@pytest.fixture
def witness():
    """A watch that saw these counts, and the state the container ended in."""

    def go(*, exit_code, totals=NOTHING_COUNTED, killed_at=None, has_exact_counts=False, recorded=False, logged=False):
        state = ContainerState(is_running=False, created_at=EPOCH, exit_code=exit_code, is_out_of_memory=recorded)
        watch = SimpleNamespace(
            meter=Meter(totals=totals),
            killed_at=killed_at,
            has_exact_counts=has_exact_counts,
            was_memory_kill_logged=logged,
        )
        return ran_out_of_memory(state=state, watch=watch)

    return go


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        ({"exit_code": 137}, False),
        ({"exit_code": 137, "totals": LIMIT_REACHED}, True),
        ({"exit_code": 137, "totals": LIMIT_REACHED, "has_exact_counts": True}, False),
        ({"exit_code": 137, "totals": LIMIT_REACHED, "killed_at": 5.0}, False),
        ({"exit_code": 1, "totals": LIMIT_REACHED}, False),
        ({"exit_code": 0, "totals": Totals(oom_kills=1), "has_exact_counts": True}, True),
        ({"exit_code": 0, "recorded": True}, True),
        ({"exit_code": 0, "logged": True}, True),
    ],
)
def test_who_is_believed_about_memory(witness, evidence, verdict):
    assert witness(**evidence) is verdict
