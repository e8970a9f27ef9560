"""What a submission shows to whom: progress, cases, usage, logs, receipts. And what a list costs."""

import io

import pytest

import factories
from assay.evaluations.models import CaseScores, Evaluation
from assay.runs.models import CaseRun, Run
from assay.submissions.models import Submission
from assay.testsets import storage
from containers.spec import Usage

MIB = 2**20
RECEIPT = {"receipt": 1, "public_key": "k", "signature": "s"}


@pytest.fixture
def submission(scene, now) -> Submission:
    """Done: case a in 7.3 s, case b failed. Scored, and a log each."""
    row = factories.submission(phase=scene.phase, team=scene.team, status="done", finished_at=now)
    run = Run.objects.create(submission=row, number=1, status="done", pool="default", created_at=now)
    for position, case in enumerate(row.testset.cases.all()):
        key = f"logs/{case.case_id}"
        storage.save_file(key=key, stream=io.BytesIO(f"hello from {case.case_id}\n".encode()), max_bytes=100)
        CaseRun.objects.create(
            run=run, case=case, position=position, pool="default", status="done" if position == 0 else "failed",
            verdict="ok" if position == 0 else "timeout", log_key=key,
            usage=Usage(wall_seconds=7.3, peak_memory_bytes=300 * MIB),
        )  # fmt: skip
    evaluation = Evaluation.objects.create(
        submission=row, run=run, number=1, protocol=row.protocol, testset=row.testset, status="done", is_active=True,
        aggregates={"dice": {"mean": 0.8, "sd": 0.1}}, receipt=RECEIPT, created_at=now,
    )  # fmt: skip
    for case in row.testset.cases.all():
        CaseScores.objects.create(evaluation=evaluation, case=case, scores=[["core", "dice", 0.8, ""]])
    return row


def release(submission: Submission, policy: str) -> None:
    factories.rewrite_protocol(submission.protocol, {**submission.protocol.document, "release": policy})


def test_where_single_cases_are_released_its_team_sees_them_by_number(submission, as_pia):
    first, second = as_pia("GET", f"/submissions/{submission.pk}/cases").json()
    assert (first["case"], first["verdict"], first["scores"]) == ("case 1", "ok", [["core", "dice", 0.8, ""]])
    assert (second["case"], second["verdict"]) == ("case 2", "timeout")


def test_its_organizer_sees_cases_by_name_and_exact_usage(submission, as_olga):
    first, _ = as_olga("GET", f"/submissions/{submission.pk}/cases").json()
    assert (first["case"], first["seconds"], first["peak_memory_bytes"]) == ("a", 7.3, 300 * MIB)


def test_aggregates_only_means_no_score_of_a_case(submission, as_pia, as_olga):
    release(submission, "aggregate")
    assert as_pia("GET", f"/submissions/{submission.pk}/cases").json() == []
    assert as_pia("GET", f"/submissions/{submission.pk}").json()["metrics"]["dice"]["mean"] == 0.8
    assert as_olga("GET", f"/submissions/{submission.pk}/cases").json()[0]["scores"]


def test_a_phase_that_gives_verdicts_only_shows_nothing_before_the_end(submission, as_pia, as_olga):
    release(submission, "verdict_only")
    Submission.objects.update(status="running", finished_at=None)
    shown = as_pia("GET", f"/submissions/{submission.pk}").json()
    assert (shown["progress"]["total"], shown["metrics"]) == (0, None)
    assert as_pia("GET", f"/submissions/{submission.pk}/cases").json() == []
    assert as_pia("GET", "/submissions").json()["items"][0]["progress"]["total"] == 0
    assert as_olga("GET", "/submissions").json()["items"][0]["progress"]["total"] == 2
    assert as_olga("GET", f"/submissions/{submission.pk}").json()["progress"]["failed"] == 1


