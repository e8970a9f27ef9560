"""What the doctor of a site says about each kind of network, so that a hospital's IT knows what to change."""

import socket
import ssl

import httpx
import pytest

from assay.handshake import SERVER_HEADER
from assay.node.site_doctor import ServerAnswer, ask_server, judge_server

URL = "https://assay.example.org"


def raising(error: Exception, cause: Exception | None = None):
    def answer(request: httpx.Request) -> httpx.Response:
        raise error from cause

    return httpx.MockTransport(answer)


def untrusted(words: str) -> ssl.SSLCertVerificationError:
    return ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {words}")


PROBLEMS = [
    (httpx.ConnectError("x"), socket.gaierror(-2, "Name or service not known"), "name", "HTTPS_PROXY"),
    (httpx.ConnectTimeout("timed out"), None, "firewall", "assay.example.org, port 443"),
    (httpx.ConnectError("x"), ConnectionRefusedError(111, "Connection refused"), "firewall", "allow outgoing TCP"),
    (httpx.ProxyError("407 Proxy Authentication Required"), None, "proxy", "user:password"),
    (httpx.ProxyError("403 Forbidden"), None, "proxy", "CONNECT assay.example.org:443"),
    (
        httpx.ConnectError("x"),
        untrusted("self-signed certificate in certificate chain"),
        "certificate",
        "SSL_CERT_FILE",
    ),
    (httpx.ConnectError("x"), untrusted("certificate has expired"), "certificate", "date"),
    (httpx.ConnectError("x"), untrusted("Hostname mismatch"), "certificate", "check the address"),
    (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get"), None, "certificate", "PEM"),
    (httpx.ConnectError("x"), ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "encryption", "https"),
    (httpx.UnsupportedProtocol("no scheme"), None, "address", "https://"),
]


@pytest.mark.parametrize(("error", "cause", "title", "told"), PROBLEMS, ids=[f"{row[2]} {row[3]}" for row in PROBLEMS])
def test_each_broken_network_has_its_own_words(error, cause, title, told):
    (finding,) = judge_server(ask_server(url=URL, transport=raising(error, cause)))
    assert (finding.level, finding.title) == ("FAIL", title)
    assert told in finding.fix
    assert "does not answer" not in finding.detail


def test_a_proxy_is_named_without_its_password(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy.hospital:3128")
    answer = ask_server(url=URL, transport=raising(httpx.ProxyError("403 Forbidden")))
    assert answer.proxy == "proxy.hospital:3128"
    (finding,) = judge_server(answer)
    assert "proxy.hospital:3128" in finding.detail
    assert "secret" not in finding.detail + finding.fix


def serving(*, token_status: int = 200, is_waiting: bool = False, date: str = "", is_assay: bool = True):
    def answer(request: httpx.Request) -> httpx.Response:
        headers = {SERVER_HEADER: "assay/0.1.0; api=2; lowest=1"} if is_assay else {}
        headers |= {"Date": date} if date else {}
        if request.url.path.endswith("about"):
            return httpx.Response(token_status, json={"is_waiting": is_waiting}, headers=headers)
        return httpx.Response(200, json={}, headers=headers)

    return httpx.MockTransport(answer)


def test_a_sign_in_page_of_a_network_is_no_server():
    (finding,) = judge_server(ask_server(url=URL, transport=serving(is_assay=False)))
    assert (finding.level, "no Assay server" in finding.detail) == ("FAIL", True)


def test_a_wrong_clock_is_named_with_its_direction():
    findings = judge_server(ServerAnswer(url=URL, status=200, is_assay=True, clock_ahead_seconds=600.0))
    assert [finding.level for finding in findings] == ["PASS", "FAIL"]
    assert "600 s behind" in findings[1].detail


@pytest.mark.parametrize(
    ("status", "is_waiting", "level", "words"),
    [(200, False, "PASS", "knows"), (200, True, "CAUTION", "approved"), (401, False, "FAIL", "revoked")],
)
def test_a_token_is_good_waiting_or_gone(status, is_waiting, level, words):
    transport = serving(token_status=status, is_waiting=is_waiting)
    finding = judge_server(ask_server(url=URL, token="t", transport=transport))[-1]
    assert finding.level == level
    assert words in finding.detail
