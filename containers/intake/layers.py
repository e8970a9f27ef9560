"""Walk one layer: refuse paths that leave it, count what it costs, notice what it contains."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from containers.intake.accounts import ACCOUNT_FILES, MAX_ACCOUNT_BYTES, AccountFiles
from containers.intake.entry_point import HEAD_BYTES, Programs
from containers.intake.limits import Account
from containers.intake.reasons import ImageInvalid, Reason
from containers.intake.streams import Stream
from containers.intake.tar import Entry, Kind, read_entries

OS_RELEASE_PATHS = (b"etc/os-release", b"usr/lib/os-release")
MAX_OS_RELEASE_BYTES = 16 << 10
SETUID_OR_SETGID = 0o6000
OTHERS_MAY_READ = 0o004
OTHERS_MAY_ENTER = 0o001
MOST_OWNERS = 64
"""Of closed files that are counted apart; an image has a handful."""
MOST_CLOSED_FOLDERS = 1024
SKELETON = (b"/.bashrc", b"/.profile", b"/.bash_logout", b"/.bash_history")
"""What `useradd --create-home` puts into a home; no algorithm reads it."""
SYSTEM_PLACES = (
    b"etc/",
    b"var/",
    b"run/",
    b"tmp/",
    b"boot/",
    b"proc/",
    b"sys/",
    b"dev/",
    b"root/.",
    b"usr/lib/",
    b"usr/share/",
)
"""Where every base image keeps something from others; an algorithm's own files lie elsewhere."""

PACKAGES = rb"torch|tensorflow|jax|monai|nnunetv2|nnunet|SimpleITK|simpleitk|numpy|cupy[^/-]*|onnxruntime[^/-]*|itk|paddlepaddle[^/-]*"
WHEEL = re.compile(rb"(?:site|dist)-packages/(" + PACKAGES + rb")-([0-9][^/]{0,60})\.dist-info/METADATA$")
CONDA = re.compile(rb"conda-meta/(pytorch|tensorflow|cudatoolkit|cuda-runtime|numpy)-([0-9][^/-]{0,60})-[^/]*\.json$")
PYTHON = re.compile(rb"(?:^|/)bin/(python)(3\.[0-9]{1,3})$")
USER_PACKAGES = re.compile(rb"(.{1,200})/\.local/lib/python3[.0-9]*/site-packages/")
WHITEOUTS = {
    b"etc/.wh.passwd": (b"etc/passwd",),
    b"etc/.wh.group": (b"etc/group",),
    b"etc/.wh..wh..opq": ACCOUNT_FILES,
    b".wh.etc": ACCOUNT_FILES,
    b".wh..wh..opq": ACCOUNT_FILES,
}
"""How a layer says that a file of the layers below is gone (OCI image specification, "Whiteouts")."""
CUDA = re.compile(rb"^usr/local/(cuda)-([0-9]{1,3}\.[0-9]{1,3})$")


@dataclass(kw_only=True)
class Sightings:
    """What was noticed in one layer, or in a stack of them."""

    os_release: dict[bytes, bytes] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    kinds: Counter[Kind] = field(default_factory=Counter)
    setuid_files: int = 0
    closed_files: Counter[int] = field(default_factory=Counter)
    """Files of the algorithm that only their owner (and root) can read, by uid: closed themselves, or in a folder that is."""
    closed_examples: dict[int, bytes] = field(default_factory=dict)
    user_packages: set[bytes] = field(default_factory=set)
    """Homes with packages that `pip install --user` put there."""
    accounts: AccountFiles = field(default_factory=AccountFiles)
    programs: list[Programs] = field(default_factory=list)
    """One for each layer, bottom to top."""
    watched: dict[bytes, Kind] = field(default_factory=dict)
    """What the watched paths (the working directory and its parents) are."""
    owners: dict[bytes, int] = field(default_factory=dict)
    """The uids of the watched paths."""

    def cover(self, upper: "Sightings") -> None:
        """Put a layer on top: where both have something, the upper one is what a container sees."""
        self.os_release |= upper.os_release
        self.versions |= upper.versions
        self.watched |= upper.watched
        self.owners |= upper.owners
        self.accounts.cover(upper.accounts)
        self.programs += upper.programs
        self.kinds += upper.kinds
        self.setuid_files += upper.setuid_files
        self.closed_files += upper.closed_files
        self.closed_examples = upper.closed_examples | self.closed_examples
        self.user_packages |= upper.user_packages

    @property
    def base_os(self) -> str:
        """`PRETTY_NAME` of the image's os-release file, such as "Ubuntu 22.04.4 LTS". Empty when there is none."""
        for path in OS_RELEASE_PATHS:
            text = self.os_release.get(path, b"").decode(errors="replace")
            if match := re.search(r'^PRETTY_NAME="?([^"\n]{1,100})"?\s*$', text, re.MULTILINE):
                return "".join(character for character in match[1] if character.isprintable())
        return ""

    def to_json(self) -> dict[str, Any]:
        """The part of the intake report that comes from the layers."""
        return {
            "base_os": self.base_os,
            "versions": dict(sorted(self.versions.items())),
            "entries": {kind.value: count for kind, count in sorted(self.kinds.items())},
            "setuid_files": self.setuid_files,
        }


