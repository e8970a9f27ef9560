"""Carry a container's output out of its Pod. A program of its own: `python output_courier.py OUTPUT EXCHANGE BYTES FILES`.

It knows nothing but the standard library (Python 3.9 or newer). It runs beside the algorithm in a container of ours, under the same user
and the same confinement, and does nothing until the agent has seen the algorithm end: then there is a file `collect` in EXCHANGE. It
writes `output.tar` and, as the last thing, `told.json`. Names and links in OUTPUT are hostile: nothing is followed, links are archived as
links. Files may claim to hold more than they do: the courier stops before the archive would hold more than BYTES, and says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import tarfile
import time
from pathlib import Path

POLL_SECONDS = 0.2
FIRST_LEVEL = "output"


def archive(output: str, *, into: str, most_bytes: int, most_files: int) -> dict[str, object]:
    """Write the archive. What it holds, and whether something was left out."""
    told: dict[str, object] = {"files": 0, "bytes": 0, "too_large": False, "too_many": False}
    files = size = 0
    with tarfile.open(into, mode="w") as tar:
        folders = [(output, FIRST_LEVEL)]
        while folders:
            folder, name = folders.pop()
            with contextlib.suppress(OSError):
                os.chmod(folder, 0o700)  # noqa: PTH101 - its owner may have closed it, and that is us
            for entry in sorted(os.scandir(folder), key=lambda found: found.name):
                files += 1
                if files > most_files:
                    return {**told, "files": files, "bytes": size, "too_many": True}
                facts = entry.stat(follow_symlinks=False)
                size += facts.st_size if stat.S_ISREG(facts.st_mode) else 0
                if size > most_bytes:
                    return {**told, "files": files, "bytes": size, "too_large": True}
                inside = f"{name}/{entry.name}"
                if stat.S_ISSOCK(facts.st_mode):
                    info = tarfile.TarInfo(inside)
                    info.type = tarfile.FIFOTYPE
                    tar.addfile(info)
                    continue
                if stat.S_ISREG(facts.st_mode):
                    os.chmod(entry.path, 0o600)  # noqa: PTH101 - as above
                tar.add(entry.path, arcname=inside, recursive=False)
                if stat.S_ISDIR(facts.st_mode):
                    folders.append((entry.path, inside))
    return {**told, "files": files, "bytes": size}


def main(arguments: list[str]) -> int:
    """0 once the output has been carried out."""
    output, exchange, most_bytes, most_files = arguments
    place = Path(exchange)
    while not (place / "collect").exists():
        time.sleep(POLL_SECONDS)
    try:
        told = archive(output, into=str(place / "output.tar"), most_bytes=int(most_bytes), most_files=int(most_files))
        (place / "output.tar").chmod(0o644)
    except OSError as error:
        told = {"error": f"{type(error).__name__}: {error}"}
    fresh = place / "told.json.new"
    fresh.write_text(json.dumps(told), encoding="utf-8")
    fresh.chmod(0o644)
    fresh.replace(place / "told.json")
    return 0 if "error" not in told else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
