"""Which evaluator computed a number: the SHA-256 of everything that it is made of. A version alone says nothing of a changed file."""

import hashlib
from functools import cache
from pathlib import Path

_SUFFIXES = (".py", ".c", ".h", ".yaml", ".json")


@cache
def source_sha256() -> str:
    """The hash of the evaluator's sources: names and content, in the order of the names. The compiled kernel is made of them.

    Every instruction set of the kernel gives the same bits, so it is not part of it. 3 MB are read, once per process.
    """
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    files = (path for path in folder.rglob("*") if path.suffix in _SUFFIXES and "__pycache__" not in path.parts)
    for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in files):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