def walk_layer(
    *, stream: Stream, account: Account, watched: frozenset[bytes], wanted: frozenset[bytes] = frozenset()
) -> Sightings:
    """Read one uncompressed layer to its end, bytes after the end mark included: they belong to its hash.

    `wanted` are last parts of names that the image's command may mean.
    """
    programs = Programs(wanted=wanted)
    sightings = Sightings(programs=[programs])
    links: set[bytes] = set()
    closed: dict[bytes, int] = {}
    prefixes: tuple[bytes, ...] = ()
    checked_parent = b""
    for entry in read_entries(stream):
        account.add_entry()
        name = relative_path(entry.name)
        parent = _parent(name)
        if parent != checked_parent:
            _refuse_path_through_link(parent, links)
            checked_parent = parent
        if entry.kind is Kind.SYMBOLIC_LINK:
            links.add(name)
            checked_parent = b""
        elif entry.kind is Kind.HARD_LINK:
            _refuse_path_through_link(_parent(relative_path(entry.link)), links)
        is_read = entry.kind is Kind.FILE and programs.is_wanted(entry=entry, name=name)
        programs.note(entry=entry, name=name, head=stream.peek(min(HEAD_BYTES, entry.size)) if is_read else b"")
        if not name.startswith(SYSTEM_PLACES) and not name.endswith(SKELETON) and b"/.wh." not in name:
            is_below = name.startswith(prefixes)
            if entry.kind is Kind.FOLDER and not entry.mode & OTHERS_MAY_ENTER:
                if not is_below and len(closed) < MOST_CLOSED_FOLDERS:
                    closed[name + b"/"] = entry.uid
                    prefixes = tuple(closed)
            elif entry.kind is Kind.FILE and (is_below or not entry.mode & OTHERS_MAY_READ):
                _note_closed(entry=entry, name=name, closed=closed if is_below else {}, sightings=sightings)
        _notice(entry=entry, name=name, stream=stream, sightings=sightings, watched=watched)
    stream.drain()
    return sightings


def relative_path(name: bytes) -> bytes:
    """The path below the layer's root. The engine takes absolute names as relative, and so do we."""
    if b".." in name or b"//" in name or name.startswith((b"/", b"./")) or name.endswith(b"/"):
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise ImageInvalid(
                Reason.UNSAFE_PATH,
                f"A layer contains the path {_shown(name)}, which leads out of it. Rebuild the image.",
            )
        return b"/".join(parts)
    return name


def _parent(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def _refuse_path_through_link(path: bytes, links: set[bytes]) -> None:
    """No honest layer writes to a path below a symbolic link of the same layer: only an attempt to write elsewhere does."""
    while path and links:
        if path in links:
            raise ImageInvalid(
                Reason.UNSAFE_PATH,
                f"A layer writes below {_shown(path)}, a symbolic link in the same layer. Rebuild the image.",
            )
        path = _parent(path)


def _notice(*, entry: Entry, name: bytes, stream: Stream, sightings: Sightings, watched: frozenset[bytes]) -> None:
    sightings.kinds[entry.kind] += 1
    if entry.mode & SETUID_OR_SETGID and entry.kind is Kind.FILE:
        sightings.setuid_files += 1
    if name in watched:
        sightings.watched[name] = entry.kind
        sightings.owners[name] = entry.uid
    if name.startswith((b"etc", b".wh")):
        _notice_accounts(entry=entry, name=name, stream=stream, accounts=sightings.accounts)
    if name in OS_RELEASE_PATHS and entry.kind is Kind.FILE and entry.size <= MAX_OS_RELEASE_BYTES:
        sightings.os_release[name] = stream.take(entry.size)
    elif (
        b"/.local/lib/" in name
        and len(sightings.user_packages) < MOST_OWNERS
        and (packages := USER_PACKAGES.match(name))
    ):
        sightings.user_packages.add(packages[1])
    if found := _version(name):
        sightings.versions[found[1].decode().lower()] = found[2].decode(errors="replace")


def _note_closed(*, entry: Entry, name: bytes, closed: dict[bytes, int], sightings: Sightings) -> None:
    """By the owner of the outermost folder that is closed, else by the file's own: who may enter is decided there."""
    owner = next((uid for folder, uid in closed.items() if name.startswith(folder)), entry.uid)
    if owner in sightings.closed_files or len(sightings.closed_files) < MOST_OWNERS:
        sightings.closed_files[owner] += 1
        sightings.closed_examples.setdefault(owner, name)


def _notice_accounts(*, entry: Entry, name: bytes, stream: Stream, accounts: AccountFiles) -> None:
    if name in WHITEOUTS:
        accounts.hidden.update(WHITEOUTS[name])
    elif name == b"etc" and entry.kind is not Kind.FOLDER:
        for path in ACCOUNT_FILES:
            accounts.spoil(path, "lies behind a link; expected a plain folder /etc")
    elif name in ACCOUNT_FILES and entry.kind is not Kind.FILE:
        accounts.spoil(name, f"is a {entry.kind}; expected a plain file")
    elif name in ACCOUNT_FILES and entry.size > MAX_ACCOUNT_BYTES:
        accounts.spoil(name, f"has {entry.size:,} bytes; at most {MAX_ACCOUNT_BYTES:,} are read")
    elif name in ACCOUNT_FILES:
        accounts.put(name, stream.take(entry.size))


def _version(name: bytes) -> re.Match[bytes] | None:
    """Cheap tests first: this runs for every file of the image."""
    if name.endswith(b"/METADATA"):
        return WHEEL.search(name)
    if b"conda-meta/" in name:
        return CONDA.search(name)
    if b"bin/python3." in name:
        return PYTHON.search(name)
    return CUDA.search(name) if name.startswith(b"usr/local/cuda-") else None


def _shown(path: bytes) -> str:
    return repr(path[:200].decode(errors="replace"))
