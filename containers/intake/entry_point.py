"""Whether the image's own program can be started at all: read from modes, links and first lines of the layers' files.

An init starts the program, so an engine says nothing of a program that is not there, not executable, or a script whose interpreter
is missing: the container ends with 126 or 127. All of that can be seen in the layers before an attempt is spent. Files are found as
the kernel finds them: component by component, links followed, the upper layers before the lower ones, and names without a slash along
PATH (execve(2), execvp(3), OCI image specification, "Whiteouts"). Where the layers do not tell (too many files, a loop of links)
nothing is said.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from containers.intake.tar import Entry, Kind

MOST_NOTED = 200_000
"""Programs, links and folders that one layer may have before nothing is said of its programs."""
HEAD_BYTES = 128
"""The kernel reads 256 bytes of a script; an interpreter's name is shorter."""
MOST_LINKS = 40
"""As the kernel has it (MAXSYMLINKS)."""
MOST_INTERPRETERS = 4
ANYBODY_MAY_EXECUTE = 0o111
OTHERS_MAY_EXECUTE = 0o001
OWNER_MAY_EXECUTE = 0o100
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HIDDEN_IN_RUNS = (b"tmp", b"dev/shm", b"input", b"output")
"""Places of the image that a run covers."""
WHITEOUT, OPAQUE = b".wh.", b".wh..wh..opq"
LONGEST_SHOWN = 120


@dataclass(frozen=True, kw_only=True)
class Program:
    """A file that may be executed, or has the name of the image's program."""

    mode: int
    uid: int
    head: bytes
    """Its first bytes."""


@dataclass(kw_only=True)
class Programs:
    """What one layer says about programs and the ways to them."""

    wanted: frozenset[bytes] = frozenset()
    """Last parts of names that are noted although nobody may execute the file."""
    files: dict[bytes, Program] = field(default_factory=dict)
    links: dict[bytes, bytes] = field(default_factory=dict)
    twins: dict[bytes, bytes] = field(default_factory=dict)
    """Hard links."""
    folders: set[bytes] = field(default_factory=set)
    gone: set[bytes] = field(default_factory=set)
    emptied: set[bytes] = field(default_factory=set)
    is_whole: bool = True

    def note(self, *, entry: Entry, name: bytes, head: bytes) -> None:
        """One more entry of the layer, and the first bytes of a file that `is_wanted`."""
        if len(self.files) + len(self.links) + len(self.twins) + len(self.folders) >= MOST_NOTED:
            self.is_whole = False
            return
        last = name.rpartition(b"/")[2]
        if last.startswith(WHITEOUT):
            folder = name[: -len(last)].rstrip(b"/")
            if last == OPAQUE:
                self.emptied.add(folder)
            else:
                self.gone.add(b"/".join(part for part in (folder, last.removeprefix(WHITEOUT)) if part))
        elif entry.kind is Kind.SYMBOLIC_LINK:
            self.links[name] = entry.link
        elif entry.kind is Kind.HARD_LINK:
            self.twins[name] = b"/".join(part for part in entry.link.split(b"/") if part not in (b"", b"."))
        elif entry.kind is Kind.FOLDER:
            self.folders.add(name)
        elif entry.kind is Kind.FILE and self.is_wanted(entry=entry, name=name):
            self.files[name] = Program(mode=entry.mode, uid=entry.uid, head=head)

    def is_wanted(self, *, entry: Entry, name: bytes) -> bool:
        """Whether a file's beginning is of interest."""
        return bool(entry.mode & ANYBODY_MAY_EXECUTE) or name.rpartition(b"/")[2] in self.wanted

    def hides(self, path: bytes) -> bool:
        """Whether this layer takes a path of the layers below away."""
        parts = path.split(b"/")
        above = [b"/".join(parts[:length]) for length in range(len(parts))]
        return (
            path in self.gone
            or any(folder in self.gone or folder in self.emptied for folder in above)
            or any(folder in self.files or folder in self.twins for folder in above[1:])
        )


SHELLS = re.compile(rb"(?:ba|da|k|z)?sh$")
READERS = re.compile(rb"(?:(?:ba|da|k|z)?sh|python[0-9.]*)$")
"""Programs whose first argument, where it is no option, is a file that they read."""


class CannotTell(Exception):
    """The layers do not say it."""


class NotRunnable(Exception):
    """The program cannot be started, as any user. The text is for the participant."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A program at the end of all links."""

    path: bytes
    program: Program


