"""Readers for files an organizer vouches for: NIfTI, MetaImage, NRRD and DICOM folders, through SimpleITK. A flat TIFF by our own reader,
so that it means the same in a test set and in a prediction.

Never call this on anything a container wrote: SimpleITK follows what a header says to other files. `strict.py` is for those.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluator.errors import EvaluatorError, InvalidVolume, UnavailableBackend
from evaluator.volumes.canonical import CanonicalFile, describe, write_canonical_channels
from evaluator.volumes.geometry import Grid
from evaluator.volumes.nifti import HEADER2_BYTES, HEADER_BYTES, parse_any_nifti_header
from evaluator.volumes.strict import ReaderLimits, open_untrusted
from evaluator.volumes.tiff import TIFF_SUFFIXES, read_tiff

_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20
_NIFTI = "NiftiImageIO"
PAIR_SUFFIXES = (".hdr", ".img")
"""NIfTI in two files: a header, and voxels in a file of the same name beside it."""
SPACING_RELATIVE = 1e-3
"""How far two statements of a header about the size of a voxel may differ: float32 rounding and a little more."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Voxels in array order (x, y, z) and the grid they lie on."""

    array: npt.NDArray[Any]
    grid: Grid


@dataclass(frozen=True, kw_only=True)
class Channels:
    """One or more volumes on one grid, as a 4-D file holds them: arrays of shape (x, y, z)."""

    arrays: Sequence[npt.NDArray[Any]]
    grid: Grid


def read_image(path: Path) -> Volume:
    """The image in `path`: a file SimpleITK reads, or a folder with one DICOM series."""
    found = read_channels_of(path)
    if len(found.arrays) != 1:
        raise EvaluatorError(f"{path.name} has more than one channel; expected one 2-D or 3-D image per file")
    return Volume(array=found.arrays[0], grid=found.grid)


def read_channels_of(path: Path) -> Channels:
    """The image in `path`, or each volume of a 4-D one. Views of one array, nothing is copied."""
    if path.is_file() and path.name.lower().endswith(TIFF_SUFFIXES):
        return _read_flat(path)
    sitk = _simpleitk()
    is_pair = path.is_file() and path.name.lower().endswith(PAIR_SUFFIXES)
    if path.name.lower().endswith((".nii", ".nii.gz")) and path.is_file():
        _refuse_damaged(path)
    elif is_pair:
        _refuse_damaged_pair(path)
    try:
        image = (
            _read_series(sitk, path) if path.is_dir() else sitk.ReadImage(str(path), imageIO=_NIFTI if is_pair else "")
        )
    except RuntimeError as problem:
        raise EvaluatorError(f"{path.name} cannot be read as an image: {str(problem).splitlines()[-1]}") from problem
    if image.GetDimension() > 4 or image.GetNumberOfComponentsPerPixel() != 1:
        raise EvaluatorError(
            f"{path.name} has vectors for voxels; expected one number per voxel, channels as a 4th axis"
        )
    array = np.transpose(sitk.GetArrayViewFromImage(image))
    if image.GetDimension() < 4:
        return Channels(arrays=[np.array(array)], grid=_grid(image))
    whole = np.array(array)
    return Channels(arrays=[whole[..., index] for index in range(whole.shape[3])], grid=_grid(image[:, :, :, 0]))


def _read_flat(path: Path) -> Channels:
    try:
        with open_untrusted(path, limits=ReaderLimits()) as source:
            header, stream = read_tiff(source)
            raw = bytearray(header.data_bytes)
            stream.read_into(memoryview(raw))
    except InvalidVolume as problem:
        raise EvaluatorError(f"{path.name} cannot be read as an image: {problem.detail}") from problem
    stored = np.dtype(header.stored_type)
    array = np.frombuffer(raw, stored).astype(stored.newbyteorder("="), copy=False)
    return Channels(arrays=[array.reshape(header.grid.shape, order="F")], grid=header.grid)


def header_texts(path: Path) -> dict[str, str]:
    """What a header says in words: DICOM fields by `gggg|eeee` (of the first and the last slice of a series), keys of MetaImage, NRRD and
    NIfTI by name. Empty for a file that is none of these."""
    if path.name.lower().endswith(TIFF_SUFFIXES):
        return {}  # nothing of it but the pixels is read
    sitk = _simpleitk()
    if path.is_dir():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path))
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), series[0]) if series else ()
    else:
        files = (str(path),)
    found: dict[str, str] = {}
    for file in {*files[:1], *files[-1:]}:
        reader = sitk.ImageFileReader()
        reader.SetFileName(file)
        try:
            reader.ReadImageInformation()
        except RuntimeError:
            continue
        found |= {key: reader.GetMetaData(key).strip("\0 ") for key in reader.GetMetaDataKeys()}
    return found


def nonfinite_voxels(path: Path) -> int:
    """Voxels of a NIfTI file of floats that are not-a-number or infinite. SimpleITK reads each of them as 0 and says nothing."""
    try:
        with _unpacked(path) as source:
            head = source.read(HEADER2_BYTES)
            header = parse_any_nifti_header(head)
            stored = np.dtype(header.stored_type)
            if stored.kind != "f":
                return 0
            source.seek(header.data_offset)
            found, left = 0, header.data_bytes
            while left > 0 and (piece := source.read(min(_PIECE, left))):
                left -= len(piece)
                whole = len(piece) - len(piece) % stored.itemsize
                found += whole // stored.itemsize - int(
                    np.count_nonzero(np.isfinite(np.frombuffer(piece[:whole], stored)))
                )
            return found
    except (InvalidVolume, EOFError, OSError, zlib.error):
        return 0


