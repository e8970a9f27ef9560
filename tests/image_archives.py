"""Build image archives for tests, honest ones and hostile ones, byte by byte with the standard library."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import uuid
from pathlib import Path

import leftovers

PAYLOAD = b"#!/bin/sh\necho hello\n"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def entry(name, data=b"", *, kind=tarfile.REGTYPE, link="", mode=0o755, uid=0) -> tuple[tarfile.TarInfo, bytes]:
    """One tar entry with its body."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.uid, info.gid, info.size = kind, link, mode, uid, uid, len(data)
    return info, data


def folder(name) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, kind=tarfile.DIRTYPE)


def symlink(name, target) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, kind=tarfile.SYMTYPE, link=target)


def hard_link(name, target) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, kind=tarfile.LNKTYPE, link=target)


def device(name, *, major, minor) -> tuple[tarfile.TarInfo, bytes]:
    info, _ = entry(name, kind=tarfile.CHRTYPE, mode=0o666)
    info.devmajor, info.devminor = major, minor
    return info, b""


def tar_of(*entries, dialect=tarfile.PAX_FORMAT) -> bytes:
    """A tar with exactly these entries, in this order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=dialect) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


LAYER = tar_of(folder("app"), entry("app/run.sh", PAYLOAD), entry("bin/sh", b"\x7fELF"))


def config_of(*layers: bytes, settings=None, **changes) -> dict:
    """An image configuration as Docker writes it. `settings` go into its `config`, `changes` beside it."""
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/app/run.sh"], **(settings or {})},
        "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
        "history": [{"created_by": "test"} for _ in layers],
    } | changes


def docker_save(path: Path, *layers: bytes, config=None, tags=None, manifest=None, members=None, stored=None) -> Path:
    """An archive as `docker save` writes it. `stored` replaces layer bodies (compressed ones), `members` adds entries."""
    layers = layers or (LAYER,)
    body = json.dumps(config if config is not None else config_of(*layers)).encode()
    config_name = f"{hashlib.sha256(body).hexdigest()}.json"
    names = [f"{index}/layer.tar" for index in range(len(layers))]
    entries = [entry(config_name, body)]
    entries += [entry(name, data) for name, data in zip(names, stored or layers, strict=True)]
    document = manifest if manifest is not None else [{"Config": config_name, "RepoTags": tags, "Layers": names}]
    path.write_bytes(tar_of(*entries, *(members or []), entry("manifest.json", json.dumps(document).encode())))
    return path


def honest_image(path: Path, *, content: str = "") -> Path:
    """An image whose program can be started. Images of other content are others."""
    layer = tar_of(entry("copy", b"\x7fELF" + content.encode()))
    return docker_save(path, layer, config=config_of(layer, settings={"Entrypoint": ["/copy"], "Cmd": None}))


def oci_layout(path: Path, *layers: bytes, config=None, stored=None, platform=None, extra_manifests=()) -> Path:
    """An archive as `skopeo copy … oci-archive:` and `docker buildx build --output type=oci` write it."""
    layers = layers or (LAYER,)
    blobs: list[bytes] = []

    def add(data: bytes, kind: str) -> dict:
        blobs.append(data)
        return {"mediaType": kind, "digest": sha256(data), "size": len(data)}

    body = json.dumps(config if config is not None else config_of(*layers)).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": add(body, "application/vnd.oci.image.config.v1+json"),
        "layers": [add(data, "application/vnd.oci.image.layer.v1.tar+gzip") for data in stored or layers],
    }
    descriptor = add(json.dumps(manifest).encode(), MANIFEST_TYPE) | ({"platform": platform} if platform else {})
    index = {"schemaVersion": 2, "manifests": [descriptor, *extra_manifests]}
    entries = [entry("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), entry("index.json", json.dumps(index).encode())]
    entries += [entry(f"blobs/sha256/{sha256(data)[7:]}", data) for data in dict.fromkeys(blobs)]
    path.write_bytes(tar_of(*entries))
    return path


def gzipped(path: Path) -> Path:
    """The same archive, compressed in place."""
    path.write_bytes(gzip.compress(path.read_bytes(), compresslevel=1))
    return path


def build_image(context: Path, lines: list[str], *, files: Path | None = None) -> str:
    """Build a Dockerfile of these lines and give the image's ID.

    Two builds share nothing but what they start from: removing an image removes its parents too, also from under a build
    that has just found them in the cache.
    """
    dockerfile = context / "Dockerfile"
    start, *others = lines
    dockerfile.write_text("\n".join([start, f"ENV TEST_BUILD={uuid.uuid4().hex}", *others]))
    command = ["docker", "build", "--network=none", "--force-rm", "-q", "-f", str(dockerfile), str(files or context)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    image_id = built.stdout.strip()
    leftovers.IMAGES.add(image_id)
    return image_id
