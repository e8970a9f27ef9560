"""How fast intake reads: `python -m containers.bench.intake` makes archives of random bytes and prints what each cost.

`--huge` adds one of 20 GB: a sparse file, so that only the checked archive takes that much disk.
"""

import argparse
import gzip
import hashlib
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from containers.intake.archives import inspect_archive
from containers.intake.rewrite import tar_header
from containers.intake.tar import BLOCK

MIB = 1 << 20
FILES_PER_MEBIBYTE = 4
"""About what an image with a Python distribution and a model has."""


HUGE_FILES = 19
"""Of a GiB each: with their headers 20.4 GB."""


def write_archive(path: Path, *, files: int, file_bytes: int, is_sparse: bool = False) -> None:
    """A one-layer `docker save` archive, written in constant memory: of random bytes, or of holes."""
    digest = hashlib.sha256()
    length = files * (BLOCK + file_bytes) + 2 * BLOCK
    with path.open("wb") as archive:
        archive.write(tar_header(name="layer.tar", size=length))
        for number in range(files):
            header = tar_header(name=f"files/{number}", size=file_bytes)
            digest.update(header)
            archive.write(header)
            _write_body(archive, length=file_bytes, digest=digest, is_sparse=is_sparse)
        digest.update(bytes(2 * BLOCK))
        archive.write(bytes(2 * BLOCK))
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/run"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest.hexdigest()}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": None, "Layers": ["layer.tar"]}]
        for name, document in (("config.json", config), ("manifest.json", manifest)):
            text = json.dumps(document).encode()
            archive.write(tar_header(name=name, size=len(text)) + text + bytes(-len(text) % BLOCK))
        archive.write(bytes(2 * BLOCK))


def _write_body(archive: BinaryIO, *, length: int, digest: "hashlib._Hash", is_sparse: bool) -> None:
    for start in range(0, length, MIB):
        piece = bytes(min(MIB, length - start)) if is_sparse else os.urandom(min(MIB, length - start))
        digest.update(piece)
        if is_sparse:
            archive.seek(len(piece), os.SEEK_CUR)
        else:
            archive.write(piece)


def compressed(path: Path, *, form: str) -> Path:
    """The archive as it is, or a copy of it compressed as people do."""
    if form == "plain":
        return path
    target = path.with_suffix(f".{form}")
    with path.open("rb") as source, _sink(target, form=form) as sink:
        while chunk := source.read(MIB):
            sink.write(chunk)
    return target


def _sink(path: Path, *, form: str) -> BinaryIO:
    kind = gzip.GzipFile(path, "wb", compresslevel=1) if form == "gzip" else zstandard.open(path, "wb")
    return cast("BinaryIO", kind)


def measure(path: Path, *, unpacked_bytes: int) -> dict[str, float]:
    """One inspection: megabytes per second by the clock and per processor second, and the child's peak memory."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        inspect_archive(source=path, destination=Path(folder) / "checked.tar", architecture="amd64")
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "bytes": unpacked_bytes,
        "megabytes_per_second": unpacked_bytes / 1e6 / seconds,
        "megabytes_per_cpu_second": unpacked_bytes / 1e6 / cpu_seconds,
        "peak_memory_bytes": after.ru_maxrss * 1024,
    }


def main() -> None:
    """Print one line per form of archive, or one JSON document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mebibytes", type=int, default=512)
    parser.add_argument("--forms", nargs="*", default=["plain", "gzip", "zstd"], choices=["plain", "gzip", "zstd"])
    parser.add_argument("--huge", action="store_true", help="20 GB as well; needs that much free disk")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; needs three times the size")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        archive = Path(folder) / "archive.tar"
        files = options.mebibytes * FILES_PER_MEBIBYTE
        write_archive(archive, files=files, file_bytes=MIB // FILES_PER_MEBIBYTE)
        for form in options.forms:
            found[form] = measure(compressed(archive, form=form), unpacked_bytes=archive.stat().st_size)
        if options.huge:
            write_archive(archive, files=HUGE_FILES, file_bytes=1 << 30, is_sparse=True)
            found["huge"] = measure(archive, unpacked_bytes=archive.stat().st_size)
    if options.json:
        sys.stdout.write(json.dumps(found))
        return
    for form, numbers in found.items():
        sys.stdout.write(
            f"intake, {form:5} {numbers['bytes'] / 1e6:8,.0f} MB: {numbers['megabytes_per_second']:6.0f} MB/s, "
            f"{numbers['megabytes_per_cpu_second']:6.0f} MB per processor second, "
            f"peak memory {numbers['peak_memory_bytes'] / 1e6:4.0f} MB\n"
        )


if __name__ == "__main__":
    main()
