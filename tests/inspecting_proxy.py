"""A hospital's proxy that opens encrypted connections, with a certificate authority of its own, and its network of one wire.

The hospital's program lives in a network namespace. Its only wire ends at this proxy: no name is looked up there, no other address is
reached, and nothing can come in. The proxy answers CONNECT, shows a certificate for the asked host that its own authority signed, reads
the requests and passes them on. It can go away, and flip a byte on the way.
"""

import http.client
import ipaddress
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "assay.hospital-net.test"
PORT = 3128
FILE_BYTES = 20_000
"""An answer to GET above this is an image."""
NOT_PASSED_ON = {"host", "connection", "proxy-connection", "transfer-encoding", "content-length", "keep-alive"}


def write_authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """The file of a new authority, and a context with a certificate for HOST that it signed."""
    now = datetime.now(UTC)

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def made(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named("Hospital authority"))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))

    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = made("Hospital authority", ca_key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    ca = ca.add_extension(usage, critical=True).add_extension(identifier, critical=False).sign(ca_key, hashes.SHA256())
    leaf = made(HOST, key).add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
    by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    leaf_certificate = leaf.add_extension(by, critical=False).sign(ca_key, hashes.SHA256())
    pem, chain = serialization.Encoding.PEM, folder / "proxy.pem"
    authority = folder / "authority.pem"
    authority.write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain.write_bytes(private + leaf_certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return authority, context


class Proxy(ThreadingHTTPServer):
    """`seen` holds what it read: method, path, body. `flips`: so many answers with files get a wrong byte. `is_away`: refuse everything.

    `goes_away_at`: a text in a request that makes it go away before the request is passed on.
    """

    daemon_threads = True

    def __init__(self, *, address: str, upstream: str, context: ssl.SSLContext) -> None:
        super().__init__((address, PORT), Passing)
        self.upstream, self.context = urlsplit(upstream), context
        self.seen: list[tuple[str, str, str]] = []
        self.told: list[tuple[str, bytes]] = []
        self.asked_for: set[str] = set()
        self.flips, self.is_away, self.goes_away_at = 0, False, ""

    def handle_error(self, request: object, client_address: object) -> None:
        """A program that was killed leaves broken connections."""


class Passing(BaseHTTPRequestHandler):
    """One connection: CONNECT in the clear, then requests that are read and passed on."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_CONNECT(self) -> None:
        self.server.asked_for.add(self.path)
        if self.server.is_away:
            self.send_error(502, "the server is away")
            return
        self.send_response_only(200, "Connection established")
        self.end_headers()
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        self.connection.close()  # the encrypted one: the server closes only the one that it accepted

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, body.decode(errors="replace")))
        if self.server.goes_away_at and self.server.goes_away_at in f"{self.path} {body.decode(errors='replace')}":
            self.server.is_away = True
        if self.server.is_away:
            self.close_connection = True
            return
        to = self.server.upstream
        upstream = http.client.HTTPConnection(to.hostname or "", to.port, timeout=120)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED_ON}
        upstream.request(self.command, self.path, body=body, headers=headers)
        answer = upstream.getresponse()
        content = answer.read()
        self.server.told.append((self.path, content))
        if self.server.flips and self.command == "GET" and len(content) > FILE_BYTES:
            self.server.flips -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in NOT_PASSED_ON:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        upstream.close()

    do_GET = do_POST = do_PUT = do_HEAD = pass_on

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


@contextmanager
def hospital_network(*, name: str, of_process: int = 0) -> Iterator[tuple[str, str]]:
    """A namespace with one wire to this side. Gives the namespace and the address of this end. `of_process`: the one that this process has."""
    wire, ours, theirs = f"ah{name}"[-15:], "10.214.77.1", "10.214.77.2"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    if of_process:
        ip("netns", "attach", name, str(of_process))
    else:
        ip("netns", "add", name)
    try:
        ip("-n", name, "link", "set", "lo", "up")
        ip("link", "add", "name", wire, "type", "veth", "peer", "name", "wire", "netns", name)
        ip("address", "add", f"{ours}/30", "dev", wire)
        ip("-n", name, "address", "add", f"{theirs}/30", "dev", "wire")
        ip("link", "set", "dev", wire, "up")
        ip("-n", name, "link", "set", "dev", "wire", "up")
        assert ipaddress.ip_address(ours).is_private
        yield name, ours
    finally:
        if of_process:  # the namespace stays for as long as the process
            ip("link", "del", "dev", wire)
        ip("netns", "del", name)  # the wire goes with it


@contextmanager
def running_proxy(*, address: str, upstream: str, context: ssl.SSLContext) -> Iterator[Proxy]:
    """The proxy, listening."""
    with Proxy(address=address, upstream=upstream, context=context) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
