"""What a phase needs of a machine, which node has it, and what its nodes cost."""

from datetime import timedelta
from decimal import Decimal

import pytest

import factories
from assay.challenges.needs import Needs
from assay.runs import leases, selectors
from assay.runs.costs import cost_of, costs_by_phase
from assay.runs.matching import is_served, unfit_phases
from assay.runs.models import CaseRun, Node, Run

A100 = {"uuid": "GPU-a", "name": "NVIDIA A100-SXM4-40GB", "memory_bytes": 42_505_273_344}
T4 = {"uuid": "GPU-t", "name": "Tesla T4", "memory_bytes": 15_843_721_216}
MACHINE = {"cpu_count": 16, "memory_bytes": 67_000_000_000, "driver": "535.104.05", "gpus": [A100]}


def queued_run(scene, *, finished=None):
    submission = factories.submission(phase=scene.phase, team=scene.team, status="running")
    run = Run.objects.create(submission=submission, number=1, pool="default", created_at=factories.NOW)
    CaseRun.objects.create(run=run, position=0, pool="default", status="queued", queued_at=factories.NOW)
    return run


def node(**fields) -> Node:
    values = {
        "name": "gpu-1",
        "token_hash": fields.get("name", "x"),
        "slots": 2,
        "created_at": factories.NOW,
        "last_seen_at": factories.NOW,
    }
    return Node.objects.create(**(values | fields))


def needing(scene, *words):
    scene.phase.needs = list(words)
    scene.phase.save()


@pytest.mark.parametrize(
    ("words", "inventory", "served"),
    [
        (["gpu=a100"], {}, True),
        (["gpu=H100"], {}, False),
        (["gpu_memory_gb=40"], {}, True),
        (["gpu_memory_gb=80"], {}, False),
        (["driver=535"], {}, True),
        (["driver=550"], {}, False),
        (["cpus=16", "memory_gb=64"], {}, True),
        (["cpus=17"], {}, False),
        (["memory_gb=65"], {"memory_bytes": 64_000_000_000}, False),
        (["gpu=A100"], {"gpus": []}, False),
        (["gpu=A100"], {"gpus": [A100, T4]}, False),
        (["cpus=4"], {"gpus": []}, True),
        (["driver=535"], {"driver": ""}, False),
        (["gpu=H100"], {"is_batch": True}, True),
        (["gpu=A100"], {"gpus": ["strange", None]}, False),
        (["gpu_memory_gb=40"], {"gpus": [{"memory_bytes": "many"}]}, False),
    ],
)
def test_a_node_serves_what_it_has(words, inventory, served):
    assert is_served(Needs.of(words), by=Node(inventory=MACHINE | inventory)) is served


def test_a_node_that_has_not_said_what_it_has_is_not_held_back():
    assert is_served(Needs.of(["gpu=A100"]), by=Node(inventory={}))


@pytest.mark.parametrize(
    "word", ["gpu", "gpu=", "cpus=0", "cpus=-1", "cpus=many", "cpus=٣", "disk=1", f"gpu={'x' * 61}", "cpus=100001"]
)
def test_a_word_that_means_nothing_is_refused(word):
    with pytest.raises(ValueError, match=r"."):
        Needs.of([word])
    with pytest.raises(ValueError, match="cpus"):
        Needs.of(["cpus=1", "cpus=2"])


def test_needs_are_said_in_words():
    everything = Needs.of(["gpu=A100", "gpu_memory_gb=40", "driver=535", "cpus=8", "memory_gb=64"])
    assert everything.in_words(gpus=2) == "2 GPUs (A100, 40 GB, driver 535 or newer), 8 processors and 64 GB of memory"
    assert Needs.of(["cpus=8"]).in_words() == "8 processors"
    assert Needs().in_words(gpus=1) == "1 GPU"


def test_a_node_never_gets_a_case_whose_machine_it_is_not(scene):
    needing(scene, "gpu=H100")
    queued_run(scene)
    small = node(inventory=MACHINE)
    assert unfit_phases(small) == [scene.phase.pk]
    wanted = {"pool": "default", "lease_seconds": 60}
    assert leases.claim_case_run(node_id=small.pk, **wanted, unfit=unfit_phases(small)) is None
    large = node(name="gpu-2", inventory=MACHINE | {"gpus": [A100 | {"name": "NVIDIA H100"}]})
    assert leases.claim_case_run(node_id=large.pk, **wanted, unfit=unfit_phases(large)) is not None


def test_a_node_is_told_for_which_phases_it_lacks_something(scene, django_assert_num_queries):
    needing(scene, "gpu=H100", "memory_gb=64")
    free = factories.phase(challenge=scene.phase.challenge, slug="free")
    elsewhere = factories.phase(challenge=scene.phase.challenge, slug="elsewhere", pool="h100")
    elsewhere.needs = ["gpu=H100"]
    elsewhere.save()
    found = node(inventory=MACHINE)
    with django_assert_num_queries(1):
        assert selectors.unserved_by(found) == [(scene.phase, "1 GPU (H100) and 64 GB of memory")]
    assert free.pool == found.pool
    assert selectors.unserved_by(node(name="gpu-2", inventory={"is_batch": True})) == []


def test_phases_that_need_nothing_cost_a_claim_one_query(scene, django_assert_num_queries):
    found = node(inventory=MACHINE)
    with django_assert_num_queries(1):
        assert unfit_phases(found) == []


def test_a_page_says_what_nobody_has(scene):
    needing(scene, "gpu=H100", "gpu_memory_gb=80")
    run = queued_run(scene)
    node(inventory=MACHINE)
    why = "no live node of pool default has what a case needs: 1 GPU (H100, 80 GB)"
    assert selectors.waiting(run.submission, now=factories.NOW).why == why
    assert selectors.queue_facts(scene.phase, now=factories.NOW).why_waiting == why
    node(name="gpu-2", inventory=MACHINE | {"gpus": [A100 | {"name": "NVIDIA H100", "memory_bytes": 85_000_000_000}]})
    assert selectors.waiting(run.submission, now=factories.NOW).why == ""


def test_a_slot_of_four_costs_a_quarter_of_its_nodes_hour(scene):
    assert cost_of(timedelta(minutes=30), hourly_cost=Decimal("4"), slots=4) == Decimal("0.5")
    run = queued_run(scene)
    begun = factories.NOW
    run.case_runs.update(
        node=node(slots=4, hourly_cost=Decimal("4")),
        status="done",
        started_at=begun,
        finished_at=begun + timedelta(hours=1),
    )
    [found] = costs_by_phase()
    assert (found.node, found.phase, found.case_runs) == ("gpu-1", scene.phase.slug, 1)
    assert (found.hours, found.cost) == (0.25, Decimal("1"))


def test_a_node_whose_cost_is_unknown_is_left_out(scene):
    run = queued_run(scene)
    run.case_runs.update(node=node(), status="done", started_at=factories.NOW, finished_at=factories.NOW)
    assert costs_by_phase() == []
