"""A small OpenID Connect provider over HTTP, for tests: discovery, authorization, token, keys, userinfo.

It is strict where a provider is: a code works once, for the client and the address it was given for, with the verifier of PKCE. What it
says can be falsified, so that a test sees what is refused.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT_ID, CLIENT_SECRET = "assay:installation", "the client's secret"


def unsigned(claims: Mapping[str, Any]) -> str:
    """A token that says it needs no signature."""
    parts = [json.dumps({"alg": "none"}), json.dumps(claims)]
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts) + "."


@cache
def first_key() -> RSAKey:
    """One for all tests: making it takes long."""
    return RSAKey.generate_key(2048, {"kid": "first"})


@dataclass
class Provider:
    """Who is signed in at it, and what it says about them."""

    url: str
    person: dict[str, Any] = field(default_factory=lambda: {"sub": "s-1"})
    key: RSAKey = field(default_factory=first_key)
    falsify: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
    """Changes the claims of the next ID tokens."""
    sign: Callable[["Provider", dict[str, Any]], str] | None = None
    """Makes ID tokens another way."""
    userinfo: dict[str, Any] | None = None
    """Answers of userinfo, where they differ from the token's."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Changes of what it says about itself."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def settings(self, *, title: str = "Example University", scope: str = "openid profile email") -> dict[str, str]:
        """As `SIGN_IN_PROVIDERS` wants it."""
        values = {"title": title, "issuer": self.url, "scope": scope}
        return values | {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}

    def description(self) -> dict[str, Any]:
        """The discovery document."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
        } | self.metadata

    def authorize(self, asked: Mapping[str, str]) -> str:
        """Where the browser of the signed-in person is sent back to."""
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(12)
        self.codes[code] = dict(asked) | {"person": json.dumps(self.person)}
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, asked: Mapping[str, str]) -> dict[str, Any] | None:
        """The answer to a code, or None."""
        given = self.codes.pop(asked.get("code", ""), None)
        digest = hashlib.sha256(asked.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        is_right = (
            given is not None
            and (asked.get("client_id"), asked.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
            and asked.get("redirect_uri") == given["redirect_uri"]
            and challenge == given["code_challenge"]
        )
        if given is None or not is_right:
            return None
        person, now = json.loads(given["person"]), int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": given["nonce"]} | person
        answer = {"access_token": person["sub"], "token_type": "Bearer", "expires_in": 300}
        claims = self.falsify(claims)
        made = self.sign(self, claims) if self.sign else self.signed(claims)
        return answer | ({"id_token": made} if made else {})

    def signed(self, claims: dict[str, Any]) -> str:
        """An ID token as it should be."""
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)

    def signed_with_shared_secret(self, claims: dict[str, Any]) -> str:
        """One whose key is known to the client too."""
        return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET))


@contextmanager
def running_provider() -> Iterator[Provider]:
    """A provider that listens on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            provider.asked.append(address.path)
            asked = {name: values[0] for name, values in parse_qs(address.query).items()}
            match address.path:
                case "/.well-known/openid-configuration":
                    self._answer(provider.description())
                case "/keys":
                    self._answer({"keys": [provider.key.as_dict(private=False)]})
                case "/userinfo":
                    self._answer(provider.userinfo or provider.person)
                case "/authorize":
                    self.send_response(302)
                    self.send_header("Location", provider.authorize(asked))
                    self.end_headers()
                case _:
                    self.send_error(404)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            answer = provider.token({name: values[0] for name, values in parse_qs(body).items()})
            self._answer(answer or {"error": "invalid_grant"}, status=200 if answer else 400)

        def _answer(self, document: dict[str, Any], *, status: int = 200) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = Provider(url=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
