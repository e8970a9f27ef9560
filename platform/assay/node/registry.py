"""What data a site has, as one hash: the root of a tree over every file and every attribute of every case. Pure, but for reading files.

The hash covers case, role, path, size, content and attributes. Swapping two patients' labels, changing a patient's sex, renaming a
case or dropping one changes the root. Cases are named in it by a keyed hash (HMAC), whose key stays at the site: somebody who has
the same files, say of a public data set, cannot find out by hashing them whether they are in the site's data.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.node.folder import FolderCase


@dataclass(frozen=True, kw_only=True)
class DataRegistration:
    """What is sent about the data: the root and how many cases. `cases` stays: keyed name → hash of everything about the case."""

    root_sha256: str
    case_count: int
    cases: Mapping[str, str] = field(default_factory=dict, compare=False)

    def patients_apart(self, earlier: Mapping[str, str]) -> int:
        """How many cases are in one of two versions only, or differ between them."""
        ours, theirs = set(self.cases.items()), set(earlier.items())
        return len({name for name, _ in ours ^ theirs})


def register_data(cases: Sequence[FolderCase], *, folder: Path, secret: bytes) -> DataRegistration:
    """Hash every file and the attributes of every case. `secret` is the key of the cases' names."""
    home = folder.resolve()
    by_case: dict[str, list[bytes]] = {}
    for case in cases:
        name = case_key(case.case_id, secret=secret)
        by_case[name] = [
            _leaf([name, "attributes", sorted(case.attributes.items())]),
            *(
                file_leaf(name=name, role=role, path=_place(file, home), file=file)
                for role, path in sorted([*_roles("input", case), *_roles("reference", case)])
                for file in _files(path)
            ),
        ]
    return DataRegistration(
        root_sha256=tree_root(sorted(leaf for leaves in by_case.values() for leaf in leaves)),
        case_count=len(cases),
        cases={name: tree_root(sorted(leaves)) for name, leaves in by_case.items()},
    )


def case_key(case_id: str, *, secret: bytes) -> str:
    """What a case is called in the tree."""
    return hmac.new(secret, case_id.encode(), hashlib.sha256).hexdigest()


def file_leaf(*, name: str, role: str, path: str, file: Path) -> bytes:
    """The hash of one file in its place."""
    with file.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return _leaf([name, role, path, file.stat().st_size, content])


def _leaf(record: Sequence[Any]) -> bytes:
    return hashlib.sha256(b"\0" + json.dumps(record, separators=(",", ":")).encode()).digest()


def tree_root(leaves: Sequence[bytes]) -> str:
    """The root of a binary hash tree. Leaves and nodes are hashed differently (RFC 6962), so neither passes for the other."""
    level = list(leaves) or [b""]
    while len(level) > 1:
        pairs = [level[place : place + 2] for place in range(0, len(level), 2)]
        level = [hashlib.sha256(b"\1" + pair[0] + pair[1]).digest() if len(pair) == 2 else pair[0] for pair in pairs]
    return hashlib.sha256(b"\1" + level[0]).hexdigest() if len(leaves) <= 1 else level[0].hex()


def _place(file: Path, home: Path) -> str:
    found = file.resolve()
    return found.relative_to(home).as_posix() if found.is_relative_to(home) else f"outside/{found.name}"


def _roles(kind: str, case: FolderCase) -> list[tuple[str, Path]]:
    files = case.inputs if kind == "input" else case.references
    return [(f"{kind}:{name}", path) for name, path in files.items()]


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
