"""`from assay import Client`: the same acts as the command, as typed records."""

import asyncio
import subprocess
import sys

import httpx
import pytest

import assay
from assay import AsyncClient, Client
from assay.client.errors import ClientError, RefusedError
from assay.client.http import Connection
from assay.client.records import Score

PHASE = "mni-brain-tissue/open"
PATH = "challenges/mni-brain-tissue/phases/open"
BRIEF = {"slug": "open", "title": "Open", "kind": "container", "opens_at": "2026-01-01T00:00:00Z",
         "closes_at": "2099-12-31T23:59:59Z", "is_open": True, "is_paused": False}  # fmt: skip


def submission(number: int, status: str = "done") -> dict[str, object]:
    return {"id": f"s-{number}", "number": number, "name": "Otsu", "team": "Otsu", "challenge": "mni-brain-tissue", "phase": "open",
            "status": status, "verdict": "", "verdict_text": "", "progress": {"done": 0, "total": 2, "failed": 0}, "queue": None,
            "metrics": {}, "url": ""}  # fmt: skip


@pytest.fixture
def client(server):
    with Client("http://server", "assay_x", transport=server.transport()) as connected:
        yield connected


def test_a_submission_is_uploaded_submitted_and_waited_for(client, server, tmp_path, monkeypatch):
    archive = tmp_path / "image.tar"
    archive.write_bytes(b"image" * 1000)
    server.will_answer("GET", PATH, {"eligibility": {"can_submit": True, "conditions": []}})
    server.will_answer("POST", f"{PATH}/submissions", submission(1, "queued"), status=201)
    server.will_answer("GET", "submissions/s-1", submission(1, "running"), submission(1, "done"))
    finished = client.submit(archive, phase=PHASE, name="Otsu", wait=True)
    assert (finished.id, finished.status, finished.has_finished) == ("s-1", "done", True)
    request = next(body for method, path, body in server.requests if path == f"{PATH}/submissions")
    assert request["name"] == "Otsu"
    assert request["upload_id"] in server.uploads


def test_who_may_not_submit_is_told_why_before_any_byte_is_sent(client, server, tmp_path):
    conditions = [{"ok": False, "text": "the phase has closed", "cure": "choose an open phase"}]
    server.will_answer("GET", PATH, {"eligibility": {"can_submit": False, "conditions": conditions}})
    with pytest.raises(ClientError, match="cannot submit") as refusal:
        client.submit(tmp_path / "image.tar", phase=PHASE, name="Otsu")
    assert (refusal.value.found, refusal.value.what_to_do) == ("the phase has closed", "Choose an open phase.")
    assert server.uploads == {}


def test_submissions_come_page_by_page(client, server):
    pages = [[submission(n) for n in range(100)], [submission(n) for n in range(100, 130)]]
    server.will_answer("GET", "submissions", *({"items": page, "count": 130} for page in pages))
    assert [row.number for row in client.submissions(phase=PHASE)] == list(range(130))


def test_the_whole_leaderboard_is_one_record(client, server):
    rows = [{"rank": n, "team": f"t{n}", "name": "x", "score": 0.5, "metrics": {"dice": {"mean": 0.5, "sd": 0.1}}, "failed_cases": 0,
             "case_count": 2, "seconds_per_case": 1.0, "peak_memory_bytes": 5, "submission_id": f"s-{n}"} for n in range(1, 131)]  # fmt: skip
    head = {"phase": "open", "metrics": [{"name": "dice", "unit": "", "direction": "max"}], "count": 130}
    server.will_answer("GET", f"{PATH}/leaderboard", {**head, "entries": rows[:100]}, {**head, "entries": rows[100:]})
    board = client.leaderboard(PHASE)
    assert len(board.entries) == 130
    assert board.entries[0].means == {"dice": 0.5}


def test_withheld_scores_are_none_and_not_empty(client, server):
    case = {"case": "a", "position": 1, "status": "done", "verdict": "ok", "reason": "", "seconds": 1.5, "peak_memory_bytes": 7,
            "attempt": 1}  # fmt: skip
    rows = [
        {**case, "scores": None},
        {**case, "scores": [["liver", "dice", 0.9, ""], ["liver", "hd95", None, "both_empty"]]},
    ]
    server.will_answer("GET", "submissions/s-1/cases", rows)
    withheld, released = client.cases("s-1")
    assert withheld.scores is None
    assert released.scores == (
        Score(label="liver", metric="dice", value=0.9, reason=""),
        Score(label="liver", metric="hd95", value=None, reason="both_empty"),
    )


def test_a_refusal_has_its_status_and_code(client, server):
    server.will_answer(
        "GET", "challenges/none", {"error": {"code": "not_found", "message": "There is no such challenge."}}, status=404
    )
    with pytest.raises(RefusedError) as refusal:
        client.challenge("none")
    assert (refusal.value.status, refusal.value.code) == (404, "not_found")


def test_phases_have_aware_times(client, server):
    server.will_answer(
        "GET",
        "challenges",
        [{"slug": "mni-brain-tissue", "title": "MNI", "summary": "", "status": "public", "phases": [BRIEF]}],
    )
    (challenge,) = client.challenges()
    assert challenge.phases[0].path == PHASE
    assert challenge.phases[0].closes_at.utcoffset() is not None


def test_the_environments_token_goes_to_the_environments_server_only(server, monkeypatch):
    monkeypatch.setenv("ASSAY_URL", "http://home")
    monkeypatch.setenv("ASSAY_TOKEN", "assay_secret")
    sent = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append((request.url.host, request.headers.get("Authorization")))
        return httpx.Response(200, json={"username": "pia", "display_name": "Pia", "email": "pia@example.org"})

    for url in ("", "http://elsewhere"):
        Client(url, transport=httpx.MockTransport(handle)).me()
    assert sent == [("home", "Bearer assay_secret"), ("elsewhere", None)]


def test_the_asynchronous_client_answers_the_same(server):
    server.will_answer("GET", "submissions/s-1", submission(1, "done"))

    async def ask() -> tuple[str, str]:
        async with AsyncClient("http://server", "assay_x", transport=server.transport()) as client:
            first, second = await asyncio.gather(client.submission("s-1"), client.wait("s-1"))
        return first.status, second.status

    assert asyncio.run(ask()) == ("done", "done")


def test_both_clients_have_the_same_methods():
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(AsyncClient) == public(Client)


def test_importing_assay_does_not_import_the_client():
    program = "import sys, assay; print('httpx' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )
    assert assay.Client is Client
    with pytest.raises(AttributeError):
        assay.Nothing  # noqa: B018 - looking is the test


def test_a_change_is_given_far_longer_than_a_question():
    """A server that checks a large test set answers after many minutes, and asking again would make a second one."""
    seen = {}

    def handle(request: httpx.Request) -> httpx.Response:
        seen[request.method] = request.extensions["timeout"]["read"]
        return httpx.Response(200, json={})

    connection = Connection(url="http://server", transport=httpx.MockTransport(handle))
    connection.get("challenges")
    connection.post("challenges/brains/testsets", {})
    connection.put("challenges/brains", {})
    assert seen["POST"] == seen["PUT"] >= 3600 > seen["GET"] >= 60
