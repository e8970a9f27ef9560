"""Scanned references, kept: a test set's references are read once and serve every submission.

What is kept is the kernel's own record of the volume (elements and runs, a few megabytes a case), so a score with the cache
is the same to the last bit as one without. The key is made of the file's hash, the labels and the kernel's interface: a
reference that changes, or another protocol, is another entry, and nothing ever has to be invalidated.
"""

import json
import os
from collections import OrderedDict
from hashlib import sha256
from pathlib import Path
from threading import Lock

import numpy as np

from evaluator.backends.stored import StoredVolume
from evaluator.kernel.labels import LabelTable
from evaluator.kernel.library import INTERFACE
from evaluator.kernel.scans import ScannedVolume

DEFAULT_MEMORY_BYTES = 128 << 20


class ReferenceCache:
    """Entries in a folder, the latest of them in memory too, one at least. Threads and processes may share one."""

    def __init__(self, folder: Path | None = None, *, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> None:
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._recent: OrderedDict[str, ScannedVolume] = OrderedDict()
        self._held_bytes = 0
        self._lock = Lock()

    def find(self, reference: StoredVolume, *, table: LabelTable) -> ScannedVolume | None:
        """The scan of this very reference for these very labels, if it was kept."""
        key = _key(reference, table)
        with self._lock:
            if key in self._recent:
                self._recent.move_to_end(key)
                return self._recent[key]
        found = self._read(key)
        if found:
            self._remember(key, found)
        return found

    def keep(self, reference: StoredVolume, *, table: LabelTable, scanned: ScannedVolume) -> None:
        """Keep a scan. A folder that cannot be written costs time later, never a score now."""
        key = _key(reference, table)
        self._remember(key, scanned)
        if self._folder is None:
            return
        unfinished = self._folder / f".{key}.{os.getpid()}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                np.savez(file, **{name: getattr(scanned, name) for name in _ARRAYS}, shape=np.array(scanned.shape))
            unfinished.replace(self._folder / f"{key}.npz")
        except OSError:
            unfinished.unlink(missing_ok=True)

    def _read(self, key: str) -> ScannedVolume | None:
        if self._folder is None:
            return None
        import zipfile  # with all its compressors: only where scans are kept on disk

        try:
            with (self._folder / f"{key}.npz").open("rb") as file, np.load(file, allow_pickle=False) as kept:
                arrays = {name: kept[name] for name in _ARRAYS}
                return ScannedVolume(shape=tuple(kept["shape"].tolist()), **arrays)
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
            return None

    def _remember(self, key: str, scanned: ScannedVolume) -> None:
        with self._lock:
            earlier = self._recent.pop(key, None)
            self._recent[key] = scanned
            self._held_bytes += scanned.bytes - (earlier.bytes if earlier else 0)
            while len(self._recent) > 1 and self._held_bytes > self._memory_bytes:
                self._held_bytes -= self._recent.popitem(last=False)[1].bytes


_ARRAYS = ("element_counts", "elements", "run_ends", "run_keys")


def _key(reference: StoredVolume, table: LabelTable) -> str:
    meaning = [INTERFACE, reference.sha256, table.labels, table.values.tolist(), table.keys.tolist()]
    return sha256(json.dumps(meaning).encode()).hexdigest()
