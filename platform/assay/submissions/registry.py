"""Images in a registry: what a reference means, and its bytes, fetched from the public internet by digest (OCI Distribution 1.1).

Theory of operation. When somebody submits a reference, the manifest alone is asked for. It says the digest, which is what counts from then
on, and the sizes, which are compared with the phase's limit before anything else is fetched. The checker fetches the parts into an OCI
layout, a file that intake reads like any upload. Every part must have the length and the hash that its manifest names. Every address, also
of a token service and of a redirect, goes through `notices.outbound`, so a registry cannot lead the server into its own network.
"""

import base64
import hashlib
import io
import json
import re
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from assay.notices.outbound import NotReachedError, Target, exchange, target_of

DOCKER_HUB, DOCKER_HUB_ADDRESS = "docker.io", "registry-1.docker.io"
REFERENCE = re.compile(
    r"(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?)/(?P<name>[a-z0-9]+(?:(?:[./]|__?|-+)[a-z0-9]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
LONGEST_MANIFEST = 4 << 20
LONGEST_TOKEN = 64 << 10
MOST_PARTS = 500
MOST_REDIRECTS = 5
PIECE_BYTES = 1 << 20
ASK_SECONDS = 15.0
"""For what a person waits for: the manifest."""
FETCH_SECONDS = 3600.0
"""For all parts together."""


class RegistryRefusedError(Exception):
    """A registry does not give what was asked for. The message is for the participant."""


@dataclass(frozen=True, kw_only=True)
class Login:
    """Somebody's name and password, or token, in a registry. Empty for public images."""

    user: str = ""
    password: str = ""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """`registry.example.org/team/algorithm:tag` or `…@sha256:…`."""

    host: str
    name: str
    wanted: str
    """A tag or a digest."""

    def __str__(self) -> str:
        return f"{self.host}/{self.name}{'@' if DIGEST.fullmatch(self.wanted) else ':'}{self.wanted}"

    def by(self, digest: str) -> "Reference":
        """The same image by its digest."""
        return replace(self, wanted=digest)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A blob: the configuration or a layer."""

    digest: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class RemoteImage:
    """One image for one platform, as its manifest describes it."""

    reference: Reference
    manifest: bytes
    media_type: str
    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        """What has to be fetched."""
        return sum(part.bytes for part in self.parts)


def parse_reference(text: str) -> Reference:
    """A reference as people write it, with the registry's name in front. Raises InvalidError."""
    found = REFERENCE.fullmatch(text.strip().removeprefix("docker://"))
    host = found["host"] if found else ""
    if found is None or len(text) > 300 or not ("." in host or ":" in host):
        raise InvalidError(
            _("This is no reference of an image in a registry."),
            found=repr(text[:80]),
            expected="registry.example.org/team/algorithm:1.0",
            what_to_do=_("Write the registry's name, too: docker.io/team/algorithm:1.0."),
            field="reference",
        )
    return Reference(host=host, name=found["name"], wanted=found["digest"] or found["tag"] or "latest")


def describe(reference: Reference, *, login: Login, architecture: str) -> RemoteImage:
    """Ask the registry for the manifest of one platform. Raises InvalidError with what the participant can do."""
    try:
        return Registry(reference, login=login, seconds=ASK_SECONDS).describe(architecture)
    except (NotReachedError, RegistryRefusedError) as problem:
        raise InvalidError(
            _("The image cannot be had from the registry."),
            found=str(problem),
            what_to_do=_("Check the reference and that the registry gives it to you, or upload the image."),
            field="reference",
        ) from problem


def fetch(reference: Reference, *, login: Login, architecture: str, destination: Path, most_bytes: int) -> None:
    """Write the image as an OCI layout in a tar. Raises NotReachedError or RegistryRefusedError."""
    registry = Registry(reference, login=login, seconds=FETCH_SECONDS)
    image = registry.describe(architecture)
    if image.bytes > most_bytes:
        raise RegistryRefusedError(f"found {image.bytes} bytes in the registry; expected at most {most_bytes}")
    digest = image.reference.wanted
    entry = {"mediaType": image.media_type, "digest": digest, "size": len(image.manifest)}
    documents = {
        "oci-layout": json.dumps({"imageLayoutVersion": "1.0.0"}).encode(),
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(),
        f"blobs/sha256/{digest[7:]}": image.manifest,
    }
    with tarfile.open(destination, "w") as archive:
        for name, content in documents.items():
            archive.addfile(_member(name, len(content)), io.BytesIO(content))
        for part in {part.digest: part for part in image.parts}.values():
            with registry.open_part(part) as stream:
                archive.addfile(_member(f"blobs/sha256/{part.digest[7:]}", part.bytes), stream)  # type: ignore[arg-type]  # it reads
                stream.check()


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


class Registry:
    """One image's registry, for one piece of work that ends after `seconds`."""

    def __init__(self, reference: Reference, *, login: Login, seconds: float) -> None:
        self._reference = reference
        self._login = login
        self._end = time.monotonic() + seconds
        self._permit = ""

    def describe(self, architecture: str) -> RemoteImage:
        """The manifest of this platform, through an index where there is one."""
        document, content, kind = self._manifest(self._reference.wanted)
        if "manifests" in document:
            fitting = [
                row
                for row in _rows(document.get("manifests"))
                if row.get("platform") in (None, {}) or _is_for(row["platform"], architecture)
            ]
            if len(fitting) != 1:
                raise RegistryRefusedError(f"found {len(fitting)} images for linux/{architecture}; expected one")
            document, content, kind = self._manifest(_digest(fitting[0]))
        rows = [document.get("config"), *_rows(document.get("layers"))]
        if len(rows) > MOST_PARTS:
            raise RegistryRefusedError(f"found {len(rows)} parts; expected at most {MOST_PARTS}")
        return RemoteImage(
            reference=self._reference.by(f"sha256:{hashlib.sha256(content).hexdigest()}"),
            manifest=content,
            media_type=kind,
            parts=tuple(Part(digest=_digest(row), bytes=_size(row)) for row in rows),
        )

    @contextmanager
    def open_part(self, part: Part) -> "Iterator[Checked]":
        """The bytes of a part. The caller reads them all, and then asks `check`."""
        with self._get(f"blobs/{part.digest}") as answer:
            yield Checked(answer, part)

    def _manifest(self, wanted: str) -> tuple[dict[str, Any], bytes, str]:
        with self._get(f"manifests/{wanted}", accept=", ".join(MANIFEST_TYPES)) as answer:
            content = answer.read(LONGEST_MANIFEST + 1)
            kind = (answer.getheader("Content-Type") or "").partition(";")[0].strip()
        if len(content) > LONGEST_MANIFEST:
            raise RegistryRefusedError(f"found a manifest of more than {LONGEST_MANIFEST} bytes")
        if DIGEST.fullmatch(wanted) and wanted != f"sha256:{hashlib.sha256(content).hexdigest()}":
            raise RegistryRefusedError(f"found another manifest than {wanted[:19]}…")
        return _document(content), content, kind

    @contextmanager
    def _get(self, path: str, *, accept: str = "*/*") -> Iterator[HTTPResponse]:
        """One file of the repository: with a permit where the registry asks for one, and through its redirects."""
        url = f"{_origin(self._reference.host)}/v2/{self._reference.name}/{path}"
        headers = {"Accept": accept}
        for _turn in range(MOST_REDIRECTS + 2):
            is_home = urlsplit(url).netloc == urlsplit(_origin(self._reference.host)).netloc
            permit = {"Authorization": self._permit} if self._permit and is_home else {}
            with exchange("GET", _target(url), headers=headers | permit, seconds=self._left()) as answer:
                if answer.status == 200:
                    yield answer
                    return
                if answer.status == 401 and is_home and not self._permit:
                    challenge = answer.getheader("WWW-Authenticate") or ""
                elif answer.status in (301, 302, 303, 307, 308) and answer.getheader("Location"):
                    url, challenge = urljoin(url, str(answer.getheader("Location"))), ""
                else:
                    raise RegistryRefusedError(f"{self._reference.host} answered {answer.status} for {path[:90]}")
            if challenge:
                self._permit = self._permitted(challenge)
        raise RegistryRefusedError(f"{self._reference.host} redirects more than {MOST_REDIRECTS} times")

    def _permitted(self, challenge: str) -> str:
        """What to show: the login itself, or a token of the service that the registry names."""
        scheme, _space, rest = challenge.partition(" ")
        words = f"{self._login.user}:{self._login.password}".encode()
        basic = f"Basic {base64.b64encode(words).decode()}" if self._login.user else ""
        if scheme.lower() == "basic" and basic:
            return basic
        facts = dict(re.findall(r'([a-z_]+)="([^"]*)"', rest))
        if scheme.lower() != "bearer" or "realm" not in facts:
            raise RegistryRefusedError(f"{self._reference.host} wants somebody to sign in")
        asked = {"service": facts.get("service", ""), "scope": f"repository:{self._reference.name}:pull"}
        url = f"{facts['realm']}{'&' if '?' in facts['realm'] else '?'}{urlencode(asked)}"
        headers: Mapping[str, str] = {"Authorization": basic} if basic else {}
        with exchange("GET", _target(url), headers=headers, seconds=self._left()) as answer:
            if answer.status != 200:
                raise RegistryRefusedError(
                    f"{self._reference.host} gives no token: its service answered {answer.status}"
                )
            document = _document(answer.read(LONGEST_TOKEN))
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryRefusedError(f"{self._reference.host} gives no token")
        return f"Bearer {token}"

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise RegistryRefusedError(f"{self._reference.host} takes too long")
        return left


class Checked:
    """The bytes of one part, counted and hashed while they are read."""

    def __init__(self, answer: HTTPResponse, part: Part) -> None:
        self._answer = answer
        self._part = part
        self._digest = hashlib.sha256()

    def read(self, count: int) -> bytes:
        """Up to `count` bytes."""
        piece = b""
        while len(piece) < count and (more := self._answer.read(min(count - len(piece), PIECE_BYTES))):
            piece += more
        self._digest.update(piece)
        return piece

    def check(self) -> None:
        """Whether all of it, and nothing else, came."""
        if f"sha256:{self._digest.hexdigest()}" != self._part.digest or self._answer.read(1):
            raise RegistryRefusedError(f"found other bytes than {self._part.digest[:19]}…")


def _origin(host: str) -> str:
    address = DOCKER_HUB_ADDRESS if host == DOCKER_HUB else host
    return f"http://{address}" if f"http://{host}" in settings.TRUSTED_REGISTRIES else f"https://{address}"


def _target(url: str) -> Target:
    """A checked address. A registry that operators trust may be private. Everything it points at has to be public, or trusted as well."""
    parts = urlsplit(url)
    named = (parts.netloc, f"http://{parts.netloc}") if parts.scheme == "http" else (parts.netloc,)
    if parts.scheme not in ("https", "http") or parts.username is not None:
        raise RegistryRefusedError("found an address that is not https")
    return target_of(url, is_trusted=named[-1] in settings.TRUSTED_REGISTRIES)


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RegistryRefusedError("found no JSON object where a manifest or a token should be")
    return document


def _rows(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _is_for(platform: Any, architecture: str) -> bool:
    return isinstance(platform, dict) and (platform.get("os"), platform.get("architecture")) == ("linux", architecture)


def _digest(row: Any) -> str:
    digest = row.get("digest") if isinstance(row, dict) else None
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise RegistryRefusedError("found a part without a sha256 digest")
    return digest


def _size(row: Any) -> int:
    size = row.get("size")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise RegistryRefusedError("found a part without a size")
    return size


def seal(login: Login) -> str:
    """The login as the database may hold it. Empty for none."""
    if not login.user:
        return ""
    return _sealer().encrypt(json.dumps([login.user, login.password]).encode()).decode()


def unseal(sealed: str) -> Login:
    """The inverse of `seal`. Where the key has changed since, nobody is signed in."""
    if not sealed:
        return Login()
    try:
        user, password = json.loads(_sealer().decrypt(sealed.encode()))
    except InvalidToken:
        return Login()
    return Login(user=user, password=password)


def _sealer() -> Fernet:
    key = hashlib.sha256(b"assay registry login\0" + settings.SECRET_KEY.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))
