"""A TIFF of one page with one number per pixel, strictly: a label mask as microscopy and pathology write it.

TIFF lets a file hold any number of pages, samples, codecs and private tags, at any place, and lets places overlap. This reader takes one
page of a two-dimensional mask, in strips or tiles, plain or packed by deflate, LZW or PackBits. It looks at the tags that say so and at no
other. Each list and each block has to lie in the file, and a block has to unpack to exactly as many bytes as its place in the image
needs. All blocks together are no longer than the file. So the cost is bounded by the sizes of the image, which is checked first, and of
the file, wherever blocks lie. Bytes that no tag names are never read.

What a TIFF says of resolution is not used: programs write 72 dpi there. Pixels are 1 mm apart, as in the files of other readers that say
nothing. Protocols of flat images compare shapes (`geometry: {compare: shape}`).
"""

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from evaluator.errors import InvalidVolume, Reason
from evaluator.volumes.geometry import Grid
from evaluator.volumes.header import VolumeHeader, checked_shape, refuse

TIFF_SUFFIXES = (".tif", ".tiff")
MAGICS = (b"II*\0", b"MM\0*")
BIG_MAGICS = (b"II+\0", b"MM\0+")
MOST_TAGS = 1024
MOST_BLOCKS = 1 << 20
LARGEST_TILE = 1 << 26
PLAIN, LZW, DEFLATE, OLD_DEFLATE, PACK_BITS = 1, 5, 8, 32946, 32773
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIPS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 273, 274, 277, 278, 279
PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, SAMPLE_FORMAT = 317, 322, 323, 324, 325, 339
_FORMATS = {1: "u", 2: "i", 3: "f"}
_WIDTHS = {1: 1, 3: 2, 4: 4}
_LETTERS = {1: "B", 3: "H", 4: "I"}
_USED = frozenset(
    (WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIPS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES,
     PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, SAMPLE_FORMAT)
)  # fmt: skip
_CLEAR, _END = 256, 257


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the blocks of the image lie, and how they are packed. Strips are tiles as wide as the image."""

    shape: tuple[int, int]
    """Width and height in pixels."""
    stored: str
    tile: tuple[int, int]
    is_tiled: bool
    compression: int
    predictor: int
    places: tuple[tuple[int, int], ...]
    """Offset and length of each block in the file, row by row."""


class TiffStream:
    """The pixels row by row, unpacked one band of blocks after the other."""

    def __init__(self, bands: Iterator[bytes]) -> None:
        self._bands = bands
        self._pending = memoryview(b"")

    def read_into(self, target: memoryview) -> None:
        """Fill `target` completely. The bands together are the image."""
        filled = 0
        while filled < len(target):
            if not self._pending:
                self._pending = memoryview(next(self._bands))
            piece = self._pending[: len(target) - filled]
            target[filled : filled + len(piece)] = piece
            self._pending = self._pending[len(piece) :]
            filled += len(piece)

    def finish(self) -> None:
        """What no tag names is not read, so nothing can follow."""


def read_tiff(source: BinaryIO) -> tuple[VolumeHeader, TiffStream]:
    """The checked header, and the stream of its pixels. Raises InvalidVolume."""
    layout = _layout(source)
    shape, _ = checked_shape(list(layout.shape))
    affine = ((-1.0, 0.0, 0.0, 0.0), (0.0, -1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    grid = Grid(shape=shape, spacing_mm=(1.0, 1.0), affine=affine)
    header = VolumeHeader(grid=grid, channels=1, stored_type=layout.stored, data_offset=0)
    return header, TiffStream(_bands(source, layout))


def _layout(source: BinaryIO) -> Layout:
    order, tags = _tags(source)
    width, height = _one(tags, WIDTH), _one(tags, HEIGHT)
    if not width or not height:
        raise refuse(Reason.DIMENSIONS_INVALID, found=f"{width} × {height} pixels", expected="a width and a height")
    stored = _stored(tags, order)
    is_tiled = TILE_WIDTH in tags or TILES in tags
    tile = (
        (_one(tags, TILE_WIDTH), _one(tags, TILE_HEIGHT))
        if is_tiled
        else (width, min(_one(tags, ROWS_PER_STRIP, height), height))
    )
    if not tile[0] or not tile[1] or (is_tiled and tile[0] * tile[1] > LARGEST_TILE):
        raise refuse(
            Reason.HEADER_INVALID, found=f"blocks of {tile[0]} × {tile[1]} pixels", expected="blocks of some pixels"
        )
    offsets, lengths = (tags.get(tag, ()) for tag in ((TILES, TILE_BYTES) if is_tiled else (STRIPS, STRIP_BYTES)))
    needed = -(-width // tile[0]) * -(-height // tile[1])
    if not len(offsets) == len(lengths) == needed:
        raise refuse(
            Reason.HEADER_INVALID,
            found=f"{len(offsets)} blocks and {len(lengths)} lengths",
            expected=f"{needed} of both",
        )
    return Layout(
        shape=(width, height),
        stored=stored,
        tile=tile,
        is_tiled=is_tiled,
        compression=_chosen(tags, COMPRESSION, (PLAIN, LZW, DEFLATE, OLD_DEFLATE, PACK_BITS), what="compression"),
        predictor=_chosen(tags, PREDICTOR, (1,) if stored[1] == "f" else (1, 2), what="predictor"),
        places=tuple(zip(offsets, lengths, strict=True)),
    )


def _stored(tags: Mapping[int, tuple[int, ...]], order: str) -> str:
    """The type of a pixel as NumPy writes it. Refuses what is no mask of one number per pixel."""
    if _one(tags, SAMPLES, 1) != 1 or len(tags.get(BITS, (1,))) != 1:
        raise refuse(
            Reason.DIMENSIONS_INVALID, found=f"{_one(tags, SAMPLES, 1)} numbers per pixel", expected="one, the label"
        )
    _chosen(tags, PHOTOMETRIC, (1, 3), what="photometric interpretation")
    _chosen(tags, ORIENTATION, (1,), what="orientation")
    _chosen(tags, FILL_ORDER, (1,), what="fill order")
    bits, kind = _one(tags, BITS, 1), _FORMATS.get(_one(tags, SAMPLE_FORMAT, 1), "")
    if bits not in (8, 16, 32, 64) or not kind or (kind == "f" and bits < 32):
        raise refuse(
            Reason.DATA_TYPE_UNSUPPORTED,
            found=f"{bits} bits per pixel",
            expected="8, 16, 32 or 64 bits of whole numbers, or floats",
        )
    return f"{order if bits > 8 else '|'}{kind}{bits // 8}"


def _chosen(tags: Mapping[int, tuple[int, ...]], tag: int, allowed: tuple[int, ...], *, what: str) -> int:
    value = _one(tags, tag, 1)
    if value not in allowed:
        raise refuse(
            Reason.FORMAT_UNSUPPORTED, found=f"{what} {value}", expected=f"one of {', '.join(map(str, allowed))}"
        )
    return value


def _one(tags: Mapping[int, tuple[int, ...]], tag: int, default: int = 0) -> int:
    values = tags.get(tag, (default,))
    if len(values) != 1:
        raise refuse(Reason.HEADER_INVALID, found=f"{len(values)} values of tag {tag}", expected="one")
    return values[0]


def _tags(source: BinaryIO) -> tuple[str, dict[int, tuple[int, ...]]]:
    """The byte order, and the tags that count, of the only page."""
    size = source.seek(0, os.SEEK_END)
    order = "<" if _read(source, 0, 4).startswith(b"II") else ">"
    (start,) = struct.unpack(f"{order}I", _read(source, 4, 4))
    (count,) = struct.unpack(f"{order}H", _read(source, start, 2))
    if not 1 <= count <= MOST_TAGS:
        raise refuse(Reason.HEADER_INVALID, found=f"{count} tags", expected=f"1 to {MOST_TAGS}")
    raw = _read(source, start + 2, 12 * count + 4)
    if raw[-4:] != bytes(4):
        raise refuse(Reason.DIMENSIONS_INVALID, found="several pages", expected="one page with the mask")
    tags: dict[int, tuple[int, ...]] = {}
    for position in range(0, 12 * count, 12):
        tag, kind, length = struct.unpack_from(f"{order}HHI", raw, position)
        if tag not in _USED:
            continue
        if tag in tags or kind not in _WIDTHS or not 1 <= length <= MOST_BLOCKS:
            raise refuse(
                Reason.HEADER_INVALID,
                found=f"tag {tag} of kind {kind}, {length} values",
                expected="whole numbers, once",
            )
        content = raw[position + 8 : position + 12]
        if length * _WIDTHS[kind] > len(content):
            content = _read(source, struct.unpack(f"{order}I", content)[0], length * _WIDTHS[kind], size=size)
        tags[tag] = struct.unpack_from(f"{order}{length}{_LETTERS[kind]}", content)
    return order, tags


def _read(source: BinaryIO, offset: int, length: int, *, size: int | None = None) -> bytes:
    if size is not None and offset + length > size:
        raise _ends_early()
    source.seek(offset)
    content = source.read(length)
    if len(content) != length:
        raise _ends_early()
    return content


def _ends_early() -> InvalidVolume:
    return refuse(Reason.TRUNCATED, found="a part that lies behind the end of the file", expected="the whole image")


def _bands(source: BinaryIO, layout: Layout) -> Iterator[bytes]:
    """Rows of the image, as many at once as a block is high."""
    (width, height), (across, down) = layout.shape, layout.tile
    size, places = source.seek(0, os.SEEK_END), iter(layout.places)
    if any(sum(place) > size for place in layout.places):
        raise _ends_early()
    packed = sum(length for _, length in layout.places)
    if packed > size:
        raise refuse(
            Reason.HEADER_INVALID,
            found=f"blocks of {packed} bytes in a file of {size}",
            expected="blocks that do not overlap",
        )
    for top in range(0, height, down):
        rows = min(down, height - top)
        band = np.empty((rows, width), np.dtype(layout.stored))
        for left in range(0, width, across):
            shape = (down if layout.is_tiled else rows, across)
            block = _block(source, next(places), layout=layout, shape=shape, size=size)
            band[:, left : left + across] = block[:rows, : width - left]
        yield band.tobytes()


def _block(
    source: BinaryIO, place: tuple[int, int], *, layout: Layout, shape: tuple[int, int], size: int
) -> npt.NDArray[Any]:
    stored = np.dtype(layout.stored)
    wanted = shape[0] * shape[1] * stored.itemsize
    content = _unpacked(_read(source, *place, size=size), compression=layout.compression, wanted=wanted)
    if len(content) != wanted:
        found = f"{'more' if len(content) > wanted else 'fewer'} bytes in a block than its {shape[1]} × {shape[0]} pixels have"
        raise refuse(
            Reason.TRAILING_DATA if len(content) > wanted else Reason.TRUNCATED,
            found=found,
            expected="exactly these pixels",
        )
    pixels = np.frombuffer(content, stored).reshape(shape)
    if layout.predictor == 1:
        return pixels
    native = stored.newbyteorder("=")
    return np.cumsum(pixels.astype(native), axis=1, dtype=native).astype(stored)


def _unpacked(content: bytes, *, compression: int, wanted: int) -> bytes:
    """At most one byte more than is wanted."""
    if compression == PLAIN:
        return content
    if compression == LZW:
        return _lzw(content, most=wanted + 1)
    if compression == PACK_BITS:
        return _pack_bits(content, most=wanted + 1)
    try:
        return zlib.decompressobj().decompress(content, wanted + 1)
    except zlib.error as problem:
        raise _corrupt("deflated data that cannot be inflated") from problem


def _pack_bits(content: bytes, *, most: int) -> bytes:
    found, position = bytearray(), 0
    while position < len(content) and len(found) < most:
        head = content[position]
        if head < 128:
            found += content[position + 1 : position + 2 + head]
            position += 2 + head
        elif head > 128:
            found += content[position + 1 : position + 2] * (257 - head)
            position += 2
        else:
            position += 1
    return bytes(found[:most])


def _lzw(content: bytes, *, most: int) -> bytes:
    """TIFF's LZW: codes of 9 to 12 bits, the highest bit first, one entry early."""
    first = [bytes((value,)) for value in range(256)] + [b"", b""]
    table, found, previous = list(first), bytearray(), b""
    bits, held, width = 0, 0, 9
    for byte in content:
        bits, held = bits << 8 | byte, held + 8
        if held < width:
            continue
        held -= width
        code, bits = bits >> held, bits & (1 << held) - 1
        if code == _END:
            break
        if code == _CLEAR:
            table, previous, width = list(first), b"", 9
            continue
        if code < len(table):
            entry = table[code]
        elif code == len(table) and previous:
            entry = previous + previous[:1]
        else:
            raise _corrupt("an LZW code that stands for nothing")
        found += entry
        if len(found) >= most:
            break
        if previous and len(table) < 4096:
            table.append(previous + entry[:1])
        previous = entry
        width = min(12, (len(table) + 1).bit_length())
    return bytes(found[:most])


def _corrupt(found: str) -> InvalidVolume:
    return refuse(Reason.GZIP_CORRUPT, found=found, expected="intact compressed blocks: write the file again")
