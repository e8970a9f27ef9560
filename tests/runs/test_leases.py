"""Claims, fences and fair order, on the database that decides them."""

import dataclasses
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

import factories
import people
from assay.accounts.models import Team
from assay.leases import LeaseLost
from assay.runs import leases, services
from assay.runs.models import CaseRun, Node, Run
from assay.runs.services import Ending
from containers.spec import Usage
from containers.verdicts import Verdict

LEASE = {"pool": "default", "lease_seconds": 60}


def enrol(name: str = "gpu-1") -> Node:
    return Node.objects.create(name=name, token_hash=name, created_at=factories.NOW)


def queue(scene: people.Scene, *, team: Team, case_runs: int) -> Run:
    """A run of the team whose case runs are all queued."""
    submission = factories.submission(phase=scene.phase, team=team, user=scene.pia)
    run = Run.objects.create(submission=submission, number=1, pool="default", created_at=factories.NOW)
    testset = factories.testset(
        challenge=scene.challenge, name=f"set-{run.pk.hex[:8]}", case_ids=[str(n) for n in range(case_runs)]
    )
    CaseRun.objects.bulk_create(
        CaseRun(run=run, case=case, position=place, pool="default", expected_seconds=10, priority=scene.phase.priority)
        for place, case in enumerate(testset.cases.all())
    )
    services.queue_case_runs(run=run, case_runs=run.case_runs.all(), now=factories.NOW)
    return run


def claim_all(node: Node) -> list[CaseRun]:
    """Every case run, in the order claims hand them out."""
    order = []
    while (lease := leases.claim_case_run(node_id=node.pk, **LEASE)) is not None:
        order.append(CaseRun.objects.select_related("run__submission").get(id=lease.case_run_id))
    return order


def ended(verdict: Verdict = Verdict.OK) -> Ending:
    return Ending(verdict=verdict, usage=Usage(wall_seconds=1.0), outputs=[])


def test_an_empty_pool_has_nothing_to_claim(scene):
    assert leases.claim_case_run(node_id=enrol().pk, **LEASE) is None


def test_every_claim_raises_the_fence_and_the_attempt(scene):
    node = enrol()
    queue(scene, team=scene.team, case_runs=1)
    first = leases.claim_case_run(node_id=node.pk, **LEASE)
    services.requeue(case_run_id=first.case_run_id, fence=first.fence, reason="test", now=factories.NOW)
    second = leases.claim_case_run(node_id=node.pk, **LEASE)
    assert (first.fence, second.fence) == (1, 2)
    assert (first.attempt, second.attempt) == (1, 2)


def test_a_write_under_an_old_fence_changes_nothing(scene):
    node = enrol()
    queue(scene, team=scene.team, case_runs=1)
    old = leases.claim_case_run(node_id=node.pk, **LEASE)
    services.requeue(case_run_id=old.case_run_id, fence=old.fence, reason="lease_expired", now=factories.NOW)
    new = leases.claim_case_run(node_id=node.pk, **LEASE)
    for write in (
        lambda fence: leases.renew_lease(case_run_id=old.case_run_id, fence=fence, node_id=node.pk, lease_seconds=60),
        lambda fence: services.set_log(case_run_id=old.case_run_id, fence=fence, node=node, key="log"),
        lambda fence: services.record_ending(
            case_run_id=old.case_run_id, fence=fence, node=node, ending=ended(), now=factories.NOW
        ),
    ):
        with pytest.raises(LeaseLost):
            write(old.fence)
        write(new.fence)


def measured_late(*, scene: people.Scene, ranked: str) -> CaseRun:
    """A case run that ended well on a node whose memory samples had a gap, under a protocol that scores this of its usage."""
    node = enrol()
    document = {
        **factories.PROTOCOL,
        "metrics": [{"name": "dice"}, {"name": ranked}],
        "conventions": {"failed": {ranked: 512}},
    }
    scene.phase.protocol = factories.protocol(challenge=scene.challenge, document=document)
    scene.phase.save()
    queue(scene, team=scene.team, case_runs=1)
    lease = leases.claim_case_run(node_id=node.pk, **LEASE)
    usage = Usage(wall_seconds=1.0, peak_memory_bytes=2**20, is_valid=False)
    ending = Ending(verdict=Verdict.OK, usage=usage, outputs=[])
    return services.record_ending(
        case_run_id=lease.case_run_id, fence=lease.fence, node=node, ending=ending, now=factories.NOW
    )


def test_a_case_whose_ranked_memory_was_sampled_late_is_run_again_at_our_cost(scene):
    row = measured_late(scene=scene, ranked="peak_memory_mb")
    assert (row.status, row.reason, row.infrastructure_failures) == ("queued", "measurement_gap", 1)


def test_a_late_sample_of_what_nobody_ranks_changes_nothing(scene):
    row = measured_late(scene=scene, ranked="cpu_seconds")
    assert (row.status, row.reason, row.infrastructure_failures) == ("done", "", 0)


