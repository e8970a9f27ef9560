"""What somebody tries who has just signed up and means no good: floods of mail, stolen sessions, links of others, races."""

import threading
from email.message import EmailMessage as Written

import pytest
from allauth.account.models import EmailAddress
from django.core import mail, signing
from django.db import connection
from django.test import Client
from django.utils import timezone

import factories
import people
from assay.accounts.bounds import MOST_A_DAY
from assay.accounts.errors import ConflictError, InvalidError, LimitReachedError, NotAllowedError
from assay.accounts.models import TeamInvite, User
from assay.accounts.services import accept_invite, create_team, invite_to_team
from assay.challenges.models import Challenge, ChallengeInvite
from assay.challenges.registration import Application, invite_by_mail, make_invite, open_invite
from assay.challenges.services import join_challenge
from assay.challenges.telling import mail_challenge_invite
from assay.notices.choices import SALT, unsubscribe_token
from assay.notices.delivery import send_mails
from assay.notices.models import Choice, OutgoingMail
from markup import markup

pytestmark = pytest.mark.django_db
PASSWORD = "engines of 1843"
LOCAL = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}


@pytest.fixture
def counting(settings, request):
    """Limits count, in a memory of this test alone."""
    settings.CACHES = {name: LOCAL | {"LOCATION": request.node.name} for name in ("default", "process")}


@pytest.fixture
def mallory():
    return factories.user(username="mallory", email="mallory@example.org", password=PASSWORD)


def entry(number: int, **said: str) -> dict[str, str]:
    name = f"n{number}"
    return {"username": name, "display_name": name, "email": f"{name}@example.org", "password": PASSWORD} | said


def test_a_team_after_another_does_not_mail_the_world(mallory, now):
    most = MOST_A_DAY["team.invited"]
    teams = [create_team(user=mallory, name=f"Lab {number}", now=now) for number in range(3)]
    for number in range(most):
        invite_to_team(user=mallory, team=teams[number % 3], email=f"a{number}@example.org", now=now)
    with pytest.raises(LimitReachedError) as refused:
        invite_to_team(user=mallory, team=teams[0], email="one@more.org", now=now)
    assert refused.value.retry_at is not None
    assert TeamInvite.objects.count() == most


def test_a_challenge_that_is_removed_and_made_again_does_not_mail_the_world(mallory, now, monkeypatch):
    monkeypatch.setitem(MOST_A_DAY, "challenge.invited", 3)
    for _ in range(3):
        challenge = factories.challenge(slug="draft", organizer=mallory, status="draft")
        invite_by_mail(challenge=challenge, address="a@example.org", by=mallory, now=now)
        Challenge.objects.filter(pk=challenge.pk).delete()
    challenge = factories.challenge(slug="draft", organizer=mallory, status="draft")
    with pytest.raises(LimitReachedError):
        invite_by_mail(challenge=challenge, address="a@example.org", by=mallory, now=now)
    assert not ChallengeInvite.objects.exists()


def test_one_person_does_not_take_all_names_of_teams(mallory, now):
    for number in range(MOST_A_DAY["team.founded"]):
        create_team(user=mallory, name=f"Lab {number}", now=now)
    with pytest.raises(LimitReachedError):
        create_team(user=mallory, name="The best name", now=now)


def test_accounts_are_made_slowly_from_one_address(client, counting, settings):
    settings.ACCOUNT_RATE_LIMITS = settings.ACCOUNT_RATE_LIMITS | {"signup": "3/d/ip"}
    statuses = [client.post("/signup/", entry(number)).status_code for number in range(5)]
    assert statuses == [302] * 3 + [429] * 2
    assert User.objects.count() == 3
    assert "Too many requests" in markup(client.post("/signup/", entry(99)))


