"""Giving space back: what killed workers left in scratch, copies kept for speed that nobody has used lately, abandoned attempts.

Scratch belongs to a host, so every worker tidies its own, once an hour at most: the scoring worker after an evaluation, the
workflow worker when beat says so. Everything here may be deleted at any moment without changing a result: kept references and
local copies are made again, and what an abandoned attempt stored was never recorded.
"""

import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings

from assay.runs.models import CaseRun
from assay.runs.specs import attempt_folder
from assay.testsets import storage

log = logging.getLogger(__name__)

KEPT = ("references", "cache")
"""Folders of scratch whose entries are kept for speed: scanned references, local copies of stored files."""
STAMP = ".tidied"
TIDY_EVERY_SECONDS = 3600.0
ABANDONED_SECONDS = 86_400.0
"""Working folders in which nothing was made for that long belong to nobody: a case is scored in minutes."""
LOOK_BACK = timedelta(days=2)
"""Attempts are looked at for this long after their case has ended, so that no lost round leaves anything."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file kept for speed."""

    path: Path
    bytes: int
    used_at: float


def tidy_scratch(root: Path, *, keep_bytes: int, now_seconds: float) -> int:
    """Tidy a host's scratch, unless that was done within the hour. Answers how many bytes were given back."""
    stamp = root / STAMP
    if not root.is_dir() or (stamp.exists() and now_seconds - stamp.stat().st_mtime < TIDY_EVERY_SECONDS):
        return 0
    stamp.touch()
    freed = remove_abandoned(root, now_seconds=now_seconds) + shrink_kept(root, keep_bytes=keep_bytes)
    log.info("scratch.tidied", extra={"freed_bytes": freed})
    return freed


def remove_abandoned(root: Path, *, now_seconds: float) -> int:
    """Remove working folders whose process must be dead by now."""
    freed = 0
    for folder in root.iterdir():
        if folder.name in KEPT or not folder.is_dir():
            continue
        if now_seconds - folder.stat().st_mtime > ABANDONED_SECONDS:
            freed += sum(entry.bytes for entry in entries_below(folder))
            shutil.rmtree(folder, ignore_errors=True)
    return freed


def shrink_kept(root: Path, *, keep_bytes: int) -> int:
    """Remove the least recently used of what is kept for speed until the rest fits."""
    entries = sorted(
        (entry for name in KEPT for entry in entries_below(root / name)), key=lambda entry: entry.used_at, reverse=True
    )
    freed = kept = 0
    for entry in entries:
        if kept + entry.bytes <= keep_bytes:
            kept += entry.bytes
            continue
        entry.path.unlink(missing_ok=True)  # a reader that has it open reads on, the next one makes it again
        freed += entry.bytes
    return freed


def entries_below(folder: Path) -> Iterator[Entry]:
    """Every file, with its size and when it was last made or read."""
    for path in folder.rglob("*"):
        try:
            facts = path.lstat()
        except FileNotFoundError:  # somebody else tidies too
            continue
        if not path.is_dir():
            yield Entry(path=path, bytes=facts.st_size, used_at=max(facts.st_atime, facts.st_mtime))


def tidy_this_host() -> int:
    """Tidy the scratch of the host we run on."""
    return tidy_scratch(Path(settings.SCRATCH_ROOT), keep_bytes=settings.SCRATCH_KEEP_BYTES, now_seconds=time.time())


def forget_abandoned_attempts(*, now: datetime) -> int:
    """Delete what attempts stored that a later one replaced. Answers how many files. Only recorded outputs are ever read."""
    replaced = CaseRun.objects.filter(attempt__gt=1, finished_at__gt=now - LOOK_BACK)
    return sum(
        storage.delete_folder(attempt_folder(case_run, attempt=attempt))
        for case_run in replaced.iterator()
        for attempt in range(1, case_run.attempt)
    )
