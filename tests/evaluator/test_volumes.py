"""Reading volumes: equal to nibabel and SimpleITK on what is valid, a reason from the closed list on everything else."""

import gzip
import json
import locale
import os
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluator.errors import EvaluatorError, InvalidVolume, Reason
from evaluator.volumes import (
    ChildLimits,
    Grid,
    GridTolerance,
    ReaderLimits,
    canonicalise,
    conversion,
    grids_match,
    read_grid,
    read_image,
    read_label_map,
    write_canonical,
)
from tests.evaluator.volume_files import save_nifti

SPACING_MM = (0.5, 1.0, 2.0)


@pytest.fixture
def labels():
    array = np.zeros((5, 6, 7), np.uint8)
    array[1:3, 2:5, 3:6] = 1
    array[4, 0, 0] = 2
    return array


@pytest.fixture
def nifti(tmp_path, labels):
    return save_nifti(tmp_path / "labels.nii.gz", labels, spacing_mm=SPACING_MM)


def reason_of(path, **arguments) -> Reason:
    with pytest.raises(InvalidVolume) as caught:
        read_label_map(path, **arguments)
    assert str(path.parent) not in str(caught.value)
    return caught.value.reason


def patched(path: Path, offset: int, packed: bytes) -> Path:
    """The same gzipped NIfTI with some header bytes replaced."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[offset : offset + len(packed)] = packed
    path.write_bytes(gzip.compress(bytes(raw)))
    return path


# What is valid


@pytest.mark.parametrize("stored", ["u1", "i1", "u2", "i2", "i4", "u4", "i8", "f4", "f8", ">i2", ">f4"])
@pytest.mark.parametrize("extension", [".nii.gz", ".nii"])
def test_every_storage_of_the_same_labels_reads_alike(tmp_path, labels, stored, extension):
    path = tmp_path / f"labels{extension}"
    header = nibabel.Nifti1Header(endianness=">" if stored.startswith(">") else "<")
    header.set_data_dtype(np.dtype(stored).newbyteorder("="))
    image = nibabel.Nifti1Image(labels.astype(stored.lstrip(">")), np.diag([*SPACING_MM, 1]), header)
    nibabel.save(image, path)
    found = read_label_map(path)
    np.testing.assert_array_equal(found.array, labels)
    assert found.grid.spacing_mm == SPACING_MM


@pytest.mark.parametrize("compress", [True, False])
def test_a_metaimage_from_simpleitk_reads_like_its_nifti(tmp_path, labels, compress):
    image = sitk.GetImageFromArray(labels.T)
    image.SetSpacing(SPACING_MM)
    image.SetOrigin((-10.0, 20.0, 5.0))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "labels.mha"), compress)
    sitk.WriteImage(image, str(tmp_path / "labels.nii.gz"))
    ours, theirs = read_label_map(tmp_path / "labels.mha"), read_label_map(tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(ours.array, labels)
    assert grids_match(ours.grid, theirs.grid, GridTolerance(corner_voxels=1e-5)) is None


def test_a_trailing_axis_of_one_is_no_axis(tmp_path, labels):
    path = save_nifti(tmp_path / "four.nii.gz", labels[..., None])
    assert read_label_map(path).array.shape == labels.shape


def test_a_flat_image_has_two_axes(tmp_path):
    image = nibabel.Nifti1Image(np.ones((4, 5), np.uint8), np.diag([0.2, 0.3, 1, 1]))
    nibabel.save(image, tmp_path / "flat.nii.gz")
    grid = read_grid(tmp_path / "flat.nii.gz")
    assert grid.shape == (4, 5)
    assert grid.spacing_mm == pytest.approx((0.2, 0.3))


def test_the_qform_is_used_when_there_is_no_sform(tmp_path, labels):
    affine = nibabel.affines.from_matvec(np.array([[0, -2, 0], [1, 0, 0], [0, 0, -3.0]]), [5, 6, 7])
    image = nibabel.Nifti1Image(labels, None)
    image.set_qform(affine, code=1)
    nibabel.save(image, tmp_path / "q.nii.gz")
    np.testing.assert_allclose(read_grid(tmp_path / "q.nii.gz").affine, affine, atol=1e-6)


TRAITS = {
    "LAS, bytes": ("LAS", np.uint8, (49, 54, 9), (0.5, 0.5, 7.5)),
    "LPS, 16 bits": ("LPS", np.int16, (17, 11, 20), (3.0, 3.0, 3.0)),
    "PIR, 32 bits": ("PIR", np.int32, (52, 12, 17), (0.586, 0.586, 3.3)),
    "LIA, 64 bits, a fourth axis of one": ("LIA", np.int64, (49, 54, 9, 1), (0.5, 0.5, 7.5)),
    "RAS, doubles": ("RAS", np.float64, (9, 10, 11), (2.0, 2.0, 2.0)),
    "oblique, floats": ("oblique", np.float32, (12, 9, 7), (0.977, 0.977, 2.0)),
    "a slice at height 0": ("LPS", np.uint8, (41, 37), (0.2, 0.2)),
}
"""What label maps of scanners, models and tools look like: their axes, what a voxel is stored as, their shape and spacing."""


def stored_like(axes, kind, shape, spacing_mm):
    """A label map of four values as another program would store it."""
    array = np.random.default_rng(7).integers(0, 4, shape).astype(kind)
    mm = (*spacing_mm, 1.0)[:3]
    if axes == "oblique":
        cosine, sine = np.cos(0.3), np.sin(0.3)
        turned = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    else:
        codes = nibabel.orientations.axcodes2ornt(axes)
        turned = nibabel.orientations.inv_ornt_aff(codes, (1, 1, 1))[:3, :3]
    place = [-61.5, 12.25, 7.0 if array.ndim > 2 else 0.0]
    return nibabel.Nifti1Image(array, nibabel.affines.from_matvec(turned * mm, place), dtype=kind)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("traits", TRAITS.values(), ids=TRAITS)
def test_label_maps_of_many_kinds_read_as_nibabel_and_simpleitk_read_them(tmp_path, traits, suffix):
    path = tmp_path / f"labels{suffix}"
    nibabel.save(stored_like(*traits), path)
    found, theirs = read_label_map(path), nibabel.load(path)
    np.testing.assert_array_equal(found.array, np.asanyarray(theirs.dataobj).reshape(found.array.shape))
    np.testing.assert_array_equal(found.grid.affine, theirs.affine)
    trusted = read_image(path)
    np.testing.assert_array_equal(trusted.array.reshape(found.array.shape), found.array)
    assert grids_match(found.grid, trusted.grid, GridTolerance(corner_voxels=1e-3)) is None


def write_series(folder, *, shape, spacing_mm, origin_mm):
    """A CT of slices as a scanner exports it: a DICOM file each, named in another order than they lie in."""
    before = locale.setlocale(locale.LC_ALL)  # GDCM sets another one for what it writes
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    across, down, slices = shape
    for place in range(slices):
        image = sitk.GetImageFromArray(np.full((1, down, across), -1000 + 100 * place, np.int16))
        image.SetSpacing(spacing_mm)
        position = [*origin_mm[:2], origin_mm[2] + place * spacing_mm[2]]
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.1.{place + 1}",
            "0008|0060": "CT",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.2",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.3",
            "0020|0013": str(place),
            "0020|0032": "\\".join(f"{mm:g}" for mm in position),
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{slices - place:03}.dcm"))
        writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)


def test_a_dicom_folder_lies_where_its_segmentation_lies(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    write_series(folder, shape=(16, 12, 5), spacing_mm=(0.977, 0.977, 2.0), origin_mm=(-120.0, -80.0, 30.0))
    drawn = sitk.GetImageFromArray(np.ones((5, 12, 16), np.uint8))
    drawn.SetSpacing((0.977, 0.977, 2.0))
    drawn.SetOrigin((-120.0, -80.0, 30.0))
    sitk.WriteImage(drawn, str(tmp_path / "segmentation.nii.gz"))
    image, segmentation = read_image(folder), read_label_map(tmp_path / "segmentation.nii.gz")
    assert grids_match(image.grid, segmentation.grid, GridTolerance(corner_voxels=1e-3)) is None
    assert image.array[3, 4].tolist() == [-1000, -900, -800, -700, -600]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.98])
def test_a_trusted_file_that_ends_too_early_is_refused(tmp_path, suffix, kept):
    """SimpleITK alone answers with zeros for what is missing."""
    whole, part = tmp_path / f"whole{suffix}", tmp_path / f"part{suffix}"
    array = np.random.default_rng(5).integers(1, 200, (16, 16, 16), np.uint8)
    save_nifti(whole, array)
    assert np.array_equal(read_image(whole).array, array)
    part.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * kept)])
    with pytest.raises(EvaluatorError, match=r"is damaged|cannot be read"):
        read_image(part)


def test_a_trusted_file_with_a_wrong_checksum_is_refused(tmp_path):
    path = save_nifti(tmp_path / "scan.nii.gz", np.ones((4, 4, 4), np.uint8))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(EvaluatorError, match=r"scan\.nii\.gz is damaged"):
        read_image(path)


def test_a_trusted_reader_names_what_it_cannot_read(tmp_path):
    (tmp_path / "scan.nrrd").write_text("no image")
    with pytest.raises(EvaluatorError, match=r"scan\.nrrd cannot be read"):
        read_image(tmp_path / "scan.nrrd")


# What is not


def test_a_missing_file_and_a_folder_are_named_as_such(tmp_path):
    assert reason_of(tmp_path / "nothing.nii.gz") == Reason.MISSING
    assert reason_of(tmp_path) == Reason.NOT_A_REGULAR_FILE


def test_links_and_special_files_are_never_opened(tmp_path, nifti):
    (tmp_path / "soft.nii.gz").symlink_to(nifti)
    assert reason_of(tmp_path / "soft.nii.gz") == Reason.NOT_A_REGULAR_FILE
    os.mkfifo(tmp_path / "pipe.nii.gz")
    assert reason_of(tmp_path / "pipe.nii.gz") == Reason.NOT_A_REGULAR_FILE


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"ElementDataFile = /hidden/reference.raw", Reason.EXTERNAL_DATA),
        (b"ElementDataFile = ../reference.raw", Reason.EXTERNAL_DATA),
        (b"ElementDataFile = LIST", Reason.EXTERNAL_DATA),
        (b"ElementDataFile = x%s%n 1 4 1", Reason.EXTERNAL_DATA),
        (b"HeaderSize = -1\nElementDataFile = LOCAL", Reason.EXTERNAL_DATA),
        (b"ElementType = MET_UCHAR\nElementDataFile = LOCAL", Reason.HEADER_INVALID),
        (b"ElementNumberOfChannels = 3\nElementDataFile = LOCAL", Reason.DIMENSIONS_INVALID),
        (b"ElementDataFile", Reason.HEADER_INVALID),
    ],
)
def test_a_metaimage_header_cannot_make_us_open_or_skip_anything(tmp_path, value, reason):
    path = tmp_path / "evil.mha"
    path.write_bytes(
        b"ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementSpacing = 1 1 1\nElementType = MET_UCHAR\n"
        + value
        + b"\n"
        + bytes(8)
    )
    assert reason_of(path) == reason


def test_an_empty_zlib_stream_in_a_metaimage_is_truncated_never_recycled_memory(tmp_path):
    path = tmp_path / "empty.mha"
    header = b"ObjectType = Image\nNDims = 3\nDimSize = 64 64 64\nElementSpacing = 1 1 1\nElementType = MET_UCHAR\n"
    path.write_bytes(header + b"CompressedData = True\nElementDataFile = LOCAL\n" + zlib.compress(b""))
    assert reason_of(path) == Reason.TRUNCATED


@pytest.mark.parametrize(
    ("offset", "packed", "reason"),
    [
        (40, struct.pack("<8h", 3, 0, 6, 7, 1, 1, 1, 1), Reason.DIMENSIONS_INVALID),
        (40, struct.pack("<8h", 3, -5, 6, 7, 1, 1, 1, 1), Reason.DIMENSIONS_INVALID),
        (40, struct.pack("<8h", 1, 210, 1, 1, 1, 1, 1, 1), Reason.DIMENSIONS_INVALID),
        (40, struct.pack("<8h", 99, 5, 6, 7, 1, 1, 1, 1), Reason.DIMENSIONS_INVALID),
        (40, struct.pack("<8h", 7, 5, 6, 7, 2, 2, 2, 2), Reason.DIMENSIONS_INVALID),
        (40, struct.pack("<8h", 3, 30000, 30000, 30000, 1, 1, 1, 1), Reason.TOO_LARGE),
        (40, struct.pack("<8h", 3, 5, 6, 8, 1, 1, 1, 1), Reason.TRUNCATED),
        (40, struct.pack("<8h", 3, 5, 6, 6, 1, 1, 1, 1), Reason.TRAILING_DATA),
        (40, struct.pack("<8h", 4, 5, 6, 1, 7, 1, 1, 1), Reason.SHAPE_MISMATCH),
        (70, struct.pack("<2h", 32, 64), Reason.DATA_TYPE_UNSUPPORTED),
        (70, struct.pack("<2h", 128, 24), Reason.DATA_TYPE_UNSUPPORTED),
        (70, struct.pack("<2h", 2, 16), Reason.HEADER_INVALID),
        (80, struct.pack("<f", float("nan")), Reason.SPACING_INVALID),
        (80, struct.pack("<f", float("inf")), Reason.SPACING_INVALID),
        (80, struct.pack("<f", 0.0), Reason.SPACING_INVALID),
        (80, struct.pack("<f", -1.0), Reason.SPACING_INVALID),
        (108, struct.pack("<f", 1e9), Reason.HEADER_INVALID),
        (108, struct.pack("<f", -1e9), Reason.HEADER_INVALID),
        (108, struct.pack("<f", float("nan")), Reason.HEADER_INVALID),
        (112, struct.pack("<2f", 1e30, 0.0), Reason.LABEL_UNKNOWN),
        (112, struct.pack("<2f", float("inf"), 0.0), Reason.SCALED),
        (112, struct.pack("<2f", 0.3, 0.0), Reason.SCALED),
        (280, struct.pack("<f", float("nan")), Reason.AFFINE_INVALID),
        (344, b"ni1\0", Reason.EXTERNAL_DATA),
        (344, b"xxx\0", Reason.FORMAT_UNSUPPORTED),
        (0, struct.pack("<i", 540), Reason.FORMAT_UNSUPPORTED),
    ],
)
def test_a_nifti_header_that_lies_is_refused_with_its_reason(nifti, offset, packed, reason):
    assert reason_of(patched(nifti, offset, packed)) == reason


def test_a_quaternion_longer_than_one_is_refused(nifti):
    patched(nifti, 252, struct.pack("<2h", 1, 0))
    assert reason_of(patched(nifti, 256, struct.pack("<3f", 1.0, 1.0, 1.0))) == Reason.AFFINE_INVALID


def test_the_end_of_the_file_has_to_be_the_end_of_the_image(tmp_path, nifti):
    good = nifti.read_bytes()
    for spoiled, reason in [
        (good[:-30], Reason.TRUNCATED),
        (good[:-1], Reason.TRUNCATED),
        (good + b"junk", Reason.TRAILING_DATA),
        (good + good, Reason.TRAILING_DATA),
        (good[:-8] + bytes(4) + good[-4:], Reason.GZIP_CORRUPT),
        (good[:40] + b"\xff\xff\xff\xff" + good[44:], Reason.GZIP_CORRUPT),
        (b"", Reason.FORMAT_UNSUPPORTED),
        (good[:1], Reason.FORMAT_UNSUPPORTED),
        (b"\x1f\x8b", Reason.TRUNCATED),
        (gzip.compress(b""), Reason.TRUNCATED),
        (gzip.compress(gzip.decompress(good) + b"x"), Reason.TRAILING_DATA),
    ]:
        path = tmp_path / "spoiled.nii.gz"
        path.write_bytes(spoiled)
        assert reason_of(path) == reason


def test_a_bomb_costs_no_more_than_the_image_it_announces(tmp_path):
    """Ten thousand times compressed: refused for its voxels before they are inflated, and for its tail after one byte of it."""
    honest = save_nifti(tmp_path / "honest.nii.gz", np.zeros((200, 200, 200), np.uint8))
    assert reason_of(honest, limits=ReaderLimits(voxels=10**6)) == Reason.TOO_LARGE
    small = gzip.decompress(save_nifti(tmp_path / "small.nii.gz", np.zeros((4, 4, 4), np.uint8)).read_bytes())
    tail = tmp_path / "tail.nii.gz"
    tail.write_bytes(gzip.compress(small + bytes(1 << 26), 9))
    assert reason_of(tail) == Reason.TRAILING_DATA


def test_a_file_larger_than_allowed_is_not_read(nifti):
    assert reason_of(nifti, limits=ReaderLimits(file_bytes=100)) == Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("value", "stored", "reason"),
    [
        (0.5, "f4", Reason.NOT_INTEGRAL),
        (np.nan, "f4", Reason.NOT_FINITE),
        (np.inf, "f8", Reason.NOT_FINITE),
        (1e30, "f4", Reason.LABEL_UNKNOWN),
        (2**40, "i8", Reason.LABEL_UNKNOWN),
    ],
)
def test_voxels_that_are_no_labels_are_refused(tmp_path, labels, value, stored, reason):
    array = labels.astype(stored)
    array[0, 0, 0] = value
    assert reason_of(save_nifti(tmp_path / "bad.nii.gz", array)) == reason


def test_what_programs_keep_arrays_in_is_no_format_of_ours(tmp_path):
    for name, content in [
        ("a.npy", b"\x93NUMPY\x01\x00"),
        ("a.pt", b"PK\x03\x04"),
    ]:
        (tmp_path / name).write_bytes(content)
        assert reason_of(tmp_path / name) == Reason.FORMAT_UNSUPPORTED


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6), cut=st.integers(0, 60)
)
def test_whatever_is_done_to_a_nifti_the_reader_answers_or_refuses(tmp_path, labels, edits, cut):
    raw = bytearray(gzip.decompress(save_nifti(tmp_path / "f.nii.gz", labels).read_bytes()))
    for offset, value in edits:
        raw[offset] = value
    path = tmp_path / "fuzzed.nii"
    path.write_bytes(bytes(raw[: len(raw) - cut]))
    with suppress(InvalidVolume):
        found = read_label_map(path, limits=ReaderLimits(voxels=10**6))
        assert found.array.size == found.grid.voxels


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.binary(max_size=600), st.binary(max_size=300).map(lambda raw: b"ObjectType = Image\nNDims = 3\n" + raw)
    )
)
def test_random_bytes_are_refused_for_a_reason(tmp_path, content):
    path = tmp_path / "noise.mha"
    path.write_bytes(content)
    with pytest.raises(InvalidVolume):
        read_label_map(path)


CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


def test_the_kept_corpus_is_read_or_refused():
    """What coverage-guided fuzzing found worth keeping (see fuzz_volumes.py), hand-made seeds included."""
    assert len(CORPUS) > 10
    read = 0
    for path in CORPUS:
        with suppress(InvalidVolume):
            found = read_label_map(path, limits=ReaderLimits(voxels=1 << 16))
            assert found.array.size == found.grid.voxels
            read += 1
    assert 0 < read < len(CORPUS)


# Grids


def grid(**changes) -> Grid:
    affine = ((1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 2.0, 0), (0, 0, 0, 1.0))
    return Grid(**({"shape": (100, 100, 50), "spacing_mm": (1.0, 1.0, 2.0), "affine": affine} | changes))


def test_grids_differ_by_shape_then_spacing_then_corners():
    flipped = ((-1.0, 0, 0, 99.0), (0, 1.0, 0, 0), (0, 0, 2.0, 0), (0, 0, 0, 1.0))
    assert grids_match(grid(), grid()) is None
    assert grids_match(grid(), grid(shape=(100, 50, 100))).reason == Reason.SHAPE_MISMATCH
    assert grids_match(grid(), grid(spacing_mm=(1.0, 1.0, 2.1))).reason == Reason.SPACING_MISMATCH
    assert grids_match(grid(), grid(affine=flipped)).reason == Reason.AFFINE_MISMATCH
    assert grids_match(grid(), grid(affine=flipped), GridTolerance(shape_only=True)) is None


def test_a_small_rotation_is_judged_by_the_corner_it_moves_most():
    """0.002 along 99 voxels moves a corner by 0.2 mm: too far at a tenth of a millimetre. Half of it is fine."""
    tilted = ((1.0, 0, 0, 0), (0.002, 1.0, 0, 0), (0, 0, 2.0, 0), (0, 0, 0, 1.0))
    half = ((1.0, 0, 0, 0), (0.001, 1.0, 0, 0), (0, 0, 2.0, 0), (0, 0, 0, 1.0))
    assert grids_match(grid(), grid(affine=tilted)).reason == Reason.AFFINE_MISMATCH
    assert grids_match(grid(), grid(affine=half)) is None


def test_a_grid_survives_json():
    assert Grid.from_json(grid().to_json()) == grid()


# Canonical files and the limited child


def test_a_canonical_file_is_the_same_volume_on_the_given_grid(tmp_path, labels, nifti):
    written = canonicalise(
        source=nifti, destination=tmp_path / "ours.nii.gz", grid=read_grid(nifti), allowed_values=frozenset({1, 2})
    )
    theirs = nibabel.load(written.path)
    np.testing.assert_array_equal(np.asanyarray(theirs.dataobj), labels)
    np.testing.assert_array_equal(theirs.affine, nibabel.load(nifti).affine)
    assert theirs.get_data_dtype() == np.uint8
    assert written.bytes == written.path.stat().st_size


@pytest.mark.slow
def test_equal_volumes_become_equal_bytes_however_they_were_written(tmp_path, labels):
    hashes = set()
    for number, stored in enumerate(("u1", "f8", "i4")):
        source = save_nifti(tmp_path / f"{number}.nii.gz", labels.astype(stored))
        written = canonicalise(
            source=source,
            destination=tmp_path / f"ours{number}.nii.gz",
            grid=read_grid(source),
            allowed_values=frozenset({1, 2}),
        )
        hashes.add(written.sha256)
    assert len(hashes) == 1


def test_channels_are_converted_one_by_one(tmp_path):
    array = np.random.default_rng(1).integers(0, 2, (4, 5, 6, 3)).astype(np.uint8)
    source = save_nifti(tmp_path / "channels.nii.gz", array)
    written = canonicalise(
        source=source, destination=tmp_path / "ours.nii.gz", grid=None, allowed_values=None, channels=3
    )
    np.testing.assert_array_equal(np.asanyarray(nibabel.load(written.path).dataobj), array)


WHOLE, FLOATING = ("u1", "i2", "i8"), ("f4", "f8")
STORED_VALUES = [
    *((stored, value, reason) for stored in (*WHOLE, *FLOATING) for value, reason in ((1, None), (7, "label_unknown"))),
    *(
        (stored, value, reason)
        for stored in FLOATING
        for value, reason in ((0.5, "not_integral"), (np.nan, "not_finite"))
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("stored", "value", "reason"), STORED_VALUES)
def test_no_storage_makes_the_child_need_anything_it_gave_up(tmp_path, labels, stored, value, reason):
    """The child can open nothing once it is confined, not even a module that NumPy would import on first use."""
    array = labels.astype(stored)
    array[0, 0, 0] = value
    source, destination = save_nifti(tmp_path / "s.nii.gz", array), tmp_path / "ours.nii.gz"
    if reason is None:
        canonicalise(source=source, destination=destination, grid=None, allowed_values=frozenset({1, 2, 900}))
        return
    with pytest.raises(InvalidVolume) as caught:
        canonicalise(source=source, destination=destination, grid=None, allowed_values=frozenset({1, 2, 900}))
    assert caught.value.reason == reason


def test_a_hard_link_from_a_container_is_not_converted(tmp_path, nifti):
    (tmp_path / "hard.nii.gz").hardlink_to(nifti)
    with pytest.raises(InvalidVolume) as caught:
        canonicalise(source=nifti, destination=tmp_path / "o.nii.gz", grid=None, allowed_values=None)
    assert caught.value.reason == Reason.NOT_A_REGULAR_FILE


def test_a_metaimage_passes_through_the_child(tmp_path, labels):
    sitk.WriteImage(sitk.GetImageFromArray(labels.T), str(tmp_path / "s.mha"), True)
    canonicalise(
        source=tmp_path / "s.mha", destination=tmp_path / "o.nii.gz", grid=None, allowed_values=frozenset({1, 2})
    )
    np.testing.assert_array_equal(read_label_map(tmp_path / "o.nii.gz").array, labels)


def test_a_refusal_in_the_child_arrives_as_itself_and_leaves_no_file(tmp_path, nifti):
    destination = tmp_path / "ours.nii.gz"
    with pytest.raises(InvalidVolume) as caught:
        canonicalise(source=nifti, destination=destination, grid=read_grid(nifti), allowed_values=frozenset({1}))
    assert caught.value.reason == Reason.LABEL_UNKNOWN
    assert caught.value.found == "label 2"
    assert not destination.exists()


@pytest.mark.parametrize(
    "limits",
    [
        ChildLimits(memory_bytes=150 << 20),
        ChildLimits(cpu_seconds=0),
        ChildLimits(output_bytes=64),
    ],
)
def test_a_child_that_reaches_a_limit_is_a_reason_not_our_trouble(tmp_path, limits):
    source = save_nifti(tmp_path / "large.nii", np.zeros((600, 600, 60), np.float64))
    with pytest.raises(InvalidVolume) as caught:
        canonicalise(source=source, destination=tmp_path / "ours.nii.gz", grid=None, allowed_values=None, limits=limits)
    assert caught.value.reason == Reason.READER_LIMIT


def test_a_machine_that_lets_the_child_wait_or_kills_it_is_no_reason(tmp_path, nifti, monkeypatch):
    destination = tmp_path / "ours.nii.gz"
    for limits, command, words in (
        (ChildLimits(wall_seconds=0.05), ["sleep", "60"], "too slow or too busy"),
        (ChildLimits(), ["sh", "-c", "kill -9 $$"], "killed from outside"),
    ):
        monkeypatch.setattr(conversion, "_python", lambda *_arguments, made=command: made)
        with pytest.raises(EvaluatorError, match=words) as caught:
            canonicalise(source=nifti, destination=destination, grid=None, allowed_values=None, limits=limits)
        assert not isinstance(caught.value, InvalidVolume)
        assert not destination.exists()


def test_the_child_keeps_only_its_two_files_and_no_privilege():
    """`confine` runs in a process of its own here, with a descriptor open that it must not keep."""
    script = """
import json, os, sys, tempfile
from evaluator.volumes.confinement import confine
hidden, source, target = (tempfile.TemporaryFile() for _ in range(3))
limits = {"memory_bytes": 4 << 30, "cpu_seconds": 5, "output_bytes": 1 << 20}
confine(limits, keep={source.fileno(), target.fileno()})
held = [number for number in range(3, 64) if os.path.exists(f"/proc/self/fd/{number}")]
print(json.dumps([sorted({source.fileno(), target.fileno()} - set(held)), hidden.fileno() in held, os.geteuid()]))
"""
    ended = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, check=True)
    lost, still_has_hidden, user = json.loads(ended.stdout)
    assert lost == []
    assert not still_has_hidden
    assert user != 0


def test_a_trusted_volume_is_written_our_way(tmp_path, nifti, labels):
    written = write_canonical(read_image(nifti), tmp_path / "ours.nii.gz")
    np.testing.assert_array_equal(read_label_map(written.path).array, labels)
