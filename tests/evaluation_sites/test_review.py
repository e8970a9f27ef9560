"""The person who decides what leaves: what the sheet shows, what the page lets through, and from whom it takes a decision."""

import html
import io
import json
import re
import threading
from contextlib import contextmanager
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

import factories
from assay.evaluation_sites.models import SiteEvaluation
from assay.node.review_desk import SiteDesk
from assay.node.review_page import ReviewServer, draft_page
from assay.node.review_sheet import sheet_of
from assay.signatures import canonical_json
from waits import HANGS_AFTER_SECONDS

METRICS = {"dice": {"mean": 0.9, "n": 10}}


def case(name, *values, verdict="ok"):
    scores = [["core", "dice", value, ""] for value in values]
    return {"case": name, "verdict": verdict, "reason": "", "scores": scores}


def sheet(cases=(), *, metrics=METRICS, last=None, before=0):
    leaves = {"kind": "assay-site-release", "metrics": metrics, "failures": {}}
    return sheet_of(leaves, withheld=(), cases=cases, last=last, releases_before=before)


def test_the_sheet_shows_the_whole_document_and_the_hash_of_what_is_signed():
    found = sheet()
    assert json.loads(found.text)["metrics"] == METRICS
    assert found.byte_count == len(canonical_json(json.loads(found.text)))


def test_a_row_that_looks_made_is_warned_of():
    """One case answered, the rest empty: the mean is that case's value over the number of cases (attack q)."""
    cases = [case("a", 0.731), *(case(f"p{number}", 0.0) for number in range(9))]
    (warning,) = sheet(cases).warnings
    assert "9 cases have the same value 0.0" in warning
    assert "the other 1 alone" in warning
    honest = [case(f"p{number}", 0.7 + number / 100) for number in range(10)]
    assert sheet(honest).warnings == ()


def test_failures_and_earlier_releases_are_warned_of_and_failures_come_first():
    cases = [*(case(f"p{number}", 0.7 + number / 100) for number in range(6)), case("z", None, verdict="timeout")]
    found = sheet(cases, before=3)
    assert found.warnings[0] == "1 of 7 cases ended with timeout"
    assert "3 results were released on this data before" in found.warnings[-1]
    assert found.cases[0].case_id == "z"


def test_only_numbers_that_changed_are_listed_as_differences():
    last = {"submission": "#1", "metrics": {"dice": {"mean": 0.8, "n": 10}, "nsd": {"mean": 0.5, "n": 10}}}
    found = sheet(last=last)
    assert {row.name: (row.before, row.now) for row in found.differences} == {
        "dice.mean": (0.8, 0.9), "nsd.mean": (0.5, None), "nsd.n": (10, None)
    }  # fmt: skip


def test_names_of_cases_and_reasons_are_text_on_the_page():
    hostile = "<script>alert(1)</script>"
    page = draft_page("k", submission=hostile, sheet=sheet([case(hostile, 0.5)]), form_secret="f", nonce="n")
    assert hostile not in page
    assert "&lt;script&gt;" in page


@pytest.fixture
def served(hospital, scene):
    """The page of a hospital with one draft, and a browser that has opened the printed address."""
    factories.submission(phase=scene.phase, team=scene.team, status="done")
    agent, draft = hospital.evaluate()
    server = ReviewServer(desk=Requests(SiteDesk(agent, title="St Mary")))
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server, draft
    server.stop()
    thread.join()


class Requests:
    """The desk without its database, which another thread must not use: decisions are written down."""

    def __init__(self, desk):
        self._desk = desk
        self.title = desk.title
        self.reviewers = desk.reviewers
        self._waiting = desk.waiting()
        self._sheets = {draft.key: desk.sheet(draft.key) for draft in self._waiting}
        self.decided = []

    def waiting(self):
        return self._waiting

    def sheet(self, key):
        return self._sheets.get(key)

    def slices(self, key, *, place, input_name):
        return self._desk.slices(key, place=place, input_name=input_name)

    def decide(self, key, *, action, reason, by=""):
        self.decided.append((key, action, reason))
        return "done"


@contextmanager
def browser(server):
    with httpx.Client(
        base_url=f"http://127.0.0.1:{server.port}", follow_redirects=True, trust_env=False, timeout=HANGS_AFTER_SECONDS
    ) as client:
        opened = client.get(urlsplit(server.address).path + "?" + urlsplit(server.address).query)
        assert opened.status_code == HTTPStatus.OK
        yield client


def form_secret(page: str) -> str:
    return re.search(r'name="form_secret" value="([^"]+)"', page).group(1)


def test_a_person_opens_the_printed_address_reads_the_bytes_and_approves(served):
    server, draft = served
    with browser(server) as person:
        assert draft.submission in person.get("/").text
        page = person.get(f"/draft/{draft.evaluation_id}")
        assert "&quot;mean&quot;: 1.0" in page.text
        assert "Doe^Jane" in page.text, "local eyes may read names"
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        answer = person.post(
            f"/draft/{draft.evaluation_id}",
            data={"form_secret": form_secret(page.text), "action": "approve"},
            headers={"Origin": f"http://127.0.0.1:{server.port}"},
        )
    assert answer.status_code == HTTPStatus.OK
    assert server.desk.decided == [(draft.evaluation_id, "approve", "")]


