"""A full disk, and a server that is away while a release is sent: each run ends once, and nothing is left."""

import errno

import httpx
import pytest

from assay.client.errors import ClientError
from assay.evaluation_sites.models import SiteEvaluation
from assay.node import local, site
from assay.node.site_progress import Progress

STEPS = {
    "the image": (site, "borrowed_image"),
    "an input": (local, "place_input"),
    "a finished case": (Progress, "add"),
    "a log": (site.SiteAgent, "_keep_log"),
    "the draft": (site, "write_draft"),
    "the receipt": (site, "write_config"),
}


def left(hospital):
    """What no run may leave."""
    work = hospital.home.folder / hospital.name
    return [str(path) for name in ("scratch", "progress") for path in (work / name).rglob("*")] + [
        str(path) for path in (work / "releases").glob("*.json*")
    ]


@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_at_each_step_costs_one_more_start_and_no_score(step, hospital, submission, monkeypatch):
    owner, name = STEPS[step]

    def full(*arguments, **words):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(owner, name, full)
        agent = hospital.agent()
        with pytest.raises(OSError, match="No space left"), agent.alone():
            agent.release(agent.evaluate(agent.claim(hospital.registration()), on_case=lambda result: None))
    agent = hospital.agent()
    with agent.alone():
        order = agent.claim(hospital.registration())
        drafts = agent.drafts() if order is None else [agent.evaluate(order, on_case=lambda result: None)]
        for draft in drafts:
            agent.release(draft)
    row = SiteEvaluation.objects.get()
    assert (row.status, row.release["metrics"]["dice"]["mean"]) == ("released", 1.0)
    assert row.release["failures"] == {}, "a full disk is nobody's score"
    assert len(list((agent.folder / "releases").glob("*.released"))) == 1
    assert left(hospital) == []


@pytest.mark.parametrize("arrives", [False, True], ids=["before it arrives", "before the answer"])
def test_a_server_that_is_away_while_a_release_is_sent_takes_it_once(arrives, hospital, submission):
    agent, draft = hospital.evaluate()
    inner = hospital.inner

    def away(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/release"):
            if arrives:
                inner.handle_request(request)
            raise httpx.ConnectError("away")
        return inner.handle_request(request)

    hospital.inner = httpx.MockTransport(away)
    with pytest.raises(ClientError):
        agent.release(draft)
    hospital.inner = inner
    (waiting,) = agent.drafts()
    agent.release(waiting)
    row = SiteEvaluation.objects.get()
    assert row.status == "released"
    (kept,) = (agent.folder / "releases").glob("*.released")
    assert row.receipt["log_sha256"] in kept.read_text()
    assert left(hospital) == []
