"""Strict reading of other platforms' documents. Every error names the file, the line, what was found and what was expected.

A document is read whole before anything is written. YAML aliases count each time they are used, so a small file cannot become a
large one in memory.
"""

import json
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from assay.client.errors import ClientError
from evaluator.volumes import is_left_behind

LARGEST_DOCUMENT_BYTES = 16 << 20
MOST_NODES = 2_000_000
DEEPEST = 60
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
FIRST_YEAR, LAST_YEAR = 1970, 2200
LONGEST_QUOTE = 120
MOST_MEMBERS = 200_000
MOST_UNPACKED_BYTES = 200 << 30
MOST_TIMES_LARGER = 200
"""A zip member that unpacks to more than this many times its size, and to more than 64 MiB, is refused."""
PLENTY_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Place:
    """One value of a document together with where it stands."""

    file: str
    path: str
    value: Any
    line: int = 0
    children: Any = field(default=None, repr=False)

    def error(self, message: str, *, expected: str = "", what_to_do: str = "") -> ClientError:
        """An error at this place."""
        where = f"{self.file}, line {self.line}" if self.line else self.file
        name = f" `{self.path}`" if self.path else ""
        return ClientError(
            f"{where}:{name} {message}", found=quoted(self.value), expected=expected, what_to_do=what_to_do
        )

    def get(self, key: str) -> "Place | None":
        """The value under `key`. `None` where it is missing or null."""
        self.mapping()
        child: Place | None = self.children.get(key)
        return None if child is None or child.value is None else child

    def need(self, key: str, *, expected: str) -> "Place":
        """The value under `key`. Raises `ClientError` where it is missing."""
        child = self.get(key)
        if child is None:
            keys = ", ".join(map(str, list(self.value)[:12]))
            raise ClientError(
                f"{self.file}{f', line {self.line}' if self.line else ''}: the key `{self._below(key)}` is missing",
                found=f"the keys {keys}" if keys else "no key",
                expected=expected,
            )
        return child

    def mapping(self) -> dict[str, "Place"]:
        """The values by key."""
        if not isinstance(self.value, dict):
            raise self.error("is not a list of keys and values", expected="key: value")
        children: dict[str, Place] = self.children
        return children

    def sequence(self) -> list["Place"]:
        """The items of a list."""
        if not isinstance(self.value, list):
            raise self.error("is not a list", expected="a list")
        children: list[Place] = self.children
        return children

    def text(self) -> str:
        """A text. Numbers are taken as they are written."""
        if isinstance(self.value, bool) or not isinstance(self.value, str | int | float):
            raise self.error("is not a text", expected="a text")
        return str(self.value).strip()

    def whole(self) -> int:
        """A whole number, also as a text or as 1.0."""
        value = self.value
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, str) and value.strip().lstrip("-").isascii() and value.strip().lstrip("-").isdigit():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error("is not a whole number", expected="such as 3")
        return value

    def flag(self) -> bool:
        """Yes or no."""
        if not isinstance(self.value, bool):
            raise self.error("is not yes or no", expected="true or false")
        return self.value

    def moment(self) -> datetime:
        """A time. Without a zone it is UTC. `M-D-YYYY` is read as CodaBench's examples write it."""
        value = self.value
        if isinstance(value, str):
            value = _moment_of(value.strip())
        if isinstance(value, date) and not FIRST_YEAR <= value.year <= LAST_YEAR:
            raise self.error("is not a time of a challenge", expected=f"a year from {FIRST_YEAR} to {LAST_YEAR}")
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, date):
            return datetime.combine(value, time(), tzinfo=UTC)
        raise self.error("is not a time", expected="2026-11-01 12:00, or 11-1-2026")

    def _below(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def _moment_of(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    for form in ("%m-%d-%Y", "%m/%d/%Y", "%m-%d-%Y %H:%M", "%Y-%m-%d %H:%M:%S %Z"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def quoted(value: Any) -> str:
    """A value for an error, cut before it is made long."""
    if isinstance(value, dict):
        return f"{len(value)} keys: {', '.join(str(key)[:30] for key in list(value)[:5])}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return repr(value[:LONGEST_QUOTE]) if isinstance(value, str) else repr(value)[:LONGEST_QUOTE]


def read_document(path: Path, *, name: str = "") -> Place:
    """Read a JSON or YAML file. Raises `ClientError` with the line where it is neither."""
    name = name or path.name
    try:
        size = path.stat().st_size
        if size > LARGEST_DOCUMENT_BYTES:
            raise ClientError(
                f"{name} is too long", found=f"{size} bytes", expected=f"at most {LARGEST_DOCUMENT_BYTES}"
            )
        source = path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise ClientError(f"{name} cannot be read", found=problem.strerror or str(problem)) from problem
    except UnicodeDecodeError as problem:
        raise ClientError(f"{name} is not UTF-8 text", found=f"byte {problem.start} is no UTF-8") from problem
    return parse_json(source, name=name) if path.suffix.lower() == ".json" else parse_yaml(source, name=name)


def parse_json(source: str, *, name: str) -> Place:
    """A JSON document. Keys given twice are refused. Lines are known for the first occurrence of each key."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ClientError(f"{name}: the key {twice[:60]!r} is given twice", expected="each key once")
        return seen

    try:
        value = json.loads(source, object_pairs_hook=once)
    except json.JSONDecodeError as problem:
        raise ClientError(f"{name}, line {problem.lineno}: this is not JSON", found=problem.msg) from problem
    except RecursionError as problem:
        raise ClientError(f"{name} is nested too deeply", expected=f"{DEEPEST} levels") from problem
    except ValueError as problem:  # a number of thousands of digits
        raise ClientError(f"{name}: a number cannot be read", found=str(problem)[:200]) from problem
    lines: dict[str, int] = {}
    for number, line in enumerate(source.splitlines(), start=1):
        for key in line.split('"')[1::2]:
            lines.setdefault(key, number)
    return _placed(value, name=name, path="", line=0, lines=lines)


def _placed(value: Any, *, name: str, path: str, line: int, lines: dict[str, int]) -> Place:
    children: Any = None
    if isinstance(value, dict):
        children = {
            key: _placed(v, name=name, path=f"{path}.{key}".lstrip("."), line=lines.get(key, line), lines=lines)
            for key, v in value.items()
        }
    elif isinstance(value, list):
        children = [
            _placed(v, name=name, path=f"{path}[{n}]", line=line, lines=lines) for n, v in enumerate(value, start=1)
        ]
    place = Place(file=name, path=path, value=value, line=line, children=children)
    return _storable(place)


def _storable(place: Place) -> Place:
    """A text, or a mapping with keys, that every file and database can hold."""
    texts = [place.value] if isinstance(place.value, str) else place.value if isinstance(place.value, dict) else ()
    if any(UNSTORABLE.search(text) for text in texts):
        raise place.error(
            "holds a character that no file can hold", expected="text without NUL and halves of characters"
        )
    return place


class _Budget:
    """Counts nodes, so that aliases cannot multiply a document."""

    def __init__(self, name: str) -> None:
        self.left = MOST_NODES
        self.name = name

    def spend(self, line: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise ClientError(f"{self.name}, line {line}: the document is too large", expected=f"{MOST_NODES} values")


def _loader(source: str) -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)(source)


def _refuse_depth(source: str, *, name: str) -> None:
    """libyaml composes nodes by calling itself, and a document of a hundred thousand brackets would end the process."""
    loader, depth = _loader(source), 0
    try:
        while loader.check_event():
            event = loader.get_event()
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                line = event.start_mark.line + 1
                raise ClientError(
                    f"{name}, line {line}: the document is nested too deeply", expected=f"{DEEPEST} levels"
                )
    finally:
        loader.dispose()


def parse_yaml(source: str, *, name: str) -> Place:
    """A YAML document. Keys given twice, unusual tags and keys that are no text or number are refused."""
    loader = _loader(source)
    try:
        _refuse_depth(source, name=name)
        node = loader.get_single_node()
        if node is None:
            raise ClientError(f"{name} is empty", expected="key: value")
        return _of_node(node, loader=loader, name=name, path="", budget=_Budget(name))
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 0
        raise ClientError(f"{name}, line {line}: this is not YAML", found=str(problem.problem)[:200]) from problem
    except yaml.YAMLError as problem:
        raise ClientError(f"{name}: this is not YAML", found=str(problem)[:200]) from problem
    except RecursionError as problem:
        raise ClientError(f"{name} is nested too deeply, or holds itself") from problem
    finally:
        loader.dispose()


def _of_node(node: yaml.Node, *, loader: Any, name: str, path: str, budget: _Budget) -> Place:
    line = node.start_mark.line + 1
    budget.spend(line)
    if isinstance(node, yaml.SequenceNode):
        items = [
            _of_node(child, loader=loader, name=name, path=f"{path}[{n}]", budget=budget)
            for n, child in enumerate(node.value, start=1)
        ]
        return Place(file=name, path=path, value=[item.value for item in items], line=line, children=items)
    if isinstance(node, yaml.MappingNode):
        pairs: dict[str, Place] = {}
        for key, child in node.value:
            text = key.value if isinstance(key, yaml.ScalarNode) else None
            if text is None or text in pairs:
                raise ClientError(
                    f"{name}, line {key.start_mark.line + 1}: "
                    + ("a key is a list or a mapping" if text is None else f"the key {text[:60]!r} is given twice"),
                    expected="each key once, as a text",
                )
            below = f"{path}.{text}" if path else text
            pairs[text] = _of_node(child, loader=loader, name=name, path=below, budget=budget)
        values = {key: child.value for key, child in pairs.items()}
        return _storable(Place(file=name, path=path, value=values, line=line, children=pairs))
    try:
        value = loader.construct_object(node)
    except (ValueError, AttributeError, LookupError) as problem:  # PyYAML's, where a tag and its text do not fit
        raise ClientError(f"{name}, line {line}: a value cannot be read", found=str(problem)[:200]) from problem
    return _storable(Place(file=name, path=path, value=value, line=line))


def inside(folder: Path, place: Place) -> Path:
    """The file or folder that a document names, which must lie inside `folder`."""
    text = place.text().removeprefix("./")
    parts = PurePosixPath(text.replace("\\", "/")).parts
    path = folder.joinpath(*parts) if parts else folder
    if not parts or text.startswith("/") or ".." in parts or not _is_below(path, folder):
        raise place.error("must name a file inside the bundle", expected="a relative path without `..`")
    if not path.is_file() and not path.is_dir():
        raise place.error("names a file that does not exist", expected=f"a file in {folder.name}")
    if path.is_dir() and not any(path.iterdir()):
        raise place.error("names a folder with nothing in it", expected="a file, or a folder of files")
    return path


def _is_below(path: Path, folder: Path) -> bool:
    """Whether it leads nowhere else, by links or otherwise. What no file system can name leads nowhere."""
    try:
        path.exists()
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # too long; links in a circle; a NUL
        return False


def unpack_zip(archive: Path, folder: Path) -> None:
    """Unpack a zip into `folder`. Links, outside paths, encrypted members and bombs are refused. Hidden entries are left out."""
    try:
        with zipfile.ZipFile(archive) as packed:
            members = packed.infolist()
            _refuse_bomb(archive.name, members)
            for member in members:
                _unpack_member(packed, member, archive=archive.name, folder=folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError) as problem:
        raise ClientError(f"{archive.name} cannot be unpacked", found=str(problem)[:200], expected="a zip") from problem


def _refuse_bomb(name: str, members: list[zipfile.ZipInfo]) -> None:
    total = sum(member.file_size for member in members)
    if len(members) > MOST_MEMBERS or total > MOST_UNPACKED_BYTES:
        raise ClientError(f"{name} is too large", found=f"{len(members)} files, {total} bytes")
    for member in members:
        if member.file_size > max(PLENTY_BYTES, MOST_TIMES_LARGER * member.compress_size):
            raise ClientError(
                f"{name}: {member.filename[:100]} unpacks to far more than it holds",
                found=f"{member.compress_size} bytes become {member.file_size}",
            )


def _unpack_member(packed: zipfile.ZipFile, member: zipfile.ZipInfo, *, archive: str, folder: Path) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
    if path.is_absolute() or ".." in path.parts or is_link or "\0" in member.filename:
        raise ClientError(
            f"{archive}: a member is not taken",
            found=member.filename[:100],
            expected="files and folders inside the archive, no links",
        )
    if member.flag_bits & 1:
        raise ClientError(f"{archive}: {member.filename[:100]} is encrypted", expected="a zip without a password")
    if is_left_behind(path):
        return
    target = folder.joinpath(*path.parts)
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with packed.open(member) as source, target.open("xb") as copy:
        left = member.file_size
        while block := source.read(1 << 20):
            left -= len(block)
            if left < 0:
                raise ClientError(f"{archive}: {member.filename[:100]} is larger than it says")
            copy.write(block)


def visible_files(folder: Path) -> Iterator[Path]:
    """The regular files directly in `folder`, sorted by name, hidden ones left out. A link that leads nowhere is an error."""
    for path in sorted(folder.iterdir()):
        if is_left_behind(path.name):
            continue
        if path.is_symlink() and not path.exists():
            raise ClientError(
                f"{folder.name}/{shown_name(path)} is a link to a file that is not here",
                found=str(path.readlink())[:LONGEST_QUOTE],
                expected="the file itself",
                what_to_do="fetch it first (git-annex, DataLad), or remove the link",
            )
        if path.is_file():
            if UNSTORABLE.search(path.name):
                raise ClientError(
                    f"{folder.name} holds a file whose name is not UTF-8",
                    found=shown_name(path),
                    expected="a name in UTF-8",
                )
            yield path


def shown_name(path: Path) -> str:
    """A name as it can be printed."""
    return os.fsencode(path.name).decode("utf-8", "backslashreplace")


def refuse_links_outside(folder: Path) -> None:
    """What is copied into a bundle with all that lies in it must not bring other files of this machine."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not _is_below(path, folder):
            raise ClientError(
                f"{folder.name}: {path.relative_to(folder)} is a link to another place",
                found=str(path.readlink())[:LONGEST_QUOTE],
                expected="files of the bundle",
            )
