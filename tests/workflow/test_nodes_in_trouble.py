"""A node in trouble: without disk it takes no work, and after a container that would not die it takes no more."""

import dataclasses

import pytest

from assay.node.agent import Agent
from assay.runs.models import CaseRun
from containers.errors import ContainerStuck, DiskFull
from containers.fake_engine import FakeEngine
from containers.image_cache import ImageCache


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
    assert not agent.work_once(engine), "the slot has to wait, or it would claim the same work for ever"
    queued.refresh_from_db()
    assert queued.status == CaseRun.Status.QUEUED
    assert queued.infrastructure_failures == 0


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
