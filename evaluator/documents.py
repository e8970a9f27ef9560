"""The one reader of documents that people write in YAML: protocols, ranking documents, `challenge.yaml`.

YAML is read more strictly than usual. Keys are simple and stand once. There are no tags of other programs, no merge keys, no dates
(a date is its text), no infinite numbers. The text is parsed event by event (by libyaml where PyYAML has it), and every limit is
checked before the value it concerns is made:

| limit            | value  | what it stops                                              |
| ---------------- | ------ | ---------------------------------------------------------- |
| `MAX_CHARACTERS` | 1 MiB  | long texts; also what aliases unfold to, counted each time  |
| `MAX_VALUES`     | 50,000 | long lists; aliases of aliases, counted each time           |
| `MAX_DEPTH`      | 60     | deep nesting, also by aliases                              |
| `MAX_DIGITS`     | 100    | numbers that take long to read or to print                 |
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from evaluator.errors import EvaluatorError

__all__ = ["SHOWN_CHARACTERS", "Document", "DocumentError", "Place", "Pointer", "read_document", "read_json", "shown"]

MAX_CHARACTERS = 1 << 20
MAX_VALUES = 50_000
MAX_DEPTH = 60
MAX_DIGITS = 100
SHOWN_CHARACTERS = 80

Pointer = tuple[str | int, ...]
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""NUL and halves of pairs: no database takes them, in keys as little as in values."""
_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")} | {"!"}


class DocumentError(EvaluatorError):
    """A document that cannot be read. `line` and `column` count from 1. 0 means the whole document."""

    def __init__(self, *, where: str, found: str, expected: str, line: int = 0, column: int = 0) -> None:
        self.where, self.found, self.expected = where, found, expected
        self.line, self.column = line, column
        position = f"line {line}, column {column}: " if line else ""
        super().__init__(f"{position}{where}: found {found}; expected {expected}")


@dataclass(frozen=True)
class Place:
    """Where a value stands. `line` and `column` count from 1. `start` and `end` are positions in the text."""

    line: int
    column: int
    start: int
    end: int


