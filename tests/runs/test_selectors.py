"""Questions about runs: what they answer, and that their price does not grow."""

from datetime import timedelta

import pytest

import factories
from assay.runs import selectors
from assay.runs.models import CaseRun, Node, Run
from containers.spec import Usage


def run_of(scene, *, statuses: list[str], submission=None) -> Run:
    submission = submission or factories.submission(phase=scene.phase, team=scene.team, status="running")
    run = Run.objects.create(submission=submission, number=1, pool="default", created_at=factories.NOW)
    CaseRun.objects.bulk_create(
        CaseRun(
            run=run,
            position=place,
            pool="default",
            status=status,
            turn=float(place),
            queued_at=factories.NOW,
            started_at=factories.NOW + timedelta(seconds=4) if status in ("done", "running") else None,
            finished_at=factories.NOW + timedelta(seconds=14) if status == "done" else None,
            usage=Usage(wall_seconds=10.0, peak_memory_bytes=100) if status == "done" else Usage(),
        )
        for place, status in enumerate(statuses)
    )
    return run


def node(**fields) -> Node:
    values = {
        "name": "gpu-1",
        "token_hash": "x",
        "slots": 2,
        "created_at": factories.NOW,
        "last_seen_at": factories.NOW,
    }
    return Node.objects.create(**(values | fields))


@pytest.mark.parametrize("submissions", [1, 10])
def test_progress_of_many_submissions_is_one_query(scene, submissions, django_assert_num_queries):
    runs = [run_of(scene, statuses=["done", "failed", "running", "queued", "waiting"]) for _ in range(submissions)]
    ids = [run.submission_id for run in runs]
    with django_assert_num_queries(1):
        found = selectors.progress(ids)
    assert set(found) == set(ids)
    assert set(found.values()) == {selectors.Progress(total=5, done=1, failed=1, running=1, waiting=2)}


def test_a_submission_without_a_run_has_no_progress_yet(scene):
    submission = factories.submission(phase=scene.phase, team=scene.team)
    assert selectors.progress([submission.pk])[submission.pk] == selectors.Progress()


def test_the_estimate_comes_from_measured_cases_and_live_slots(scene):
    node()
    run = run_of(scene, statuses=["done", "done", "queued", "queued"])
    found = selectors.waiting(run.submission, now=factories.NOW)
    assert (found.position, found.eta_seconds, found.why) == (1, 10.0, "")


def test_where_nobody_can_run_a_case_no_end_is_promised(scene):
    node(inventory={"gpus": []})
    scene.phase.protocol.document["resources"]["gpus"] = 1
    scene.phase.protocol.save()
    found = selectors.waiting(run_of(scene, statuses=["done", "queued"]).submission, now=factories.NOW)
    assert found.why
    assert found.eta_seconds is None


def test_who_is_ahead_counts(scene):
    node()
    run_of(scene, statuses=["queued", "queued"])
    later = run_of(scene, statuses=["waiting", "waiting", "queued"])
    assert selectors.waiting(later.submission, now=factories.NOW).position == 3


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (None, "no node has joined pool default yet"),
        (
            {"last_seen_at": factories.NOW - timedelta(minutes=10)},
            "no live node in pool default since {seen:%d %b %Y %H:%M} UTC",
        ),
        ({"status": "draining"}, "every node of pool default is draining"),
        ({}, ""),
    ],
)
def test_a_page_says_why_nothing_moves(scene, fields, why):
    if fields is not None:
        node(**fields)
    run = run_of(scene, statuses=["queued"])
    why = why.format(seen=factories.NOW - timedelta(minutes=10))
    assert selectors.waiting(run.submission, now=factories.NOW).why == why
    assert selectors.queue_facts(scene.phase, now=factories.NOW).why_waiting == why


@pytest.mark.parametrize(
    ("inventory", "why"),
    [
        ({"gpus": []}, "no live node of pool default has the 1 GPU that a case needs"),
        ({"gpus": [{"uuid": "GPU-a"}]}, ""),
        ({"gpus": [], "is_batch": True}, ""),
        ({}, ""),
    ],
)
def test_a_page_says_that_nobody_has_the_gpu_a_case_needs(scene, inventory, why):
    node(inventory=inventory)
    scene.phase.protocol.document["resources"]["gpus"] = 1
    scene.phase.protocol.save()
    run = run_of(scene, statuses=["queued"])
    assert selectors.waiting(run.submission, now=factories.NOW).why == why
    assert selectors.queue_facts(scene.phase, now=factories.NOW).why_waiting == why


def test_the_queue_facts_are_measured(scene):
    node()
    run_of(scene, statuses=["done", "running", "queued"])
    facts = selectors.queue_facts(scene.phase, now=factories.NOW)
    assert (facts.length, facts.running, facts.live_nodes) == (1, 1, 1)
    assert (facts.median_wait_seconds, facts.seconds_per_case) == (5.0, 10.0)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"running_limit": 1}, "1 of this phase's cases may run at once, and so many do"),
        ({"running_limit_per_team": 1}, "1 of a team's cases may run at once in this phase, and so many of yours do"),
        ({"running_limit": 2, "running_limit_per_team": 2}, ""),
    ],
)
def test_a_page_says_which_cap_holds_a_submission_back(scene, limits, why):
    node()
    for name, value in limits.items():
        setattr(scene.phase, name, value)
    scene.phase.save()
    run = run_of(scene, statuses=["running", "queued"])
    assert selectors.waiting(run.submission, now=factories.NOW).why == why


def test_a_page_says_until_when_a_fault_of_ours_is_waited_out(scene):
    node()
    run = run_of(scene, statuses=["queued"])
    again_at = factories.NOW + timedelta(seconds=30)
    run.case_runs.update(not_before=again_at)
    assert (
        selectors.waiting(run.submission, now=factories.NOW).why
        == f"a fault of ours is being waited out; it is tried again at {again_at:%H:%M:%S} UTC"
    )


def test_the_estimate_counts_no_more_slots_than_a_cap_leaves(scene):
    node()
    scene.phase.running_limit_per_team = 1
    scene.phase.save()
    run = run_of(scene, statuses=["done", "done", "queued", "queued"])
    assert selectors.waiting(run.submission, now=factories.NOW).eta_seconds == 20.0
