"""Images in a registry (OCI Distribution), by the digest of their configuration, for clusters that fetch images by themselves.

An image's ID is the digest of its configuration. A registry knows images by the digest of their manifest. So each image has one tag: the
64 hex digits of its ID. The manifest is made here, always the same way, from the configuration and the layers that intake has written.
The cluster names the digest of the manifest, so that no other image can take its place.

The repository is one agent's own: images that the agent no longer needs are removed from it.
"""

import hashlib
import json
import re
import ssl
import tarfile
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

import httpx

from containers.engines import ImageFacts
from containers.errors import EngineRefused, EngineUnreachable, ImageAbsent

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
CHUNK_BYTES = 1 << 20
CALL_SECONDS = 300.0
LAST = 4096
"""More pages of tags than that are no list."""


class ImageRegistry:
    """One repository. `url` is the registry's address with the repository's path, such as https://registry.example.org/assay/node-1."""

    def __init__(self, url: str, *, account_file: Path | None = None, ca_file: Path | None = None) -> None:
        address = httpx.URL(url)
        self._path = f"/v2{address.path.rstrip('/')}"
        self._account_file = account_file
        verify = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
        base = address.copy_with(path="/")
        self._client = httpx.Client(base_url=base, timeout=CALL_SECONDS, verify=verify, trust_env=False)

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def load(self, archive: Path) -> str:
        """Put an archive that intake has written into the registry. Returns the image's ID. Raises EngineRefused."""
        with tarfile.open(archive, mode="r:") as outer:
            members = {member.name: member for member in outer.getmembers()}
            manifest = json.loads(_bytes(outer, members["manifest.json"]))
            if len(manifest) != 1:
                raise EngineRefused(f"found {len(manifest)} images in the archive; expected one")
            config = _bytes(outer, members[manifest[0]["Config"]])
            diff_ids = json.loads(config)["rootfs"]["diff_ids"]
            names = manifest[0]["Layers"]
            if len(names) != len(diff_ids):
                raise EngineRefused(f"found {len(names)} layers; the configuration names {len(diff_ids)}")
            layers = []
            for name, diff_id in zip(names, diff_ids, strict=True):
                file = outer.extractfile(members[name])
                if file is None:
                    raise EngineRefused(f"the layer {name} is no file")
                self._put_blob(file, digest=diff_id, size=members[name].size)
                layers.append({"mediaType": LAYER, "digest": diff_id, "size": members[name].size})
        return self._put_image(config, layers=layers)

    def load_tree(self, tree: bytes, *, entrypoint: tuple[str, ...], tag: str) -> str:
        """Make an image of our own from a tar of its files. Returns its ID."""
        digest = f"sha256:{hashlib.sha256(tree).hexdigest()}"
        layer = {"mediaType": LAYER, "digest": digest, "size": len(tree)}
        self._put(tree, digest=digest)
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint)},
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        }
        return self._put_image(json.dumps(config).encode(), layers=[layer], tag=plain(tag))

    def facts(self, name: str) -> ImageFacts:
        """About one image, by ID or by a tag of ours. Raises ImageAbsent."""
        manifest, _ = self._manifest(name)
        digest = str(manifest["config"]["digest"])
        answer = self._call("GET", f"{self._path}/blobs/{digest}", follow_redirects=True)
        self._expect(answer, HTTPStatus.OK)
        layers = manifest["layers"]
        return ImageFacts.of_config(
            json.loads(answer.content).get("config") or {},
            image_id=digest,
            size=sum(int(layer["size"]) for layer in layers),
            layers=frozenset(str(layer["digest"]) for layer in layers),
        )

    def manifest_digest(self, image_id: str) -> str:
        """By what a cluster fetches the image. Raises ImageAbsent."""
        return self._manifest(image_id)[1]

    def ids(self) -> set[str]:
        """Of all images in the repository."""
        found: set[str] = set()
        where = f"{self._path}/tags/list?n=1000"
        for _ in range(LAST):
            answer = self._call("GET", where)
            if answer.status_code == HTTPStatus.NOT_FOUND:
                return found
            self._expect(answer, HTTPStatus.OK)
            found |= {f"sha256:{tag}" for tag in answer.json().get("tags") or () if DIGEST.fullmatch(f"sha256:{tag}")}
            if "next" not in answer.links:
                return found
            where = answer.links["next"]["url"]
        raise EngineRefused("The registry's list of images does not end.")

    def remove(self, image_id: str) -> None:
        """Remove one image. A missing one is no error."""
        try:
            digest = self.manifest_digest(image_id)
        except ImageAbsent:
            return
        answer = self._call("DELETE", f"{self._path}/manifests/{digest}")
        if answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            raise EngineRefused("The registry does not let images be deleted: switch deletion on in its configuration.")
        self._expect(answer, HTTPStatus.ACCEPTED, HTTPStatus.OK, HTTPStatus.NOT_FOUND)

    def _manifest(self, name: str) -> tuple[dict[str, Any], str]:
        found = DIGEST.fullmatch(name)
        answer = self._call(
            "GET", f"{self._path}/manifests/{found[1] if found else plain(name)}", headers={"Accept": MANIFEST}
        )
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise ImageAbsent(f"No such image: {name}")
        self._expect(answer, HTTPStatus.OK)
        manifest = dict(json.loads(answer.content))
        if found and manifest["config"]["digest"] != name:
            raise EngineRefused(f"The registry gives another image for {name}: {manifest['config']['digest']}.")
        return manifest, f"sha256:{hashlib.sha256(answer.content).hexdigest()}"

    def _put_image(self, config: bytes, *, layers: list[dict[str, Any]], tag: str = "") -> str:
        digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
        self._put(config, digest=digest)
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest, "size": len(config)},
            "layers": layers,
        }
        manifest = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
        for name in filter(None, (digest.removeprefix("sha256:"), tag)):
            answer = self._call(
                "PUT", f"{self._path}/manifests/{name}", content=manifest, headers={"Content-Type": MANIFEST}
            )
            self._expect(answer, HTTPStatus.CREATED)
        return digest

    def _put(self, data: bytes, *, digest: str) -> None:
        if not self._has(digest):
            self._send(iter((data,)), digest=digest, size=len(data))

    def _put_blob(self, file: IO[bytes], *, digest: str, size: int) -> None:
        if not self._has(digest):
            self._send(iter(lambda: file.read(CHUNK_BYTES), b""), digest=digest, size=size)

    def _has(self, digest: str) -> bool:
        return self._call("HEAD", f"{self._path}/blobs/{digest}").status_code == HTTPStatus.OK

    def _send(self, pieces: Iterator[bytes], *, digest: str, size: int) -> None:
        begun = self._call("POST", f"{self._path}/blobs/uploads/", headers={"Content-Length": "0"})
        self._expect(begun, HTTPStatus.ACCEPTED)
        place = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": digest})
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        self._expect(self._call("PUT", place, content=pieces, headers=headers), HTTPStatus.CREATED)

    def _call(self, method: str, where: str | httpx.URL, **options: Any) -> httpx.Response:
        try:
            return self._client.request(method, where, auth=self._account(), **options)
        except httpx.HTTPError as error:
            raise EngineUnreachable(f"The registry gave no answer: {error}") from error

    def _account(self) -> tuple[str, str] | None:
        """`user:password`, from a file."""
        if self._account_file is None:
            return None
        user, _, password = self._account_file.read_text(encoding="utf-8").strip().partition(":")
        return user, password

    def _expect(self, answer: httpx.Response, *wanted: HTTPStatus) -> None:
        if answer.status_code in wanted:
            return
        words = f"{answer.request.method} {answer.request.url.path} gave {answer.status_code}: {answer.text[:300]}"
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise EngineUnreachable(f"The registry cannot answer now: {words}")
        raise EngineRefused(f"The registry refused: {words}")


def plain(tag: str) -> str:
    """A name of ours as a tag, which has no slashes and no colons."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", tag)


def _bytes(outer: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = outer.extractfile(member)
    if file is None:
        raise EngineRefused(f"{member.name} of the archive is no file")
    return file.read()
