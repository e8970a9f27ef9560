"""Mail: forgotten passwords, verified addresses, and what a development installation shows instead of sending."""

import re
from smtplib import SMTPException

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.locmem import EmailBackend

import factories
from assay.accounts.mail import read_mails
from assay.accounts.models import AuditEvent, User
from assay.accounts.services import create_administrator
from markup import markup

pytestmark = pytest.mark.django_db
OLD, NEW = "engines of 1843", "notes on the engine"
NINA = {"username": "nina", "display_name": "Nina", "email": "Nina@example.org", "password": NEW}


@pytest.fixture
def ada():
    return factories.user(username="ada", email="ada@example.org", password=OLD)


@pytest.fixture
def verifying(settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"


@pytest.fixture
def into_a_folder(settings, tmp_path):
    settings.EMAIL_BACKEND = "assay.accounts.mail.FolderBackend"
    settings.EMAIL_FILE_PATH = tmp_path / "mail"
    return tmp_path / "mail"


def link_in(message: EmailMessage, settings) -> str:
    """The path of the link in a mail, which leads to the public address."""
    (found,) = re.findall(rf"{settings.PUBLIC_URL}(/\S+)", message.body)
    return found


def signs_in(client, password: str) -> bool:
    client.logout()
    client.post("/login/", {"username": "ada", "password": password})
    return "_auth_user_id" in client.session


def test_a_forgotten_password_is_replaced_by_a_link_that_works_once(client, ada, settings):
    settings.PUBLIC_URL = "https://assay.example.org"
    assert "/password/reset/" in markup(client.get("/login/"))
    client.post("/password/reset/", {"email": "ADA@example.org"})
    (message,) = mail.outbox
    assert (message.to, "Your user name is ada." in message.body) == (["ada@example.org"], True)
    path = link_in(message, settings)
    form = client.get(path)["Location"]
    assert "too short" in markup(client.post(form, {"password1": "short", "password2": "short"}))
    assert client.post(form, {"password1": NEW, "password2": NEW}).status_code == 302
    assert (signs_in(client, OLD), signs_in(client, NEW)) == (False, True)
    assert AuditEvent.objects.filter(verb="user.password_changed", object_id=str(ada.pk)).exists()
    assert "invalid" in markup(client.get(path))


def test_whoever_asks_for_a_reset_is_not_told_who_exists(client, ada):
    answers = [client.post("/password/reset/", {"email": f"{name}@example.org"}) for name in ("ada", "nobody")]
    assert [(answer.status_code, answer["Location"]) for answer in answers] == [(302, "/password/reset/sent/")] * 2
    assert len(mail.outbox) == 2, "an address without an account gets a mail that says so: both take as long"


def test_a_password_is_changed_with_the_old_one_and_its_owner_is_told(client, ada):
    client.force_login(ada)
    entry = {"oldpassword": "wrong", "password1": NEW, "password2": NEW}
    assert client.post("/account/password/", entry).status_code == 200
    assert not mail.outbox
    assert client.post("/account/password/", entry | {"oldpassword": OLD})["Location"] == "/account/"
    assert [message.to for message in mail.outbox] == [["ada@example.org"]]
    assert (signs_in(client, OLD), signs_in(client, NEW)) == (False, True)


def test_somebody_new_verifies_the_address_before_the_first_sign_in(client, verifying, settings):
    client.post("/signup/", NINA)
    assert "_auth_user_id" not in client.session
    path = link_in(mail.outbox[0], settings)
    client.get(path)
    assert not EmailAddress.objects.get(user__username="nina").verified, "mail scanners follow links"
    client.post(path)
    assert EmailAddress.objects.get(user__username="nina").verified
    client.post("/login/", {"username": "nina", "password": NEW})
    assert "Nina" in markup(client.get("/"))


def test_without_verification_somebody_new_is_signed_in_at_once(client):
    assert client.post("/signup/", NINA | {"next": "/teams/"})["Location"] == "/teams/"
    assert ("_auth_user_id" in client.session, mail.outbox) == (True, [])


def test_signing_up_with_an_address_that_is_taken_answers_the_same(client, ada, verifying):
    taken = client.post("/signup/", NINA | {"email": "ADA@example.org"})
    free = client.post("/signup/", NINA)
    assert (taken.status_code, taken["Location"]) == (free.status_code, free["Location"])
    assert User.objects.count() == 2
    assert "already" in mail.outbox[0].subject.lower()


def test_a_token_needs_a_verified_address(client, verifying):
    assert client.post("/api/v1/users", NINA, content_type="application/json").status_code == 201
    assert len(mail.outbox) == 1
    entry = {"username": "nina", "password": NEW}
    refused = client.post("/api/v1/tokens", entry, content_type="application/json")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "address_not_verified")
    EmailAddress.objects.update(verified=True)
    assert client.post("/api/v1/tokens", entry, content_type="application/json").status_code == 201


def test_the_first_administrator_needs_no_mail(client, verifying, now):
    create_administrator(username="stan", email="stan@example.org", password=NEW, now=now)
    assert client.post("/login/", {"username": "stan", "password": NEW})["Location"] == "/"


@pytest.mark.parametrize("door", ["/password/reset/", "/signup/"])
def test_a_mail_server_that_refuses_is_our_fault(client, ada, verifying, door, monkeypatch):
    def refuse(*_: object) -> int:
        raise SMTPException

    monkeypatch.setattr(EmailBackend, "send_messages", refuse)
    answer = client.post(door, NINA | {"email": "ada@example.org" if "reset" in door else "nina@example.org"})
    assert (answer.status_code, "our fault" in markup(answer)) == (503, True)


def test_the_password_page_is_guarded_like_the_sign_in(client, ada, settings):
    settings.SIGN_IN_LIMITS = {"pair": (3, 5), "name": (6, 60), "address": (8, 15)}
    client.force_login(ada)
    statuses = [client.post("/account/confirm/", {"password": "wrong"}).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]


def test_the_folder_of_mails_is_ours_alone_and_shown_in_development(client, ada, settings, into_a_folder):
    settings.SHOWS_MAIL = True
    assert "No mails yet" in markup(client.get("/dev/mail/"))
    client.post("/password/reset/", {"email": "ada@example.org"})
    client.post("/password/reset/", {"email": "nobody@example.org"})
    assert into_a_folder.stat().st_mode & 0o777 == 0o700
    assert [found.to for found in read_mails(into_a_folder, most=50)] == ["nobody@example.org", "ada@example.org"]
    page = markup(client.get("/dev/mail/"))
    assert re.search(r'<a href="http\S+/password/reset/', page)


def test_elsewhere_there_is_no_page_of_mails(client, ada, into_a_folder):
    client.post("/password/reset/", {"email": "ada@example.org"})
    assert client.get("/dev/mail/").status_code == 404


@pytest.mark.parametrize("address", ["/account/password/", "/account/address/", "/account/confirm/"])
def test_the_pages_of_an_account_ask_strangers_to_sign_in(client, address):
    assert client.get(address)["Location"].startswith("/login/")
