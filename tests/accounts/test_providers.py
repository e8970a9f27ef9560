"""Sign-in by another organization, against a provider that a test runs: who is let in, and everything that is refused."""

import html
import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal import auth as totp
from joserfc.jwk import RSAKey

import factories
from assay.accounts.addresses import note_verified
from assay.accounts.identities import disconnect
from assay.accounts.models import AuditEvent, Identity, User
from assay.accounts.providers import get_provider
from oidc_provider import Provider, running_provider, unsigned
from waits import HANGS_AFTER_SECONDS

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


@pytest.fixture
def provider(settings):
    with running_provider() as running:
        settings.PUBLIC_URL = "http://testserver"
        off = {"client_id": ""}
        settings.SIGN_IN_PROVIDERS = {"institution": running.settings(), "orcid": running.settings() | off}
        yield running


@pytest.fixture
def ada():
    person = factories.user(username="ada", password=PASSWORD)
    note_verified(person)
    return person


def to_provider(client, *, path="/login/with/institution/", **form):
    """The provider's address that the page leads to."""
    answer = client.post(path, form)
    assert answer.status_code == 200, answer.content.decode()
    return html.unescape(re.search(r'content="0;url=([^"]+)"', answer.content.decode())[1])


def there_and_back(client, *, path="/login/with/institution/", **form):
    """What our page says when somebody comes back from the provider."""
    returned = urlsplit(
        httpx.get(to_provider(client, path=path, **form), timeout=HANGS_AFTER_SECONDS).headers["location"]
    )
    return client.get(f"{returned.path}?{returned.query}")


def is_signed_in(client) -> bool:
    return "_auth_user_id" in client.session


def identity_of(person: User, provider: Provider, *, subject: str = "s-1") -> Identity:
    return Identity.objects.create(user=person, issuer=provider.url, subject=subject, connected_at=factories.NOW)


def confirm_password(client) -> None:
    assert client.post("/account/confirm/", {"password": PASSWORD}).status_code == 302


def test_without_settings_no_page_offers_it_and_its_addresses_are_unknown(client):
    assert "Sign in with" not in client.get("/login/").content.decode()
    assert client.post("/login/with/orcid/").status_code == 404
    assert client.get("/login/from/orcid/").status_code == 404


def test_somebody_who_is_known_is_let_in_and_lands_where_they_wanted(client, provider, ada):
    identity_of(ada, provider)
    assert "Sign in with Example University" in client.get("/login/").content.decode()
    answer = there_and_back(client, next="/teams/")
    assert (answer.status_code, answer["Location"]) == (302, "/teams/")
    assert int(client.session["_auth_user_id"]) == ada.pk
    assert AuditEvent.objects.get(verb="sign_in.succeeded").details["provider"] == "institution"


def test_what_is_asked_holds_a_state_a_nonce_and_a_challenge_that_differ_each_time(client, provider):
    asked = [parse_qs(urlsplit(to_provider(client)).query) for _ in range(2)]
    for name in ("state", "nonce", "code_challenge"):
        assert asked[0][name] != asked[1][name]
    assert asked[0]["redirect_uri"] == ["http://testserver/login/from/institution/"]


def test_somebody_new_chooses_a_name_and_has_a_verified_address(client, provider):
    provider.person |= {"email": "eve@example.edu", "email_verified": True, "name": "Eve Example"}
    answer = there_and_back(client)
    assert answer["Location"] == "/signup/with/institution/"
    page = client.get(answer["Location"]).content.decode()
    assert "eve@example.edu" in page
    assert "Eve Example" in page
    form = {"username": "eve", "email": "eve@example.edu", "display_name": "Eve"}
    assert client.post("/signup/with/institution/", form).status_code == 302
    eve = User.objects.get(username="eve")
    assert not eve.has_usable_password()
    assert EmailAddress.objects.get(user=eve).verified
    assert int(client.session["_auth_user_id"]) == eve.pk
    again = client.post("/signup/with/institution/", form | {"username": "eve2", "email": "eve2@example.edu"})
    assert again["Location"] == "/login/"  # a second click makes no second account
    assert User.objects.filter(username="eve2").count() == 0


def test_an_address_that_the_provider_has_not_verified_is_verified_by_mail(client, provider, settings, mailoutbox):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    provider.person |= {"email": "eve@example.edu", "email_verified": False}
    there_and_back(client)
    form = {"username": "eve", "email": "eve@example.edu", "display_name": "Eve"}
    assert "/account/address/verify/" in client.post("/signup/with/institution/", form)["Location"]
    assert not is_signed_in(client)
    assert mailoutbox[0].to == ["eve@example.edu"]


