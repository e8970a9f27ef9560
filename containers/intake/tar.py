"""Read tar headers the way Go's `archive/tar` does, which is what the engine will read the same bytes with.

Where implementations differ we either follow Go (links, devices and folders have no body, whatever their size field says) or
refuse (sparse files, unknown types), so that nothing we counted as a body can be a header for the engine.
Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header"; GNU `L` and `K` records.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from containers.intake.reasons import ImageInvalid, Reason
from containers.intake.streams import Stream

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
MAX_EXTENSION_BYTES = 1 << 20
"""Go refuses longer pax and GNU extension records as well."""
MAX_NAME_BYTES = 3584
"""The system opens 4096 bytes; the engine puts its own folders in front, and fails on what does not fit."""
MAX_COMPONENT_BYTES = 255


class Kind(StrEnum):
    """What a tar entry makes on disk."""

    FILE = "file"
    HARD_LINK = "hard link"
    SYMBOLIC_LINK = "symbolic link"
    DEVICE = "device"
    FOLDER = "folder"
    FIFO = "fifo"


KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"1": Kind.HARD_LINK,
    b"2": Kind.SYMBOLIC_LINK,
    b"3": Kind.DEVICE,
    b"4": Kind.DEVICE,
    b"5": Kind.FOLDER,
    b"6": Kind.FIFO,
}


class Entry(NamedTuple):
    """One entry. Its body, `size` bytes, comes next in the stream."""

    name: bytes
    kind: Kind
    size: int
    link: bytes
    mode: int
    uid: int = 0


def read_entries(stream: Stream) -> Iterator[Entry]:
    """Every entry up to the end mark. A body the caller did not read is skipped."""
    extension: dict[bytes, bytes] = {}
    while (header := _next_header(stream)) is not None:
        flag = header[156:157]
        size = _number(header[124:136])
        if flag in (b"x", b"g", b"L", b"K"):
            body = _extension_body(stream, size)
            # A global record names no file: the engine ignores it, and so do we.
            if flag == b"x":
                extension.update(_pax_records(body))
            elif flag != b"g":
                extension[b"path" if flag == b"L" else b"linkpath"] = body.split(b"\0", 1)[0]
            continue
        entry = _entry(header, flag, size, extension)
        extension = {}
        end = stream.position + entry.size
        yield entry
        stream.skip(end - stream.position + -entry.size % BLOCK)


def is_tar(stream: Stream) -> bool:
    """Whether the next block can be a tar header or an end mark. Nothing is consumed."""
    header = stream.peek(BLOCK)
    try:
        return header == ZERO_BLOCK or (len(header) == BLOCK and _has_checksum(header))
    except ImageInvalid:
        return False


def _has_checksum(header: bytes) -> bool:
    """The sum of all bytes, the checksum field itself counted as spaces."""
    return sum(header) - sum(header[148:156]) + 8 * 0x20 == _number(header[148:156])


def _next_header(stream: Stream) -> bytes | None:
    if not stream.peek(1):
        return None
    header = stream.take(BLOCK)
    if header == ZERO_BLOCK:
        return None
    if not _has_checksum(header):
        raise ImageInvalid(Reason.MALFORMED, "A tar header inside the archive is damaged: save the image again.")
    return header


def _entry(header: bytes, flag: bytes, size: int, extension: dict[bytes, bytes]) -> Entry:
    kind = KINDS.get(flag)
    if kind is None or any(key.startswith(b"GNU.sparse.") for key in extension):
        raise ImageInvalid(
            Reason.MALFORMED,
            f"A tar entry is of type {flag!r} or sparse; expected files, folders, links and devices only.",
        )
    name = extension.get(b"path") or _ustar_name(header)
    link = extension.get(b"linkpath") or _text(header[157:257])
    _check_lengths(name, link)
    if b"size" in extension:
        size = _decimal(extension[b"size"])
    uid = _decimal(extension[b"uid"]) if b"uid" in extension else _number(header[108:116])
    if kind is Kind.FILE and name.endswith(b"/"):
        kind = Kind.FOLDER
    return Entry(name, kind, size if kind is Kind.FILE else 0, link, _number(header[100:108]), uid)


def _check_lengths(name: bytes, link: bytes) -> None:
    """What no file system can hold fails here, not on a node."""
    too_long = max(len(name), len(link)) > MAX_NAME_BYTES
    if len(name) > MAX_COMPONENT_BYTES:
        too_long = too_long or max(map(len, name.split(b"/"))) > MAX_COMPONENT_BYTES
    if too_long or b"\0" in name + link:
        raise ImageInvalid(
            Reason.UNSAFE_PATH,
            f"A path in the archive has a NUL byte, more than {MAX_NAME_BYTES} bytes, or a name of more than "
            f"{MAX_COMPONENT_BYTES} bytes in it. Rename or remove the file.",
        )


def _ustar_name(header: bytes) -> bytes:
    name = _text(header[:100])
    # GNU tar keeps times where POSIX has the prefix. Its magic ends in two spaces.
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _number(field: bytes) -> int:
    """Octal digits, or GNU's base-256 when the first bit is set."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] & 0x40 or value >= 1 << 62:
            raise ImageInvalid(Reason.MALFORMED, "A tar header holds a negative or absurd number.")
        return value
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        raise ImageInvalid(Reason.MALFORMED, f"A tar header holds {field!r} where a number belongs.") from None


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 18:
        raise ImageInvalid(Reason.MALFORMED, f"A tar header gives the size as {text[:40]!r}.")
    return int(text)


def _extension_body(stream: Stream, size: int) -> bytes:
    if size > MAX_EXTENSION_BYTES:
        raise ImageInvalid(
            Reason.MALFORMED, f"A tar extension record has {size} bytes; at most {MAX_EXTENSION_BYTES} are allowed."
        )
    body = stream.take(size)
    stream.skip(-size % BLOCK)
    return body


def _pax_records(body: bytes) -> dict[bytes, bytes]:
    """`<length> <key>=<value>\\n` records."""
    records: dict[bytes, bytes] = {}
    while body:
        length, space, _ = body.partition(b" ")
        count = _decimal(length) if space else 0
        record, body = body[len(length) + 1 : count], body[count:]
        key, equals, value = record.partition(b"=")
        if count <= len(length) + 1 or not equals or not value.endswith(b"\n"):
            raise ImageInvalid(Reason.MALFORMED, "A pax record inside the archive is damaged.")
        records[key] = value[:-1]
    return records