def _unpacked(path: Path) -> Any:
    """The file, inflated where it is packed. Raises OSError for a folder."""
    with path.open("rb") as plain:
        is_packed = plain.read(2) == _GZIP
    return gzip.open(path) if is_packed else path.open("rb")


def spacing_contradiction(path: Path) -> str:
    """What a NIfTI header says twice and differently about the size of its voxels, in words; empty where it does not.

    Readers differ in which of the two they take: SimpleITK and this platform take `pixdim`, others the length of the affine's columns.
    """
    try:
        with _unpacked(path) as source:
            grid = parse_any_nifti_header(source.read(HEADER2_BYTES)).grid
    except (InvalidVolume, EOFError, OSError, zlib.error):
        return ""
    columns = [math.hypot(*(row[axis] for row in grid.affine[:3])) for axis in range(len(grid.shape))]
    if all(abs(a - b) <= SPACING_RELATIVE * a for a, b in zip(grid.spacing_mm, columns, strict=True)):
        return ""
    said, placed = (" × ".join(f"{size:.4g}" for size in sizes) for sizes in (grid.spacing_mm, columns))
    return f"its header says that voxels are {said} mm large, and its affine places them {placed} mm apart"


def write_canonical(volume: Volume | Channels, path: Path) -> CanonicalFile:
    """Write a trusted volume, or the channels of one, our way."""
    arrays = [volume.array] if isinstance(volume, Volume) else volume.arrays
    with path.open("wb") as target:
        write_canonical_channels(arrays, grid=volume.grid, count=len(arrays), target=target)
    return describe(path)


def _simpleitk() -> Any:
    try:
        import SimpleITK as sitk  # noqa: N813 - 60 MB that only ingestion needs
    except ImportError:
        raise UnavailableBackend("reading this file needs SimpleITK: install `assay[ingest]`") from None
    return sitk


def _refuse_damaged(path: Path) -> None:
    """Refuse a NIfTI file that ends too early. SimpleITK fills missing voxels with zeros and says nothing."""
    try:
        with _unpacked(path) as source:
            head = source.read(HEADER_BYTES)
            found = len(head)
            while piece := source.read(_PIECE):  # to the end, where the checksum is
                found += len(piece)
    except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
        raise EvaluatorError(f"{path.name} is damaged: {str(problem)[:200]}") from problem
    expected = _nifti_bytes(head)
    if found < expected:
        raise EvaluatorError(f"{path.name} is damaged: found {found} bytes, expected {expected} as its header says")


def _refuse_damaged_pair(path: Path) -> None:
    """Refuse a pair that is none, or whose second file ends too early. Analyze 7.5, which has no orientation, is none either."""
    header, voxels = (path.with_suffix(suffix) for suffix in PAIR_SUFFIXES)
    if not (header.is_file() and voxels.is_file()):
        raise EvaluatorError(f"{path.name} stands alone; expected {header.name} and {voxels.name} beside each other")
    with header.open("rb") as source:
        head = source.read(HEADER_BYTES)
    if head[344:348] != b"ni1\0":
        raise EvaluatorError(
            f"{header.name} is no NIfTI header (Analyze 7.5 says nothing of orientation); expected a NIfTI-1 pair or one .nii.gz"
        )
    expected = _nifti_bytes(head[:344] + b"n+1\0")
    if voxels.stat().st_size < expected:
        raise EvaluatorError(
            f"{voxels.name} is damaged: found {voxels.stat().st_size} bytes, expected {expected} as its header says"
        )


def _nifti_bytes(head: bytes) -> int:
    """How long a NIfTI-1 file has to be by its header. 0 for other headers: SimpleITK says what is wrong with them."""
    if len(head) < HEADER_BYTES or head[344:348] != b"n+1\0":
        return 0
    order = next((order for order in "<>" if struct.unpack_from(f"{order}i", head)[0] == HEADER_BYTES), "")
    dimensions: tuple[int, ...] = struct.unpack_from(f"{order}8h", head, 40)
    axes, *sizes = dimensions
    bits: int = struct.unpack_from(f"{order}h", head, 72)[0]
    start: float = struct.unpack_from(f"{order}f", head, 108)[0]
    if not order or not 1 <= axes <= 7 or not math.isfinite(start):
        return 0
    voxels: int = math.prod(max(size, 1) for size in sizes[:axes])
    return int(start) + voxels * int(bits) // 8


def _read_series(sitk: Any, folder: Path) -> Any:
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise EvaluatorError(f"{folder.name} holds {len(series)} DICOM series; expected exactly one")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))
    return reader.Execute()


def _grid(image: Any) -> Grid:
    """RAS+ grid of an LPS+ image."""
    axes = image.GetDimension()
    spacing = image.GetSpacing()
    direction = np.eye(3)
    direction[:axes, :axes] = np.reshape(image.GetDirection(), (axes, axes))
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array([*spacing, 1.0][:3])
    affine[:axes, 3] = image.GetOrigin()
    affine[:2] *= -1.0
    rows = tuple(tuple(float(value) for value in row) for row in affine)
    return Grid(shape=tuple(image.GetSize()), spacing_mm=tuple(spacing), affine=rows)  # type: ignore[arg-type]  # 4 × 4
