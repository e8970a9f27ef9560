"""Files as people have them: what nibabel reads without a warning is read here, to the same voxels, and as SimpleITK where it can."""

import gzip
import itertools
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from evaluator.errors import InvalidVolume, ProtocolError, Reason
from evaluator.protocol import load_protocol
from evaluator.scoring import score_case
from evaluator.volumes import GridTolerance, canonicalise, grids_match, read_grid, read_label_map
from evaluator.volumes.nifti import parse_nifti_header
from evaluator.volumes.trusted import read_image

SHAPE = (6, 5, 4)
LABELS = np.arange(120).reshape(SHAPE) % 4
AFFINE = np.array([[0, -0.8, 0, 10], [0.7, 0, 0, -4], [0, 0, 2.5, 3], [0, 0, 0, 1.0]])


def written(path: Path, *, kind=nibabel.Nifti1Image, dtype=np.uint8, affine=AFFINE, scaling=None, shape=SHAPE) -> Path:
    array = LABELS.reshape(shape)
    image = kind(array.astype(dtype), affine)
    if scaling is not None:
        slope, intercept = scaling
        image = kind(((array - intercept) / slope).round().astype(dtype), affine)
        image.to_filename(path)
        raw = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
        is_second = kind is nibabel.Nifti2Image
        struct.pack_into("<2d" if is_second else "<2f", raw, 176 if is_second else 112, slope, intercept)
        path.write_bytes(gzip.compress(bytes(raw)) if path.suffix == ".gz" else bytes(raw))
        return path
    image.to_filename(path)
    return path


CORPUS = {
    **{
        f"{kind.__name__} {np.dtype(dtype).name} {ending}": {"kind": kind, "dtype": dtype, "ending": ending}
        for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image)
        for dtype in (np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64)
        for ending in (".nii", ".nii.gz")
    },
    **{
        f"{kind.__name__} scaled by {scaling}": {
            "kind": kind,
            "dtype": np.int16,
            "ending": ".nii.gz",
            "scaling": scaling,
        }
        for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image)
        for scaling in ((2.0, -1.0), (1.0, -1.0), (0.5, 0.0), (-1.0, 0.0), (1 / 255, 0.0), (1.0, 1000.0))
    },
    "a plane": {"shape": (24, 5), "ending": ".nii.gz", "affine": np.diag([0.5, 0.7, 1, 1])},
    "a single slice": {"shape": (24, 5, 1), "ending": ".nii.gz"},
}


@pytest.mark.parametrize("name", CORPUS)
def test_what_others_read_is_read_here_to_the_same_voxels(tmp_path: Path, name: str) -> None:
    how = dict(CORPUS[name])
    path = written(tmp_path / f"x{how.pop('ending')}", **how)
    theirs = np.rint(np.asarray(nibabel.load(path).get_fdata())).astype(int)
    ours = read_label_map(path)
    assert np.array_equal(ours.array, theirs)
    if "scaling" not in how:
        assert np.array_equal(ours.array, LABELS.reshape(how.get("shape", SHAPE)))
    if how.get("kind") is not nibabel.Nifti2Image:  # SimpleITK knows no second header
        image = read_image(path)
        assert np.array_equal(np.rint(image.array).astype(int), theirs)
        assert grids_match(image.grid, ours.grid) is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_second_header_is_read_in_either_byte_order(tmp_path: Path, order: str) -> None:
    header = nibabel.Nifti2Header(endianness=order)
    header.set_data_dtype(np.dtype(np.int16).newbyteorder(order))
    nibabel.Nifti2Image(LABELS.astype(np.int16), AFFINE, header=header).to_filename(tmp_path / "x.nii")
    assert np.array_equal(read_label_map(tmp_path / "x.nii").array, LABELS)


@pytest.mark.parametrize(
    ("offset", "packed", "reason"),
    [
        (4, b"ni2\0", Reason.EXTERNAL_DATA),
        (4, b"n+3\0", Reason.FORMAT_UNSUPPORTED),
        (16, struct.pack("<4q", 3, 2**40, 5, 4), Reason.DIMENSIONS_INVALID),
        (16, struct.pack("<4q", 3, -6, 5, 4), Reason.DIMENSIONS_INVALID),
        (12, struct.pack("<2h", 128, 24), Reason.DATA_TYPE_UNSUPPORTED),
        (112, struct.pack("<d", float("nan")), Reason.SPACING_INVALID),
        (168, struct.pack("<q", 2**40), Reason.HEADER_INVALID),
        (168, struct.pack("<q", 352), Reason.HEADER_INVALID),
        (176, struct.pack("<2d", float("inf"), 0.0), Reason.SCALED),
        (400, struct.pack("<d", float("inf")), Reason.AFFINE_INVALID),
    ],
)
def test_a_second_header_that_lies_is_refused_with_its_reason(
    tmp_path: Path, offset: int, packed: bytes, reason
) -> None:
    path = written(tmp_path / "x.nii", kind=nibabel.Nifti2Image)
    raw = bytearray(path.read_bytes())
    raw[offset : offset + len(packed)] = packed
    path.write_bytes(raw)
    with pytest.raises(InvalidVolume) as caught:
        read_label_map(path)
    assert caught.value.reason == reason


def test_a_second_header_that_ends_early_is_truncated(tmp_path: Path) -> None:
    path = written(tmp_path / "x.nii", kind=nibabel.Nifti2Image)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(InvalidVolume) as caught:
        read_grid(path)
    assert caught.value.reason == Reason.TRUNCATED


