"""Single values of a challenge file changed in its text: what a page's form does, so that the file stays the one truth.

Theory of operation. A value is written over the old one at its own place, or as a new line of its mapping. Everything else stays to the
letter, comments included. The result is then pushed like a file that somebody typed, so a form has no rules of its own, and whatever it
cannot say the file still can. Errors of the push name a place in the text; `key_at` finds the key that stands there.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from evaluator.documents import Document, DocumentError, Pointer, read_document

Value = str | int | float | bool | None | datetime | Sequence[Any] | Mapping[str, Any]


def fingerprint(text: str) -> str:
    """What a form remembers of the file it was made from, so that an edit in between is noticed."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def edited(text: str, values: Mapping[Pointer, Value]) -> str:
    """The text with these values, by path: `("phases", 0, "title")`. Missing keys and the mappings around them are added.

    Raises `InvalidError` where the text cannot be read, or a path leads through something else than mappings and lists.
    """
    for path, value in values.items():
        text = _with_value(text, path, value)
    return text


def appended(text: str, path: Pointer, value: Mapping[str, Any]) -> str:
    """The text with one more item in the list at `path`."""
    document = _read(text)
    items = _at(document, path)
    if not isinstance(items, list):
        return _with_new_list(text, document, path, value)
    if not items:
        place = document.place(path)
        return text[: place.start] + written([value]) + text[place.end :]
    last = _end(text, document, (*path, len(items) - 1))
    if text[document.place(path).start] == "[":
        return text[:last] + f", {written(value)}" + text[last:]
    first = document.place((*path, 0))
    dash = text.rfind("-", 0, first.start)
    indent = " " * (dash - (text.rfind("\n", 0, dash) + 1))
    end = _line_end(text, last)
    item = _block_item(value, indent=indent) or f"{indent}- {written(value)}"
    return text[:end] + f"\n{item}" + text[end:]


def _with_new_list(text: str, document: Document, path: Pointer, value: Mapping[str, Any]) -> str:
    """A list of one item. At the end of the file, as people write it, where nothing is at its place yet."""
    block = _block_item(value, indent="  ")
    if block and len(path) == 1 and path not in document.places and text[document.place(()).start] != "{":
        longer = f"{text.rstrip()}\n{path[0]}:\n{block}\n"
        try:
            if read_document(longer).value == {**_mapping(document.value), path[0]: [dict(value)]}:
                return longer
        except DocumentError:
            pass
    return _with_value(text, path, [value])


