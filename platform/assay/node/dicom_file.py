"""Reading what a DICOM file says, without its images: elements, sequences, and the bytes of its pixels. Little endian, not compressed.

Small on purpose. It reads segmentations and structure sets that a hospital's own systems wrote, where SimpleITK does not go. Anything it
does not know is refused with a sentence, never guessed. Only a hospital's own files are read with it.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from assay.node.folder import FolderInvalid

Tag: TypeAlias = tuple[int, int]
Elements: TypeAlias = Mapping[Tag, Any]
"""Tag → bytes, or the items of a sequence."""
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
LONG_FORMS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
"""Representations whose length has four bytes."""
SEQUENCES = frozenset({
    (0x0008, 0x1115), (0x0008, 0x1140), (0x0020, 0x9113), (0x0020, 0x9116), (0x0028, 0x9110), (0x0062, 0x0002),
    (0x0062, 0x000A), (0x3006, 0x0010), (0x3006, 0x0012), (0x3006, 0x0014), (0x3006, 0x0016), (0x3006, 0x0020),
    (0x3006, 0x0039), (0x3006, 0x0040), (0x3006, 0x0080), (0x5200, 0x9229), (0x5200, 0x9230),
})  # fmt: skip
"""Sequences that are read here. Where a file leaves representations out, only these are known to be sequences."""
ITEM, ITEM_ENDS, SEQUENCE_ENDS = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
UNDEFINED = 0xFFFFFFFF
TRANSFER_SYNTAX, MODALITY, PIXELS = (0x0002, 0x0010), (0x0008, 0x0060), (0x7FE0, 0x0010)
PREAMBLE = 132
DEEPEST = 16


@dataclass
class _Cursor:
    content: bytes
    place: int
    is_explicit: bool

    def number(self, form: str) -> int:
        value: int = struct.unpack_from(form, self.content, self.place)[0]
        self.place += struct.calcsize(form)
        return value

    def tag(self) -> Tag:
        return self.number("<H"), self.number("<H")

    def take(self, count: int) -> bytes:
        found = self.content[self.place : self.place + count]
        if len(found) != count:
            raise ValueError("it ends too early")
        self.place += count
        return found


def read_dicom(path: Path) -> Elements:
    """Every element of the file. Raises FolderInvalid."""
    content = path.read_bytes()
    if content[PREAMBLE - 4 : PREAMBLE] != b"DICM":
        raise FolderInvalid(f"{path} is no DICOM file")
    try:
        cursor = _Cursor(content, PREAMBLE, is_explicit=True)
        meta: dict[Tag, Any] = {}
        while cursor.place < len(content) and struct.unpack_from("<H", content, cursor.place)[0] == 0x0002:
            tag, value = _element(cursor, depth=0)
            meta[tag] = value
        cursor.is_explicit = _is_explicit(text(meta, TRANSFER_SYNTAX))
        return _elements(cursor, end=len(content), depth=0)
    except (ValueError, struct.error) as problem:
        raise FolderInvalid(f"{path} cannot be read as DICOM: {problem}") from problem


def _is_explicit(syntax: str) -> bool:
    if syntax not in (EXPLICIT, IMPLICIT):
        raise ValueError(f"its transfer syntax is {syntax or 'unknown'}; expected little endian, not compressed")
    return syntax == EXPLICIT


def modality_of(path: Path) -> str:
    """What a file is: CT, MR, SEG, RTSTRUCT … Empty where it is no DICOM file that says so. Compressed images are not opened."""
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    place = head.find(struct.pack("<HH", *MODALITY))
    if head[PREAMBLE - 4 : PREAMBLE] != b"DICM" or place < 0:
        return ""
    if head[place + 4 : place + 6] == b"CS":
        (length,) = struct.unpack_from("<H", head, place + 6)
    else:
        (length,) = struct.unpack_from("<I", head, place + 4)
    return head[place + 8 : place + 8 + min(length, 16)].decode("ascii", "replace").strip("\0 ")


def text(elements: Elements, tag: Tag) -> str:
    """An element as text. Empty where it is missing."""
    value = elements.get(tag, b"")
    return value.decode("utf-8", "replace").strip("\0 ") if isinstance(value, bytes) else ""


def numbers(elements: Elements, tag: Tag) -> list[float]:
    """Decimal numbers that are written as text, divided by backslashes."""
    return [float(word) for word in text(elements, tag).split("\\") if word.strip()]


def short(elements: Elements, tag: Tag) -> int:
    """A whole number of two bytes. Raises ValueError where it is missing."""
    value = elements.get(tag, b"")
    if not isinstance(value, bytes) or len(value) < 2:
        raise ValueError(f"({tag[0]:04x},{tag[1]:04x}) is missing")
    found: int = struct.unpack_from("<H", value)[0]
    return found


def items(elements: Elements, tag: Tag) -> list[Elements]:
    """The items of a sequence. None where it is missing."""
    value = elements.get(tag, [])
    return list(value) if isinstance(value, list) else []


def _elements(cursor: _Cursor, *, end: int, depth: int) -> dict[Tag, Any]:
    found: dict[Tag, Any] = {}
    while cursor.place < end:
        tag, value = _element(cursor, depth=depth)
        if tag in (ITEM_ENDS, SEQUENCE_ENDS):
            break
        found[tag] = value
    return found


def _element(cursor: _Cursor, *, depth: int) -> tuple[Tag, Any]:
    if depth > DEEPEST:
        raise ValueError("its sequences are nested too deeply")
    tag = cursor.tag()
    form = b""
    if tag[0] == 0xFFFE or not cursor.is_explicit:
        length = cursor.number("<I")
    else:
        form = cursor.take(2)
        if form in LONG_FORMS:
            cursor.take(2)
            length = cursor.number("<I")
        else:
            length = cursor.number("<H")
    if tag in (ITEM_ENDS, SEQUENCE_ENDS):
        return tag, b""
    is_sequence = form == b"SQ" or length == UNDEFINED or (not cursor.is_explicit and tag in SEQUENCES)
    if is_sequence and tag == PIXELS:
        raise ValueError("its pixels are compressed; expected them as they are")
    return tag, _items(cursor, length=length, depth=depth + 1) if is_sequence else cursor.take(length)


def _items(cursor: _Cursor, *, length: int, depth: int) -> list[Elements]:
    end = len(cursor.content) if length == UNDEFINED else cursor.place + length
    found: list[Elements] = []
    while cursor.place < end:
        tag = cursor.tag()
        size = cursor.number("<I")
        if tag == SEQUENCE_ENDS:
            break
        if tag != ITEM:
            raise ValueError(f"found ({tag[0]:04x},{tag[1]:04x}) where an item of a sequence begins")
        within = len(cursor.content) if size == UNDEFINED else cursor.place + size
        found.append(_elements(cursor, end=within, depth=depth))
    return found
