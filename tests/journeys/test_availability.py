"""A stranger's page and `/healthz` are answered while an organizer attacks: on a served installation, with the usual limits."""

import socket
import threading
import time
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import httpx
import pytest

import installation

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("installation")]
PASSWORD = "correct horse battery"
AT_MOST_SECONDS = 10.0
ENDS = ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00")
BRACKETS = "[" * 8000
PAGES = ("/healthz", "/", "/api/v1/challenges")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("availability")
    folder.chmod(0o711)
    limits = {"ASSAY_THROTTLE_ANONYMOUS": "100000/m", "ASSAY_THROTTLE_USER": "100000/m"}
    with installation.running_installation(folder=folder, ASSAY_NODE_SLOTS="0", **limits) as url:
        yield url


@pytest.fixture(scope="module")
def olga(address):
    with httpx.Client(base_url=f"{address}/api/v1/", timeout=120) as client:
        account = {"username": "olga", "email": "olga@example.org", "password": PASSWORD, "display_name": "Olga"}
        client.post("users", json=account).raise_for_status()
        asked = {"username": "olga", "password": PASSWORD, "name": "test", "days": 1}
        client.headers["Authorization"] = f"Bearer {client.post('tokens', json=asked).json()['token']}"
        yield client


def push(olga, source, *, slug="copycat"):
    return olga.put(f"challenges/{slug}", json={"source": source, "dry_run": False})


@pytest.fixture(scope="module")
def form(address, olga):
    """Olga in a browser: the same file goes in by the page of organizers."""
    with httpx.Client(base_url=address, timeout=120, follow_redirects=True) as client:
        client.get("/login/").raise_for_status()
        entry = {"username": "olga", "password": PASSWORD, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        assert client.post("/login/", data=entry).url.path != "/login/"
        yield client


def push_by_form(form, source):
    said = {"source": source, "apply": "yes", "csrfmiddlewaretoken": form.cookies["csrftoken"]}
    return form.post("/organize/", data=said)


def longest_answer(address, *, rounds=3):
    """The longest that a stranger waits for any of the pages, in seconds. Every answer must be 200."""
    longest = 0.0
    for _ in range(rounds):
        for page in PAGES:
            began = time.monotonic()
            assert httpx.get(f"{address}{page}", timeout=60).status_code == 200, page
            longest = max(longest, time.monotonic() - began)
    return longest


@contextmanager
def attack(action):
    """The action over and over in a thread, until the block ends."""
    over = threading.Event()

    def repeat():
        while not over.is_set():
            with suppress(httpx.HTTPError, OSError):
                action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=120)


def assert_prompt(address, action, *, name):
    idle = longest_answer(address)
    with attack(action):
        time.sleep(1)
        attacked = longest_answer(address)
    print(f"{name}: longest answer {idle:.2f} s idle, {attacked:.2f} s while it runs")
    assert attacked < max(AT_MOST_SECONDS, 10 * idle)


@pytest.mark.parametrize("moment", ENDS)
def test_times_at_the_ends_of_the_calendar_are_refused_and_nothing_is_kept(address, olga, moment):
    assert push(olga, installation.CHALLENGE).status_code == 200
    before = olga.get("challenges/copycat").json()
    answer = push(olga, installation.CHALLENGE.replace("2099-01-01T00:00:00Z", moment))
    embargo = olga.post("challenges/copycat/phases/main/embargo", json={"until": moment})
    assert {answer.status_code, embargo.status_code} == {422}
    assert olga.get("challenges/copycat").json() == before
    assert push(olga, installation.CHALLENGE).status_code == 200
    longest_answer(address, rounds=1)


def test_readers_who_leave_hold_nobody_up(address, olga):
    draft = installation.CHALLENGE.replace("rules: Copy it.", f"rules: '{BRACKETS}'")
    assert push(olga, draft).status_code == 200
    place, token = urlsplit(address), olga.headers["Authorization"]
    asked = (
        f"GET /api/v1/challenges/copycat HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: {token}\r\n\r\n".encode()
    )

    def leave():
        for _ in range(40):
            with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
                connection.sendall(asked)
        time.sleep(0.5)

    assert_prompt(address, leave, name="40 readers who leave")


KEMENY = "{type: consensus, consensus: kemeny_linear, rank_at: [case]}"


def heaviest_rules():
    """A Kemeny search in every replicate, in a scheme of as many parts as the limit of work allows."""
    parts = ", ".join(["{type: value, metrics: [dice]}"] * 100)
    ties = f"ties: {{break: [{parts}]}}"
    ranking = f"  ranking: {{metrics: [dice], scheme: {KEMENY}, stability: {{bootstrap: 4500}}, {ties}}}"
    return installation.CHALLENGE.replace("  release: per_case", f"{ranking}\n  release: per_case")


HOSTILE = {
    "8 000 brackets": lambda: installation.CHALLENGE.replace("rules: Copy it.", f"rules: '{BRACKETS}'"),
    "alias bomb": lambda: (
        "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    ),
    "flat list of 1 MiB": lambda: "title: [" + "a," * (2**19 - 10) + "]",
    "the heaviest rules that are taken": heaviest_rules,
}


def test_the_heaviest_rules_are_taken_and_more_are_refused_with_figures(olga):
    source = heaviest_rules()
    assert push(olga, source).status_code == 200
    refused = push(olga, source.replace("bootstrap: 4500", "bootstrap: 10000"))
    assert refused.status_code == 422
    assert "expected at most" not in refused.json()["error"]["found"]
    assert "steps" in refused.json()["error"]["expected"]


@pytest.mark.parametrize("name", HOSTILE)
def test_pushes_of_hostile_files_hold_nobody_up(address, olga, name):
    source = HOSTILE[name]()
    assert push(olga, source).status_code < 500
    assert_prompt(address, lambda: push(olga, source), name=name)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_in_the_form_hold_nobody_up(address, form, name):
    source = HOSTILE[name]()
    assert push_by_form(form, source).status_code < 500
    assert_prompt(address, lambda: push_by_form(form, source), name=f"{name}, by the form")
