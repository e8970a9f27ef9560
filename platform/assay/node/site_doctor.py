"""`assay site doctor`: what stands between this machine and the server, in words that a hospital's IT can act on.

`ask_server` makes one request and says how it ended as plain values. `judge_server` turns them into findings: pure, so that every
network can be tested on this machine.
"""

import os
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from assay.handshake import SERVER_HEADER, client_header
from containers.machine import Finding, Level

CLOCK_SECONDS = 60.0
"""Above this, certificates and the end of orders are judged wrongly."""
PATIENCE_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class ServerAnswer:
    """How one request to the server ended. `error` is the chain of what went wrong, outermost first. Empty when it was answered."""

    url: str
    proxy: str = ""
    ca_file: str = ""
    error: tuple[BaseException, ...] = ()
    status: int = 0
    is_assay: bool = False
    clock_ahead_seconds: float | None = None
    token_status: int = 0
    is_waiting: bool = False


def ask_server(*, url: str, token: str = "", transport: httpx.BaseTransport | None = None) -> ServerAnswer:
    """Ask for what everybody may see, then, with a token, who we are."""
    url = url.rstrip("/")
    about = ServerAnswer(url=url, proxy=_without_password(proxy_for(url)), ca_file=os.environ.get("SSL_CERT_FILE", ""))
    headers = client_header("site")
    try:
        with httpx.Client(
            timeout=PATIENCE_SECONDS, transport=transport, headers=headers, follow_redirects=False
        ) as http:
            asked_at = time.time()
            answer = http.get(f"{url}/api/v1/keys")
            halfway = (asked_at + time.time()) / 2
            token_status, is_waiting = 0, False
            if token and SERVER_HEADER in answer.headers:
                who = http.get(f"{url}/api/v1/site/about", headers={"Authorization": f"Bearer {token}"})
                token_status = who.status_code
                is_waiting = who.is_success and bool(who.json().get("is_waiting"))
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return replace(about, error=tuple(_chain(error)))
    return replace(
        about,
        status=answer.status_code,
        is_assay=SERVER_HEADER in answer.headers,
        clock_ahead_seconds=_ahead(answer.headers.get("Date", ""), halfway),
        token_status=token_status,
        is_waiting=is_waiting,
    )


def judge_server(answer: ServerAnswer) -> list[Finding]:
    """What IT should know, in the order in which to mend it."""
    if answer.error:
        return [_judge_error(answer)]
    host = urlsplit(answer.url).hostname or answer.url
    if not answer.is_assay:
        return [
            Finding(
                level=Level.FAIL,
                title="server",
                detail=f"something answers for {host} with status {answer.status}, and it is no Assay server"
                + (f" (through the proxy {answer.proxy})" if answer.proxy else ""),
                fix=f"check the address; a proxy or a sign-in page may answer instead: allow {host} without sign-in",
            )
        ]
    way = f" through the proxy {answer.proxy}" if answer.proxy else ""
    certificates = f", certificates of {answer.ca_file}" if answer.ca_file else ""
    findings = [Finding(level=Level.PASS, title="server", detail=f"{host} answers{way}{certificates}")]
    findings.append(_judge_clock(answer.clock_ahead_seconds))
    if answer.token_status:
        findings.append(_judge_token(answer))
    return findings


def _judge_error(answer: ServerAnswer) -> Finding:
    parts = urlsplit(answer.url)
    host, port = parts.hostname or answer.url, parts.port or 443
    kinds = answer.error
    words = " ".join(str(error) for error in kinds)
    through = f"the proxy {answer.proxy}" if answer.proxy else ""
    if any(isinstance(error, httpx.ProxyError) for error in kinds):
        return _judge_proxy(words, host=host, port=port, through=through)
    if (certificate := next((e for e in kinds if isinstance(e, ssl.SSLCertVerificationError)), None)) is not None:
        return _judge_certificate(certificate, host=host, through=through, ca_file=answer.ca_file)
    title, detail, fix = "server", words[:300], "give this text to your network department"
    asked = answer.proxy or host
    if "CERTIFICATE_VERIFY_FAILED" in words:
        return _judge_certificate(
            ssl.SSLCertVerificationError(words), host=host, through=through, ca_file=answer.ca_file
        )
    if any(isinstance(error, socket.gaierror) for error in kinds) or "Name or service not known" in words:
        title, detail = "name", f"this machine does not find an address for {asked}"
        fix = (
            "check the proxy's name in HTTPS_PROXY"
            if through
            else f"check the spelling of {host}; where only a proxy may look up names, set HTTPS_PROXY=http://proxy:port"
        )
    elif any(isinstance(error, httpx.TimeoutException) for error in kinds):
        title, detail = (
            "firewall",
            f"no answer from {asked} within {PATIENCE_SECONDS:.0f} s: something drops the packets",
        )
        fix = f"allow outgoing TCP from this machine to {host}, port {port}; or name your proxy in HTTPS_PROXY"
    elif any(isinstance(error, ConnectionRefusedError) for error in kinds) or "refused" in words:
        title, detail = "firewall", f"{asked} refuses the connection"
        fix = f"check the address and port; allow outgoing TCP from this machine to {host}, port {port}"
    elif any(isinstance(error, ssl.SSLError) for error in kinds) or "SSL" in words:
        title, detail = "encryption", f"{host} and this machine cannot agree on an encrypted connection: {words[:200]}"
        fix = f"is {answer.url} an https address? A proxy that only speaks old TLS has to be renewed, or let {host} through"
    elif any(isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL) for error in kinds):
        title, detail, fix = "address", f"{answer.url!r} is no address", "expected https://assay.example.org"
    elif any(isinstance(error, FileNotFoundError) for error in kinds) and answer.ca_file:
        title, detail = "certificates", f"SSL_CERT_FILE names {answer.ca_file}, which is not there"
        fix = "correct the path"
    return Finding(level=Level.FAIL, title=title, detail=detail, fix=fix)


