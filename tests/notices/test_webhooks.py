"""Webhooks against a real server on this machine: signed, tried again, replayed, and never into a private network."""

import hashlib
import hmac
import ipaddress
import json
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import factories
from assay.accounts.errors import ConflictError, InvalidError
from assay.notices import outbound
from assay.notices.models import Delivery, Hook
from assay.notices.outbound import NotReachedError, checked_url, may_call, target_of
from assay.notices.outbox import WAITS
from assay.notices.webhooks import GIVEN_UP_IN_A_ROW, MOST_HOOKS, deliver, make_hook, replay
from assay.submissions.telling import tell_ending
from markup import markup

pytestmark = pytest.mark.django_db


class Receiver:
    """Keeps what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.code = 204
        self.url = ""

    def verified(self, secret: str) -> list[dict]:
        """The documents, each checked against its signature."""
        for headers, body in self.got:
            expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
            assert hmac.compare_digest(expected, headers["X-Hub-Signature-256"])
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
def receiver(settings):
    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.got.append((dict(self.headers), body))
            self.send_response(kept.code)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_port}/assay?x=1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield kept
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def ended(scene, now):
    return factories.submission(phase=scene.phase, team=scene.team, status="done", finished_at=now, name="nnU-Net")


def test_a_team_and_the_organizers_are_told_with_a_signature(receiver, scene, ended, now):
    hook, secret = make_hook(url=receiver.url, by=scene.pia, team=scene.team, now=now)
    make_hook(url=receiver.url, by=scene.olga, challenge_slug="brains", now=now)
    Delivery.objects.all().delete()  # their pings
    tell_ending(submission_id=ended.pk, now=now)
    assert Delivery.objects.count() == 2
    Delivery.objects.exclude(hook=hook).delete()
    assert (deliver(now=now), deliver(now=now)) == (1, 0)
    (document,) = receiver.verified(secret)
    assert (document["event"], document["name"], document["status"]) == ("submission_done", "nnU-Net", "done")
    assert not {"score", "rank", "metrics", "at", "finished_at"} & set(document)
    headers = receiver.got[0][0]
    assert (headers["X-Assay-Event"], headers["X-Assay-Delivery"]) == ("submission_done", document["delivery"])


def test_other_teams_hear_nothing(receiver, scene, ended, now):
    other = factories.team(members=[scene.otto])
    make_hook(url=receiver.url, by=scene.otto, team=other, now=now)
    Delivery.objects.all().delete()
    tell_ending(submission_id=ended.pk, now=now)
    assert not Delivery.objects.exists()


def test_what_does_not_arrive_is_tried_again_and_the_retry_is_the_same(receiver, scene, now):
    _, secret = make_hook(url=receiver.url, by=scene.pia, team=scene.team, now=now)
    receiver.code = 503
    assert deliver(now=now) == 0
    row = Delivery.objects.get()
    assert (row.attempts, row.status_code, row.due_at) == (1, 503, now + WAITS[0])
    receiver.code = 200
    assert deliver(now=now) == 0, "it waits its minute"
    assert deliver(now=now + WAITS[0]) == 1
    assert len({body for _, body in receiver.got}) == 1
    assert len(receiver.verified(secret)) == 2


def test_a_redirect_is_an_answer_and_not_followed(receiver, scene, now):
    make_hook(url=receiver.url, by=scene.pia, team=scene.team, now=now)
    receiver.code = 302
    assert deliver(now=now) == 0
    assert Delivery.objects.get().status_code == 302


def test_a_hook_that_never_answers_is_switched_off_and_a_replay_switches_it_on(receiver, scene, now, client):
    hook, secret = make_hook(url=receiver.url, by=scene.pia, team=scene.team, now=now)
    receiver.code = 500
    for _ in range(GIVEN_UP_IN_A_ROW):
        Delivery.objects.update(attempts=len(WAITS), due_at=now, gave_up_at=None)
        deliver(now=now)
    hook.refresh_from_db()
    assert hook.disabled_at == now
    client.force_login(scene.pia)
    assert "switched off" in markup(client.get(f"/teams/{scene.team.slug}/hooks/"))
    receiver.code, receiver.got = 200, []
    entry = {"hook": hook.pk, "replay": Delivery.objects.get().pk}
    client.post(f"/teams/{scene.team.slug}/hooks/", entry)
    assert deliver(now=now + timedelta(days=1)) == 1
    (document,) = receiver.verified(secret)
    assert document["replay_of"] == str(entry["replay"])
    hook.refresh_from_db()
    assert hook.disabled_at is None


def test_a_worker_that_died_while_it_sent_loses_nothing(receiver, scene, now):
    make_hook(url=receiver.url, by=scene.pia, team=scene.team, now=now)
    Delivery.objects.update(due_at=now + timedelta(minutes=5))  # taken, and never noted
    assert (deliver(now=now), deliver(now=now + timedelta(minutes=5))) == (0, 1)


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.0.0.7", False),
        ("172.16.5.5", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b:1::1", False),
        ("64:ff9b::a00:1", False),
        ("::127.0.0.1", False),
        ("::a00:1", False),
        ("fec0::1", False),
        ("fd00:ec2::254", False),
        ("192.88.99.1", False),
        ("3fff::1", False),
        ("5f00::1", False),
    ],
)
def test_only_public_addresses_are_called(address, is_public):
    assert may_call(ipaddress.ip_address(address), is_tls=True) is is_public


def test_a_public_address_is_called_by_tls_alone():
    assert not may_call(ipaddress.ip_address("93.184.216.34"), is_tls=False)


@pytest.mark.parametrize("found", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"]])
def test_a_name_with_one_private_address_is_not_called(found, monkeypatch):
    rows = [(2, 1, 6, "", (address, 443)) for address in found]
    monkeypatch.setattr(outbound.socket, "getaddrinfo", lambda *_, **__: rows)
    with pytest.raises(NotReachedError):
        target_of("https://innocent.example.org/")


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch):
    answers = iter(["93.184.216.34", "127.0.0.1"])
    monkeypatch.setattr(outbound.socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (next(answers), 443))])
    assert target_of("https://rebinding.example.org/").address == "93.184.216.34"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org/",
        "https://user:secret@example.org/",
        "https://example.org:22/",
        "https://example.org/#part",
        "https://",
        "https://example.org:99999/",
        "https://exa mple.org/",
        "https://example.org/\r\nX-Evil: 1",
        "https://example.org/" + "a" * 500,
        "javascript:alert(1)",
    ],
)
def test_an_odd_address_is_refused(url):
    with pytest.raises(InvalidError):
        checked_url(url)


def test_only_a_captain_and_organizers_see_their_hooks(scene, client, now):
    hook, secret = make_hook(url="https://example.org/", by=scene.pia, team=scene.team, now=now)
    quin = factories.user(username="quin")
    scene.team.memberships.create(user=quin, joined_at=now)
    for person, code in ((scene.pia, 200), (quin, 403), (scene.otto, 404)):
        client.force_login(person)
        answer = client.get(f"/teams/{scene.team.slug}/hooks/")
        assert answer.status_code == code
        assert secret not in markup(answer)
    client.force_login(scene.olga)
    assert client.get("/c/brains/manage/hooks/").status_code == 200
    assert client.post("/c/brains/manage/hooks/", {"hook": hook.pk}).status_code == 404, "it is the team's"
    assert Hook.objects.exists()
    client.force_login(scene.pia)
    assert client.get("/c/brains/manage/hooks/").status_code == 403


def test_a_secret_is_shown_once(scene, client):
    client.force_login(scene.olga)
    page = markup(client.post("/c/brains/manage/hooks/", {"url": "https://example.org/"}, follow=True))
    assert "assayhook_" in page
    assert "assayhook_" not in markup(client.get("/c/brains/manage/hooks/"))
    refused = client.post("/c/brains/manage/hooks/", {"url": "http://10.0.0.1/a"})
    assert (refused.status_code, 'value="http://10.0.0.1/a"' in markup(refused)) == (400, True), "what was typed stays"


def test_there_are_not_too_many(scene, now):
    for _ in range(MOST_HOOKS):
        make_hook(url="https://example.org/", by=scene.pia, team=scene.team, now=now)
    with pytest.raises(ConflictError):
        make_hook(url="https://example.org/", by=scene.pia, team=scene.team, now=now)


def test_a_replay_repeats_the_content(receiver, scene, now):
    hook, _ = make_hook(url=receiver.url, by=scene.pia, team=scene.team, now=now)
    first = Delivery.objects.get()
    again = replay(hook=hook, delivery_id=first.pk, by=scene.pia, now=now)
    assert (again.payload, again.event, again.replay_of) == (first.payload, first.event, first)
