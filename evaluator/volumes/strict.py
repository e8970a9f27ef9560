"""The strict reader for files we do not trust: label maps as NIfTI-1 and NIfTI-2 (.nii.gz, .nii), MetaImage (.mha), NRRD (.nrrd) and,
in two dimensions, TIFF (.tif).

Theory of operation. The header is checked completely before a byte of memory is reserved for voxels. The caller's limits and,
when it knows the grid the file must have, that grid are compared first. Voxels are then streamed in pieces of a few MiB:
each piece is checked (finite, whole, an allowed label) and narrowed into the result, so memory is the result plus one piece.
The stream has to end exactly where the header says. The format is told by the content, never by the name. Labels that a header
scales are read where they are whole after scaling.

A NIfTI pair is the one exception to "one file": beside `c1.hdr` lie its voxels, `c1.img` or `c1.img.gz`. Only that name is opened,
never one that a header says, and only by readers that are given a path. The limited child is given one open file, and refuses pairs.

Everything refused is an `InvalidVolume` with a reason from a closed list. Nothing here raises anything else for any input.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from evaluator.errors import InvalidVolume, Reason
from evaluator.volumes import metaimage, nifti, nrrd, tiff
from evaluator.volumes.geometry import Grid, GridTolerance, grids_match
from evaluator.volumes.header import VolumeHeader, refuse
from evaluator.volumes.orientation import turn_onto
from evaluator.volumes.streams import GZIP_MAGIC, GZIP_WINDOW, ZLIB_WINDOW, InflatingStream, PlainStream, Stream

PIECE_VOXELS = 1 << 22
_NIFTI_STARTS = tuple(
    size.to_bytes(4, order) for size in (nifti.HEADER_BYTES, nifti.HEADER2_BYTES) for order in ("little", "big")
)
_ALMOST_WHOLE = 1e-4
"""How far a scaled label may be from a whole number: headers keep a slope such as 1/255 in single precision."""
PAIR_HEADER = ".hdr"
PAIR_VOXELS = (".img", ".img.gz")
Labels = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class ReaderLimits:
    """What one file may cost its reader."""

    file_bytes: int = 1 << 30
    voxels: int = 1 << 31
    """Over all channels. 45 channels of 914 × 464 × 127 are 2.4e9, so such a protocol reads channel by channel."""


DEFAULT_LIMITS = ReaderLimits()
DEFAULT_TOLERANCE = GridTolerance()


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A NIfTI volume in two open files."""

    header: BinaryIO
    voxels: BinaryIO
    is_packed: bool
    """Whether the voxels are gzipped. Their name says so: voxels may begin with any bytes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.header.close()
        self.voxels.close()


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What the reader demands beyond a well-formed file."""

    grid: Grid | None = None
    tolerance: GridTolerance = DEFAULT_TOLERANCE
    allowed_values: frozenset[int] | None = None
    channels: int = 1


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """Whole-number voxels in array order (x, y, z) and the grid they lie on."""

    array: Labels
    grid: Grid


def read_label_map(path: Path, *, limits: ReaderLimits = DEFAULT_LIMITS) -> LabelMap:
    """One label map from an untrusted file. Raises InvalidVolume when it is not exactly that."""
    with open_volume(path, limits=limits) as source:
        header, channels = read_channels(source, expectation=Expectation(), limits=limits)
        array = next(channels)
        next(channels, None)
    return LabelMap(array=array, grid=header.grid)


def read_grid(path: Path, *, limits: ReaderLimits = DEFAULT_LIMITS) -> Grid:
    """Only the grid: the header is checked, the voxels are not touched."""
    with open_volume(path, limits=limits) as source:
        return _open_header(source)[0].grid


def open_volume(path: Path, *, limits: ReaderLimits) -> BinaryIO | Pair:
    """A volume file, as `open_untrusted` opens it. A `.hdr` comes with the voxels that lie beside it."""
    name = path.name.removesuffix(".gz")
    if not name.endswith(PAIR_HEADER):
        return open_untrusted(path, limits=limits)
    images = [path.with_name(name.removesuffix(PAIR_HEADER) + ending) for ending in PAIR_VOXELS]
    image = next((other for other in images if other.exists()), images[0])
    header = open_untrusted(path, limits=limits)
    try:
        return Pair(header=header, voxels=open_untrusted(image, limits=limits), is_packed=image.name.endswith(".gz"))
    except InvalidVolume as problem:
        header.close()
        raise refuse(problem.reason, found=f"{problem.found} at {image.name}", expected="the header's voxels") from None


