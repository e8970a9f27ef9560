"""What data a site has, as one hash: the root of a tree over every file with its case and role. Pure, but for reading files.

The hash covers case, role, path, size and content. Swapping two patients' labels, renaming a case or dropping one changes the
root. The root tells nothing about any of them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assay.node.folder import FolderCase


@dataclass(frozen=True, kw_only=True)
class DataRegistration:
    """What is sent about the data: the root and how many cases."""

    root_sha256: str
    case_count: int


def register_data(cases: Sequence[FolderCase], *, folder: Path) -> DataRegistration:
    """Hash every file of every case."""
    leaves = [
        leaf(case_id=case.case_id, role=role, path=file.relative_to(folder.resolve()).as_posix(), file=file)
        for case in cases
        for role, path in sorted([*_roles("input", case), *_roles("reference", case)])
        for file in _files(path)
    ]
    return DataRegistration(root_sha256=tree_root(sorted(leaves)), case_count=len(cases))


def leaf(*, case_id: str, role: str, path: str, file: Path) -> bytes:
    """The hash of one file in its place."""
    with file.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    record = [case_id, role, path, file.stat().st_size, content]
    return hashlib.sha256(b"\0" + json.dumps(record, separators=(",", ":")).encode()).digest()


def tree_root(leaves: Sequence[bytes]) -> str:
    """The root of a binary hash tree. Leaves and nodes are hashed differently (RFC 6962), so neither passes for the other."""
    level = list(leaves) or [b""]
    while len(level) > 1:
        pairs = [level[place : place + 2] for place in range(0, len(level), 2)]
        level = [hashlib.sha256(b"\1" + pair[0] + pair[1]).digest() if len(pair) == 2 else pair[0] for pair in pairs]
    return hashlib.sha256(b"\1" + level[0]).hexdigest() if len(leaves) <= 1 else level[0].hex()


def _roles(kind: str, case: FolderCase) -> list[tuple[str, Path]]:
    files = case.inputs if kind == "input" else case.references
    return [(f"{kind}:{name}", path) for name, path in files.items()]


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
