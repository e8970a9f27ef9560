"""What is stuck is listed with the acts that are right for it, and each act does what its button says, once."""

from datetime import timedelta

import pytest
from django.utils import timezone

from assay.accounts.errors import InvalidError
from assay.accounts.models import AuditEvent
from assay.challenges.models import Phase
from assay.evaluations.models import Evaluation
from assay.leaderboards.models import Leaderboard
from assay.leaderboards.words import UNFINISHED, failure, sentence
from assay.organizers.consoles import needs_of
from assay.runs.models import CaseRun, Node, PromptRound
from assay.submissions.models import Submission
from assay.workflow.flow import doorbells
from assay.workflow.operations import operating
from assay.workflow.operations.stuck import Stuck, find_stuck

LONG_AGO = timedelta(hours=1)


@pytest.fixture
def rung(monkeypatch):
    """Every doorbell that would have rung."""
    bells = []
    for name in ("ring_check", "ring_pool", "ring_scoring", "ring_prompts", "ring_leaderboard", "ring_report"):
        monkeypatch.setattr(doorbells, name, lambda key, name=name, **_: bells.append((name, key)))
    return bells


@pytest.fixture
def live(stage):
    """The stage's node was heard of just now."""
    Node.objects.update(last_seen_at=timezone.now())
    return stage


def only_line() -> Stuck:
    (line,) = find_stuck(now=timezone.now())
    return line


def press(stage, line: Stuck, name: str) -> bool:
    return operating.act(kind=line.kind, key=line.key, name=name, by=stage.scene.stan, now=timezone.now())


def final(submission: Submission) -> tuple[str, str, bool]:
    submission.refresh_from_db()
    return submission.status, submission.verdict, submission.is_charged


@pytest.fixture
def claimed(live):
    """A case run that its node holds, and whose lease has ended."""
    submission = live.submit()
    live.check()
    assert live.api().claim(slots=1, cached_images=[]) is not None
    assert find_stuck(now=timezone.now()) == []
    CaseRun.objects.filter(status="running").update(lease_until=timezone.now() - LONG_AGO)
    return submission


def test_a_case_run_whose_lease_has_ended_is_requeued_once_and_uncounted(live, claimed, rung):
    line = only_line()
    assert (line.submission, line.text) == (claimed, "case run 0 on node-1: its lease has ended")
    assert line.acts == ("requeue", "cancel", "drain", "quarantine")
    assert press(live, line, "requeue")
    case_run = CaseRun.objects.get(attempt=1)
    assert (case_run.status, case_run.infrastructure_failures, case_run.reason) == ("queued", 0, "operator")
    assert ("ring_pool", "default") in rung
    assert not press(live, line, "requeue"), "the lease that was seen is gone"
    assert AuditEvent.objects.get(verb="operator.requeue").actor == live.scene.stan
    assert live.api().claim(slots=1, cached_images=[]) is not None
    assert not press(live, line, "requeue"), "another lease is not the one that was seen"
    assert CaseRun.objects.get(attempt=2).status == "running"


def test_a_submission_that_does_not_get_on_is_cancelled_and_refunded(live, claimed):
    line = only_line()
    assert press(live, line, "cancel")
    assert not press(live, line, "cancel")
    assert final(claimed)[2] is False
    CaseRun.objects.update(lease_until=timezone.now() - LONG_AGO)
    settle = next(other for other in find_stuck(now=timezone.now() + LONG_AGO) if other.kind == "cancel")
    assert press(live, settle, "settle")
    assert press(live, line, "requeue"), "what its node still held is taken from it"
    assert final(claimed) == ("cancelled", "cancelled", False)
    assert not press(live, settle, "settle")


@pytest.mark.parametrize(("name", "status"), [("drain", "draining"), ("quarantine", "quarantined")])
def test_the_node_of_a_stuck_case_run_is_taken_out_of_service(live, claimed, name, status):
    line = only_line()
    assert press(live, line, name)
    assert not press(live, line, name)
    assert Node.objects.get().status == status
    assert AuditEvent.objects.get(verb=f"node.{status}").actor == live.scene.stan