def test_the_pictures_of_a_case_are_made_here_and_for_the_person_of_the_page_alone(served):
    server, draft = served
    with browser(server) as client:
        page = client.get(f"/draft/{draft.evaluation_id}")
        address = re.search(r'href="(/draft/[^"]+/case/0)"', page.text).group(1)
        case = client.get(address)
        assert "Doe^Jane" in case.text
        pictures = [html.unescape(found) for found in re.findall(r'<img src="([^"]+)"', case.text)]
        assert [re.search("what=(.*)$", found).group(1) for found in pictures] == ["image", "reference", "prediction"]
        answers = [client.get(picture) for picture in pictures]
        assert {answer.headers["Content-Type"] for answer in answers} == {"image/png"}
        scan, reference, prediction = (Image.open(io.BytesIO(answer.content)) for answer in answers)
        assert scan.tobytes() != reference.tobytes() == prediction.tobytes()
        assert client.get(f"{address}?slice=99999&axis=coronal").text.count("Slice 4 of 4") == 1
        assert client.get(f"{address}?slice=x&axis=up&input=none").status_code == HTTPStatus.OK
        assert client.get(f"{address.removesuffix('0')}4").text.count("Next case") == 0
        for wrong in (f"{address}9", "/draft/none/case/0", f"{address}/picture/x"):
            assert client.get(wrong).status_code == HTTPStatus.NOT_FOUND
    stranger = httpx.get(f"http://127.0.0.1:{server.port}{pictures[0]}", trust_env=False, timeout=HANGS_AFTER_SECONDS)
    assert stranger.status_code == HTTPStatus.FORBIDDEN


def test_predictions_stay_until_the_result_is_decided_and_no_longer(hospital, submission):
    agent, draft = hospital.evaluate()
    kept = agent.folder / "predictions" / draft.evaluation_id
    assert len([path for path in kept.rglob("*") if path.is_file()]) == 5
    left = agent.folder / "predictions" / "of-nothing"
    left.mkdir()
    with agent.alone():
        assert not left.exists()
        assert kept.exists()
    agent.decline(draft, reason="no")
    assert not kept.exists()
    assert "Doe" not in hospital.everything_sent()


def test_nobody_else_on_the_machine_or_in_the_browser_reads_or_decides(served):
    server, draft = served
    address, origin = f"/draft/{draft.evaluation_id}", f"http://127.0.0.1:{server.port}"
    with httpx.Client(base_url=origin, trust_env=False, timeout=HANGS_AFTER_SECONDS) as stranger:
        for path in ("/", address, "/?secret=guess"):
            answer = stranger.get(path)
            assert answer.status_code == HTTPStatus.FORBIDDEN
            assert "Doe" not in answer.text
    with browser(server) as person:
        secret = form_secret(person.get(address).text)
        wrong = [
            ({"form_secret": secret, "action": "approve"}, {"Origin": "https://evil.example"}),
            ({"form_secret": secret, "action": "approve"}, {}),
            ({"form_secret": "guess", "action": "approve"}, {"Origin": origin}),
            ({"action": "approve"}, {"Origin": origin}),
        ]
        for data, headers in wrong:
            assert person.post(address, data=data, headers=headers).status_code == HTTPStatus.FORBIDDEN
        rebound = person.get("/", headers={"Host": "evil.example"})
        assert rebound.status_code == HTTPStatus.MISDIRECTED_REQUEST
        assert (
            person.post(address, content=b"x" * 5000, headers={"Origin": origin}).status_code == HTTPStatus.BAD_REQUEST
        )
    assert server.desk.decided == []


def test_the_page_is_served_on_this_machine_alone(served):
    server, _ = served
    assert server.address.startswith("http://127.0.0.1:")
    assert server._http.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("action", "reason", "status"),
    [
        ("approve", "", "released"),
        ("reject", "motion artefacts", "declined"),
        ("hold", "", "review"),
        ("reject", "", "review"),
        ("x", "", "review"),
    ],
)
def test_a_decision_does_what_it_says(hospital, submission, action, reason, status):
    agent, draft = hospital.evaluate()
    desk = SiteDesk(agent, title="")
    desk.decide(draft.evaluation_id, action=action, reason=reason)
    assert SiteEvaluation.objects.get().status == status
    assert len(desk.waiting()) == (status == "review")
    assert desk.decide("unknown", action="approve", reason="").startswith("There is no such draft")


def test_the_second_result_is_shown_beside_the_first(hospital, scene):
    for _ in range(2):
        factories.submission(phase=scene.phase, team=scene.team, status="done")
    hospital.release()
    agent, draft = hospital.evaluate()
    found = SiteDesk(agent, title="").sheet_of(draft)
    assert found.compared_with == "#1"
    assert found.differences == ()
    assert any("1 result was released" in text for text in found.warnings)


def test_a_server_that_is_away_loses_no_draft(hospital, submission, monkeypatch):
    agent, draft = hospital.evaluate()
    desk = SiteDesk(agent, title="")

    def away(request):
        raise httpx.ConnectError("away")

    monkeypatch.setattr(agent._connection._http, "_transport", httpx.MockTransport(away))
    assert "Nothing has changed here" in desk.decide(draft.evaluation_id, action="approve", reason="")
    assert len(desk.waiting()) == 1