def open_untrusted(path: Path, *, limits: ReaderLimits) -> BinaryIO:
    """A regular file, opened without following a link, no larger than allowed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise refuse(Reason.MISSING, found="no file", expected="a volume") from None
    except OSError:
        raise refuse(Reason.NOT_A_REGULAR_FILE, found="something else", expected="a regular file") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise refuse(Reason.NOT_A_REGULAR_FILE, found="a special file", expected="a regular file")
    if status.st_size > limits.file_bytes:
        os.close(descriptor)
        raise refuse(Reason.TOO_LARGE, found=f"{status.st_size} bytes", expected=f"at most {limits.file_bytes}")
    return os.fdopen(descriptor, "rb")


def read_channels(
    source: BinaryIO | Pair, *, expectation: Expectation, limits: ReaderLimits
) -> tuple[VolumeHeader, Iterator[Labels]]:
    """The checked header, and the channels one after the other. Exhaust the iterator to learn that the file ends well."""
    header, stream = _open_header(source)
    turn = None
    if expectation.grid is not None and expectation.tolerance.reorient:
        turn = turn_onto(expectation.grid, header.grid)
    lies = header if turn is None else replace(header, grid=turn.grid)
    _check_expectation(lies, expectation=expectation, limits=limits)
    channels = _channels(header, stream, allowed=expectation.allowed_values)
    return lies, channels if turn is None else map(turn.apply, channels)


def _open_header(source: BinaryIO | Pair) -> tuple[VolumeHeader, Stream | tiff.TiffStream]:
    """Recognise the format by content, parse its header, and leave the stream at the first voxel."""
    if isinstance(source, Pair):
        return _pair(source)
    start = source.read(nifti.HEADER_BYTES)
    source.seek(0)
    if start.startswith(GZIP_MAGIC):
        stream: Stream = InflatingStream(source, window=GZIP_WINDOW)
        return _nifti(stream), stream
    if start[:4] in _NIFTI_STARTS:
        stream = PlainStream(source)
        return _nifti(stream), stream
    if start.startswith(nrrd.MAGIC):
        header = nrrd.parse_nrrd_header(source.read(nrrd.MAX_HEADER_BYTES))
        source.seek(header.data_offset)
        return header, InflatingStream(source, window=GZIP_WINDOW) if header.is_gzip else PlainStream(source)
    if start.startswith(tiff.MAGICS):
        return tiff.read_tiff(source)
    if b"=" in start and b"\n" in start and start[:1].isalpha():
        header = metaimage.parse_metaimage_header(source.read(metaimage.MAX_HEADER_BYTES))
        source.seek(header.data_offset)
        return header, InflatingStream(source, window=ZLIB_WINDOW) if header.is_deflated else PlainStream(source)
    raise refuse(
        Reason.FORMAT_UNSUPPORTED,
        found="a BigTIFF" if start.startswith(tiff.BIG_MAGICS) else "neither NIfTI nor MetaImage nor NRRD nor TIFF",
        expected="a .nii.gz, .nii, .mha, .nrrd or .tif file",
    )


def _pair(source: Pair) -> tuple[VolumeHeader, Stream]:
    """The header of a pair, and its voxels. What follows the header in its file are extensions, which nobody reads."""
    is_packed = source.header.read(len(GZIP_MAGIC)) == GZIP_MAGIC  # no header begins like this
    source.header.seek(0)
    head = _stream(source.header, is_packed=is_packed)
    raw = bytearray(nifti.HEADER_BYTES)
    head.read_into(memoryview(raw))
    more = bytearray(nifti.header_bytes(bytes(raw)) - len(raw))
    head.read_into(memoryview(more))
    header = nifti.parse_any_nifti_header(bytes(raw + more), is_pair=True)
    voxels = _stream(source.voxels, is_packed=source.is_packed)
    voxels.read_into(memoryview(bytearray(header.data_offset)))
    return header, voxels


def _stream(source: BinaryIO, *, is_packed: bool) -> Stream:
    return InflatingStream(source, window=GZIP_WINDOW) if is_packed else PlainStream(source)


def _nifti(stream: Stream) -> VolumeHeader:
    raw = bytearray(nifti.HEADER_BYTES)
    stream.read_into(memoryview(raw))
    more = bytearray(nifti.header_bytes(bytes(raw)) - len(raw))
    stream.read_into(memoryview(more))
    raw += more
    header = nifti.parse_any_nifti_header(bytes(raw))
    stream.read_into(memoryview(bytearray(header.data_offset - len(raw))))
    return header


def _check_expectation(header: VolumeHeader, *, expectation: Expectation, limits: ReaderLimits) -> None:
    if header.channels != expectation.channels:
        raise refuse(Reason.SHAPE_MISMATCH, found=f"{header.channels} channels", expected=f"{expectation.channels}")
    if header.grid.voxels * header.channels > limits.voxels:
        raise refuse(
            Reason.TOO_LARGE,
            found=f"{header.grid.voxels * header.channels} voxels",
            expected=f"at most {limits.voxels}",
        )
    if expectation.grid is None:
        return
    mismatch = grids_match(expectation.grid, header.grid, expectation.tolerance)
    if mismatch:
        raise refuse(mismatch.reason, found=mismatch.found, expected=mismatch.expected)


def _channels(
    header: VolumeHeader, stream: Stream | tiff.TiffStream, *, allowed: frozenset[int] | None
) -> Iterator[Labels]:
    voxels = header.grid.voxels
    stored: np.dtype[Any] = np.dtype(header.stored_type)
    is_scaled = header.scaling != (1.0, 0.0)
    target = _target_type(np.dtype(np.float64) if is_scaled else stored, allowed)
    for _ in range(header.channels):
        flat = np.empty(voxels, dtype=target)
        for begin in range(0, voxels, PIECE_VOXELS):
            end = min(begin + PIECE_VOXELS, voxels)
            raw = bytearray((end - begin) * stored.itemsize)
            stream.read_into(memoryview(raw))
            piece = np.frombuffer(raw, dtype=stored)
            if is_scaled:
                piece = _scaled(piece, *header.scaling)
            flat[begin:end] = _checked_piece(piece, allowed=allowed, target=target)
        yield flat.reshape(header.grid.shape, order="F")
    stream.finish()


def _scaled(piece: npt.NDArray[Any], slope: float, intercept: float) -> npt.NDArray[np.float64]:
    """What stored numbers mean, where that is whole. Refused where it is not."""
    with np.errstate(all="ignore"):
        values = piece.astype(np.float64) * slope + intercept
        whole = np.rint(values)
        if np.isfinite(piece).all() and not (np.abs(values - whole) <= _ALMOST_WHOLE).all():
            raise refuse(
                Reason.SCALED,
                found=f"slope {slope:g}, intercept {intercept:g}, and a voxel that is not whole after scaling",
                expected="labels that are whole numbers",
            )
    return whole


def _target_type(stored: np.dtype[np.generic], allowed: frozenset[int] | None) -> np.dtype[np.integer[Any]]:
    """The narrowest type that holds every value that can pass: by the allowed labels, else by what was stored."""
    if allowed is not None:
        return np.result_type(*(np.min_scalar_type(value) for value in allowed | {0}))
    if stored.kind == "f" or stored.itemsize == 8:
        return np.dtype(np.int32)
    return stored.newbyteorder("=")  # type: ignore[return-value]  # integers only reach this line


def _checked_piece(
    piece: npt.NDArray[Any], *, allowed: frozenset[int] | None, target: np.dtype[np.integer[Any]]
) -> npt.NDArray[Any]:
    if piece.dtype.kind == "f":
        if not np.isfinite(piece).all():
            raise refuse(Reason.NOT_FINITE, found="a voxel that is infinite or not a number", expected="whole numbers")
        if not (piece == np.rint(piece)).all():
            raise refuse(Reason.NOT_INTEGRAL, found="a voxel that is not whole", expected="labels, not probabilities")
    low, high = piece.min(), piece.max()
    bounds = np.iinfo(target)
    if low < bounds.min or high > bounds.max:
        raise refuse(
            Reason.LABEL_UNKNOWN, found=f"labels from {low:g} to {high:g}", expected=_allowed_text(allowed, bounds)
        )
    narrow = piece.astype(target, copy=False)
    if allowed is not None:
        _check_allowed(narrow, allowed=allowed)
    return narrow


def present_values(array: npt.NDArray[Any]) -> list[int]:
    """The values of a label map in ascending order, 0 included where it occurs.

    Values are looked up where they change: a label map is runs, so that is a few percent. 0.05 s for 52 million bytes. A
    look-up per voxel took 0.3 s.
    """
    flat = array.ravel(order="K")
    if not flat.size:
        return []
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    ordered = np.sort(np.append(flat[ends], flat[-1]))
    present = ordered[np.append(True, ordered[1:] != ordered[:-1])]  # not np.unique: it imports, and the child cannot
    return [int(value) for value in present.tolist()]


def _check_allowed(narrow: npt.NDArray[Any], *, allowed: frozenset[int]) -> None:
    for value in present_values(narrow):
        if value != 0 and value not in allowed:
            expected = _allowed_text(allowed, np.iinfo(narrow.dtype))
            raise refuse(Reason.LABEL_UNKNOWN, found=f"label {value}", expected=expected)


def _allowed_text(allowed: frozenset[int] | None, bounds: np.iinfo[Any]) -> str:
    if allowed is None:
        return f"labels from {bounds.min} to {bounds.max}"
    values = sorted(allowed | {0})
    return "one of " + ", ".join(str(value) for value in values[:20]) + (", …" if len(values) > 20 else "")