@pytest.mark.parametrize("is_verified", [True, False])
def test_an_address_alone_never_leads_into_an_account(client, provider, ada, is_verified, settings, mailoutbox):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    provider.person |= {"email": ada.email, "email_verified": is_verified}
    there_and_back(client)
    answer = client.post("/signup/with/institution/", {"username": "x", "email": ada.email, "display_name": "X"})
    assert not is_signed_in(client)
    assert not Identity.objects.exists()
    if is_verified:  # they may hear that the account exists, and how to connect it
        assert "connect Example University" in answer.content.decode()
    else:  # the answer is the one that anybody gets; only the owner's mail says more
        assert "/account/address/verify/" in answer["Location"]
        assert mailoutbox[0].to == [ada.email]


def test_an_account_is_connected_by_its_owner_who_confirms_it_and_is_told(client, provider, ada, mailoutbox):
    client.force_login(ada)
    connect = "/account/with/institution/connect/"
    assert client.post(connect)["Location"].startswith("/account/confirm/")
    confirm_password(client)
    assert there_and_back(client, path=connect)["Location"] == "/account/"
    assert "s-1" in client.get("/account/").content.decode()
    assert "Example University" in mailoutbox[-1].subject
    client.logout()
    there_and_back(client)
    assert int(client.session["_auth_user_id"]) == ada.pk


def test_one_identity_leads_to_one_account(client, provider, ada):
    identity_of(factories.user(username="bob"), provider)
    client.force_login(ada)
    client.post("/account/with/institution/connect/")
    confirm_password(client)
    answer = there_and_back(client, path="/account/with/institution/connect/")
    assert answer.status_code == 409
    assert not ada.identities.exists()


def test_a_connection_begun_by_one_person_is_not_ended_by_another(client, provider, ada):
    client.force_login(ada)
    client.post("/account/with/institution/connect/")
    confirm_password(client)
    address = to_provider(client, path="/account/with/institution/connect/")
    returned = urlsplit(httpx.get(address, timeout=HANGS_AFTER_SECONDS).headers["location"])
    memory = dict(client.session)
    client.force_login(factories.user(username="bob"))
    session = client.session
    session.update({name: value for name, value in memory.items() if name.startswith("_state_")})
    session.save()
    assert client.get(f"{returned.path}?{returned.query}").status_code == 403
    assert not Identity.objects.exists()


def other_key(provider: Provider, claims: dict) -> str:
    rightful, provider.key = provider.key, RSAKey.generate_key(2048, {"kid": "first"})
    made = provider.signed(claims)
    provider.key = rightful
    return made


LIES = {
    "wrong issuer": {"falsify": lambda claims: claims | {"iss": "https://elsewhere.example"}},
    "wrong audience": {"falsify": lambda claims: claims | {"aud": "another"}},
    "other audience first": {"falsify": lambda claims: claims | {"aud": ["another"]}},
    "expired": {"falsify": lambda claims: claims | {"iat": claims["iat"] - 9000, "exp": claims["exp"] - 9000}},
    "from the future": {"falsify": lambda claims: claims | {"nbf": claims["iat"] + 9000}},
    "another nonce": {"falsify": lambda claims: claims | {"nonce": "another"}},
    "no nonce": {"falsify": lambda claims: {name: value for name, value in claims.items() if name != "nonce"}},
    "no subject": {"falsify": lambda claims: {name: value for name, value in claims.items() if name != "sub"}},
    "a number as subject": {"falsify": lambda claims: claims | {"sub": 7}},
    "no expiry": {"falsify": lambda claims: {name: value for name, value in claims.items() if name != "exp"}},
    "unsigned": {"sign": lambda _provider, claims: unsigned(claims)},
    "signed with the client's secret": {"sign": Provider.signed_with_shared_secret},
    "signed with another key": {"sign": other_key},
    "no ID token": {"sign": lambda _provider, _claims: ""},
    "no token at all": {"sign": lambda _provider, _claims: "a.b.c"},
    "userinfo of somebody else": {"userinfo": {"sub": "s-2", "email": "eve@example.edu", "email_verified": True}},
}


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_does_not_hold_signs_nobody_in(client, provider, ada, lie):
    identity_of(ada, provider)
    for name, value in LIES[lie].items():
        setattr(provider, name, value)
    answer = there_and_back(client)
    assert answer.status_code == 400
    assert "does not hold" in answer.content.decode()
    assert not is_signed_in(client)


def test_an_answer_counts_once_and_only_in_the_browser_that_asked(client, provider, ada, django_user_model):
    identity_of(ada, provider)
    returned = urlsplit(httpx.get(to_provider(client), timeout=HANGS_AFTER_SECONDS).headers["location"])
    stranger = type(client)()
    assert stranger.get(f"{returned.path}?{returned.query}").status_code == 400
    assert not is_signed_in(stranger)
    forged = f"{returned.path}?code={parse_qs(returned.query)['code'][0]}&state=forged"
    assert client.get(forged).status_code == 400
    assert client.get(f"{returned.path}?{returned.query}").status_code == 302
    client.logout()
    assert client.get(f"{returned.path}?{returned.query}").status_code == 400


