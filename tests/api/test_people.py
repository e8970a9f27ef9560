"""The API's twins of the pages about people: notices, webhooks, invitations, decisions about many."""

import pytest

import factories
from assay.challenges.models import Membership
from assay.notices.models import Delivery, Hook, Kind, OutgoingMail
from assay.notices.services import News, notify

pytestmark = pytest.mark.django_db


def tell(person, *, count: int, now) -> None:
    for number in range(count):
        facts = {"challenge": "Brains"}
        notify(
            people=[person],
            news=News(kind=Kind.ACCEPTANCE, event="accepted", key=str(number), path="/c/brains/", facts=facts),
            now=now,
        )


def test_notices_are_read_page_by_page_and_marked(scene, calling_as, now):
    tell(scene.pia, count=53, now=now)
    pia = calling_as(scene.pia)
    first = pia("GET", "/notices").json()
    rest = pia("GET", f"/notices?before={first['older']}").json()
    assert (len(first["notices"]), first["unread"], len(rest["notices"]), rest["older"]) == (50, 53, 3, None)
    assert "Brains" in first["notices"][0]["text"] + first["notices"][0]["subject"]
    assert pia("POST", f"/notices/{first['notices'][0]['id']}/read").status_code == 204
    assert pia("GET", "/notices").json()["unread"] == 52
    assert pia("POST", "/notices/read").status_code == 204
    assert pia("GET", "/notices").json()["unread"] == 0
    assert calling_as(scene.otto)("GET", "/notices").json()["notices"] == []


def test_choices_are_kept_and_kinds_of_organizers_are_theirs_alone(scene, calling_as):
    pia, olga = calling_as(scene.pia), calling_as(scene.olga)
    changed = pia("PUT", "/notices/choices", [{"kind": "verdict", "is_shown": True, "by_mail": "digest"}]).json()
    assert {"kind": "verdict", "is_shown": True, "by_mail": "digest"} in changed
    assert pia("GET", "/notices/choices").json() == changed
    kinds = {row["kind"] for row in changed}
    assert {row["kind"] for row in olga("GET", "/notices/choices").json()} - kinds == {"request", "publication"}
    pia("PUT", "/notices/choices", [{"kind": "request", "by_mail": "never"}])
    assert not scene.pia.notice_choices.filter(kind="request").exists()
    assert pia("PUT", "/notices/choices", [{"kind": "gossip"}]).status_code == 422


def test_a_webhook_is_made_with_a_secret_shown_once_and_a_delivery_sent_again(scene, calling_as):
    pia, at = calling_as(scene.pia), f"/teams/{scene.team.slug}/hooks"
    made = pia("POST", at, {"url": "https://example.org/x"}).json()
    assert made["secret"] == Hook.objects.get().secret
    assert made["secret"] not in pia("GET", at).content.decode()
    log = f"{at}/{made['id']}/deliveries"
    (ping,) = pia("GET", log).json()
    again = pia("POST", f"{log}/{ping['id']}/replay").json()
    assert (again["event"], again["replay_of"]) == ("ping", ping["id"])
    assert Delivery.objects.count() == 2
    assert pia("POST", at, {"url": "http://127.0.0.1/x"}).status_code == 422
    member = factories.user(username="mia")
    scene.team.members.add(member, through_defaults={"joined_at": factories.NOW})
    assert calling_as(member)("GET", at).status_code == 403  # its captain decides
    assert pia("DELETE", f"{at}/{made['id']}").status_code == 204


def test_an_invitation_opens_a_private_challenge_and_lets_in(scene, calling_as):
    scene.challenge.is_private, scene.challenge.requires_approval = True, True
    scene.challenge.save()
    olga, otto = calling_as(scene.olga), calling_as(scene.otto)
    (made,) = olga("POST", "/challenges/brains/invites", {"uses": 1, "days": 3}).json()
    token = made["link"].rstrip("/").rpartition("/")[2]
    assert otto("GET", "/challenges/brains").status_code == 404
    assert otto("POST", "/invites/open", {"token": token}).json() == {"challenge": "brains", "title": "Brains"}
    assert otto("POST", "/invites/open", {"token": token}).status_code == 200  # a second click changes nothing
    assert calling_as(scene.stan)("POST", "/invites/open", {"token": token}).status_code == 409
    assert otto("POST", "/challenges/brains/join", {}).json()["status"] == "accepted"
    (listed,) = olga("GET", "/challenges/brains/invites").json()
    assert (listed["used_by"], listed["uses_left"], listed["link"]) == (["otto"], 0, None)


def test_invitations_by_mail_are_made_all_or_none(scene, calling_as):
    olga = calling_as(scene.olga)
    answer = olga("POST", "/challenges/brains/invites", {"addresses": ["a@example.org", "no address"]})
    assert answer.status_code == 422
    assert not OutgoingMail.objects.exists()
    made = olga("POST", "/challenges/brains/invites", {"addresses": ["a@example.org", "b@example.org"]}).json()
    assert [row["email"] for row in made] == ["a@example.org", "b@example.org"]
    assert [row["link"] for row in made] == [None, None]  # the mail has it
    assert OutgoingMail.objects.count() == 2
    assert olga("DELETE", f"/challenges/brains/invites/{made[0]['id']}").status_code == 204


def test_several_people_are_decided_about_at_once_all_or_none(scene, calling_as):
    for name in ("mia", "noa"):
        factories.membership(challenge=scene.challenge, user=factories.user(username=name), status="pending")
    olga, at = calling_as(scene.olga), "/challenges/brains/participants"
    waiting = [row["username"] for row in olga("GET", f"{at}?status=pending").json()]
    assert sorted(waiting) == ["mia", "noa"]
    assert olga("POST", at, {"usernames": ["mia", "nobody"], "status": "accepted"}).status_code == 404
    assert olga("POST", at, {"usernames": waiting, "status": "rejected"}).status_code == 422  # they read a reason
    assert Membership.objects.filter(status="pending").count() == 2
    decided = olga("POST", at, {"usernames": waiting, "status": "rejected", "reason": "full"}).json()
    assert {row["status"] for row in decided} == {"rejected"}