@dataclass(frozen=True)
class Document:
    """Plain values (dict, list, str, int, float, bool, None), and the place of each of them and of each key, by path."""

    value: dict[str, Any]
    places: Mapping[Pointer, Place]
    keys: Mapping[Pointer, Place]

    def place(self, path: Pointer) -> Place:
        """The place of the value at `path`, or of the nearest value around it that stands in the text."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path]


def read_document(text: str | bytes) -> Document:
    """The mapping in `text`. Raises `DocumentError` with line and column."""
    import yaml  # only reading a document needs it

    if len(text) > MAX_CHARACTERS:
        raise _error(None, found=f"{len(text)} characters", expected=f"at most {MAX_CHARACTERS}")
    loader: Any = None
    try:
        text = text.decode() if isinstance(text, bytes) else text
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        root = _Parser(loader).document()
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        raise DocumentError(
            where="document",
            found=shown_text(getattr(problem, "problem", None) or "text that is not YAML"),
            expected="a YAML mapping",
            line=mark.line + 1 if mark else 0,
            column=mark.column + 1 if mark else 0,
        ) from problem
    except UnicodeError as problem:
        raise _error(None, found="characters that are not UTF-8", expected="a YAML mapping") from problem
    finally:
        if loader is not None:
            loader.dispose()
    builder = _Builder()
    value = builder.build(root, ()) if root is not None else None
    if not isinstance(value, dict):
        raise _error(None, found="no mapping at the top", expected="a YAML mapping")
    return Document(value=value, places=builder.places, keys=builder.keys)


def read_json(raw: bytes) -> Any:
    """Any JSON value, read strictly: UTF-8, no NaN or infinity, each key once, `MAX_DEPTH` deep at most. Raises DocumentError.

    How long it may be is for the caller to say: some documents are lists of thousands of points.
    """
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_each_once, parse_constant=_no_constant, parse_float=_finite_float
        )
    except (ValueError, RecursionError) as problem:
        raise DocumentError(where="document", found=shown_text(str(problem)), expected="JSON") from problem
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        below = [item for part in level for item in (part.values() if isinstance(part, dict) else part)]
        level = [item for item in below if isinstance(item, dict | list)] if level else []
        if not level:
            return value
    raise DocumentError(where="document", found="deeper nesting", expected=f"at most {MAX_DEPTH} levels")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


@dataclass
class _Node:
    """A value as it stands in the text. What it unfolds to is counted in `values`, `characters` and `height`."""

    place: Place
    scalar: Any = None
    items: list["_Node"] | None = None
    pairs: list[tuple[str, Place, "_Node"]] | None = None
    values: int = 1
    characters: int = 0
    height: int = 0
    anchor: str | None = None
    ahead: "tuple[str, Place] | None" = field(default=None, repr=False)
    """The key whose value comes next."""
    seen: set[str] = field(default_factory=set)


class _Parser:
    """A tree from YAML's events, kept within the limits while it grows."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.open: list[_Node] = []
        self.anchors: dict[str, _Node | None] = {}
        """`None` while the value is not complete."""
        self.values = 0
        self.characters = 0

    def document(self) -> _Node | None:
        """The root of the only document. `None` when the text is empty."""
        root: _Node | None = None
        documents = 0
        while self.loader.check_event():
            event = self.loader.get_event()
            match type(event).__name__:
                case "DocumentStartEvent":
                    documents += 1
                    if documents > 1:
                        raise _error(_place(event), found="a second document", expected="one")
                case "AliasEvent":
                    root = self.add(self.unfold(event), root, key_of=None)
                case "ScalarEvent":
                    root = self.add(self.scalar(event), root, key_of=event)
                case "SequenceStartEvent" | "MappingStartEvent" as kind:
                    self.start(event, is_mapping=kind.startswith("Mapping"))
                case "SequenceEndEvent" | "MappingEndEvent":
                    root = self.add(self.close(event), root, key_of=None)
        return root

    def start(self, event: Any, *, is_mapping: bool) -> None:
        place = _place(event)
        self.refuse_tag(event, place)
        if self.open and self.open[-1].pairs is not None and self.open[-1].ahead is None:
            raise _error(place, found="a key that is a list or a mapping", expected="simple keys, each once")
        if len(self.open) >= MAX_DEPTH:
            raise _error(place, found="deeper nesting", expected=f"at most {MAX_DEPTH} levels")
        if event.anchor:
            self.anchors[event.anchor] = None
        self.spend(place, values=1, characters=0)
        node = _Node(place, anchor=event.anchor)
        if is_mapping:
            node.pairs = []
        else:
            node.items = []
        self.open.append(node)

    def close(self, event: Any) -> _Node:
        node = self.open.pop()
        node.place = Place(node.place.line, node.place.column, node.place.start, event.end_mark.index)
        if node.anchor:
            self.anchors[node.anchor] = node
        return node

    def scalar(self, event: Any) -> _Node:
        place = _place(event)
        self.refuse_tag(event, place)
        if (odd := _UNSTORABLE.search(event.value)) is not None:
            raise _error(place, found=f"the character {odd[0]!r}", expected="text that can be stored")
        self.spend(place, values=1, characters=len(event.value))
        parent = self.open[-1] if self.open else None
        is_key = parent is not None and parent.pairs is not None and parent.ahead is None
        node = _Node(place, scalar=event.value if is_key else self.value_of(event, place), characters=len(event.value))
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def unfold(self, event: Any) -> _Node:
        """The value an alias stands for, paid for once more."""
        place = _place(event)
        if event.anchor not in self.anchors:
            raise _error(place, found=f"the alias {_named(event.anchor)} of nothing", expected="an anchor before it")
        node = self.anchors[event.anchor]
        if node is None:
            raise _error(place, found=f"the alias {_named(event.anchor)} within itself", expected="a value that ends")
        if self.open and self.open[-1].pairs is not None and self.open[-1].ahead is None:
            raise _error(place, found="a key that is an alias", expected="simple keys, each once")
        if len(self.open) + node.height > MAX_DEPTH:
            raise _error(place, found="deeper nesting by aliases", expected=f"at most {MAX_DEPTH} levels")
        self.spend(place, values=node.values, characters=node.characters)
        return node

    def add(self, node: _Node, root: _Node | None, *, key_of: Any) -> _Node | None:
        """Hang a complete value into the one that is open. The root when none is."""
        if not self.open:
            return node
        parent = self.open[-1]
        if parent.items is not None:
            parent.items.append(node)
        elif parent.pairs is not None and parent.ahead is None:
            key = key_of.value
            if key in parent.seen:
                raise _error(node.place, found=f"the key {_named(key)} again", expected="simple keys, each once")
            if key == "<<" and key_of.implicit[0]:
                raise _error(node.place, found="a merge key", expected="the keys themselves")
            parent.seen.add(key)
            parent.ahead = (key, node.place)
            parent.characters += len(key)
            return root
        elif parent.pairs is not None and parent.ahead is not None:
            parent.pairs.append((*parent.ahead, node))
            parent.ahead = None
        parent.values += node.values
        parent.characters += node.characters
        parent.height = max(parent.height, node.height + 1)
        return root

    def spend(self, place: Place, *, values: int, characters: int) -> None:
        self.values += values
        self.characters += characters
        if self.values > MAX_VALUES:
            raise _error(place, found="a document that unfolds without end", expected=f"at most {MAX_VALUES} values")
        if self.characters > MAX_CHARACTERS:
            raise _error(
                place, found="a document that unfolds without end", expected=f"at most {MAX_CHARACTERS} characters"
            )

    def refuse_tag(self, event: Any, place: Place) -> None:
        if event.tag is not None and event.tag not in _PLAIN_TAGS:
            raise _error(place, found=f"the tag {_named(event.tag)}", expected="plain YAML")

    def value_of(self, event: Any, place: Place) -> Any:
        import yaml  # see read_document

        text: str = event.value
        tag = event.tag if event.tag not in (None, "!") else None
        kind = (tag or self.loader.resolve(yaml.ScalarNode, text, event.implicit)).rpartition(":")[2]
        if kind in ("str", "timestamp", "value", "merge"):
            return text
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in _TRUTHS:
            return _TRUTHS[text.lower()]
        try:
            if kind == "int" and len(text) <= MAX_DIGITS:
                return int(text.replace("_", ""), 0)
            if kind == "float" and len(text) <= MAX_DIGITS:
                return _finite_float(text)
        except ValueError:
            pass
        raise _error(place, found=_named(text), expected="text, a finite number, true, false or null")


