"""Sign-in by other organizations: an institution's OpenID Connect provider, and ORCID.

Theory of operation. Authlib speaks the protocol: authorization code with PKCE, a state and a nonce that are kept in the session of the
browser that began. An ID token counts only if a key of the provider signed it, and if issuer, audience, nonce and times are right. What
this file adds is stricter than the protocol asks for: the provider's own description must name the issuer that operators wrote down,
its addresses must be encrypted, and only asymmetric signatures count. Nothing of the token is stored. `identities.py` says whose it is.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.django_client import OAuth
from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _
from joserfc.errors import JoseError
from requests import RequestException

from assay.accounts.errors import InvalidError, NotFoundError, ProviderNotReachedError

log = logging.getLogger(__name__)

SIGNATURES = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures that only the provider can make. One with a shared secret, or none, is refused whatever the provider says it uses."""
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint")
ON_THIS_MACHINE = ("http://localhost:", "http://127.0.0.1:")
TIMEOUT_SECONDS = 10.0
LEEWAY_SECONDS = 60
"""How far the provider's clock may be from ours."""
ANSWER_FAULTS = (AuthlibBaseError, JoseError, RequestException, ValueError, KeyError, TypeError, RuntimeError)


@dataclass(frozen=True, kw_only=True)
class Provider:
    """Who vouches for people. `slug` is part of addresses and of what is stored."""

    slug: str
    title: str
    issuer: str
    client_id: str
    client_secret: str
    scope: str


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What a provider says about somebody. `subject` is theirs for good; everything else may change."""

    issuer: str
    subject: str
    name: str
    email: str
    is_email_verified: bool


def providers() -> list[Provider]:
    """Those that operators have set up."""
    return [Provider(slug=slug, **values) for slug, values in settings.SIGN_IN_PROVIDERS.items() if values["client_id"]]


def get_provider(slug: str) -> Provider:
    """One of them. Raises NotFoundError."""
    found = next((provider for provider in providers() if provider.slug == slug), None)
    if found is None:
        raise NotFoundError(_("Nobody signs in this way here."), what_to_do=_("Sign in with a password."))
    return found


def begin(request: HttpRequest, provider: Provider, *, return_to: str, memory: Mapping[str, Any], now: datetime) -> str:
    """The provider's page that asks somebody to sign in. `memory` comes back from `finish`, in the same browser only.

    Raises ProviderNotReachedError when the provider cannot be reached or describes itself wrongly.
    """
    try:
        client = _client(provider, now=now)
        wanted = client.create_authorization_url(return_to)
        client.save_authorize_data(request, redirect_uri=return_to, **wanted, memory=dict(memory))
    except ANSWER_FAULTS as error:
        raise _not_reached(provider, error) from error
    return str(wanted["url"])


def finish(request: HttpRequest, provider: Provider, *, now: datetime) -> tuple[Claims, dict[str, Any]]:
    """What the provider says about the person who came back from it, and what `begin` remembered. Each answer is taken once.

    Raises InvalidError when it was begun elsewhere, was given up, or does not hold.
    """
    try:
        client = _client(provider, now=now)
    except ANSWER_FAULTS as error:
        raise _not_reached(provider, error) from error
    state = request.GET.get("state", "")
    begun = client.framework.get_state_data(request.session, state)
    if not begun:
        raise InvalidError(
            _("This sign-in was not begun in this browser, or it took too long."),
            code="sign_in_expired",
            what_to_do=_("Begin again on the page that signs you in."),
        )
    if request.GET.get("error") == "access_denied":
        client.framework.clear_state_data(request.session, state)
        raise InvalidError(
            _("You did not agree to sign in with %(provider)s.") % {"provider": provider.title},
            code="sign_in_refused",
            what_to_do=_("Begin again, or sign in with a password."),
        )
    try:
        return _claims(client, request, provider), begun["memory"]
    except ANSWER_FAULTS as error:
        log.warning("provider.answer_refused", extra={"provider": provider.slug, "why": repr(error)[:300]})
        client.framework.clear_state_data(request.session, state)
        raise InvalidError(
            _("The answer of %(provider)s does not hold, so you are not signed in.") % {"provider": provider.title},
            code="sign_in_refused",
            what_to_do=_("Begin again. If it fails again, tell the operators."),
        ) from error


def _claims(client: Any, request: HttpRequest, provider: Provider) -> Claims:
    """Exchange the code and look at the ID token. Raises one of ANSWER_FAULTS."""
    options = {
        "iss": {"essential": True, "value": provider.issuer},
        "aud": {"essential": True, "value": provider.client_id},
    }
    token = client.authorize_access_token(request, claims_options=options, leeway=LEEWAY_SECONDS)
    said = dict(token["userinfo"])  # the claims of the ID token; missing where the provider sent none
    subject = said["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise ValueError("sub")
    if "email" in provider.scope.split() and "email" not in said and "userinfo_endpoint" in client.server_metadata:
        more = dict(client.userinfo(token=token))
        if more.get("sub") != subject:
            raise ValueError("userinfo speaks of somebody else")
        said = more | said
    names = [said.get("name"), " ".join(str(said.get(part, "")) for part in ("given_name", "family_name"))]
    return Claims(
        issuer=provider.issuer,
        subject=subject,
        name=next((str(name).strip() for name in names if name and str(name).strip()), "")[:80],
        email=str(said.get("email") or "").strip(),
        is_email_verified=said.get("email_verified") in (True, "true"),
    )


def _client(provider: Provider, *, now: datetime) -> Any:
    """Authlib's client, with what the provider says about itself: that is asked for once an hour."""
    return _client_of_hour(provider, int(now.timestamp()) // 3600)


@lru_cache(maxsize=8)
def _client_of_hour(provider: Provider, _hour: int) -> Any:
    client = OAuth().register(
        provider.slug,
        client_id=provider.client_id,
        client_secret=provider.client_secret,
        server_metadata_url=f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration",
        client_kwargs={
            "scope": provider.scope,
            "code_challenge_method": "S256",
            "default_timeout": TIMEOUT_SECONDS,
            "token_endpoint_auth_method": "client_secret_post",
        },
    )
    described = client.load_server_metadata()
    if described["issuer"] != provider.issuer:
        raise ValueError(f"the provider calls itself {described['issuer']!r}")
    for name in ENDPOINTS:
        address = described.get(name, "")
        if address and not address.startswith(("https://", *ON_THIS_MACHINE)):
            raise ValueError(f"{name} is not encrypted")
    offered = described.get("id_token_signing_alg_values_supported") or ["RS256"]
    described["id_token_signing_alg_values_supported"] = [name for name in offered if name in SIGNATURES]
    if "client_secret_post" not in described.get("token_endpoint_auth_methods_supported", ["client_secret_basic"]):
        client.client_kwargs["token_endpoint_auth_method"] = "client_secret_basic"  # noqa: S105  # a way to send it
    return client


def _not_reached(provider: Provider, error: Exception) -> ProviderNotReachedError:
    log.error("provider.not_reached", extra={"provider": provider.slug}, exc_info=error)
    return ProviderNotReachedError(
        _("%(provider)s cannot be reached now.") % {"provider": provider.title},
        what_to_do=_("Try again later, or sign in with a password. If it fails again, tell the operators."),
    )
