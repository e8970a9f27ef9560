"""Work that a document can ask for is bounded, and a ranking that ends its worker twice is set aside."""

import inspect
import re
from unittest import mock
from uuid import uuid4

import pytest
from django.urls import reverse

import factories
from assay.accounts.errors import InvalidError
from assay.challenges.definition import parse_definition
from assay.config import serve
from assay.config.parts import WORKFLOW_OPTIONS
from assay.leaderboards import services
from assay.leaderboards.models import Leaderboard
from assay.leaderboards.services import ask_for_rebuild, behind, let_go_on, rebuild_leaderboard
from assay.leaderboards.words import UNFINISHED, sentence
from assay.workflow.flow import doorbells
from assay.workflow.operations.stuck import find_stuck
from assay.workflow.tasks import RANKING_BYTES
from assay.workflow.workers.limits import limited_memory
from evaluator.errors import ProtocolError
from evaluator.protocol import load_protocol
from evaluator.ranking.document.parse import MOST_REPETITIONS, MOST_REPLICATES


class WorkerKilled(BaseException):
    """The process is gone: no code of ours runs after it."""


@pytest.mark.parametrize(
    "ranking",
    [
        {"stability": {"bootstrap": MOST_REPLICATES + 1}},
        {"stability": {"bootstrap": 2_000_000_000}},
        {"significance": {"test": "permutation", "repetitions": MOST_REPETITIONS + 1}},
        {"stability": {"seed": 2**80}},
    ],
)
def test_a_ranking_that_asks_for_too_much_is_refused(ranking):
    with pytest.raises(ProtocolError):
        load_protocol(factories.PROTOCOL | {"ranking": ranking})


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {f"label{n}": {"values": n, "tolerance_mm": 1} for n in range(1, 1002)}},
        {"metrics": [{"name": "dice", "id": f"d{n}"} for n in range(101)]},
        {"resources": {"wall_seconds": 1e12}},
        {"resources": {"memory_mb": 2**60}},
        {"breakdowns": [f"a{n}" for n in range(21)]},
    ],
)
def test_a_protocol_that_asks_for_too_much_is_refused(changes):
    with pytest.raises(ProtocolError):
        load_protocol(factories.PROTOCOL | changes)


@pytest.fixture
def board(scene):
    ask_for_rebuild(phase_id=scene.phase.pk, now=factories.NOW)
    return Leaderboard.objects.get(phase=scene.phase)


def killed(board):
    """One rebuild that takes its worker with it."""
    with mock.patch.object(services, "_rebuild", side_effect=WorkerKilled), pytest.raises(WorkerKilled):
        rebuild_leaderboard(phase_id=board.phase_id, now=factories.NOW)


def test_a_ranking_that_ended_its_worker_twice_is_never_rung_again(board):
    killed(board)
    assert behind().exists()
    killed(board)
    assert not behind().exists()
    ask_for_rebuild(phase_id=board.phase_id, now=factories.NOW)
    assert not behind().exists()
    assert rebuild_leaderboard(phase_id=board.phase_id, now=factories.NOW) is False


def test_one_that_ends_well_starts_counting_anew(board):
    killed(board)
    assert rebuild_leaderboard(phase_id=board.phase_id, now=factories.NOW)
    board.refresh_from_db()
    assert (board.tries, board.trouble, board.answered) == (0, {}, board.asked)


def test_operators_see_it_and_let_it_go_on(board):
    killed(board)
    killed(board)
    lines = [line for line in find_stuck(now=factories.NOW) if line.kind == "leaderboard"]
    assert [(line.acts, "set aside" in line.text) for line in lines] == [(("wake",), True)]
    assert let_go_on(phase_id=board.phase_id)
    assert rebuild_leaderboard(phase_id=board.phase_id, now=factories.NOW)


def test_another_protocol_is_tried(board, scene):
    killed(board)
    killed(board)
    scene.phase.protocol = factories.protocol(challenge=scene.challenge)
    scene.phase.save()
    assert behind().exists()
    assert rebuild_leaderboard(phase_id=board.phase_id, now=factories.NOW)


def test_an_error_is_kept_for_the_organizers(board):
    with mock.patch.object(services, "_rebuild", side_effect=MemoryError("too large")), pytest.raises(MemoryError):
        rebuild_leaderboard(phase_id=board.phase_id, now=factories.NOW)
    board.refresh_from_db()
    assert (board.tries, sentence(board.trouble)) == (1, "MemoryError: too large")


@pytest.mark.parametrize(("times", "words"), [(1, "It is tried once more"), (2, "is set aside")])
def test_organizers_see_it_on_their_page(board, scene, client, times, words):
    for _ in range(times):
        killed(board)
    client.force_login(scene.olga)
    page = client.get(reverse("organizers:overview", args=[scene.challenge.slug])).text
    assert words in page
    assert sentence(UNFINISHED) in page


@pytest.mark.django_db
@pytest.mark.parametrize("ring", [doorbells.ring_leaderboard, doorbells.ring_report])
def test_nobodys_upload_waits_behind_a_ranking_or_a_report(ring, django_capture_on_commit_callbacks):
    with (
        mock.patch.object(doorbells.current_app, "send_task") as sent,
        django_capture_on_commit_callbacks(execute=True),
    ):
        ring(1)
        doorbells.ring_check(uuid4())
    queues = [call.kwargs["queue"] for call in sent.call_args_list]
    assert queues == ["ranking", "workflow"]


def test_every_queue_that_is_rung_is_served():
    words = inspect.getsource(serve)
    for queue in re.findall(r'queue="(\w+)"', inspect.getsource(doorbells)):
        assert re.search(rf'queues="[\w,]*\b{queue}\b', words), queue


def test_a_ranking_has_a_memory_limit_that_ends_with_it():
    with pytest.raises(MemoryError), limited_memory(RANKING_BYTES):
        bytearray(2**40)
    assert len(bytearray(2**20)) == 2**20


def test_the_clock_does_not_live_in_a_worker():
    assert "--beat" not in WORKFLOW_OPTIONS


@pytest.mark.parametrize("mode", ["per_case", "verdict_only", "ladder"])
def test_a_rounding_that_would_not_be_applied_is_refused(mode):
    text = "slug: a\ntitle: A\nprotocol: {{use: flare22, release: {{mode: {}, rounding: 2}}}}\n".format
    phases = "phases: [{slug: final, opens_at: 2026-11-01, closes_at: 2027-01-01}]"
    assert parse_definition(text("aggregate") + phases).phases[0].protocol.release.rounding == 2
    with pytest.raises(InvalidError):
        parse_definition(text(mode) + phases)


def test_a_list_that_is_too_long_is_refused_before_its_items_are_looked_at():
    labels = {f"label{n}": {"values": "none"} for n in range(1001)}
    with pytest.raises(ProtocolError) as refused:
        load_protocol(factories.PROTOCOL | {"labels": labels})
    assert (refused.value.where, refused.value.found) == ("labels", "1001 entries")
