"""Inputs that a far node keeps, by the digest of their content: a test set is fetched once, however many submissions run on it.

Off unless the operator gives it a size, because hidden inputs then stay on the node's disk between runs. A file is checked by its hash
each time it is taken. What was fetched of a file when the line broke is kept, and the next attempt goes on there. The file that was
used longest ago goes first. One that is in use may go, because a run has a link of its own.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from assay.node.orders import FileOrder

log = logging.getLogger(__name__)
PART = ".part"


class InputCache:
    """One folder, shared by the slots of an agent. Safe to use from several threads. Two that want one file fetch it once."""

    def __init__(self, *, folder: Path, limit_bytes: int, reserve_bytes: int = 0) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._reserve_bytes = reserve_bytes
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._parts: set[str] = set()
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()

    def take(self, file: FileOrder, *, destination: Path, fetch: Callable[[Path], None]) -> None:
        """Put the file at `destination`. `fetch` writes it to a path, from where an earlier attempt stopped, and checks its hash."""
        if file.bytes > self._limit_bytes:
            fetch(destination)
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = self._folder / file.sha256
        with self._lock_of(file.sha256):
            if not self._is_whole(kept, file=file):
                self._make_room(file.bytes)
                with self._fetching(file.sha256) as part:
                    fetch(part)
                    part.chmod(0o444)
                    part.replace(kept)
                self.counts["fetched"] += 1
            os.utime(kept)
            share(kept, destination)

    def forget(self) -> int:
        """Remove everything: the machine leaves. Returns how many files."""
        files = [path for path in self._folder.glob("*") if path.is_file()]
        for path in files:
            path.unlink(missing_ok=True)
        return len(files)

    def _lock_of(self, digest: str) -> threading.Lock:
        with self._lock:
            return self._locks[digest]

    @contextlib.contextmanager
    def _fetching(self, digest: str) -> Iterator[Path]:
        """The part of a file, which nobody removes meanwhile."""
        name = digest + PART
        with self._lock:
            self._parts.add(name)
        try:
            yield self._folder / name
        finally:
            with self._lock:
                self._parts.discard(name)

    def _is_whole(self, kept: Path, *, file: FileOrder) -> bool:
        """Whether it is there and unharmed. A harmed one is removed."""
        if not kept.exists():
            return False
        with kept.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found == file.sha256:
            self.counts["kept"] += 1
            return True
        log.warning("input.damaged", extra={"sha256": file.sha256, "found": found})
        kept.unlink()
        return False

    def _make_room(self, needed_bytes: int) -> None:
        with self._lock:
            files = sorted(self._files(), key=lambda found: found[1].st_mtime)
            total = sum(facts.st_size for _, facts in files)
            for path, facts in files:
                has_disk = shutil.disk_usage(self._folder).free >= needed_bytes + self._reserve_bytes
                if has_disk and total + needed_bytes <= self._limit_bytes:
                    return
                path.unlink(missing_ok=True)
                total -= facts.st_size

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for path in self._folder.glob("*"):
            if path.name in self._parts:
                continue
            with contextlib.suppress(FileNotFoundError):
                found.append((path, path.stat()))
        return found


def share(kept: Path, destination: Path) -> None:
    """A link where both are on one file system, else a copy."""
    try:
        destination.hardlink_to(kept)
    except OSError:
        shutil.copyfile(kept, destination)
