"""Compiles the kernel with the system's C compiler. Standard library only: the build hook loads this file by its path."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
LIBRARY = FOLDER / "_kernel.so"
SOURCES = (
    "instructions.c",
    "checksum.c",
    "inflate.c",
    "source.c",
    "scan.c",
    "lanes.c",
    "cells.c",
    "distances.c",
    "device.c",
    "measure.c",
    "reductions.c",
)
# Without contraction: a fused multiply-add would round differently from every other backend.
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O3", "-ffp-contract=off", "-fvisibility=hidden", "-fPIC", "-pthread", "-Wall")


class CompilerMissingError(Exception):
    """No C compiler was found, or it refused the kernel. The message says which and why."""


def find_compiler() -> str | None:
    """The compiler named by CC, else the one Python was built with, else cc, gcc or clang: the first that exists."""
    import shlex  # these four only where something is built: scoring imports this module too
    import shutil
    import sysconfig

    named = (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang")
    for candidate in named:
        program = shlex.split(candidate)[0] if candidate else ""
        if program and shutil.which(program):
            return program
    return None


def stamp() -> bytes:
    """What a library built from the sources as they are now carries in it."""
    digest = hashlib.sha256(repr(FLAGS).encode())
    for source in sorted([*FOLDER.glob("*.c"), *FOLDER.glob("*.h")]):
        digest.update(source.read_bytes())
    return b"assay-sources:" + digest.hexdigest().encode()


def is_stale(library: Path) -> bool:
    """Whether a library was built from other sources than lie here. Never where none do."""
    return any(FOLDER.glob("*.c")) and stamp() not in library.read_bytes()


def compile_kernel(*, destination: Path = LIBRARY, extra_flags: Sequence[str] = ()) -> Path:
    """Build the shared library, replacing an older one only when all went well."""
    compiler = find_compiler()
    if compiler is None:
        raise CompilerMissingError(
            "found no C compiler; install gcc (apt-get install gcc libc6-dev), then run this again"
        )
    unfinished = destination.with_suffix(f".{os.getpid()}.tmp")
    command = [
        compiler,
        *FLAGS,
        f'-DASSAY_SOURCES="{stamp().decode()}"',
        *extra_flags,
        "-shared",
        "-o",
        str(unfinished),
    ]
    command += [str(FOLDER / source) for source in SOURCES] + ["-lm"]
    import subprocess

    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        unfinished.unlink(missing_ok=True)
        raise CompilerMissingError(f"{compiler} refused the kernel:\n{finished.stderr.strip()}")
    unfinished.replace(destination)
    return destination
