"""The images a node keeps: loaded once, pinned while used, the least recently used one evicted first, disk reserved beforehand.

Only images this cache has loaded are ever evicted. What else lives in the engine is somebody else's. Room is made *before* an
archive is fetched: twice its size, once for the archive and once for the engine's copy. When nothing unpinned is left to evict
the answer is `DiskFull`, which means that the node stops claiming: it never becomes a participant's failure.

An image whose program cannot be executed may have been damaged where it lies. Before that is held against anybody, the engine's
copy is thrown away and loaded afresh from the archive, which is checked by its hash (`distrust`). That has to wait until no
container runs on it: the engine keeps the layers of a running one and would build the fresh copy on them. It keeps those of other
images, too, and many authors begin with the same base: so cached images that share a layer with the damaged one go with it, and are
loaded afresh when they are wanted. Only a fresh copy that does not start either is what its author made. (A layer that belongs to
an image which is not ours stays: nothing that somebody else put there is removed.)
"""

import contextlib
import json
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from containers.engines import Engine
from containers.errors import DiskFull, EngineRefused, ImageAbsent
from containers.intake import load_archive

ARCHIVE_AND_COPY = 2
LEDGER = "images.json"
ARCHIVES = "*.tar"
log = logging.getLogger(__name__)


class ImageBusy(Exception):
    """A damaged copy has to go and cannot yet: try again soon."""


@dataclass(frozen=True, kw_only=True)
class CachedImage:
    """One image of ours in the engine."""

    image_id: str
    bytes: int
    used_at: float


