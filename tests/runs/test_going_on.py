"""A case that ended well while others go on asks for no decision: its run would be read again for every one of its cases."""

import random

import pytest

import factories
from assay.runs import services
from assay.runs.models import CaseRun, Node
from assay.runs.services import Ending
from assay.workflow import flow
from containers.spec import Usage
from containers.verdicts import Verdict

CASES = 6


@pytest.fixture
def node(db):
    return Node.objects.create(name="n", token_hash="t", slots=CASES, created_at=factories.NOW)


@pytest.fixture
def run(db):
    challenge = factories.challenge()
    testset = factories.testset(challenge=challenge, case_ids=[str(number) for number in range(CASES)])
    phase = factories.phase(challenge=challenge, testset=testset)
    submission = factories.submission(phase=phase, team=factories.team(members=[factories.user()]), status="queued")
    return services.create_run(submission=submission, now=factories.NOW, shuffle=random.Random(1))


@pytest.fixture
def decided(monkeypatch):
    """How often the whole run was read to decide."""
    calls = []
    decide = services.decide_run
    monkeypatch.setattr(services, "decide_run", lambda *, run: calls.append(run) or decide(run=run))
    return calls


@pytest.fixture
def end(node):
    """Claim the next case run and say how it ended."""

    def go(verdict=Verdict.OK):
        case_run = flow.claim(node=node, now=factories.NOW)
        ending = Ending(verdict=verdict, usage=Usage(wall_seconds=1.0), outputs=[])
        return flow.record(node=node, case_run_id=case_run.id, fence=case_run.fence, ending=ending, now=factories.NOW)

    return go


def test_only_the_canary_and_the_last_case_ask_for_a_decision(run, end, decided):
    for _ in range(CASES):
        end()
    assert len(decided) == 2, "the first opens the others, the last ends the run"
    run.refresh_from_db()
    assert run.status == "done"
    assert set(run.case_runs.values_list("status", flat=True)) == {"done"}


def test_a_failure_asks_every_time(run, end, decided):
    end()
    for _ in range(3):
        end(Verdict.TIMEOUT)
    assert len(decided) == 1 + 3 + 1, "the third time-out in a row gives up on the rest, and looks once more"
    assert run.case_runs.filter(verdict=Verdict.UNRUN).count() == CASES - 4


def test_a_cancelled_submission_asks(run, end, decided):
    end()
    case_run = run.case_runs.filter(status="done").select_related("run__submission").get()
    assert services.simply_goes_on(case_run)
    type(run.submission).objects.filter(pk=run.submission_id).update(cancel_requested_at=factories.NOW)
    again = CaseRun.objects.select_related("run__submission").get(pk=case_run.pk)
    assert not services.simply_goes_on(again)