def test_a_lease_is_its_nodes_alone(scene):
    queue(scene, team=scene.team, case_runs=1)
    lease = leases.claim_case_run(node_id=enrol("mine").pk, **LEASE)
    with pytest.raises(LeaseLost):
        leases.renew_lease(
            case_run_id=lease.case_run_id, fence=lease.fence, node_id=enrol("other").pk, lease_seconds=60
        )


def test_recording_the_same_ending_twice_is_no_error_and_happens_once(scene):
    node = enrol()
    queue(scene, team=scene.team, case_runs=1)
    lease = leases.claim_case_run(node_id=node.pk, **LEASE)
    for _ in range(2):
        row = services.record_ending(
            case_run_id=lease.case_run_id, fence=lease.fence, node=node, ending=ended(), now=factories.NOW
        )
    assert row.status == "done"
    late = services.record_ending(
        case_run_id=lease.case_run_id, fence=lease.fence, node=node, ending=ended(Verdict.TIMEOUT), now=factories.NOW
    )
    assert (late.status, late.verdict) == ("done", "ok")


def test_a_heartbeat_moves_the_lease_and_says_when_to_cancel(scene):
    node = enrol()
    run = queue(scene, team=scene.team, case_runs=1)
    lease = leases.claim_case_run(node_id=node.pk, pool="default", lease_seconds=1)
    before = CaseRun.objects.get(id=lease.case_run_id).lease_until
    beat = {"case_run_id": lease.case_run_id, "fence": lease.fence, "node_id": node.pk, "lease_seconds": 60}
    assert leases.renew_lease(**beat) is False
    assert CaseRun.objects.get(id=lease.case_run_id).lease_until > before + timedelta(seconds=30)
    type(run.submission).objects.filter(pk=run.submission_id).update(cancel_requested_at=factories.NOW)
    assert leases.renew_lease(**beat) is True


def test_a_paused_phase_is_passed_over(scene):
    node = enrol()
    queue(scene, team=scene.team, case_runs=1)
    scene.phase.is_paused = True
    scene.phase.save()
    assert leases.claim_case_run(node_id=node.pk, **LEASE) is None
    scene.phase.is_paused = False
    scene.phase.save()
    assert leases.claim_case_run(node_id=node.pk, **LEASE) is not None


def test_a_team_that_queues_much_does_not_keep_another_waiting(scene):
    other = factories.team(name="Quick", members=[scene.otto])
    queue(scene, team=scene.team, case_runs=6)
    queue(scene, team=other, case_runs=2)
    names = [case_run.run.submission.team.slug for case_run in claim_all(enrol())]
    assert names[:4].count("quick") == 2
    assert Counter(names) == {"pia-and-friends": 6, "quick": 2}


def test_two_equal_teams_take_turns(scene):
    other = factories.team(name="Quick", members=[scene.otto])
    first, second = queue(scene, team=scene.team, case_runs=4), queue(scene, team=other, case_runs=4)
    order = [case_run.run_id for case_run in claim_all(enrol())]
    for start in range(0, 8, 2):
        assert set(order[start : start + 2]) == {first.id, second.id}


def test_a_phase_of_higher_priority_goes_first(scene):
    queue(scene, team=scene.team, case_runs=2)
    scene.phase.priority = 5
    scene.phase.save()
    urgent = queue(scene, team=scene.team, case_runs=2)
    assert [case_run.run_id for case_run in claim_all(enrol())][:2] == [urgent.id, urgent.id]


def test_seconds_that_were_not_used_are_given_back_to_the_team(scene):
    node = enrol()
    queue(scene, team=scene.team, case_runs=1)
    lease = leases.claim_case_run(node_id=node.pk, **LEASE)
    assert scene.team.shares.get().finish == 10.0
    services.record_ending(
        case_run_id=lease.case_run_id, fence=lease.fence, node=node, ending=ended(), now=factories.NOW
    )
    assert scene.team.shares.get().finish == 1.0


@pytest.mark.django_db(transaction=True)
def test_many_nodes_at_once_never_get_the_same_case_run():
    scene = people.scene()
    queue(scene, team=scene.team, case_runs=40)
    nodes = [enrol(f"node-{number}") for number in range(4)]

    def claim_until_empty(node: Node) -> list[object]:
        try:
            return [case_run.id for case_run in claim_all(node)]
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=4) as pool:
        found = [case_run for claimed in pool.map(claim_until_empty, nodes) for case_run in claimed]
    assert len(found) == len(set(found)) == 40


def limit(scene: people.Scene, **limits: int | None) -> None:
    for name, value in limits.items():
        setattr(scene.phase, name, value)
    scene.phase.save()


def test_a_phase_never_runs_more_cases_at_once_than_it_may(scene):
    node = enrol()
    limit(scene, running_limit=3)
    queue(scene, team=scene.team, case_runs=5)
    running = claim_all(node)
    assert len(running) == 3
    services.record_ending(
        case_run_id=running[0].pk, fence=running[0].fence, node=node, ending=ended(), now=factories.NOW
    )
    assert len(claim_all(node)) == 1


