"""Files that only their owner may read: keys, tokens and configurations. They are of mode 0600 from their first byte on."""

import os
import re
from pathlib import Path

HALF_WRITTEN = re.compile(r"[.][a-z]+[.][0-9]+$")
"""The name of a file, and the number of the process that was writing it."""


def write_once(path: Path, content: bytes) -> None:
    """Write the file whole or not at all. When two processes try at once, the first one's content stays."""
    fresh = _write_beside(path, content)
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def replace(path: Path, content: bytes) -> None:
    """Write the file whole in place of what is there."""
    _write_beside(path, content).replace(path)


def _write_beside(path: Path, content: bytes) -> Path:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)  # of a process that had this number and died
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power failure leaves a file without content under the name
    except OSError:  # a full disk
        fresh.unlink()
        raise
    return fresh


def half_written(folder: Path) -> list[Path]:
    """What processes that were killed left beside the files that they wrote. Nobody else may be writing there."""
    return [path for path in folder.iterdir() if HALF_WRITTEN.search(path.name)]
