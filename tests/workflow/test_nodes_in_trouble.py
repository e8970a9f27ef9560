"""A node in trouble: without disk it takes no work, and after a container that would not die it takes no more."""

import contextlib
import dataclasses
import time

import pytest

from assay.node.agent import Agent, Polling
from assay.runs.models import CaseRun
from containers.engines import OWNER_LABEL
from containers.engines.fake import FakeEnding, FakeEngine
from containers.errors import ContainerStuck, DiskFull, EngineUnreachable
from containers.machine import NoFreeGpu
from containers.machine.image_cache import ImageCache


@pytest.fixture
def queued(stage):
    """A submission whose canary waits for a node."""
    stage.submit()
    stage.check()
    return CaseRun.objects.get(status=CaseRun.Status.QUEUED)


def test_a_node_below_its_disk_reserve_claims_nothing(stage, queued):
    agent, engine = stage.agent()
    short = dataclasses.replace(agent._options, disk_reserve_bytes=2**60)
    assert not Agent(api=stage.api(), options=short, open_engine=lambda: engine).work_once(engine)
    queued.refresh_from_db()
    assert queued.status == CaseRun.Status.QUEUED
    assert agent.work_once(engine)


def test_an_image_that_does_not_fit_goes_back_uncounted(stage, queued, monkeypatch):
    def refuse(*_arguments, **_options):
        raise DiskFull("4096 MiB are needed for an image")

    monkeypatch.setattr(ImageCache, "holding", refuse)
    agent, engine = stage.agent()
    assert not agent.work_once(engine), "the slot has to wait, or it would claim the same work without end"
    queued.refresh_from_db()
    assert queued.status == CaseRun.Status.QUEUED
    assert queued.infrastructure_failures == 0


def test_a_node_without_a_gpu_leaves_a_case_that_needs_one_in_the_line(stage, queued):
    CaseRun.objects.update(gpus=1)
    agent, engine = stage.agent()
    assert not agent.work_once(engine)
    queued.refresh_from_db()
    assert (queued.status, queued.attempt, queued.infrastructure_failures) == (CaseRun.Status.QUEUED, 0, 0)


def test_a_gpu_that_another_slot_took_meanwhile_is_no_fault(stage, queued, monkeypatch):
    agent, engine = stage.agent()

    @contextlib.contextmanager
    def none_left(_count):
        raise NoFreeGpu("0 of 1 GPUs are free and healthy, 1 are needed.")
        yield

    monkeypatch.setattr(agent._gpus, "taken", none_left)
    assert not agent.work_once(engine), "the slot has to wait, or it would claim the same work without end"
    queued.refresh_from_db()
    assert (queued.status, queued.infrastructure_failures) == (CaseRun.Status.QUEUED, 0)


@pytest.mark.catalogue(
    120,
    attack="a container survives SIGKILL or its removal",
    verdict="the node stops claiming",
    guard="removal is verified",
)
def test_a_node_with_a_container_that_will_not_go_claims_no_more(stage, queued, monkeypatch):
    def refuse(self, container_id):
        raise ContainerStuck("still there after its removal was ordered")

    agent, engine = stage.agent()
    monkeypatch.setattr(FakeEngine, "remove", refuse)
    agent.work_once(engine)
    assert agent.stopping.is_set()
    queued.refresh_from_db()
    assert (queued.status, queued.infrastructure_failures) == (CaseRun.Status.QUEUED, 1)


class AbsentEngine(FakeEngine):
    """An engine that may be told not to answer."""

    is_away = False
    answers_left = 0

    def facts(self):
        self.answer()
        return super().facts()

    def containers_of(self, owner):
        self.answer()
        return super().containers_of(owner)

    def answer(self):
        if self.is_away and self.answers_left > 0:
            self.answers_left -= 1
        elif self.is_away:
            raise EngineUnreachable("No answer from the container engine")


