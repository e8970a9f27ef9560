"""The second factor is asked for at every door, its codes cannot be guessed, and operators may be made to have one."""

import re
import time

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from click.testing import CliRunner

import factories
from assay.accounts.addresses import note_verified
from assay.accounts.second_factor import CODE_LIMIT
from assay.client import cli
from assay.client.errors import RefusedError
from assay.client.http import Connection
from markup import markup

pytestmark = pytest.mark.django_db
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
RIGHT = "engines of 1843"
ENTRY = {"username": "ada", "password": RIGHT}


def code_of(secret: str) -> str:
    """What the app shows now. allauth reads the real clock."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


@pytest.fixture
def ada():
    return factories.user(username="ada", password=RIGHT)


@pytest.fixture
def protected(ada):
    TOTP.activate(ada, SECRET)
    return ada


def token(client, **more: str):
    return client.post("/api/v1/tokens", ENTRY | more, content_type="application/json")


def test_anybody_sets_up_an_app_and_is_given_recovery_codes(client, ada):
    note_verified(ada)
    client.post("/login/", ENTRY)
    asked = client.get("/account/second-factor/app/")["Location"]
    assert "password" in markup(client.get(asked))
    page = markup(client.post(asked, {"password": RIGHT}, follow=True))
    assert re.search(r"<img src=.data:image/svg[^>]* class=.qr.", page), "black on white, in dark colours too"
    secret = client.session["mfa.totp.secret"]
    from_page = {"Referer": "http://testserver/account/second-factor/app/"}
    client.post("/account/second-factor/app/", {"code": "1"}, headers=from_page, follow=True)
    assert client.session["mfa.totp.secret"] == secret, "the app has read it already"
    done = client.post("/account/second-factor/app/", {"code": code_of(secret)}, follow=True)
    assert RecoveryCodes.activate(ada).get_unused_codes()[0] in markup(done)
    assert "active" in markup(client.get("/account/second-factor/"))


def test_the_page_asks_for_the_code_after_the_password(client, protected):
    assert client.post("/login/", ENTRY | {"next": "/teams/"})["Location"] == "/login/code/"
    assert "_auth_user_id" not in client.session
    assert "ncorrect" in markup(client.post("/login/code/", {"code": "000000"}))
    assert client.post("/login/code/", {"code": code_of(SECRET)})["Location"] == "/teams/"
    assert "_auth_user_id" in client.session


def test_a_token_needs_the_code(client, protected):
    answers = [token(client), token(client, code="000000"), token(client, code=code_of(SECRET))]
    assert [answer.status_code for answer in answers] == [401, 401, 201]
    assert [answer.json()["error"]["code"] for answer in answers[:2]] == ["code_needed", "wrong_code"]


def test_a_recovery_code_works_once(client, protected):
    spare = RecoveryCodes.activate(protected).get_unused_codes()[0]
    assert [token(client, code=spare).status_code for _ in range(2)] == [201, 401]


def test_codes_are_guessed_slowly_at_all_doors_together(client, protected):
    half = CODE_LIMIT.failures // 2
    client.post("/login/", ENTRY)
    pages = [client.post("/login/code/", {"code": "000000"}).status_code for _ in range(half)]
    answers = [token(client, code="000000").status_code for _ in range(CODE_LIMIT.failures - half)]
    assert (set(pages), set(answers)) == ({200}, {401})
    assert token(client, code=code_of(SECRET)).status_code == 429
    assert client.post("/login/code/", {"code": code_of(SECRET)}).status_code == 429


def test_whoever_has_no_password_is_not_told_who_has_a_second_factor(client, protected):
    answers = [token(client, password="wrong", username=name) for name in ("ada", "nobody")]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(401, answers[0].json())] * 2


@pytest.mark.parametrize("address", ["/", "/admin/", "/teams/", "/operations/"])
def test_an_operator_without_one_is_sent_to_set_it_up(client, scene, settings, address):
    settings.OPERATORS_NEED_SECOND_FACTOR = True
    client.force_login(scene.stan)
    assert client.get(address)["Location"] == "/account/second-factor/"
    assert "Operators need a second factor" in markup(client.get("/account/second-factor/"))
    assert client.get("/api/v1/me").status_code == 403
    assert client.post("/account/", {"name": "x", "days": 1})["Location"] == "/account/second-factor/"
    TOTP.activate(scene.stan, SECRET)
    assert client.get("/api/v1/me").status_code == 200


def test_an_operator_without_one_gets_no_token(client, ada, settings):
    settings.OPERATORS_NEED_SECOND_FACTOR = True
    assert token(client).status_code == 201
    ada.is_staff = True
    ada.save()
    refused = token(client)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "second_factor_needed")


def test_a_token_made_for_a_password_alone_is_no_operators_token(client, ada, settings):
    """Whether the rule came after the token, or the person became an operator after it."""
    secret = token(client).json()["token"]
    headers = {"Authorization": f"Bearer {secret}"}
    settings.OPERATORS_NEED_SECOND_FACTOR = True
    assert client.get("/api/v1/me", headers=headers).status_code == 200
    ada.is_staff = True
    ada.save()
    refused = client.get("/api/v1/me", headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "second_factor_needed")
    TOTP.activate(ada, SECRET)
    assert client.get("/api/v1/me", headers=headers).status_code == 401, "the old one stays what it is"
    new = token(client, code=code_of(SECRET)).json()["token"]
    assert client.get("/api/v1/me", headers={"Authorization": f"Bearer {new}"}).status_code == 200
    settings.OPERATORS_NEED_SECOND_FACTOR = False
    assert client.get("/api/v1/me", headers=headers).status_code == 200


def test_operators_remove_a_lost_factor_and_never_read_its_secret(client, protected):
    client.force_login(factories.user(username="root", is_staff=True, is_superuser=True))
    row = Authenticator.objects.get()
    assert SECRET not in markup(client.get(f"/admin/mfa/authenticator/{row.pk}/change/"))
    client.post(f"/admin/mfa/authenticator/{row.pk}/delete/", {"post": "yes"})
    assert not Authenticator.objects.exists()


def test_the_command_line_asks_for_the_code(monkeypatch, tmp_path):
    def answer(_: Connection, path: str, document: dict[str, str]) -> dict[str, str]:
        if "code" not in document:
            raise RefusedError("This account has a second factor.", status=401, code="code_needed")
        sent.append(document["code"])
        return {"token": "assay_x", "expires_at": "2030-01-01"}

    sent: list[str] = []
    monkeypatch.setattr(Connection, "post", answer)
    monkeypatch.setattr(cli, "config_path", lambda: tmp_path / "config.json")
    entry = ["login", "https://assay.example.org", "--username", "ada", "--password", RIGHT]
    result = CliRunner().invoke(cli.main, entry, input="123456\n")
    assert (result.exit_code, sent) == (0, ["123456"])
