"""Stored files that no row names: left by attempts that were replaced, rows that were deleted, processes that died in between.

Theory of operation. A file is stored first and named by a row within minutes, or never. A row never begins to name a file that has
lain there unnamed. So: list the files that are older than `GRACE`, and only then read which files rows name. Whatever was named
before the listing is found by the reading, whatever is written after it is too young, and what is left is named by nobody and will
never be. Nothing is decided per file afterwards that could go out of date, and a second collector at the same time deletes the same
files. Names are kept as 64-bit hashes: two million take some 130 MB, and a collision keeps a file that could go.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from assay.challenges.models import Phase
from assay.evaluations.models import MetricImage
from assay.leaderboards.reports import report_key
from assay.runs.models import CaseRun
from assay.submissions.models import AlgorithmImage, CodePart, Upload
from assay.testsets import storage
from assay.testsets.models import Case
from assay.testsets.storage import Listed

log = logging.getLogger(__name__)
GRACE = timedelta(days=2)
"""Far longer than anything takes between writing a file and naming it."""
CHUNK = 2000


@dataclass(frozen=True, kw_only=True)
class Heap:
    """The garbage of one top folder."""

    folder: str
    files: int
    bytes: int


def find_garbage(*, now: datetime) -> list[Listed]:
    """Every stored file older than `GRACE` that no row names."""
    old = [file for file in storage.walk() if now - file.modified_at > GRACE]  # first this, then the names: see above
    named = {fingerprint(key) for key in named_keys()}
    return [file for file in old if fingerprint(file.key) not in named]


def delete_garbage(garbage: Sequence[Listed]) -> None:
    """Delete these files."""
    for file in garbage:
        storage.delete_file(file.key)
        log.info("garbage.deleted", extra={"key": file.key, "bytes": file.bytes})


def heaps_of(garbage: Sequence[Listed]) -> list[Heap]:
    """How much lies where, the largest heap first."""
    by_folder: dict[str, list[Listed]] = {}
    for file in garbage:
        by_folder.setdefault(file.key.partition("/")[0], []).append(file)
    heaps = [
        Heap(folder=folder, files=len(files), bytes=sum(file.bytes for file in files))
        for folder, files in by_folder.items()
    ]
    return sorted(heaps, key=lambda heap: (-heap.bytes, heap.folder))


def named_keys() -> Iterator[str]:
    """The key of every stored file that some row names, in chunks."""
    for outputs, log_key in CaseRun.objects.values_list("outputs", "log_key").iterator(CHUNK):
        yield log_key
        yield from (output["key"] for output in outputs)
    for inputs, references in Case.objects.values_list("inputs", "references").iterator(CHUNK):
        yield from (file["key"] for file in [*inputs, *references])
    yield from AlgorithmImage.objects.values_list("rewritten_key", flat=True).iterator(CHUNK)
    yield from Upload.objects.values_list("key", flat=True).iterator(CHUNK)
    yield from CodePart.objects.values_list("key", flat=True).iterator(CHUNK)
    yield from MetricImage.objects.values_list("rewritten_key", flat=True).iterator(CHUNK)
    yield from (report_key(phase) for phase in Phase.objects.all())


def fingerprint(key: str) -> int:
    """A name in eight bytes."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
