"""Images that the server fetches from a registry, by digest: a registry in this process, and what it must not be able to do."""

import hashlib
import json
import shutil
import socket
import subprocess
import tarfile
import threading
import time
import urllib.request
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.utils import timezone

import image_archives
from assay.accounts.errors import InvalidError
from assay.submissions.models import Submission, Upload
from assay.submissions.registry import Login, describe, parse_reference, seal, unseal
from containers.intake import inspect_archive

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def sha(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Pieces:
    """An honest image as a registry holds it: manifest, configuration and layer, by their digests."""

    def __init__(self, tmp_path) -> None:
        archive = image_archives.honest_image(tmp_path / "image.tar")
        with tarfile.open(archive) as outer:
            (entry,) = json.load(outer.extractfile("manifest.json"))
            self.config = outer.extractfile(entry["Config"]).read()
            self.layer = outer.extractfile(entry["Layers"][0]).read()
        self.manifest = self.manifest_of(layer_bytes=len(self.layer))
        self.archive = archive

    def manifest_of(self, *, layer_bytes: int) -> bytes:
        rows = [
            {"digest": sha(self.config), "size": len(self.config)},
            {"digest": sha(self.layer), "size": layer_bytes},
        ]
        return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": rows[0], "layers": rows[1:]}).encode()


class Script(BaseHTTPRequestHandler):
    """Answers what the test has put into `server.answers`: path → (status, headers, body)."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        status, headers, body = self.server.answers.get(self.path.partition("?")[0], (404, {}, b""))
        if callable(body):
            status, headers, body = body(self)
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def registry(settings, tmp_path):
    """A registry without TLS that the operators trust, with one image as team/copy:1.0."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Script)
    server.asked, server.host, server.pieces = [], f"localhost:{server.server_port}", Pieces(tmp_path)
    pieces, path = server.pieces, "/v2/team/copy"
    server.answers = {f"{path}/blobs/{sha(part)}": (200, {}, part) for part in (pieces.config, pieces.layer)}
    for wanted in ("1.0", sha(pieces.manifest)):
        server.answers[f"{path}/manifests/{wanted}"] = (200, {"Content-Type": MANIFEST}, pieces.manifest)
    settings.TRUSTED_REGISTRIES = [f"http://{server.host}"]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def submit(stage, client):
    """Pia submits a reference; the submission once it is checked, or the refusal."""
    phase = stage.scene.phase
    phase.opens_at, phase.closes_at = timezone.now() - timedelta(days=1), timezone.now() + timedelta(days=9)
    phase.submission_limit = phase.concurrent_limit = 99
    phase.save()
    client.force_login(stage.scene.pia)
    address = f"/api/v1/challenges/{phase.challenge.slug}/phases/{phase.slug}/submissions"

    def ask(reference: str, **more):
        body = {"name": "Fetched", "reference": reference, **more}
        answer = client.post(address, body, content_type="application/json")
        if answer.status_code != 201:
            return answer.json()["error"]
        stage.check()
        return Submission.objects.get(pk=answer.json()["id"])

    return ask


def test_an_image_is_fetched_by_digest_and_becomes_what_its_upload_would(submit, registry, tmp_path):
    made = submit(f"{registry.host}/team/copy:1.0")
    upload = made.image.upload
    assert (made.status, made.image.status) == ("queued", "accepted"), made.verdict_text
    assert upload.reference == f"{registry.host}/team/copy@{sha(registry.pieces.manifest)}"
    assert (upload.key, upload.total_bytes) == ("", len(registry.pieces.config) + len(registry.pieces.layer))
    sent = inspect_archive(source=registry.pieces.archive, destination=tmp_path / "sent.tar")
    assert (made.image.image_id, made.image.rewritten_sha256) == (sent.image_id, sent.sha256)
    asked = len(registry.asked)
    again = submit(f"{registry.host}/team/copy:1.0", allow_duplicate=True)
    assert again.image == made.image
    assert len(registry.asked) == asked + 1, "the manifest alone"


def test_a_private_image_needs_a_login_that_is_sealed_and_then_forgotten(submit, registry, settings):
    """Docker's way: 401 names a token service, the token opens the repository, and blobs lie on a host that gets no token."""
    pieces, open_answers = registry.pieces, dict(registry.answers)
    other = f"127.0.0.1:{registry.server_port}"

    def token(request):
        good = request.headers.get("Authorization") == "Basic cGlhOnMzY3JldA=="
        return (200, {}, b'{"token": "permit-1"}') if good else (401, {}, b"")

    def guarded(kind, content):
        def answer(request):
            if request.headers.get("Authorization") != "Bearer permit-1":
                realm = f'Bearer realm="http://{registry.host}/token",service="test",scope="x"'
                return 401, {"WWW-Authenticate": realm}, b""
            moved = {"Location": f"http://{other}/elsewhere/{sha(content)}"}
            return (307, moved, b"") if kind == "blobs" else (200, {"Content-Type": MANIFEST}, content)

        return answer

    for address, (_status, _headers, body) in open_answers.items():
        registry.answers[address] = (200, {}, guarded(address.split("/")[4], body))
    registry.answers["/token"] = (200, {}, token)
    for part in (pieces.config, pieces.layer):
        registry.answers[f"/elsewhere/{sha(part)}"] = (200, {}, part)
    assert "401" in submit(f"{registry.host}/team/copy:1.0")["found"]
    wrong = submit(f"{registry.host}/team/copy:1.0", registry_user="pia", registry_password="guess")
    assert wrong["code"] == "invalid"
    login = {"registry_user": "pia", "registry_password": "s3cret"}
    refused = submit(f"{registry.host}/team/copy:1.0", **login)
    assert (refused.status, refused.image.status) == ("failed", "rejected"), (
        "the other host is not on the public internet"
    )
    assert "not on the public internet" in refused.verdict_text
    assert not refused.is_charged
    settings.TRUSTED_REGISTRIES = [*settings.TRUSTED_REGISTRIES, f"http://{other}"]
    made = submit(f"{registry.host}/team/copy:1.0", **login)
    assert made.image.status == "accepted", made.verdict_text
    assert {shown for asked, shown in registry.asked if asked.startswith("/elsewhere")} == {None}
    assert set(Upload.objects.values_list("sealed_login", flat=True)) == {""}


def test_a_login_is_kept_encrypted():
    sealed = seal(Login(user="pia", password="s3cret"))
    assert "pia" not in sealed
    assert "s3cret" not in sealed
    assert unseal(sealed) == Login(user="pia", password="s3cret")
    assert unseal("") == unseal("gAAAA-broken") == Login()
    assert seal(Login()) == ""


@pytest.mark.parametrize(
    "text",
    ["ubuntu", "team/copy:1.0", "https://ghcr.io/team/copy", "ghcr.io/Team/copy", "ghcr.io/a/../b", "ghcr.io/a b", "",
     "user@ghcr.io/a", "ghcr.io/a@sha256:12", "ghcr.io/" + "a" * 400],
)  # fmt: skip
def test_what_is_no_reference_is_refused_with_an_example(text):
    with pytest.raises(InvalidError, match="no reference"):
        parse_reference(text)


def test_what_a_reference_means():
    digest = f"sha256:{'a' * 64}"
    means = {
        "docker.io/library/python": ("docker.io", "library/python", "latest"),
        "localhost:5000/a__b:v1": ("localhost:5000", "a__b", "v1"),
        f"ghcr.io/team/x:1@{digest}": ("ghcr.io", "team/x", digest),
        "docker://quay.io/o/r:2": ("quay.io", "o/r", "2"),
    }
    for text, parts in means.items():
        found = parse_reference(text)
        assert (found.host, found.name, found.wanted) == parts


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:1", "169.254.169.254", "10.0.0.1:5000"])
def test_a_registry_in_the_servers_own_network_is_never_asked(submit, host):
    refused = submit(f"{host}/team/copy:1.0")
    assert refused["code"] == "invalid"
    assert "not on the public internet" in refused["found"]
    assert not Upload.objects.exists()


def test_a_registry_that_lies_is_refused_before_or_after_the_fetch(submit, registry):
    """Larger than the phase takes; another manifest; bytes that are not what the digest says; more bytes than announced."""
    pieces, path = registry.pieces, "/v2/team/copy"
    honest = dict(registry.answers)
    huge = pieces.manifest_of(layer_bytes=2**60)
    registry.answers[f"{path}/manifests/huge"] = (200, {"Content-Type": MANIFEST}, huge)
    assert submit(f"{registry.host}/team/copy:huge")["code"] == "too_large"
    registry.answers[f"{path}/manifests/sha256:{'0' * 64}"] = (200, {"Content-Type": MANIFEST}, pieces.manifest)
    assert "another manifest" in submit(f"{registry.host}/team/copy@sha256:{'0' * 64}")["found"]
    for name, body in {"none": b"[]", "parts": b'{"config": {}, "layers": []}', "deep": b"[" * 9000}.items():
        registry.answers[f"{path}/manifests/{name}"] = (200, {}, body)
        assert submit(f"{registry.host}/team/copy:{name}")["code"] == "invalid"
    blob = f"{path}/blobs/{sha(pieces.layer)}"
    for body in (b"x" * len(pieces.layer), pieces.layer[:-1], pieces.layer + b"x"):
        registry.answers = {**honest, blob: (200, {}, body)}
        made = submit(f"{registry.host}/team/copy:1.0", allow_duplicate=True)
        assert (made.status, made.verdict, made.is_charged) == ("failed", "image_invalid", False)
    loop = (307, {"Location": blob}, b"")
    registry.answers = {**honest, blob: loop}
    assert "redirects" in submit(f"{registry.host}/team/copy:1.0", allow_duplicate=True).verdict_text
    registry.answers = honest
    assert submit(f"{registry.host}/team/copy:1.0", allow_duplicate=True).image.status == "accepted"


def test_an_index_is_followed_to_the_platform_of_the_nodes(registry):
    pieces, path = registry.pieces, "/v2/team/copy"
    rows = [
        {"digest": sha(pieces.manifest), "size": 1, "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": f"sha256:{'1' * 64}", "size": 1, "platform": {"os": "linux", "architecture": "arm64"}},
        {"digest": f"sha256:{'2' * 64}", "size": 1, "platform": {"os": "unknown", "architecture": "unknown"}},
    ]
    index = json.dumps({"schemaVersion": 2, "manifests": rows}).encode()
    registry.answers[f"{path}/manifests/both"] = (200, {"Content-Type": INDEX}, index)
    reference = parse_reference(f"{registry.host}/team/copy:both")
    found = describe(reference, login=Login(), architecture="amd64")
    assert str(found.reference) == f"{registry.host}/team/copy@{sha(pieces.manifest)}"
    with pytest.raises(InvalidError, match="cannot be had"):
        describe(reference, login=Login(), architecture="riscv64")


@pytest.mark.skipif(
    shutil.which("docker-registry") is None, reason="needs Debian's registry (apt-get install docker-registry)"
)
def test_debians_registry_gives_what_was_pushed_to_it(submit, settings, tmp_path):
    """The real program: the image is put into it over its own API, and submitted by its tag."""
    pieces = Pieces(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"localhost:{free.getsockname()[1]}"
    config = tmp_path / "registry.yml"
    folder = {"filesystem": {"rootdirectory": str(tmp_path / "registry")}}
    config.write_text(
        json.dumps({"version": "0.1", "storage": folder, "http": {"addr": host}, "log": {"level": "error"}})
    )
    program = subprocess.Popen(
        ["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        base = f"http://{host}/v2/team/copy"
        for part in (pieces.config, pieces.layer):
            place = put(f"{base}/blobs/uploads/", method="POST").headers["Location"]
            put(f"{place}{'&' if '?' in place else '?'}digest={sha(part)}", part, kind="application/octet-stream")
        typed = json.loads(pieces.manifest)
        for row, kind in ((typed["config"], "config.v1+json"), (typed["layers"][0], "layer.v1.tar")):
            row["mediaType"] = f"application/vnd.oci.image.{kind}"
        manifest = json.dumps(typed).encode()
        put(f"{base}/manifests/1.0", manifest, kind=MANIFEST)
        settings.TRUSTED_REGISTRIES = [f"http://{host}"]
        made = submit(f"{host}/team/copy:1.0")
    finally:
        program.kill()
        program.wait()
    assert made.image.status == "accepted", made.verdict_text
    assert made.image.upload.reference == f"{host}/team/copy@{sha(manifest)}"


def put(url: str, body: bytes = b"", *, method: str = "PUT", kind: str = "text/plain"):
    """A request to the registry, which may still be starting."""
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": kind})
    end = time.monotonic() + 60
    while True:
        try:
            return urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError:
            if time.monotonic() > end:
                raise