def wanted_names(words: Sequence[str]) -> frozenset[bytes]:
    """Last parts of the words of a command: files of these names are looked at."""
    return frozenset(word.rstrip("/").rpartition("/")[2].encode(errors="replace") for word in words if word)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The layers of an image, bottom to top, seen as one tree."""

    layers: Sequence[Programs]
    working_dir: str
    search_path: str

    def check(self, words: Sequence[str]) -> Found | None:
        """The program that a command starts. Raises `NotRunnable` with what to do; None where the layers do not tell."""
        try:
            return self._runnable(words[0].encode(errors="replace"), depth=0)
        except CannotTell:
            return None

    def doubts(self, words: Sequence[str], *, uid: int) -> Iterator[str]:
        """What a run as this user will probably fail on: a program closed to it, a script that is handed over and is not there."""
        try:
            found = self.check(words) if words else None
            if found is None:
                return
            if not _may_execute(found.program, uid=uid):
                yield (
                    f"the image's program {_shown(words[0].encode(errors='replace'))} has mode {found.program.mode & 0o777:04o} and "
                    f"belongs to uid {found.program.uid}: a run has uid {uid} and may not execute it. "
                    f"Add `RUN chmod a+rx {_shown(b'/' + found.path)}` to the Dockerfile"
                )
            if len(words) > 1 and READERS.match(found.path.rpartition(b"/")[2]) and not words[1].startswith("-"):
                yield from self._doubts_about_script(words[1].encode(errors="replace"), reader=found.path)
        except (NotRunnable, CannotTell):
            return

    def _doubts_about_script(self, name: bytes, *, reader: bytes) -> Iterator[str]:
        path = name if name.startswith(b"/") else self.working_dir.encode(errors="replace") + b"/" + name
        script = self._resolve(path)
        if script is None:
            yield f"{_shown(b'/' + reader)} is told to read {_shown(path)}, and the image has no such file"
        elif SHELLS.match(reader.rpartition(b"/")[2]) and script.program.head.partition(b"\n")[0].endswith(b"\r"):
            yield f"{_shown(path)} has line ends of Windows (CR LF), which a shell takes for part of its commands. Save it with LF"

    def _runnable(self, name: bytes, *, depth: int) -> Found:
        found = self._search(name)
        shown = _shown(name)
        if not found.program.mode & ANYBODY_MAY_EXECUTE:
            raise NotRunnable(
                f"{shown} is not executable. Add `RUN chmod 755 {_shown(b'/' + found.path)}` to the Dockerfile."
            )
        first_line = found.program.head.partition(b"\n")
        if not first_line[0].startswith(b"#!"):
            return found
        if first_line[0].endswith(b"\r"):
            raise NotRunnable(
                f"{shown} has line ends of Windows (CR LF), so its first line names no program. Save it with LF, "
                f"for example by `RUN sed -i 's/\\r$//' {_shown(b'/' + found.path)}`."
            )
        if not first_line[1] and len(found.program.head) >= HEAD_BYTES:
            raise CannotTell
        if depth < MOST_INTERPRETERS:
            self._check_interpreter(first_line[0][2:].split(), script=shown, depth=depth)
        return found

    def _check_interpreter(self, words: Sequence[bytes], *, script: str, depth: int) -> None:
        """Of a script: the program of its first line, and the one that `env` would start."""
        if not words:
            return
        starts = [words[0]]
        if (
            words[0].rpartition(b"/")[2] == b"env"
            and len(words) == 2
            and not words[1].startswith(b"-")
            and b"=" not in words[1]
        ):
            starts.append(words[1])
        for name in starts:
            try:
                self._runnable(name, depth=depth + 1)
            except NotRunnable as problem:
                raise NotRunnable(f"{script} asks for {_shown(name)} in its first line, and {problem}") from None

    def _search(self, name: bytes) -> Found:
        """As execvp does: a name with a slash is a path, any other is looked for along PATH."""
        if b"/" in name:
            path = name if name.startswith(b"/") else self.working_dir.encode(errors="replace") + b"/" + name
            found = self._resolve(path)
            if found is None:
                raise NotRunnable(f"{_shown(name)} is not in the image, or is no file that can be executed.")
            return found
        fallback: Found | None = None
        for folder in self.search_path.split(":"):
            base = folder if folder.startswith("/") else f"{self.working_dir}/{folder}"
            found = self._resolve(base.encode(errors="replace") + b"/" + name)
            if found is not None and found.program.mode & ANYBODY_MAY_EXECUTE:
                return found
            fallback = fallback or found
        if fallback is not None:
            return fallback
        raise NotRunnable(
            f"{_shown(name)} is in no folder of PATH ({_shown(self.search_path.encode(errors='replace'))})."
        )

    def _resolve(self, path: bytes) -> Found | None:
        """The program at a path, links followed. None when nothing noted is there."""
        rest = [part for part in path.split(b"/") if part not in (b"", b".")]
        here: list[bytes] = []
        followed = 0
        while rest:
            part = rest.pop(0)
            if part == b"..":
                here = here[:-1]
                continue
            target = self._link_at(b"/".join([*here, part]))
            if target is None:
                here.append(part)
                continue
            followed += 1
            if followed > MOST_LINKS:
                raise CannotTell
            if target.startswith(b"/"):
                here = []
            rest = [each for each in target.split(b"/") if each not in (b"", b".")] + rest
        found = b"/".join(here)
        if any(found == place or found.startswith(place + b"/") for place in HIDDEN_IN_RUNS):
            raise NotRunnable(
                f"{_shown(path)} lies in /{found.partition(b'/')[0].decode()}, which a run covers. Put it elsewhere."
            )
        program = self._program_at(found)
        return None if program is None else Found(path=found, program=program)

    def _link_at(self, path: bytes) -> bytes | None:
        for layer in self._from_the_top():
            if path in layer.links:
                return layer.links[path]
            if path in layer.files or path in layer.twins or path in layer.folders or layer.hides(path):
                return None
        return None

    def _program_at(self, path: bytes) -> Program | None:
        for layer in self._from_the_top():
            path = layer.twins.get(path, path)  # a hard link and the file it names lie in one layer
            if path in layer.files:
                return layer.files[path]
            if path in layer.links or path in layer.folders or layer.hides(path):
                return None
        return None

    def _from_the_top(self) -> Iterator[Programs]:
        for layer in reversed(self.layers):
            if not layer.is_whole:
                raise CannotTell
            yield layer


def _may_execute(program: Program, *, uid: int) -> bool:
    """Whether a user that is in no group of the file may start it."""
    return bool(program.mode & (OWNER_MAY_EXECUTE if program.uid == uid else OTHERS_MAY_EXECUTE))


def _shown(path: bytes) -> str:
    text = path[:LONGEST_SHOWN].decode(errors="replace")
    return "".join(character for character in text if character.isprintable())