def test_under_embargo_only_organizers_see_numbers(submission, scene, as_pia, as_olga):
    as_olga("POST", "/challenges/brains/phases/final/embargo", {})
    assert as_pia("GET", f"/submissions/{submission.pk}").json()["metrics"] is None
    assert as_olga("GET", f"/submissions/{submission.pk}").json()["metrics"]
    board = as_pia("GET", "/challenges/brains/phases/final/leaderboard").json()
    assert (board["is_visible"], board["entries"]) == (False, [])
    assert board["why_hidden"]


def test_organizers_read_every_log_and_a_team_those_of_public_cases(submission, as_pia, as_olga):
    answer = as_olga("GET", f"/submissions/{submission.pk}/logs")
    assert b"".join(answer.streaming_content) == b"==> a\nhello from a\n\n==> b\nhello from b\n\n"
    refusal = as_pia("GET", f"/submissions/{submission.pk}/logs")
    assert refusal.status_code == 403
    assert "hello" not in refusal.content.decode()
    submission.testset.is_public = True
    submission.testset.save()
    assert b"hello from b" in b"".join(as_pia("GET", f"/submissions/{submission.pk}/logs").streaming_content)


def test_the_receipt_is_handed_out_once_there_is_one(submission, as_pia):
    assert as_pia("GET", f"/submissions/{submission.pk}/receipt").json() == RECEIPT
    Evaluation.objects.update(is_active=False)
    assert as_pia("GET", f"/submissions/{submission.pk}/receipt").status_code == 404


def test_disqualifying_says_why_and_happens_once(submission, as_olga, as_pia):
    answer = as_olga("POST", f"/submissions/{submission.pk}/disqualify", {"reason": "copied from another team"})
    assert answer.status_code == 200
    assert as_pia("GET", f"/submissions/{submission.pk}").json()["disqualified_reason"] == "copied from another team"
    assert as_olga("POST", f"/submissions/{submission.pk}/disqualify", {"reason": "again"}).status_code == 409


def test_rejudging_asks_for_an_evaluation_that_does_not_rank_yet(submission, as_olga):
    answer = as_olga("POST", f"/submissions/{submission.pk}/rejudge")
    assert answer.status_code == 202
    (evaluation,) = answer.json()["evaluations"]
    assert not Evaluation.objects.get(pk=evaluation).is_active


def test_what_failed_by_our_fault_is_taken_up_again_alone_or_with_others(scene, as_olga):
    lost = [
        factories.submission(phase=scene.phase, team=scene.team, status="failed", fault="platform", is_charged=False)
        for _ in range(2)
    ]
    answer = as_olga("POST", f"/submissions/{lost[0].pk}/resume")
    assert (answer.json()["status"], answer.json()["is_charged"]) == ("received", False)
    assert as_olga("POST", f"/submissions/{lost[0].pk}/resume").status_code == 409
    chosen = {"submission_ids": [str(row.pk) for row in lost]}
    assert as_olga("POST", "/submissions/resume", chosen).json() == {"resumed": [str(lost[1].pk)]}


def test_one_case_runs_again(scene, submission, as_olga):
    Run.objects.update(finished_at=factories.NOW, status="done")
    answer = as_olga("POST", f"/submissions/{submission.pk}/cases/a/rerun")
    assert (answer.status_code, answer.json()) == (202, {"run": 2})
    assert as_olga("POST", f"/submissions/{submission.pk}/cases/a/rerun").status_code == 409


def test_pages_of_a_list_end_where_asked(scene, submission, as_pia):
    factories.submission(phase=scene.phase, team=scene.team, status="done")
    first = as_pia("GET", "/submissions?limit=1").json()
    second = as_pia("GET", "/submissions?limit=1&offset=1").json()
    assert (first["count"], len(first["items"])) == (2, 1)
    assert first["items"][0]["id"] != second["items"][0]["id"]


@pytest.mark.parametrize("size", [1, 6])
def test_a_list_takes_the_same_number_of_queries_at_any_size(scene, as_pia, size, django_assert_num_queries):
    for _ in range(size):
        factories.submission(phase=scene.phase, team=scene.team)
    with django_assert_num_queries(14):  # two open and end the transaction, two the note that the token was used
        assert as_pia("GET", "/submissions").json()["count"] == size
