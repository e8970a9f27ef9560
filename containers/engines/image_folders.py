"""Images as folders on disk, by the digest of their configuration, for engines without a store of their own.

    images/<64 hex digits>/rootfs         the files, unpacked by `unpack_image.py`
    images/<64 hex digits>/config.json    the OCI configuration, byte for byte
    images/<64 hex digits>/facts.json     bytes and tags

An image appears by one rename, so that a half-unpacked one is never taken for an image. The folder is readable by its owner only:
what a submission's layers hold must not lie open on a host. `machine.image_cache` decides what is kept, as with other engines.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from containers.engines import ImageFacts, unpack_image
from containers.errors import EngineRefused, ImageAbsent

UNPACKER = Path(unpack_image.__file__)
DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
FRESH = "new-"
FORGOTTEN = "old-"
SCRIPTS_OF_IMAGES = ".singularity.d"
"""What Apptainer would run before a program. An image's environment is what its configuration says, and nothing else."""


class ImageFolders:
    """The images below one folder. Several processes may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "images"

    def load(self, archive: Path) -> str:
        """Unpack an archive that intake has written. Returns the image's ID. Raises EngineRefused."""
        with self._fresh() as fresh, archive.open("rb") as source:
            answer = _unpack(source, fresh / "rootfs")
            config = str(answer["config"]).encode()
            (fresh / "config.json").write_bytes(config)
            return self._keep(fresh, digest=hashlib.sha256(config).hexdigest(), facts={"bytes": answer["bytes"]})

    def load_tree(self, tree: bytes, *, entrypoint: tuple[str, ...], tag: str) -> str:
        """Make an image of our own from a tar of its files. Returns its ID."""
        with self._fresh() as fresh, tempfile.TemporaryFile() as source:
            source.write(tree)
            source.seek(0)
            answer = _unpack(source, fresh / "rootfs", "--tree")
            diff_id = f"sha256:{hashlib.sha256(tree).hexdigest()}"
            document = {"config": {"Entrypoint": list(entrypoint)}, "rootfs": {"diff_ids": [diff_id]}, "tag": tag}
            config = json.dumps(document).encode()
            (fresh / "config.json").write_bytes(config)
            facts = {"bytes": answer["bytes"], "tags": [tag]}
            return self._keep(fresh, digest=hashlib.sha256(config).hexdigest(), facts=facts)

    def facts(self, name: str) -> ImageFacts:
        """About one image, by ID or by a tag of ours. Raises ImageAbsent."""
        folder = self._found(name)
        size = int(_read(folder / "facts.json").get("bytes", 0))
        return ImageFacts.of_config(self._config(folder), image_id=f"sha256:{folder.name}", size=size)

    def environment(self, name: str) -> dict[str, str]:
        """The variables the image sets."""
        lines = self._config(self._found(name)).get("Env") or ()
        return {key: value for key, _, value in (line.partition("=") for line in lines)}

    def rootfs(self, name: str) -> Path:
        """Where the image's files lie. Raises ImageAbsent."""
        return self._found(name) / "rootfs"

    def ids(self) -> set[str]:
        """All images."""
        names = (f"sha256:{folder.name}" for folder in self._folder.glob("[0-9a-f]*"))
        return {name for name in names if DIGEST.fullmatch(name)}

    def remove(self, name: str) -> None:
        """Remove one image. A missing one is no error."""
        try:
            folder = self._found(name)
        except ImageAbsent:
            return
        forgotten = Path(tempfile.mkdtemp(prefix=FORGOTTEN, dir=self._folder))
        with contextlib.suppress(FileNotFoundError):  # somebody else removes it at this moment
            folder.rename(forgotten / folder.name)
        shutil.rmtree(forgotten)

    @contextlib.contextmanager
    def _fresh(self) -> Iterator[Path]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        fresh = Path(tempfile.mkdtemp(prefix=FRESH, dir=self._folder))
        (fresh / "rootfs").mkdir(mode=0o755)
        try:
            yield fresh
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _keep(self, fresh: Path, *, digest: str, facts: Mapping[str, Any]) -> str:
        (fresh / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        _drop(fresh / "rootfs" / SCRIPTS_OF_IMAGES)
        try:
            fresh.rename(self._folder / digest)
        except OSError:
            if not (self._folder / digest).is_dir():
                raise
        return f"sha256:{digest}"

    def _found(self, name: str) -> Path:
        digest = DIGEST.fullmatch(name)
        if digest is not None:
            folder = self._folder / digest[1]
            if folder.is_dir():
                return folder
        else:
            for path in self._folder.glob("*/facts.json"):
                if name in _read(path).get("tags", ()):
                    return path.parent
        raise ImageAbsent(f"No such image: {name}")

    def _config(self, folder: Path) -> dict[str, Any]:
        return _read(folder / "config.json").get("config") or {}


def _unpack(source: IO[bytes], rootfs: Path, *options: str) -> dict[str, Any]:
    """In a process of its own, which sees nothing but `rootfs`."""
    command = [sys.executable, "-I", str(UNPACKER), str(rootfs), *options]
    done = subprocess.run(command, stdin=source, capture_output=True, check=False, env={"PATH": os.defpath})
    if done.returncode != 0:
        why = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise EngineRefused(f"The archive could not be unpacked: {why[:300]}")
    return dict(json.loads(done.stdout))


def _drop(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
