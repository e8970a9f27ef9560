"""A leaderboard rebuilt from what the process kept is the one rebuilt from the database, and reads only what is new."""

import random

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

import factories
from assay.evaluations.models import CaseScores, Evaluation
from assay.leaderboards import scores
from assay.leaderboards.models import LeaderboardEntry
from assay.leaderboards.services import ask_for_rebuild, rebuild_leaderboard
from assay.runs.models import CaseRun, Run
from assay.submissions.models import Submission
from containers.spec import Usage

pytestmark = pytest.mark.django_db
RULES = {
    **factories.PROTOCOL,
    "ranking": {
        "metrics": ["dice"],
        "missing": {"any": 0},
        "scheme": {"type": "significance"},
        "significance": {"adjust": "holm"},
    },
}


@pytest.fixture
def phase(scene):
    scores.forget_scores()
    testset = factories.testset(
        challenge=scene.challenge, name="twelve", case_ids=[f"c{number}" for number in range(12)]
    )
    version = factories.protocol(challenge=scene.challenge, document=RULES)
    return factories.phase(challenge=scene.challenge, slug="twelve", testset=testset, protocol=version)


def score(submission, *, level: float, number: int = 1, case_ids=None) -> Evaluation:
    """An evaluation of the submission that counts, instead of the one before."""
    submission.evaluations.update(is_active=False)
    chance = random.Random(f"{submission.number} {number}")
    evaluation = Evaluation.objects.create(
        submission=submission, number=number, protocol=submission.protocol, testset=submission.testset,
        status="done", is_active=True, created_at=factories.NOW,
    )  # fmt: skip
    for case in submission.testset.cases.all():
        if case_ids is None or case.case_id in case_ids:
            values = [[label, "dice", min(1.0, level + chance.uniform(0, 0.1)), ""] for label in ("core", "rim")]
            CaseScores.objects.create(evaluation=evaluation, case=case, scores=values)
    return evaluation


def enter(phase, *, level: float, team=None) -> Submission:
    team = team or factories.team(members=[factories.user()])
    submission = factories.submission(phase=phase, team=team, status="done")
    score(submission, level=level)
    return submission


def rebuilt(phase) -> list[tuple]:
    ask_for_rebuild(phase_id=phase.pk, now=factories.NOW)
    assert rebuild_leaderboard(phase_id=phase.pk, now=factories.NOW)
    rows = LeaderboardEntry.objects.filter(phase=phase).order_by("submission__number")
    return [(row.submission.number, row.rank, row.score, row.statistics, row.case_count) for row in rows]


def both_ways(phase) -> list[tuple]:
    """The board from what was kept, after checking it against one that knows nothing."""
    kept = rebuilt(phase)
    scores.forget_scores()
    assert rebuilt(phase) == kept
    return kept


def play(submission, *, seconds: float) -> Run:
    """A run of the submission's evaluation that counts, each case as long."""
    run = Run.objects.create(submission=submission, number=1, status="done", pool="default", created_at=factories.NOW)
    for position, case in enumerate(submission.testset.cases.all()):
        usage = Usage(wall_seconds=seconds, peak_memory_bytes=position)
        CaseRun.objects.create(run=run, case=case, position=position, status="done", verdict="ok", usage=usage)
    submission.evaluations.filter(is_active=True).update(run=run)
    return run


def test_what_a_run_consumed_is_read_once_and_shown_on_every_board_after(phase):
    earlier = play(enter(phase, level=0.5), seconds=2.0)
    rebuilt(phase)
    later = play(enter(phase, level=0.6), seconds=3.0)
    with CaptureQueriesContext(connection) as queries:
        rebuilt(phase)
    asked = " ".join(query["sql"] for query in queries if 'FROM "runs_caserun"' in query["sql"])
    assert later.pk.hex in asked
    assert earlier.pk.hex not in asked
    shown = LeaderboardEntry.objects.filter(phase=phase).order_by("submission__number")
    assert list(shown.values_list("seconds_per_case", "peak_memory_bytes")) == [(2.0, 11), (3.0, 11)]


def test_a_board_that_grew_shrank_and_was_judged_again_equals_one_read_afresh(phase):
    first, second, third = (enter(phase, level=level) for level in (0.5, 0.6, 0.7))
    assert [row[:2] for row in rebuilt(phase)] == [(1, 3), (2, 2), (3, 1)]
    enter(phase, level=0.8)
    assert [row[:2] for row in both_ways(phase)] == [(1, 4), (2, 3), (3, 2), (4, 1)]
    rebuilt(phase)
    Submission.objects.filter(pk=third.pk).update(is_disqualified=True)
    score(first, level=0.85, number=2)
    assert [row[:2] for row in both_ways(phase)] == [(1, 1), (2, 3), (4, 2)]
    Submission.objects.filter(pk=second.pk).update(is_withdrawn=True)
    assert [row[:2] for row in both_ways(phase)] == [(1, 1), (4, 2)]


def test_a_case_that_only_a_row_gone_had_is_expected_of_nobody(phase):
    whole, part = enter(phase, level=0.5), enter(phase, level=0.7)
    score(part, level=0.7, number=2, case_ids={"c0", "c1", "c2", "c3"})
    rebuilt(phase)
    Submission.objects.filter(pk=whole.pk).update(is_withdrawn=True)
    enter(phase, level=0.1)
    Submission.objects.filter(phase=phase, number=3).update(is_withdrawn=True)
    ((number, rank, _, _, cases),) = both_ways(phase)
    assert (number, rank, cases) == (2, 1, 4)


def test_the_best_of_a_team_is_found_among_all_and_ranked_among_the_best(phase, scene):
    enter(phase, level=0.6, team=scene.team)
    enter(phase, level=0.9, team=scene.team)
    other = enter(phase, level=0.7)
    assert [row[:2] for row in both_ways(phase)] == [(2, 1), (other.number, 2)]


def test_one_more_submission_reads_one_submission(phase, monkeypatch):
    for level in (0.5, 0.6, 0.7):
        enter(phase, level=level)
    read = []
    rows = scores._rows
    monkeypatch.setattr(
        scores, "_rows", lambda evaluations, **more: read.append(len(evaluations)) or rows(evaluations, **more)
    )
    rebuilt(phase)
    enter(phase, level=0.8)
    rebuilt(phase)
    rebuilt(phase)
    assert read == [3, 1, 0]


def test_a_process_keeps_a_few_boards_only(scene):
    scores.forget_scores()
    testset = factories.testset(challenge=scene.challenge, name="two", case_ids=["a", "b"])
    for number in range(scores.MOST_KEPT + 2):
        phase = factories.phase(challenge=scene.challenge, slug=f"phase-{number}", testset=testset)
        enter(phase, level=0.5)
        rebuilt(phase)
    assert len(scores._KEEPER.boards) == scores.MOST_KEPT
    assert phase.pk in scores._KEEPER.boards