def test_signing_up_again_and_again_floods_no_mailbox(client, counting, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    factories.user(username="pia", email="pia@example.org")
    answers = [client.post("/signup/", entry(number, email="Pia@example.org")) for number in range(8)]
    assert {(answer.status_code, answer["Location"]) for answer in answers} == {(302, "/account/address/verify/")}
    assert len(mail.outbox) <= 5


def test_asking_for_a_new_password_again_and_again_floods_no_mailbox(client, counting):
    factories.user(username="pia", email="pia@example.org")
    statuses = [client.post("/password/reset/", {"email": "pia@example.org"}).status_code for _ in range(8)]
    assert (statuses.count(429), len(mail.outbox)) == (3, 5)
    assert "Too many requests" in markup(client.post("/password/reset/", {"email": "pia@example.org"}))


def test_a_verified_address_does_not_vouch_for_another(scene, now, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    scene.challenge.allow = ["hospital.org"]
    scene.challenge.save()
    EmailAddress.objects.create(user=scene.otto, email=scene.otto.email, verified=True)
    User.objects.filter(pk=scene.otto.pk).update(email="otto@hospital.org")
    scene.otto.refresh_from_db()
    with pytest.raises(NotAllowedError):
        join_challenge(challenge=scene.challenge, user=scene.otto, application=Application(), now=now)
    EmailAddress.objects.create(user=scene.otto, email="otto@hospital.org", verified=True)
    assert join_challenge(challenge=scene.challenge, user=scene.otto, application=Application(), now=now)


def test_whoever_finds_an_open_browser_changes_no_address(mallory, client):
    client.force_login(mallory)
    asked = client.post("/account/address/", {"action_add": "", "email": "thief@example.org"})
    assert asked["Location"].startswith("/account/confirm/")
    assert not EmailAddress.objects.filter(email="thief@example.org").exists()
    client.post("/account/confirm/", {"password": PASSWORD})
    client.post("/account/address/", {"action_add": "", "email": "new@example.org"})
    assert EmailAddress.objects.filter(email="new@example.org").exists()


def test_whoever_finds_an_open_browser_gives_no_password_to_an_account_without_one(mallory, client):
    mallory.set_unusable_password()
    mallory.save()
    client.force_login(mallory)
    new = {"password1": "staple of another kind", "password2": "staple of another kind"}
    for address in ("/account/password/set/", "/account/delete/"):
        answer = client.post(address, new | {"username": "mallory"})
        assert (answer.status_code, "forgotten password" in markup(answer)) == (403, True)
    mallory.identities.create(issuer="https://id.example.edu", subject="s-1", connected_at=factories.NOW)
    assert client.post("/account/password/set/", new)["Location"].startswith("/account/confirm/provider/")
    mallory.refresh_from_db()
    assert (mallory.has_usable_password(), mallory.is_active) == (False, True)


def test_a_session_that_was_planted_before_is_worth_nothing_after_signing_in(client, mallory):
    client.get("/login/")
    session = client.session
    session["planted"] = True
    session.save()
    client.cookies["sessionid"] = session.session_key
    client.post("/login/", {"username": "mallory", "password": PASSWORD})
    assert client.session["_auth_user_id"] == str(mallory.pk)
    assert client.session.session_key != session.session_key
    thief = Client()
    thief.cookies["sessionid"] = session.session_key
    assert thief.get("/account/").status_code == 302


@pytest.mark.parametrize("where", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_no_door_leads_to_another_site(client, mallory, where):
    doors = [
        client.post("/login/", {"username": "mallory", "password": PASSWORD, "next": where}),
        client.post("/theme/", {"theme": "dark", "next": where}),
        client.post("/language/", {"language": "de", "next": where}),
    ]
    assert {door["Location"] for door in doors} == {"/"}


def test_a_link_that_ends_mails_is_nobody_elses(scene, client):
    pias = unsubscribe_token(person=scene.pia, kind="verdict")
    forged = [
        signing.dumps([scene.pia.pk, "verdict"], salt="another"),
        signing.dumps([scene.pia.pk, "everything"], salt=SALT),
        signing.dumps([10**9, "verdict"], salt=SALT),
        signing.dumps({"person": scene.pia.pk}, salt=SALT),
        pias[:-1] + ("A" if pias[-1] != "A" else "B"),
        unsubscribe_token(person=scene.otto, kind="verdict").split(":")[0] + ":" + pias.split(":", 1)[1],
    ]
    assert [client.post(f"/notices/unsubscribe/{token}/").status_code for token in forged] == [404] * len(forged)
    assert not Choice.objects.exists()
    client.post(f"/notices/unsubscribe/{pias}/")
    assert Choice.objects.get().person == scene.pia
    assert "_auth_user_id" not in client.session, "the link ends mails and signs nobody in"


def test_no_text_of_a_stranger_becomes_a_header_of_a_mail(scene, client, now):
    evil = "Lab\r\nBcc: world@example.org"
    for address in ("a@example.org\nBcc: b@example.org", "a@example.org, b@example.org", '"a\r\nb"@example.org'):
        with pytest.raises(InvalidError):
            invite_by_mail(challenge=scene.challenge, address=address, by=scene.olga, now=now)
        with pytest.raises(InvalidError):
            invite_to_team(user=scene.pia, team=scene.team, email=address, now=now)
    with pytest.raises(InvalidError):
        create_team(user=scene.pia, name=evil, now=now)
    scene.challenge.title = evil  # no file can say it: rows from elsewhere may
    scene.challenge.save()
    invite, secret = invite_by_mail(challenge=scene.challenge, address="a@example.org", by=scene.olga, now=now)
    mail_challenge_invite(invite=invite, secret=secret, by=scene.olga, now=now)
    send_mails(now=timezone.now())
    (sent,) = mail.outbox
    written: Written = sent.message()
    assert (sent.to, sent.bcc, written["Bcc"]) == (["a@example.org"], [], None)
    assert "\n" not in sent.subject
    assert OutgoingMail.objects.get().sent_at is not None


@pytest.mark.django_db(transaction=True)
def test_of_three_who_use_one_invitation_at_once_one_gets_in():
    cast = people.scene()
    _, team_secret = invite_to_team(user=cast.pia, team=cast.team, email="x@example.org", now=factories.NOW)
    _, link_secret = make_invite(challenge=cast.challenge, uses=1, by=cast.olga, now=factories.NOW)
    for use, secret in ((accept_invite, team_secret), (open_invite, link_secret)):
        won, refused = [], []

        def one(person: User, use=use, secret=secret, won=won, refused=refused) -> None:
            try:
                use(user=person, secret=secret, now=factories.NOW)
                won.append(person)
            except ConflictError:
                refused.append(person)
            finally:
                connection.close()

        threads = [threading.Thread(target=one, args=[factories.user()]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(refused)) == (1, 2)


@pytest.mark.django_db(transaction=True)
def test_of_three_who_sign_up_at_once_with_one_name_one_gets_it():
    statuses = []

    def one() -> None:
        statuses.append(Client().post("/signup/", entry(1)).status_code)
        connection.close()

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [302, 400, 400]
    assert User.objects.filter(username="n1").count() == 1