def _judge_proxy(words: str, *, host: str, port: int, through: str) -> Finding:
    if "407" in words:
        detail, fix = f"{through} wants a user and a password", "HTTPS_PROXY=http://user:password@proxy:port"
    elif any(status in words for status in ("403", "502", "503")):
        detail, fix = f"{through} does not let us through to {host}", f"ask for: CONNECT {host}:{port} without sign-in"
    else:
        detail, fix = f"{through} does not work as a proxy: {words[:200]}", "check HTTPS_PROXY"
    return Finding(level=Level.FAIL, title="proxy", detail=detail, fix=fix)


def _judge_certificate(error: ssl.SSLCertVerificationError, *, host: str, through: str, ca_file: str) -> Finding:
    words = str(error)
    via = f" ({through} is in between)" if through else ""
    if "expired" in words or "not yet valid" in words:
        detail = f"the certificate of {host} is out of its time{via}: it has ended, or this machine's clock is wrong"
        fix = "compare `date` with a clock; if the clock is right, tell the server's operators that their certificate has ended"
    elif "ostname mismatch" in words or "IP address mismatch" in words:
        detail, fix = f"what answers has a certificate for another name than {host}{via}", "check the address"
    else:
        known = f"it is not signed by anybody in {ca_file}" if ca_file else "this machine does not know who signed it"
        detail = f"the certificate of {host} is not trusted{via}: {known}"
        fix = (
            "a proxy that opens encrypted connections, or a private certificate authority: ask IT for its certificate as a PEM "
            "file, then SSL_CERT_FILE=/path/to/it.pem"
        )
    return Finding(level=Level.FAIL, title="certificate", detail=detail, fix=fix)


def _judge_clock(ahead_seconds: float | None) -> Finding:
    if ahead_seconds is None:
        return Finding(
            level=Level.CAUTION, title="clock", detail="the server does not say what time it has", fix="timedatectl"
        )
    if abs(ahead_seconds) > CLOCK_SECONDS:
        way = "behind" if ahead_seconds > 0 else "ahead of"
        return Finding(
            level=Level.FAIL,
            title="clock",
            detail=f"this machine is {abs(ahead_seconds):.0f} s {way} the server: orders would seem ended, or not begun",
            fix="sudo timedatectl set-ntp true, or the time server of your network",
        )
    return Finding(level=Level.PASS, title="clock", detail=f"{abs(ahead_seconds):.0f} s from the server's")


def _judge_token(answer: ServerAnswer) -> Finding:
    if answer.token_status == httpx.codes.UNAUTHORIZED:
        return Finding(
            level=Level.FAIL,
            title="token",
            detail="the server does not know this site's token: the site was revoked, has left, or joined again elsewhere",
            fix="ask the organizers for a new code, then: assay site join CODE --url …",
        )
    if answer.token_status != httpx.codes.OK:
        detail = f"the server answers {answer.token_status} to this site's token"
        return Finding(level=Level.CAUTION, title="token", detail=detail, fix="try again in a minute")
    if answer.is_waiting:
        return Finding(
            level=Level.CAUTION,
            title="approval",
            detail="the organizers have not approved this site yet",
            fix="read the six words of `assay site status` to them by telephone",
        )
    return Finding(level=Level.PASS, title="token", detail="the server knows this site")


def proxy_for(url: str) -> str:
    """The proxy that the environment names for this address."""
    parts = urlsplit(url)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return ""
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all") or ""


def _without_password(proxy: str) -> str:
    parts = urlsplit(proxy)
    return f"{parts.hostname}:{parts.port}" if parts.hostname and parts.port else parts.hostname or proxy


def _ahead(dated: str, halfway: float) -> float | None:
    try:
        return parsedate_to_datetime(dated).timestamp() + 0.5 - halfway
    except (TypeError, ValueError):
        return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