def test_a_code_without_the_verifier_is_useless_so_a_stolen_one_is(client, provider, ada):
    identity_of(ada, provider)
    first = urlsplit(httpx.get(to_provider(client), timeout=HANGS_AFTER_SECONDS).headers["location"])
    thief = type(client)()
    own = parse_qs(urlsplit(to_provider(thief)).query)["state"][0]
    stolen = parse_qs(first.query)["code"][0]
    assert thief.get(f"{first.path}?code={stolen}&state={own}").status_code == 400
    assert not is_signed_in(thief)


def test_whoever_gives_up_at_the_provider_is_told_so(client, provider):
    state = parse_qs(urlsplit(to_provider(client)).query)["state"][0]
    answer = client.get(f"/login/from/institution/?error=access_denied&state={state}")
    assert answer.status_code == 400
    assert "did not agree" in answer.content.decode()


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://elsewhere.example"},
        {"token_endpoint": "http://elsewhere.example/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
)
def test_a_provider_that_describes_itself_wrongly_is_not_asked(client, provider, metadata):
    provider.metadata = metadata
    answer = client.post("/login/with/institution/")
    assert answer.status_code == 503
    assert "cannot be reached" in answer.content.decode()


def test_a_new_key_of_the_provider_is_looked_up(client, provider, ada):
    identity_of(ada, provider)
    there_and_back(client)
    client.logout()
    provider.key = RSAKey.generate_key(2048, {"kid": "second"})
    there_and_back(client)
    assert is_signed_in(client)
    assert provider.asked.count("/.well-known/openid-configuration") == 1


def test_a_second_factor_is_asked_for_as_after_a_password(client, provider, ada):
    identity_of(ada, provider)
    totp.TOTP.activate(ada, totp.generate_totp_secret())
    assert there_and_back(client)["Location"].startswith("/login/code/")
    assert not is_signed_in(client)


def test_an_operator_without_a_second_factor_is_sent_to_set_it_up_and_may(client, provider, settings):
    settings.OPERATORS_NEED_SECOND_FACTOR = True
    stan = factories.user(username="stan", is_staff=True)
    stan.set_unusable_password()
    stan.save()
    identity_of(stan, provider)
    there_and_back(client)
    assert client.get("/ops/")["Location"] == "/account/second-factor/"
    assert client.get("/account/second-factor/app/").status_code == 200  # signed in a moment ago: that confirms it


def test_whoever_is_shut_out_stays_out(client, provider, ada):
    identity_of(ada, provider)
    User.objects.filter(pk=ada.pk).update(is_active=False)
    there_and_back(client)
    assert not is_signed_in(client)


def test_the_only_way_in_is_not_ended_and_a_password_makes_it_one_of_two(client, provider, ada, now):
    asked = get_provider("institution")
    identity_of(ada, provider)
    ada.set_unusable_password()
    ada.save()
    there_and_back(client)
    assert client.post("/account/with/institution/end/").status_code == 409
    answer = client.post("/account/password/set/", {"password1": PASSWORD, "password2": PASSWORD})
    assert answer.status_code == 302
    disconnect(user=User.objects.get(pk=ada.pk), provider=asked, now=now)
    assert not Identity.objects.exists()


def test_without_a_password_somebody_signs_in_once_more_before_an_account_ends(client, provider, ada):
    identity_of(ada, provider)
    ada.set_unusable_password()
    ada.save()
    client.force_login(ada)
    assert client.get("/account/delete/")["Location"].startswith("/account/confirm/provider/")
    page = client.get("/account/confirm/provider/?next=/account/delete/").content.decode()
    assert "Sign in with Example University" in page
    assert there_and_back(client, next="/account/delete/")["Location"] == "/account/delete/"
    assert client.post("/account/delete/", {"username": "ada"}).status_code == 302
    assert not Identity.objects.exists()
    assert not is_signed_in(client)


def test_an_orcid_that_signed_in_is_on_the_profile(client, provider, settings, ada):
    settings.SIGN_IN_PROVIDERS = {"orcid": provider.settings(title="ORCID", scope="openid")}
    provider.person = {"sub": "0000-0002-1825-0097"}
    client.force_login(ada)
    client.post("/account/with/orcid/connect/")
    confirm_password(client)
    there_and_back(client, path="/account/with/orcid/connect/")
    ada.refresh_from_db()
    assert ada.orcid == "0000-0002-1825-0097"
    assert "/userinfo" not in provider.asked  # ORCID gives no addresses