def _mapping(value: Any) -> dict[Any, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _block_item(value: Mapping[str, Any], *, indent: str) -> str | None:
    """An item of a list with a text of several lines, key by key. None where there is no such text: one line does."""
    if not any(isinstance(item, str) and "\n" in item for item in value.values()):
        return None
    lines = []
    for number, (key, item) in enumerate(value.items()):
        is_long = isinstance(item, str) and "\n" in item
        block = _block(item, key_column=len(indent) + 3) if is_long else None
        lines.append(f"{indent}{'  ' if number else '- '}{key}: {block or written(item)}")
    return "\n".join(lines)


def removed(text: str, path: Pointer) -> str:
    """The text without one item of a list. Its comments go with it. An item that stands alone cannot be taken out."""
    document = _read(text)
    *around, number = path
    place, end = document.places[path], _end(text, document, path)
    count = len(_at(document, tuple(around)))
    if text[document.place(tuple(around)).start] == "[":
        if isinstance(number, int) and number + 1 < count:
            return text[: place.start] + text[document.places[(*around, number + 1)].start :]
        before = _end(text, document, (*around, count - 2))
        return text[:before] + text[end:]
    dash = text.rfind("-", 0, place.start)
    begin = text.rfind("\n", 0, dash) + 1
    return text[:begin] + text[_line_end(text, end) + 1 :]


def written(value: Value) -> str:
    """A value in one line of YAML. A time keeps its zone. No value is `null`."""
    if isinstance(value, datetime):
        return f'"{value.astimezone(UTC).isoformat()}"'
    return "null" if value in ("", ()) else _inline(value)


def _inline(value: Value) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_inline(key)}: {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_inline(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)


def key_at(text: str, *, line: int, column: int) -> Pointer | None:
    """The path of the value that begins at this place, or whose line it is. None where no single value does."""
    try:
        document = read_document(text)
    except DocumentError:
        return None
    here = [path for path, place in document.places.items() if (place.line, place.column) == (line, column)]
    here += [path for path, place in document.keys.items() if (place.line, place.column) == (line, column)]
    return max(here, key=len, default=None)


def place_of(error: Exception, text: str) -> Pointer | None:
    """The path of the value that an error's line and column name."""
    line, column = getattr(error, "line", None), getattr(error, "column", None)
    return key_at(text, line=line, column=column) if line and column else None


def _read(text: str) -> Document:
    try:
        return read_document(text)
    except DocumentError as error:
        raise InvalidError(
            str(error), found=error.found, expected=error.expected, line=error.line or None, column=error.column or None
        ) from error


def _at(document: Document, path: Pointer) -> Any:
    value: Any = document.value
    for step in path:
        value = value.get(step) if isinstance(value, dict) and isinstance(step, str) else _item(value, step)
        if value is None:
            return None
    return value


def _item(value: Any, step: str | int) -> Any:
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None


def _with_value(text: str, path: Pointer, value: Value) -> str:
    document = _read(text)
    around = path
    while around and around not in document.places:
        around = around[:-1]
    missing = path[len(around) :]
    for step in reversed(missing[1:]):
        value = {str(step): None if value == "" else value}
    if not missing:
        place = document.places[path]
        new = (
            _block(value, key_column=document.keys[path].column) if _may_be_block(text, document, path, value) else None
        )
        key = document.keys.get(path)
        deeper = "  " if key is not None and place.line > key.line and place.column <= key.column else ""
        return text[: place.start] + (new or deeper + written(value)) + text[_end(text, document, path) :]
    mapping, name = _at(document, around), missing[0]
    if not isinstance(mapping, dict):
        if mapping is None:  # written down as empty
            return _with_value(text, around, {str(name): value})
        where = ".".join(map(str, around))
        raise InvalidError(_("`%(where)s` is a mapping.") % {"where": where}, found=str(mapping)[:80])
    return _with_new_key(text, document, around=around, key=str(name), value=value)


def _with_new_key(text: str, document: Document, *, around: Pointer, key: str, value: Value) -> str:
    mapping = _at(document, around)
    if not mapping:
        place = document.place(around)
        return text[: place.start] + written({key: value}) + text[place.end :]
    first = next(iter(mapping))
    end = _end(text, document, (*around, first))
    if text[document.place(around).start] == "{":
        return text[:end] + f", {key}: {written(value)}" + text[end:]
    column = document.keys[(*around, first)].column
    block = _block(value, key_column=column) if isinstance(value, str) and "\n" in value else None
    end = _line_end(text, end)
    return text[:end] + f"\n{' ' * (column - 1)}{key}: {block or written(value)}" + text[end:]


def _may_be_block(text: str, document: Document, path: Pointer, value: Value) -> bool:
    """Whether a text of several lines may stand as a block: not inside braces, which take no blocks, nor before a comment."""
    if not isinstance(value, str) or "\n" not in value or path not in document.keys:
        return False
    end = _end(text, document, path)
    if text[end : _line_end(text, end)].strip():
        return False
    return all(text[document.place(path[:depth]).start] not in "{[" for depth in range(len(path)))


def _block(value: Value, *, key_column: int) -> str | None:
    """A text of several lines as people write it, where YAML gives the very same text back."""
    indent = " " * (key_column + 1)
    lines = str(value).split("\n")
    block = "|-\n" + "\n".join(indent + line if line else "" for line in lines)
    try:
        is_same = read_document(f"{' ' * (key_column - 1)}key: {block}\n").value == {"key": value}
    except DocumentError:
        return None
    return block if is_same else None


def _end(text: str, document: Document, path: Pointer) -> int:
    """Where a value ends, without the line breaks and comments that the parser counts to a block."""
    place, value = document.places[path], _at(document, path)
    if isinstance(value, dict | list) and value and text[place.start] not in "{[":
        last = list(value)[-1] if isinstance(value, dict) else len(value) - 1
        return _end(text, document, (*path, last))
    end = place.end
    while end > place.start and text[end - 1] in "\n ":
        end -= 1
    return end


def _line_end(text: str, at: int) -> int:
    """Where the line ends that `at` is in."""
    end = text.find("\n", at)
    return len(text) if end < 0 else end