def test_a_case_that_runs_far_beyond_its_limit_is_stuck_although_its_node_renews(live, claimed):
    CaseRun.objects.update(lease_until=timezone.now() + LONG_AGO, started_at=timezone.now() - timedelta(days=1))
    assert "runs beyond 3 times its limit of" in only_line().text
    live.scene.phase.submissions.update(limits={"wall_seconds_per": "case"})
    assert find_stuck(now=timezone.now()) == [], "a limit per case says nothing of the whole"


def test_a_pool_that_nobody_serves_gets_its_nodes_back(stage, rung):
    stage.submit()
    stage.check()
    assert only_line().text == "pool default: 1 case run waits, no node is live"
    assert only_line().acts == ("wake",)
    Node.objects.update(status="quarantined", last_seen_at=timezone.now())
    line = only_line()
    assert line.text == "pool default: 1 case run waits, every node is held back or silent"
    assert press(stage, line, "wake")
    assert rung[-1] == ("ring_pool", "default")
    assert press(stage, line, "activate")
    assert not press(stage, line, "activate")
    assert find_stuck(now=timezone.now()) == []
    stage.scene.phase.is_paused = True
    stage.scene.phase.save()
    assert find_stuck(now=timezone.now() + LONG_AGO) == [], "who is paused waits on purpose"


def test_cases_that_need_a_gpu_which_no_live_node_has_are_named(live):
    live.submit()
    live.check()
    CaseRun.objects.update(gpus=2)
    Node.objects.update(inventory={"gpus": [{"uuid": "GPU-a"}]})
    assert only_line().text == "pool default: 1 case run waits, no live node has the 2 GPUs needed"
    CaseRun.objects.update(gpus=1)
    assert find_stuck(now=timezone.now()) == []


def test_a_queue_that_nobody_takes_from_although_slots_are_free_is_woken(live):
    live.submit()
    live.check()
    CaseRun.objects.filter(status="queued").update(queued_at=timezone.now() - LONG_AGO)
    assert only_line().text == "pool default: 1 case run waits although slots are free"
    Phase.objects.update(running_limit=1)
    assert find_stuck(now=timezone.now()) == [], "a cap holds it back on purpose"
    Phase.objects.update(running_limit=None)
    CaseRun.objects.filter(status="waiting").update(status="running", lease_until=timezone.now() + LONG_AGO)
    assert find_stuck(now=timezone.now()) == [], "a full node is no fault"


def test_an_upload_that_nobody_checks_is_woken_or_cancelled(live, rung):
    submission = live.submit(status_changed_at=timezone.now() - LONG_AGO)
    line = only_line()
    assert press(live, line, "wake")
    assert rung == [("ring_check", submission.pk)]
    assert press(live, line, "cancel")
    assert final(submission) == ("cancelled", "cancelled", False)
    assert not press(live, line, "wake")


@pytest.fixture
def unscored(live):
    """An evaluation that nobody has taken."""
    submission = live.submit()
    live.check()
    live.run_cases()
    Evaluation.objects.update(created_at=timezone.now() - LONG_AGO, error="OperationalError: away")
    return submission


def test_an_evaluation_that_nobody_takes_is_woken(live, unscored, rung):
    line = only_line()
    assert line.text.endswith("nobody scores it (last error: OperationalError: away)")
    assert press(live, line, "wake")
    assert rung == [("ring_scoring", Evaluation.objects.get().id)]
    live.score()
    assert not press(live, line, "wake")


def test_an_evaluation_whose_worker_is_silent_is_released_under_its_own_fence_only(live, unscored):
    Evaluation.objects.update(status="running", fence=7, lease_until=timezone.now() - LONG_AGO, worker="host/1")
    line = only_line()
    assert "the lease of host/1 has ended" in line.text
    stale = Stuck(kind=line.kind, key=line.key.replace("/7", "/6"), text="", since=line.since, acts=())
    assert not press(live, stale, "release")
    assert press(live, line, "release")
    assert Evaluation.objects.get().status == "queued"
    assert press(live, line, "cancel")
    assert final(unscored) == ("cancelled", "cancelled", False)