@pytest.mark.parametrize("tries", [0, 1], ids=["away before the claim", "away after the claim"])
def test_an_engine_that_is_away_costs_one_try_at_most(stage, queued, tries):
    engine = AbsentEngine(stage.script)
    options = stage.agent()[0]._options
    agent = Agent(api=stage.api(), options=options, open_engine=lambda: engine)
    engine.is_away, engine.answers_left = True, tries
    assert agent.work_once(engine) == bool(tries)
    CaseRun.objects.update(not_before=None)
    for _ in range(5):
        assert not agent.work_once(engine)
    queued.refresh_from_db()
    assert (queued.status, queued.attempt, queued.infrastructure_failures) == ("queued", tries, tries)
    engine.is_away = False
    assert agent.work_once(engine)
    queued.refresh_from_db()
    assert queued.status == "done"


@pytest.fixture
def agent_with_a_leftover(stage, queued, monkeypatch):
    """An agent whose engine went away before it could remove a container, and the engine, which is back."""
    agent, engine = stage.agent()
    with monkeypatch.context() as broken:
        broken.setattr(
            FakeEngine, "remove", lambda self, container_id: (_ for _ in ()).throw(EngineUnreachable("gone"))
        )
        agent.work_once(engine)
    assert len(engine.containers) == 1
    return agent, engine


def test_what_a_fault_left_in_the_engine_is_removed_before_the_next_claim(agent_with_a_leftover):
    agent, engine = agent_with_a_leftover
    agent.work_once(engine)
    assert not engine.containers


def test_what_a_fault_left_in_the_engine_is_removed_before_the_node_stops(agent_with_a_leftover):
    agent, engine = agent_with_a_leftover
    agent.stop()
    agent.serve(Polling(agent.stopping))
    assert not engine.containers


def test_a_container_nobody_knows_of_goes_within_a_minute(stage, monkeypatch):
    agent, engine = stage.agent()
    engine.create(name="assay-left", body={"Image": "i", "Labels": {OWNER_LABEL: agent._options.owner}})
    agent.work_once(engine)
    assert len(engine.containers) == 1
    monkeypatch.setattr(agent, "_cleared_at", time.monotonic() - 61)
    agent.work_once(engine)
    assert not engine.containers


def test_a_slot_survives_a_fault_between_two_cases(stage, monkeypatch):
    agent, _ = stage.agent()
    calls = []

    def fail_first(engine):
        calls.append("work")
        if len(calls) == 1:
            raise OSError("read-only file system")
        return False

    class StopAtSecondRing:
        def wait(self, seconds):
            if len(calls) == 2:
                agent.stopping.set()

    monkeypatch.setattr(agent, "work_once", fail_first)
    agent.serve(StopAtSecondRing())
    assert calls == ["work", "work"]


def test_a_node_starts_without_what_its_killed_life_left_on_disk(stage):
    agent, _ = stage.agent()
    folder = stage.folder / "node"
    for left in ("scratch/case-abc/inputs", "images"):
        (folder / left).mkdir(parents=True)
    (folder / "scratch/case-abc/inputs/t1.nii.gz").write_bytes(b"hidden")
    (folder / "images" / "half.tar").write_bytes(b"half")
    agent.clear_away()
    assert list((folder / "scratch").iterdir()) == []
    assert list((folder / "images").iterdir()) == []


@pytest.mark.parametrize(
    "ending",
    [FakeEnding(start_error="exec format error"), FakeEnding(exit_code=126), FakeEnding(exit_code=127)],
    ids=["refused", "126", "127"],
)
def test_an_image_that_does_not_start_is_loaded_afresh_before_it_is_held_against_it(stage, ending):
    submission = stage.submit()
    stage.check()
    stage.script = lambda call: ending
    agent, engine = stage.agent()
    removed = []
    engine.remove_image = removed.append
    while agent.work_once(engine):
        pass
    submission.refresh_from_db()
    assert removed == [submission.image.image_id], "once, not for every case"
    assert submission.status == "failed"
    assert submission.fault == "participant"
    assert set(CaseRun.objects.values_list("infrastructure_failures", flat=True)) == {0}


def test_a_damaged_copy_of_an_image_costs_nobody_anything(stage):
    submission = stage.submit()
    damaged, honest = {"is": True}, stage.script

    def run(call):
        return FakeEnding(start_error="exec format error") if damaged["is"] else honest(call)

    stage.script = run
    stage.check()
    agent, engine = stage.agent()
    engine.remove_image = lambda image_id: damaged.update({"is": False})
    while agent.work_once(engine):
        pass
    stage.score()
    submission.refresh_from_db()
    assert (submission.status, submission.verdict) == ("done", "ok")
