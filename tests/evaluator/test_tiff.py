"""Flat label masks as TIFF: what other programs write is read to the pixel, and whatever a hostile file tries is refused with its reason."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from evaluator.errors import EvaluatorError, InvalidVolume, Reason
from evaluator.volumes import (
    ChildLimits,
    Grid,
    GridTolerance,
    ReaderLimits,
    Volume,
    canonicalise,
    read_channels_of,
    read_grid,
    read_label_map,
    write_as_named,
    write_canonical,
)

CELLS = np.zeros((37, 53), np.uint16)
CELLS[3:12, 5:20], CELLS[20:36, 11:50], CELLS[0, 0] = 7, 40_000, 1
"""Rows, columns. Neither is a multiple of a block."""
FLAT = ((-1.0, 0.0, 0.0, 0.0), (0.0, -1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def tiff(array, tags=None, *, order="<", blocks=None, tile=None, left_out=(), next_page=0, tail=b"") -> bytes:
    """A file written here. `blocks`: what stands for the packed pixels. `tags` replace: tag → value, or (kind, values)."""
    rows, columns = array.shape
    kind = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    plain = array.astype(array.dtype.newbyteorder(order)).tobytes()
    blocks = [plain] if blocks is None else blocks
    entries = {256: columns, 257: rows, 258: 8 * array.itemsize, 259: 1, 262: 1, 277: 1, 339: kind}
    entries |= {322: tile[0], 323: tile[1]} if tile else {278: rows}
    places = (324, 325) if tile else (273, 279)
    lengths, offsets, at = [len(block) for block in blocks], [], 8
    for block in blocks:
        offsets.append(at)
        at += len(block)
    entries |= {places[0]: (4, offsets), places[1]: (4, lengths)}
    entries |= tags or {}
    body, lists, start = b"".join(blocks), b"", at
    listed = {tag: value for tag, value in sorted(entries.items()) if tag not in left_out}
    lists_at = start + 2 + 12 * len(listed) + 4
    page = struct.pack(f"{order}H", len(listed))
    for tag, value in listed.items():
        form, values = value if isinstance(value, tuple) else (4, [value])
        content = struct.pack(f"{order}{len(values)}{ {1: 'B', 3: 'H', 4: 'I', 12: 'd'}[form] }", *values)
        if len(content) > 4:
            page += struct.pack(f"{order}HHII", tag, form, len(values), lists_at + len(lists))
            lists += content
        else:
            page += struct.pack(f"{order}HHI", tag, form, len(values)) + content.ljust(4, b"\0")
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", start)
    return head + body + page + struct.pack(f"{order}I", next_page) + lists + tail


def tiles(array, across, down, pack=zlib.compress) -> list[bytes]:
    """The blocks of a tiled image, filled up at its edges."""
    rows, columns = array.shape
    whole = np.zeros((-(-rows // down) * down, -(-columns // across) * across), array.dtype)
    whole[:rows, :columns] = array
    return [
        pack(whole[top : top + down, left : left + across].tobytes())
        for top in range(0, rows, down)
        for left in range(0, columns, across)
    ]


def differences(array) -> np.ndarray:
    """What predictor 2 stores."""
    return np.diff(array.astype(np.int64), axis=1, prepend=0).astype(array.dtype)


def pillow(array, compression: str | None) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, "TIFF", **({"compression": compression} if compression else {}))
    return content.getvalue()


def simpleitk(array, path: Path, compressor: str) -> bytes:
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path / "made.tif"))
    writer.SetUseCompression(bool(compressor))
    if compressor:
        writer.SetCompressor(compressor)
    writer.Execute(sitk.GetImageFromArray(array))
    return (path / "made.tif").read_bytes()


def read(content: bytes, folder: Path, **options):
    path = folder / "mask.tiff"
    path.write_bytes(content)
    return read_label_map(path, **options)


SMALL = (CELLS % 251).astype(np.uint8)
WRITTEN = {
    "plain": lambda _: (tiff(CELLS), CELLS),
    "big-endian": lambda _: (tiff(CELLS, order=">"), CELLS),
    "shorts of the tags": lambda _: (tiff(CELLS, {256: (3, [53]), 257: (3, [37])}), CELLS),
    "int32": lambda _: (tiff(CELLS.astype(np.int32)), CELLS),
    "float32": lambda _: (tiff(CELLS.astype(np.float32)), CELLS),
    "tiles": lambda _: (tiff(CELLS, {259: 8}, blocks=tiles(CELLS, 16, 16), tile=(16, 16)), CELLS),
    "one large tile": lambda _: (tiff(CELLS, {259: 32946}, blocks=tiles(CELLS, 64, 64), tile=(64, 64)), CELLS),
    "strips": lambda _: (
        tiff(SMALL, {278: 10}, blocks=[SMALL[top : top + 10].tobytes() for top in (0, 10, 20, 30)]),
        SMALL,
    ),
    "deflate with a predictor": lambda _: (
        tiff(CELLS, {259: 8, 317: 2}, blocks=[zlib.compress(differences(CELLS).tobytes())]),
        CELLS,
    ),
    "palette": lambda _: (tiff(SMALL, {262: 3}), SMALL),
    "Pillow": lambda _: (pillow(SMALL, None), SMALL),
    "Pillow LZW": lambda _: (pillow(SMALL, "tiff_lzw"), SMALL),
    "Pillow LZW of noise": lambda _: (pillow(NOISE, "tiff_lzw"), NOISE),
    "Pillow deflate": lambda _: (pillow(SMALL, "tiff_adobe_deflate"), SMALL),
    "Pillow PackBits": lambda _: (pillow(SMALL, "packbits"), SMALL),
    "Pillow PackBits of noise": lambda _: (pillow(NOISE, "packbits"), NOISE),
    "SimpleITK": lambda folder: (simpleitk(CELLS, folder, ""), CELLS),
    "SimpleITK LZW": lambda folder: (simpleitk(CELLS, folder, "LZW"), CELLS),
    "SimpleITK deflate": lambda folder: (simpleitk(CELLS, folder, "Deflate"), CELLS),
}
NOISE = np.random.default_rng(7).integers(0, 256, (150, 211), np.uint8)


@pytest.mark.parametrize("name", WRITTEN)
def test_what_other_programs_write_is_read_to_the_pixel(tmp_path, name):
    content, expected = WRITTEN[name](tmp_path)
    found = read(content, tmp_path)
    assert found.grid == Grid(shape=expected.shape[::-1], spacing_mm=(1.0, 1.0), affine=FLAT)
    assert np.array_equal(found.array, expected.T)


HOSTILE = {
    "several pages": (tiff(CELLS, next_page=8), Reason.DIMENSIONS_INVALID),
    "a page that is its own next": (tiff(CELLS, next_page=8 + CELLS.nbytes), Reason.DIMENSIONS_INVALID),
    "BigTIFF": (b"II+\0" + bytes(400), Reason.FORMAT_UNSUPPORTED),
    "nothing after the start": (b"II*\0", Reason.TRUNCATED),
    "tags behind the end": (b"II*\0" + struct.pack("<I", 2**32 - 1) + bytes(400), Reason.TRUNCATED),
    "no tag": (b"II*\0" + struct.pack("<IH", 8, 0) + bytes(400), Reason.HEADER_INVALID),
    "65,535 tags": (b"II*\0" + struct.pack("<IH", 8, 65535) + bytes(400), Reason.HEADER_INVALID),
    "four thousand million pixels": (tiff(CELLS, {256: 65_536, 257: 65_536}), Reason.HEADER_INVALID),
    "wider than an axis": (tiff(np.zeros((1, 40_000), np.uint8)), Reason.DIMENSIONS_INVALID),
    "no width": (tiff(CELLS, {256: 0}), Reason.DIMENSIONS_INVALID),
    "no height said": (tiff(CELLS, left_out=(257,)), Reason.DIMENSIONS_INVALID),
    "a width twice": (tiff(CELLS, {256: (4, [53, 53])}), Reason.HEADER_INVALID),
    "a width of another kind": (tiff(CELLS, {256: (12, [53.0])}), Reason.HEADER_INVALID),
    "2^32 − 1 values of a tag": (
        tiff(CELLS).replace(struct.pack("<HHI", 258, 4, 1), struct.pack("<HHI", 258, 4, 2**32 - 1)),
        Reason.HEADER_INVALID,
    ),
    "a block behind the end": (tiff(CELLS, {273: 10**6}), Reason.TRUNCATED),
    "a block that ends behind the end": (tiff(CELLS, {279: 10**9}), Reason.TRUNCATED),
    "rows that are all the same long block": (
        tiff(CELLS, {259: 5, 278: 1, 273: (4, [8] * 37), 279: (4, [1000] * 37)}),
        Reason.HEADER_INVALID,
    ),
    "offsets behind the end": (tiff(CELLS, {278: 1, 273: (4, [8] * 37)})[:-60], Reason.TRUNCATED),
    "fewer blocks than rows": (tiff(CELLS, {278: 1}), Reason.HEADER_INVALID),
    "a plain block too short": (tiff(CELLS, {279: 100}), Reason.TRUNCATED),
    "a bomb": (tiff(CELLS, {259: 8}, blocks=[zlib.compress(bytes(10**8))]), Reason.TRAILING_DATA),
    "a deflated block too short": (tiff(CELLS, {259: 8}, blocks=[zlib.compress(bytes(7))]), Reason.TRUNCATED),
    "no zlib": (tiff(CELLS, {259: 8}, blocks=[b"not zlib at all"]), Reason.GZIP_CORRUPT),
    "LZW that stands for nothing": (tiff(CELLS, {259: 5}, blocks=[b"\x80\x7f\xff\xff"]), Reason.GZIP_CORRUPT),
    "LZW cut off": (tiff(CELLS, {259: 5}, blocks=[b"\x80\x00\x20"]), Reason.TRUNCATED),
    "PackBits cut off": (tiff(CELLS, {259: 32773}, blocks=[b"\x7fab"]), Reason.TRUNCATED),
    "PackBits without end": (tiff(CELLS, {259: 32773}, blocks=[b"\x81a" * 10**5]), Reason.TRAILING_DATA),
    "JPEG": (tiff(CELLS, {259: 7}), Reason.FORMAT_UNSUPPORTED),
    "colours": (tiff(CELLS, {277: 3, 262: 2}), Reason.DIMENSIONS_INVALID),
    "white is zero": (tiff(CELLS, {262: 0}), Reason.FORMAT_UNSUPPORTED),
    "upside down": (tiff(CELLS, {274: 4}), Reason.FORMAT_UNSUPPORTED),
    "bits from the right": (tiff(CELLS, {266: 2}), Reason.FORMAT_UNSUPPORTED),
    "a predictor of floats": (tiff(CELLS.astype(np.float32), {317: 3}), Reason.FORMAT_UNSUPPORTED),
    "one bit": (tiff(CELLS, {258: 1}), Reason.DATA_TYPE_UNSUPPORTED),
    "complex numbers": (tiff(CELLS, {339: 6}), Reason.DATA_TYPE_UNSUPPORTED),
    "tiles of nothing": (tiff(CELLS, blocks=tiles(CELLS, 16, 16), tile=(0, 16)), Reason.HEADER_INVALID),
    "tiles of 2^32 pixels": (tiff(CELLS, blocks=[b""], tile=(2**16, 2**16)), Reason.HEADER_INVALID),
    "not a number": (tiff(np.full((3, 3), np.nan, np.float32)), Reason.NOT_FINITE),
    "halves": (tiff(np.full((3, 3), 0.5, np.float32)), Reason.NOT_INTEGRAL),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_its_reason(tmp_path, name):
    content, reason = HOSTILE[name]
    with pytest.raises(InvalidVolume) as refusal:
        read(content, tmp_path)
    assert refusal.value.reason == reason, refusal.value


def test_a_large_image_is_refused_before_a_pixel_is_read(tmp_path):
    """A small file can be a large image: it is bounded by the voxels that are allowed."""
    huge = np.zeros((30_000, 1), np.uint8)
    content = tiff(huge, {256: 30_000, 278: 1, 259: 8, 273: (4, [8] * 30_000), 279: (4, [38] * 30_000)})
    with pytest.raises(InvalidVolume) as refusal:
        read(content, tmp_path, limits=ReaderLimits(voxels=10**8))
    assert refusal.value.reason == Reason.TOO_LARGE


@pytest.mark.parametrize("change", range(60))
def test_whatever_is_flipped_or_cut_nothing_but_a_refusal_comes_of_it(tmp_path, change):
    draw = np.random.default_rng(change)
    content = bytearray(tiff(CELLS, {259: (8, 5, 32773, 1)[change % 4]}, blocks=tiles(CELLS, 16, 16), tile=(16, 16)))
    for _ in range(int(draw.integers(1, 9))):
        content[int(draw.integers(0, len(content)))] = int(draw.integers(0, 256))
    try:
        found = read(bytes(content[: int(draw.integers(len(content) // 2, len(content) + 1))]), tmp_path)
    except InvalidVolume:
        return
    assert found.array.size


def test_a_mask_becomes_our_own_file_on_the_grid_of_its_image(tmp_path):
    """In the limited process, as what a container wrote: compared by shape, as challenges of flat images do."""
    (tmp_path / "mask.tiff").write_bytes(
        tiff(CELLS, {259: 8, 317: 2}, blocks=[zlib.compress(differences(CELLS).tobytes())], tail=b"hidden")
    )
    grid = Grid(shape=(53, 37), spacing_mm=(0.25, 0.25), affine=FLAT)
    made = canonicalise(
        source=tmp_path / "mask.tiff",
        destination=tmp_path / "ours.nii.gz",
        grid=grid,
        allowed_values=None,
        tolerance=GridTolerance(shape_only=True),
        limits=ChildLimits(wall_seconds=60),
    )
    assert read_grid(made.path) == grid
    assert np.array_equal(read_label_map(made.path).array, CELLS.T)
    with pytest.raises(InvalidVolume) as refusal:
        canonicalise(
            source=tmp_path / "mask.tiff", destination=tmp_path / "other.nii.gz", grid=grid, allowed_values=None
        )
    assert refusal.value.reason == Reason.SPACING_MISMATCH


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_an_input_is_written_as_a_tiff_that_others_read(tmp_path, dtype):
    array = (CELLS % 120).astype(dtype)
    write_canonical(
        Volume(array=array.T, grid=Grid(shape=(53, 37), spacing_mm=(1.0, 1.0), affine=FLAT)), tmp_path / "a.nii.gz"
    )
    write_as_named(source=tmp_path / "a.nii.gz", destination=tmp_path / "a.TIFF")
    assert np.array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.TIFF"), imageIO="TIFFImageIO")), array
    )
    assert np.array_equal(read_label_map(tmp_path / "a.TIFF").array, array.T)


def test_an_organizers_tiff_means_the_same_as_a_participants(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff((CELLS / 3).astype(np.float32), {282: 72}))
    found = read_channels_of(tmp_path / "a.tif")
    assert (found.grid.spacing_mm, found.arrays[0].dtype) == ((1.0, 1.0), np.float32), "resolution is not what it says"
    assert np.array_equal(found.arrays[0], (CELLS / 3).astype(np.float32).T)
    (tmp_path / "b.tif").write_bytes(tiff(CELLS, {277: 3, 262: 2}))
    with pytest.raises(EvaluatorError, match=r"b\.tif cannot be read as an image: found 3 numbers per pixel"):
        read_channels_of(tmp_path / "b.tif")


def test_a_volume_has_no_place_in_a_tiff(tmp_path):
    grid = Grid(shape=(2, 2, 2), spacing_mm=(1.0, 1.0, 1.0), affine=FLAT)
    write_canonical(Volume(array=np.zeros((2, 2, 2), np.uint8), grid=grid), tmp_path / "a.nii.gz")
    with pytest.raises(EvaluatorError, match="3 axes; expected a flat image"):
        write_as_named(source=tmp_path / "a.nii.gz", destination=tmp_path / "a.tif")