def test_a_container_that_waits_for_prompts_is_woken(live, claimed, rung):
    case_run = CaseRun.objects.get(status="running")
    CaseRun.objects.update(lease_until=timezone.now() + LONG_AGO)
    PromptRound.objects.create(
        case_run=case_run, fence=case_run.fence, number=0, asked_at=timezone.now() - timedelta(minutes=2)
    )
    line = only_line()
    assert "waits for the prompts of round 0" in line.text
    assert press(live, line, "wake")
    assert rung == [("ring_prompts", PromptRound.objects.get().pk)]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"report_failed": 1, "report_failure": failure(RuntimeError("no such task"))}, "RuntimeError: no such task"),
        ({"report_tried": 1, "report_tries": 2}, sentence(UNFINISHED)),
    ],
)
def test_a_report_that_was_set_aside_is_seen_by_operators_and_organizers_and_made_again(live, rung, state, why):
    phase = live.scene.phase
    Leaderboard.objects.create(phase=phase, asked=1, answered=1, asked_at=timezone.now(), **state)
    line = only_line()
    assert line.text == f"the report of brains/final is set aside: {why}"
    assert any(why in need.text for need in needs_of(live.scene.challenge, now=timezone.now()))
    assert press(live, line, "wake")
    assert rung == [("ring_report", phase.pk)]
    assert find_stuck(now=timezone.now()) == []
    assert needs_of(live.scene.challenge, now=timezone.now()) == []
    assert not press(live, line, "wake")


def test_a_report_of_an_earlier_ranking_is_nobodys_trouble(live):
    Leaderboard.objects.create(
        phase=live.scene.phase,
        asked=2,
        answered=2,
        asked_at=timezone.now(),
        report_tried=1,
        report_tries=2,
        report_failed=1,
    )
    assert find_stuck(now=timezone.now()) == []


def test_a_ranking_that_is_behind_is_woken(live, rung):
    phase = live.scene.phase
    Leaderboard.objects.create(phase=phase, asked=2, answered=1, asked_at=timezone.now() - LONG_AGO)
    line = only_line()
    assert line.text == "the leaderboard of brains/final is behind"
    assert press(live, line, "wake")
    assert rung == [("ring_leaderboard", phase.pk)]
    Leaderboard.objects.update(answered=2)
    assert not press(live, line, "wake")


def test_what_failed_by_our_fault_is_taken_up_again_from_the_list(live):
    submission = live.submit(
        status="failed", fault="platform", earlier_text="a fault of ours", finished_at=timezone.now(), is_charged=False
    )
    line = only_line()
    assert line.acts == ("resume",)
    assert press(live, line, "resume")
    assert not press(live, line, "resume")
    assert final(submission)[0] == "received"


@pytest.mark.parametrize("key", ["", "x", "x/y", "00000000-0000-0000-0000-000000000000/1"])
@pytest.mark.parametrize(("kind", "name"), list(operating.ACTS))
def test_an_act_on_nothing_does_nothing_and_is_not_written_down(scene, kind, name, key):
    assert not operating.act(kind=kind, key=key, name=name, by=scene.stan, now=timezone.now())
    assert not AuditEvent.objects.filter(actor=scene.stan).exists()


def test_an_act_that_does_not_fit_is_refused_with_those_that_do(scene):
    with pytest.raises(InvalidError) as refused:
        operating.act(kind="pool", key="default", name="cancel", by=scene.stan, now=timezone.now())
    assert "wake (pool)" in str(refused.value.expected)


def test_every_act_that_a_line_offers_exists_and_has_a_name(live, claimed):
    offered = {(line.kind, name) for line in find_stuck(now=timezone.now() + LONG_AGO) for name in line.acts}
    assert offered
    assert offered <= set(operating.ACTS)
    assert {name for _, name in operating.ACTS} == set(operating.WORDS)
