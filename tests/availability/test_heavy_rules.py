"""Rules that ask for too much work are refused at push, with figures; where more submissions come than was thought, the board says so."""

import json
import random
import threading

import pytest
from django.urls import reverse

import factories
from assay.accounts.errors import ConflictError, InvalidError
from assay.challenges.definition import parse_definition
from assay.evaluations.models import CaseScores, Evaluation
from assay.leaderboards import reports, scores, services
from assay.leaderboards.models import Leaderboard, LeaderboardEntry
from assay.leaderboards.services import ask_for_rebuild, behind, rebuild_leaderboard
from assay.leaderboards.words import sentence
from assay.organizers.consoles import needs_of
from assay.submissions.services import refuse_too_many_scores
from assay.testsets import fitness
from assay.workflow.workers.limits import OutOfTimeError, limited_processor_time
from evaluator.protocol import load_named_protocol, named_protocols
from evaluator.protocol.work import (
    MOST_SCORES_OF_A_CASE,
    MOST_VISITS,
    check_work,
    scores_of_a_case,
    visits_of_a_voxel,
)
from evaluator.ranking import Size, parse_ranking, work_of

METRICS = ["dice"]
KEMENY = {"type": "consensus", "consensus": "kemeny_linear", "rank_at": ["case"]}
LESIONS = {"name": "lesion_dice", "dilation": 50, "dilation_neighbourhood": 26}


def challenge_text(**changes):
    """A whole challenge.yaml; JSON is YAML."""
    phase = {"slug": "final", "opens_at": "2026-01-01", "closes_at": "2026-02-01"}
    return json.dumps(
        {"slug": "brains", "title": "Brains", "protocol": factories.PROTOCOL | changes, "phases": [phase]}, indent=1
    )


@pytest.mark.parametrize(
    ("changes", "where", "told"),
    [
        (
            {"ranking": {"metrics": METRICS, "scheme": KEMENY, "stability": {"bootstrap": 10_000}}},
            "ranking.stability.bootstrap",
            "a consensus that is not Kemeny's",
        ),
        (
            {
                "ranking": {
                    "metrics": METRICS,
                    "scheme": "significance",
                    "significance": {"test": "permutation", "repetitions": 200_000},
                }
            },
            "ranking.stability.bootstrap",
            "fewer `significance.repetitions`",
        ),
        (
            {"labels": {f"l{n}": {"values": n, "tolerance_mm": 1} for n in range(1, 1001)}, "metrics": [LESIONS]},
            "metrics",
            "a smaller `dilation`",
        ),
        (
            {
                "labels": {f"l{n}": {"values": n} for n in range(1, 1001)},
                "metrics": [{"name": "dice", "id": f"d{n}"} for n in range(100)],
            },
            "metrics",
            "fewer labels or metrics",
        ),
    ],
)
def test_a_heavy_protocol_is_refused_at_push_with_its_place_and_figures(changes, where, told):
    text = challenge_text(**changes)
    with pytest.raises(InvalidError) as refusal:
        parse_definition(text)
    error = refusal.value
    assert error.code == "invalid_protocol"
    assert where in error.message
    assert any(character.isdigit() for character in error.found)
    assert told in error.expected
    key = where.rpartition(".")[2]
    written = f'"{key}"' if f'"{key}"' in text else '"ranking"'
    assert written in "\n".join(text.splitlines()[max(0, error.line - 2) : error.line])


@pytest.mark.parametrize("name", named_protocols())
def test_published_protocols_ask_for_a_tenth_of_what_is_allowed(name):
    protocol = load_named_protocol(name)
    check_work(protocol)
    assert 10 * scores_of_a_case(protocol) <= MOST_SCORES_OF_A_CASE
    assert 10 * visits_of_a_voxel(protocol) <= MOST_VISITS


def enter(phase, *, level):
    team = factories.team(members=[factories.user()])
    submission = factories.submission(phase=phase, team=team, status="done")
    evaluation = Evaluation.objects.create(
        submission=submission, number=1, protocol=submission.protocol, testset=submission.testset,
        status="done", is_active=True, created_at=factories.NOW,
    )  # fmt: skip
    chance = random.Random(submission.number)
    for case in submission.testset.cases.all():
        values = [[label, "dice", level + chance.uniform(0, 0.1), ""] for label in ("core", "rim")]
        CaseScores.objects.create(evaluation=evaluation, case=case, scores=values)


RANKING = {"metrics": METRICS, "missing": {"any": 0}}


