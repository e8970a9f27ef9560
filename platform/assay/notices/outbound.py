"""The one door to addresses that strangers choose: into the public internet, never into a private network.

Theory of operation. The name is resolved once, every address it has must be public, and the connection goes to the very address that
was checked, so a name that answers differently a moment later changes nothing. Redirects are not followed. Certificates are
checked against the name. The whole exchange ends after `LONGEST_SECONDS`, however slowly the other side sends.
`ASSAY_WEBHOOK_NETWORKS` names private networks that may be reached all the same. Only these may be asked without TLS.
"""

import errno
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError

LONGEST_SECONDS = 8.0
LONGEST_ANSWER = 4096
LONGEST_SILENCE = 60.0
"""How long the other side may send nothing, where an exchange may take longer than that."""
PORTS_BELOW_1024 = frozenset({80, 443})
FIRST_FREE_PORT = 1024
NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("64:ff9b::/96", "64:ff9b:1::/48", "::/96"),  # they stand for IPv4 addresses, which may be private
        *("fec0::/10", "192.88.99.0/24", "3fff::/20", "5f00::/16"),
    )
)
"""Networks that Python calls public and that are not: translated, site-local, relayed, for documentation, for routing inside."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotReachedError(Exception):
    """The other side could not be asked. The message is for the owner of the address."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a POST goes: one checked address of a name."""

    host: str
    port: int
    path: str
    is_tls: bool
    address: str


def checked_url(text: str) -> str:
    """An address that a POST may go to. Raises InvalidError. The name is looked up when it is used, not here."""
    url = text.strip()
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    is_fine = (
        len(url) <= 500
        and url.isascii()
        and url.isprintable()
        and " " not in url
        and parts.scheme in ("https", "http")
        and bool(parts.hostname)
        and parts.username is None
        and not parts.fragment
        and (port is None or port in PORTS_BELOW_1024 or port >= FIRST_FREE_PORT)
    )
    if not is_fine or (parts.scheme == "http" and not settings.WEBHOOK_NETWORKS):
        raise InvalidError(
            _("This address cannot be called."), found=repr(url[:80]), expected="https://example.org/path", field="url"
        )
    return url


def target_of(url: str, *, is_trusted: bool = False) -> Target:
    """Look the name up, and refuse every address that is not public. Raises NotReachedError.

    `is_trusted`: the operators have named this very host, so its address may be private and it may be asked without TLS.
    """
    parts = urlsplit(url)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotReachedError(f"{host} has no address.") from error
    addresses = [ipaddress.ip_address(row[4][0]) for row in found]
    for address in addresses:
        if not is_trusted and not may_call(address, is_tls=is_tls):
            raise NotReachedError(f"{host} is not on the public internet.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(host=host, port=port, path=path, is_tls=is_tls, address=str(addresses[0]))


def may_call(address: Address, *, is_tls: bool) -> bool:
    """Whether an address is public, or in a network that operators have opened."""
    plain = getattr(address, "ipv4_mapped", None) or address
    if any(plain in network for network in opened_networks() if network.version == plain.version):
        return True
    if any(plain in network for network in NOT_PUBLIC if network.version == plain.version):
        return False
    hidden = getattr(plain, "sixtofour", None) or (getattr(plain, "teredo", None) or (None,))[0]
    return is_tls and plain.is_global and not plain.is_multicast and hidden is None


def opened_networks() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The networks of `ASSAY_WEBHOOK_NETWORKS`."""
    return [ipaddress.ip_network(text, strict=False) for text in settings.WEBHOOK_NETWORKS]


def post(url: str, *, body: bytes, headers: Mapping[str, str]) -> int:
    """Send a POST. The answer's status, whatever it is. Raises NotReachedError."""
    with exchange("POST", target_of(url), body=body, headers=headers, seconds=LONGEST_SECONDS) as answer:
        answer.read(LONGEST_ANSWER)
        return answer.status


@contextmanager
def exchange(
    method: str, target: Target, *, headers: Mapping[str, str], seconds: float, body: bytes | None = None
) -> Iterator[http.client.HTTPResponse]:
    """One request to a checked address. The caller reads the answer inside. After `seconds` it is cut off. Raises NotReachedError."""
    silence = min(seconds, LONGEST_SILENCE)
    connection = http.client.HTTPConnection(target.host, target.port, timeout=silence)
    try:
        plain = socket.create_connection((target.address, target.port), timeout=min(seconds, LONGEST_SECONDS))
    except OSError as error:
        raise NotReachedError(f"{target.host} did not answer: {type(error).__name__}.") from error
    plain.settimeout(silence)
    watch = threading.Timer(seconds, _cut, [plain])
    watch.daemon = True
    watch.start()
    try:
        connection.sock = _with_tls(plain, host=target.host) if target.is_tls else plain
        connection.request(method, target.path, body=body, headers={"Host": _host_header(target), **headers})
        yield connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # the caller's disk, where the answer is written
        raise NotReachedError(f"{target.host} broke off: {type(error).__name__}.") from error
    finally:
        watch.cancel()
        connection.close()
        plain.close()


def _with_tls(plain: socket.socket, *, host: str) -> ssl.SSLSocket:
    return ssl.create_default_context().wrap_socket(plain, server_hostname=host)


def _cut(plain: socket.socket) -> None:
    """End a connection that takes too long, from another thread."""
    try:
        plain.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself


def _host_header(target: Target) -> str:
    usual = 443 if target.is_tls else 80
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port == usual else f"{host}:{target.port}"