class ImageCache:
    """The images of one node, shared by its slots. Safe to use from several threads. One fetch at a time."""

    def __init__(
        self,
        *,
        folder: Path,
        limit_bytes: int,
        reserve_bytes: int,
        free_bytes: Callable[[], int],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._reserve_bytes = reserve_bytes
        self._free_bytes = free_bytes
        self._now = now
        self._pins: Counter[str] = Counter()
        self._thrown_away: Counter[str] = Counter()
        self._proven: set[str] = set()
        self._condemned: set[str] = set()
        self._lock = threading.Lock()

    def image_ids(self) -> list[str]:
        """What is cached, least recently used first."""
        return [image.image_id for image in self._ledger()]

    def accepts_work(self) -> bool:
        """Whether a node should claim: there is a reserve of free disk, or something to evict to get it."""
        evictable = sum(image.bytes for image in self._ledger() if not self._pins[image.image_id])
        return self._free_bytes() + evictable >= self._reserve_bytes

    @contextlib.contextmanager
    def holding(
        self, engine: Engine, *, image_id: str, archive_bytes: int, fetch: Callable[[Path], None]
    ) -> Iterator[int]:
        """The image is in the engine, and stays, for as long as the context lasts. `fetch` writes its archive to a path.

        Yields the number of the copy, for `distrust`. Raises ImageBusy while a copy that is to be thrown away is in use.
        """
        with self._lock:
            self._throw_away(engine, image_id=image_id)
            if not has_image(engine, image_id):
                self._make_room(engine, needed_bytes=ARCHIVE_AND_COPY * archive_bytes)
                self._load(engine, image_id=image_id, fetch=fetch)
            self._remember(image_id=image_id, size_bytes=archive_bytes)
            self._pins[image_id] += 1
            copy = self._thrown_away[image_id]
        try:
            yield copy
        finally:
            with self._lock:
                self._pins[image_id] -= 1
                self._remember(image_id=image_id, size_bytes=archive_bytes)

    def forget(self, engine: Engine, *, unused_since: float = math.inf) -> int:
        """Remove every image that is not in use and was not used since then. Returns how many."""
        with self._lock:
            images = [
                image for image in self._ledger() if image.used_at < unused_since and not self._pins[image.image_id]
            ]
            for image in images:
                self._evict(engine, image)
        return len(images)

    def distrust(self, *, image_id: str, copy: int) -> bool:
        """Have a copy that does not start thrown away before it is used again. False when it was a fresh one already."""
        with self._lock:
            if copy == self._thrown_away[image_id]:  # else another slot has had it thrown away meanwhile
                if copy and image_id not in self._proven:
                    return False
                self._condemned.add(image_id)
        log.warning("image.distrusted", extra={"image": image_id})
        return True

    def trust(self, *, image_id: str) -> None:
        """Mark this image as known to start. If it later fails to start, its copy is treated as damaged."""
        with self._lock:
            self._proven.add(image_id)

    def clear_away(self) -> None:
        """Remove archives that an earlier life was fetching when it ended. Call it before anything is held."""
        for archive in self._folder.glob(ARCHIVES):
            archive.unlink()

    def _throw_away(self, engine: Engine, *, image_id: str) -> None:
        """Remove a condemned copy, once nothing runs on it."""
        if image_id not in self._condemned:
            return
        sharing = [image for image in self._ledger() if has_shared_layers(engine, image.image_id, image_id)]
        if self._pins[image_id] or any(self._pins[image.image_id] for image in sharing):
            raise ImageBusy("A copy that does not start is to be replaced, and a container still runs on its layers.")
        for image in sharing:
            self._evict(engine, image)
        engine.remove_image(image_id)
        self._thrown_away[image_id] += 1
        self._condemned.discard(image_id)
        self._proven.discard(image_id)

    def _load(self, engine: Engine, *, image_id: str, fetch: Callable[[Path], None]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        archive = self._folder / f"{image_id.removeprefix('sha256:')}.tar"
        try:
            fetch(archive)
            load_archive(engine, archive, image_id)
        finally:
            archive.unlink(missing_ok=True)

    def _make_room(self, engine: Engine, *, needed_bytes: int) -> None:
        for image in self._ledger():
            if self._has_room(needed_bytes):
                return
            if not self._pins[image.image_id]:
                self._evict(engine, image)
        if not self._has_room(needed_bytes):
            raise DiskFull(
                f"{needed_bytes >> 20} MiB are needed for an image and {self._reserve_bytes >> 20} MiB in reserve; "
                f"{self._free_bytes() >> 20} MiB are free and nothing more can be evicted."
            )

    def _has_room(self, needed_bytes: int) -> bool:
        cached = sum(image.bytes for image in self._ledger())
        fits_disk = self._free_bytes() >= needed_bytes + self._reserve_bytes
        return fits_disk and cached + needed_bytes // ARCHIVE_AND_COPY <= self._limit_bytes

    def _evict(self, engine: Engine, image: CachedImage) -> None:
        with contextlib.suppress(EngineRefused):  # still in use by a container that is being removed: next time
            engine.remove_image(image.image_id)
            self._write([kept for kept in self._ledger() if kept.image_id != image.image_id])

    def _remember(self, *, image_id: str, size_bytes: int) -> None:
        others = [image for image in self._ledger() if image.image_id != image_id]
        self._write([*others, CachedImage(image_id=image_id, bytes=size_bytes, used_at=self._now())])

    def _ledger(self) -> list[CachedImage]:
        """What we know of. A ledger that a crash left unreadable is begun anew: what it named is not evicted any more."""
        path = self._folder / LEDGER
        try:
            entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
            return sorted((CachedImage(**entry) for entry in entries), key=lambda image: image.used_at)
        except (ValueError, TypeError):
            log.exception("images.ledger_unreadable")
            path.unlink(missing_ok=True)
            return []

    def _write(self, images: list[CachedImage]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._folder / f"{LEDGER}.new"
        fresh.write_text(json.dumps([asdict(image) for image in images]), encoding="utf-8")
        fresh.replace(self._folder / LEDGER)


@contextlib.contextmanager
def borrowed_image(engine: Engine, *, image_id: str, load: Callable[[], None]) -> Iterator[None]:
    """The image is in the engine for as long as the context lasts. Where `load` had to bring it, it is removed again."""
    was_there = has_image(engine, image_id)
    if not was_there:
        load()
    try:
        yield
    finally:
        if not was_there:
            with contextlib.suppress(EngineRefused):  # somebody else runs it by now
                engine.remove_image(image_id)


def has_shared_layers(engine: Engine, image_id: str, other_id: str) -> bool:
    """Whether two different images have a layer in common. An image the engine does not have shares nothing."""
    if image_id == other_id:
        return False
    try:
        return bool(engine.image_facts(image_id).layers & engine.image_facts(other_id).layers)
    except ImageAbsent:
        return False


def has_image(engine: Engine, image_id: str) -> bool:
    """Whether the engine has this very image."""
    try:
        engine.image_facts(image_id)
    except ImageAbsent:
        return False
    return True