_TRUTHS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}


class _Builder:
    """Plain values from the tree, noting where each stands."""

    def __init__(self) -> None:
        self.places: dict[Pointer, Place] = {}
        self.keys: dict[Pointer, Place] = {}

    def build(self, node: _Node, path: Pointer) -> Any:
        self.places[path] = node.place
        if node.items is not None:
            return [self.build(item, (*path, index)) for index, item in enumerate(node.items)]
        if node.pairs is not None:
            self.keys |= {(*path, key): place for key, place, _ in node.pairs}
            return {key: self.build(value, (*path, key)) for key, _, value in node.pairs}
        return node.scalar


def _place(event: Any) -> Place:
    start, end = event.start_mark, event.end_mark
    return Place(line=start.line + 1, column=start.column + 1, start=start.index, end=end.index)


def _error(place: Place | None, *, found: str, expected: str) -> DocumentError:
    return DocumentError(
        where="document",
        found=found,
        expected=expected,
        line=place.line if place else 0,
        column=place.column if place else 0,
    )


def _finite_float(text: str) -> float:
    value = float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value


def shown(value: Any) -> str:
    """A value as a message quotes it: JSON, cut *before* it is written out, so that no message grows with the document."""
    parts: list[str] = []
    room = SHOWN_CHARACTERS
    for part in _pieces(value):
        parts.append(part)
        room -= len(part)
        if room < 0:
            return f"{''.join(parts)[: SHOWN_CHARACTERS - 3]}..."
    return "".join(parts)


def shown_text(text: str) -> str:
    """A sentence of a parser, cut to a line."""
    return text if len(text) <= 2 * SHOWN_CHARACTERS else f"{text[: 2 * SHOWN_CHARACTERS - 3]}..."


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield "{"
        for number, (key, below) in enumerate(value.items()):
            yield f"{', ' if number else ''}{_quoted(str(key))}: "
            yield from _pieces(below)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for number, item in enumerate(value):
            yield ", " if number else ""
            yield from _pieces(item)
        yield "]"
    elif isinstance(value, str):
        yield _quoted(value)
    else:
        yield json.dumps(value, default=str)


def _named(text: str) -> str:
    return repr(text) if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]!r}..."


def _quoted(text: str) -> str:
    return json.dumps(text[: SHOWN_CHARACTERS + 1], ensure_ascii=False)