@pytest.fixture
def phase(scene):
    scores.forget_scores()
    testset = factories.testset(challenge=scene.challenge, name="six", case_ids=[f"c{number}" for number in range(6)])
    version = factories.protocol(challenge=scene.challenge, document=factories.PROTOCOL | {"ranking": RANKING})
    row = factories.phase(challenge=scene.challenge, slug="six", testset=testset, protocol=version)
    for level in (0.2, 0.5, 0.8):
        enter(row, level=level)
    return row


def rebuilt(phase) -> Leaderboard:
    ask_for_rebuild(phase_id=phase.pk, now=factories.NOW)
    rebuild_leaderboard(phase_id=phase.pk, now=factories.NOW)
    return Leaderboard.objects.get(phase=phase)


def work():
    return work_of(parse_ranking(RANKING), Size(algorithms=3, cases=6, structures=2, metrics=1))


def board_page(client, phase):
    return client.get(reverse("portal:leaderboard", args=[phase.challenge.slug, phase.slug])).text


def test_a_board_within_the_limit_names_its_replicates(phase, client):
    board = rebuilt(phase)
    assert (board.replicates, board.lack) == (1000, {})
    assert "its interval over 1000 resamplings" in board_page(client, phase)


def test_a_board_that_has_grown_takes_fewer_replicates_and_says_so(phase, client, monkeypatch):
    monkeypatch.setattr(services, "MOST_STEPS", work().total(400.5))
    board = rebuilt(phase)
    assert board.replicates == 400
    assert "1000 resamplings of 3 submissions on 6 cases take too long" in sentence(board.lack)
    page = board_page(client, phase)
    assert sentence(board.lack) in page
    assert "its interval over 400 resamplings" in page
    path = f"/api/v1/challenges/{phase.challenge.slug}/phases/{phase.slug}/leaderboard"
    assert client.get(path).json()["note"] == sentence(board.lack)
    entries = LeaderboardEntry.objects.filter(phase=phase)
    assert all(entry.statistics["rank_interval"] for entry in entries)


def test_a_board_that_cannot_be_examined_is_ranked_without_statistics_and_says_so(phase, client, monkeypatch):
    monkeypatch.setattr(services, "MOST_STEPS", work().total(0) - 1)
    board = rebuilt(phase)
    assert (board.replicates, board.answered) == (None, board.asked)
    assert "Ranks have no intervals" in board_page(client, phase)
    entries = LeaderboardEntry.objects.filter(phase=phase).order_by("rank")
    assert [(entry.rank, entry.statistics) for entry in entries] == [(1, {}), (2, {}), (3, {})]


def test_a_ranking_that_is_too_much_by_itself_is_set_aside_at_once_with_figures(phase, client, monkeypatch):
    standing = rebuilt(phase)
    monkeypatch.setattr(services, "MOST_STEPS", work().ranking - 1)
    board = rebuilt(phase)
    assert board.answered == standing.answered
    assert board.is_set_aside
    assert not behind().exists()
    assert "steps to rank 3 submissions on 6 cases; expected at most" in sentence(board.trouble)
    assert "The ranking is not up to date" in board_page(client, phase)
    assert any("push a protocol with a cheaper" in need.text for need in needs_of(phase.challenge, now=factories.NOW))
    assert LeaderboardEntry.objects.filter(phase=phase).count() == 3, "the ranking that stood goes on standing"


def test_memory_that_runs_out_while_a_ranking_is_examined_costs_only_its_statistics(phase, monkeypatch):
    def too_large(*_, **__):
        raise MemoryError

    monkeypatch.setattr(services, "analyse", too_large)
    board = rebuilt(phase)
    assert "more memory" in sentence(board.lack)
    assert LeaderboardEntry.objects.filter(phase=phase, rank=1).exists()


def test_a_report_that_is_too_much_says_so_and_is_not_begun_again(phase, monkeypatch):
    rebuilt(phase)
    monkeypatch.setattr(services, "MOST_STEPS", work().total(0) - 1)
    assert not reports.make_report(phase_id=phase.pk)
    assert "take too long" in (reports.report_failure(phase) or "")


def test_more_scores_than_a_submission_may_have_are_said_before_anybody_submits(phase, monkeypatch):
    assert fitness.too_many_scores(protocol=load_named_protocol("flare22"), cases=20_000) == ""
    monkeypatch.setattr(fitness, "MOST_SCORES", 11)
    with pytest.raises(ConflictError) as refusal:
        refuse_too_many_scores(phase)
    assert "12 scores of each submission (2 of each of 6 cases); expected at most 11" in refusal.value.found


def busy_for_ever():
    with limited_processor_time(0.05):
        while True:
            sum(range(1000))


def test_processor_time_is_limited_and_waiting_costs_none():
    with pytest.raises(OutOfTimeError):
        busy_for_ever()
    with limited_processor_time(0.05):
        threading.Event().wait(0.2)