def test_labels_that_are_not_whole_after_scaling_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "x.nii", dtype=np.int16, scaling=(2.0, 0.0))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<2f", raw, 112, 0.3, 0.0)
    path.write_bytes(raw)
    with pytest.raises(InvalidVolume) as caught:
        read_label_map(path)
    assert caught.value.reason == Reason.SCALED


def test_the_swift_ways_leave_scaled_labels_to_the_strict_reader(tmp_path: Path) -> None:
    path = written(tmp_path / "x.nii", dtype=np.uint8, scaling=(0.5, 0.0))
    with pytest.raises(InvalidVolume):
        parse_nifti_header(path.read_bytes()[:348])


ORIENTATIONS = ["".join(codes) for codes in itertools.product("LR", "PA", "IS")]
ORIENTATIONS = ["".join(order) for codes in ORIENTATIONS for order in itertools.permutations(codes)]


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_the_same_space_in_another_orientation_is_read_exactly_where_a_protocol_takes_it(
    tmp_path: Path, codes: str
) -> None:
    """All 48 orientations of an oblique volume. Off unless it is asked for: some challenges punish it."""
    tilt = np.eye(4)
    tilt[:2, :2] = [[0.96, -0.28], [0.28, 0.96]]
    right = nibabel.Nifti1Image(LABELS.astype(np.uint8), tilt @ AFFINE)
    right.to_filename(tmp_path / "r.nii.gz")
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(right.affine), nibabel.orientations.axcodes2ornt(codes)
    )
    right.as_reoriented(turn).to_filename(tmp_path / "p.nii.gz")
    grid = read_grid(tmp_path / "r.nii.gz")
    canonicalise(
        source=tmp_path / "p.nii.gz", destination=tmp_path / "c.nii.gz", grid=grid, allowed_values=None,
        tolerance=GridTolerance(reorient=True),
    )  # fmt: skip
    found = read_label_map(tmp_path / "c.nii.gz")
    assert np.array_equal(found.array, LABELS)
    assert grids_match(grid, found.grid) is None
    if codes != "".join(nibabel.aff2axcodes(right.affine)):
        with pytest.raises(InvalidVolume) as caught:
            canonicalise(
                source=tmp_path / "p.nii.gz", destination=tmp_path / "c.nii.gz", grid=grid, allowed_values=None
            )
        assert caught.value.reason in (Reason.SHAPE_MISMATCH, Reason.AFFINE_MISMATCH, Reason.SPACING_MISMATCH)


def test_turning_makes_nothing_right_that_lies_elsewhere(tmp_path: Path) -> None:
    right = nibabel.Nifti1Image(LABELS.astype(np.uint8), AFFINE)
    right.to_filename(tmp_path / "r.nii.gz")
    turned = right.as_reoriented(np.array([[0, -1], [1, 1], [2, 1]]))
    turned.affine[0, 3] += 1.0
    tilted = np.eye(4)
    tilted[:2, :2] = [[0.96, -0.28], [0.28, 0.96]]
    nibabel.Nifti1Image(np.asarray(turned.dataobj), turned.affine).to_filename(tmp_path / "moved.nii.gz")
    nibabel.Nifti1Image(np.asarray(right.dataobj), tilted @ AFFINE).to_filename(tmp_path / "oblique.nii.gz")
    for name in ("moved", "oblique"):
        with pytest.raises(InvalidVolume) as caught:
            canonicalise(
                source=tmp_path / f"{name}.nii.gz", destination=tmp_path / "c.nii.gz", grid=read_grid(tmp_path / "r.nii.gz"),
                allowed_values=None, tolerance=GridTolerance(reorient=True),
            )  # fmt: skip
        assert caught.value.reason == Reason.AFFINE_MISMATCH


def test_a_protocol_that_takes_other_orientations_scores_them(tmp_path: Path) -> None:
    document = {
        "protocol": 1, "name": "own", "labels": {"a": 1, "b": 2, "c": 3}, "metrics": [{"name": "dice"}],
        "outputs": [{"name": "s", "kind": "label_map", "file": "{case}.nii.gz"}], "geometry": {"reorient": True},
    }  # fmt: skip
    right = nibabel.Nifti1Image(LABELS.astype(np.uint8), AFFINE)
    right.to_filename(tmp_path / "r.nii.gz")
    right.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]])).to_filename(tmp_path / "p.nii.gz")
    found = [
        {row.value for row in score_case(
            protocol=load_protocol({**document, "geometry": {"reorient": taken}}), case_id="c",
            references={"r": tmp_path / "r.nii.gz"}, predictions={"s": tmp_path / "p.nii.gz"},
        ).rows}
        for taken in (True, False)
    ]  # fmt: skip
    assert found == [{1.0}, {0.0}]
    with pytest.raises(ProtocolError, match="without comparing headers"):
        load_protocol({**document, "geometry": {"reorient": True, "compare": "shape"}})


def test_simpleitk_writes_what_is_read(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(LABELS.astype(np.uint8).T)
    image.SetSpacing((0.5, 0.6, 2.0))
    image.SetOrigin((1, 2, 3))
    for ending in (".nii", ".nii.gz", ".mha"):
        sitk.WriteImage(image, str(tmp_path / f"x{ending}"))
        assert np.array_equal(read_label_map(tmp_path / f"x{ending}").array, LABELS)