def test_a_team_at_its_cap_is_passed_over_and_keeps_nobody_waiting(scene):
    node, other = enrol(), factories.team(members=[scene.otto])
    limit(scene, running_limit_per_team=2)
    queue(scene, team=scene.team, case_runs=5)
    queue(scene, team=other, case_runs=5)
    teams = Counter(case_run.run.submission.team_id for case_run in claim_all(node))
    assert teams == {scene.team.pk: 2, other.pk: 2}


def test_a_cap_on_one_phase_leaves_the_others_alone(scene):
    limit(scene, running_limit=1)
    elsewhere = factories.phase(challenge=scene.challenge, testset=scene.phase.chosen_testset.testset)
    queue(scene, team=scene.team, case_runs=2)
    queue(dataclasses.replace(scene, phase=elsewhere), team=scene.team, case_runs=4)
    assert Counter(case_run.run.submission.phase_id for case_run in claim_all(enrol())) == {
        scene.phase.pk: 1,
        elsewhere.pk: 4,
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("limits", [{"running_limit": 3}, {"running_limit_per_team": 3}])
def test_many_nodes_at_once_never_get_past_a_cap(limits):
    scene = people.scene()
    limit(scene, **limits)
    queue(scene, team=scene.team, case_runs=40)
    nodes = [enrol(f"gpu-{number}") for number in range(8)]

    def claim(node: Node) -> int:
        try:
            return sum(leases.claim_case_run(node_id=node.pk, **LEASE) is not None for _ in range(5))
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        assert sum(pool.map(claim, nodes)) == 3
    assert CaseRun.objects.filter(status="running").count() == 3


def test_a_fault_that_a_living_node_reports_is_waited_out_four_times_as_long_each_time(scene):
    node = enrol()
    queue(scene, team=scene.team, case_runs=1)
    delays = []
    for _ in range(2):
        lease = leases.claim_case_run(node_id=node.pk, **LEASE)
        services.requeue(
            case_run_id=lease.case_run_id, fence=lease.fence, reason="node_api", now=factories.NOW, is_delayed=True
        )
        assert leases.claim_case_run(node_id=node.pk, **LEASE) is None
        case_run = CaseRun.objects.get()
        delays.append((case_run.not_before - leases.database_now()).total_seconds())
        CaseRun.objects.update(not_before=leases.database_now())
    assert delays == pytest.approx([30, 120], abs=2)
    assert leases.claim_case_run(node_id=node.pk, **LEASE) is not None


def test_case_runs_are_in_random_order_and_one_is_the_canary(scene):
    testset = scene.phase.chosen_testset.testset
    orders = set()
    for seed in range(8):
        submission = factories.submission(phase=scene.phase, team=scene.team)
        run = services.create_run(submission=submission, now=factories.NOW, shuffle=random.Random(seed))
        orders.add(tuple(run.case_runs.values_list("case__case_id", flat=True)))
        assert run.case_runs.filter(is_canary=True, status="queued").count() == 1
        assert run.case_runs.filter(status="waiting").count() == testset.cases.count() - 1
    assert len(orders) == 2


def test_a_claim_is_planned_once_per_connection(scene):
    queue(scene, team=scene.team, case_runs=3)
    node = enrol()
    for _ in range(3):
        assert leases.claim_case_run(node_id=node.pk, **LEASE)
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        planned = [statement for (statement,) in cursor.fetchall()]
    assert len([statement for statement in planned if "UPDATE runs_caserun SET" in statement]) == 1
    assert not [statement for statement in planned if "runs_node" in statement]


def test_a_node_gets_no_case_that_needs_more_gpus_than_it_has_free(scene):
    node, run = enrol(), queue(scene, team=scene.team, case_runs=3)
    run.case_runs.filter(position__in=[0, 1]).update(gpus=1)
    assert leases.claim_case_run(node_id=node.pk, **LEASE, gpus=0).case_run_id == run.case_runs.get(position=2).pk
    assert leases.claim_case_run(node_id=node.pk, **LEASE, gpus=0) is None, "the others wait for a node with a GPU"
    assert leases.claim_case_run(node_id=node.pk, **LEASE, gpus=1) is not None
    assert leases.claim_case_run(node_id=node.pk, **LEASE) is not None, "a node that does not say is not held back"


def test_a_capped_claim_asks_for_the_gpus_as_well(scene):
    node, run = enrol(), queue(scene, team=scene.team, case_runs=1)
    scene.phase.running_limit = 5
    scene.phase.save()
    run.case_runs.update(gpus=2)
    assert leases.claim_case_run(node_id=node.pk, **LEASE, gpus=1) is None
    assert leases.claim_case_run(node_id=node.pk, **LEASE, gpus=2) is not None
