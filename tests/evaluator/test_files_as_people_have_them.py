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


def nrrd(*lines: str, body: bytes = b"", kind: str = "uchar", sizes: str = "6 5 4") -> bytes:
    """An NRRD file with its voxels. `lines` may replace the first ones."""
    fields = {"type": kind, "dimension": str(len(sizes.split())), "sizes": sizes, "encoding": "raw"}
    fields |= dict(line.split(": ", 1) for line in lines)
    head = "NRRD0005\n# written by a test\nSegment0_Name:=liver\n" + "".join(
        f"{key}: {value}\n" for key, value in fields.items()
    )
    return head.encode() + b"\n" + (body or LABELS.astype(np.uint8).tobytes(order="F"))


LPS, STEPS = "space: left-posterior-superior", "space directions: (0,0.8,0) (-0.7,0,0) (0,0,2.5)"
NRRD = {
    "spacings": nrrd("spacings: 1 2 3"),
    "LPS": nrrd(LPS, STEPS, "space origin: (1,2,3)"),
    "RAS": nrrd("space: RAS", STEPS, "space origin: (1,2,3)"),
    "LAS": nrrd("space: left-anterior-superior", STEPS, "space origin: (1,2,3)"),
    "no name": nrrd("space dimension: 3", STEPS, "space origin: (1,2,3)", 'space units: "mm" "mm" "mm"'),
    "oblique": nrrd(LPS, "space directions: (0.96,0.28,0) (-0.28,0.96,0) (0,0,2)", "kinds: domain domain domain"),
    "gzip": nrrd(LPS, STEPS, "encoding: gzip", body=gzip.compress(LABELS.astype(np.uint8).tobytes(order="F"))),
    "shorts": nrrd(LPS, STEPS, "endian: big", kind="short", body=LABELS.astype(">i2").tobytes(order="F")),
    "floats": nrrd(LPS, STEPS, "endian: little", kind="float", body=LABELS.astype("<f4").tobytes(order="F")),
    "one channel first": nrrd(
        LPS,
        "space directions: none (0,0.8,0) (-0.7,0,0) (0,0,2.5)",
        "kinds: list domain domain domain",
        sizes="1 6 5 4",
    ),
    "a plane": nrrd("spacings: 1 2", sizes="24 5"),
}


@pytest.mark.parametrize("name", NRRD)
def test_an_nrrd_file_is_read_as_simpleitk_reads_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.nrrd").write_bytes(NRRD[name])
    ours, theirs = read_label_map(tmp_path / "x.nrrd"), read_image(tmp_path / "x.nrrd")
    assert np.array_equal(ours.array, theirs.array)
    assert np.allclose(ours.grid.affine, theirs.grid.affine, atol=1e-12)
    assert np.allclose(ours.grid.spacing_mm, theirs.grid.spacing_mm, atol=1e-12)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (nrrd(LPS, STEPS, "data file: secret.raw"), Reason.EXTERNAL_DATA),
        (nrrd(LPS, STEPS, "byte skip: -1"), Reason.EXTERNAL_DATA),
        (nrrd(LPS, STEPS, "encoding: bzip2"), Reason.FORMAT_UNSUPPORTED),
        (nrrd(LPS, STEPS, kind="block"), Reason.DATA_TYPE_UNSUPPORTED),
        (nrrd(LPS, STEPS, kind="short"), Reason.HEADER_INVALID),  # which byte comes first is not said
        (nrrd(), Reason.SPACING_INVALID),
        (nrrd("spacings: 1 2 nan"), Reason.DIMENSIONS_INVALID),
        (nrrd("spacings: 1 2 0"), Reason.SPACING_INVALID),
        (nrrd("spacings: 1 2 3", "axis mins: 1 2 3"), Reason.HEADER_INVALID),
        (nrrd("space: scanner-xyz", STEPS), Reason.AFFINE_INVALID),
        (nrrd(LPS, "space directions: (1,0,0) (0,1,0) (0,1)"), Reason.AFFINE_INVALID),
        (nrrd(LPS, "space directions: (1,0,0) (0,1,0) (0,0,inf)"), Reason.HEADER_INVALID),
        (nrrd(LPS, "space directions: (1,0,0) (0,1,0)"), Reason.HEADER_INVALID),
        (nrrd(LPS, STEPS, "sizes: 6 5 -4"), Reason.DIMENSIONS_INVALID),
        (nrrd(LPS, STEPS, "dimension: 4"), Reason.DIMENSIONS_INVALID),
        (nrrd(LPS, "space directions: none (1,0,0) (0,1,0) (0,0,1)", sizes="2 3 5 4"), Reason.DIMENSIONS_INVALID),
        (nrrd(LPS, STEPS)[:-1], Reason.TRUNCATED),
        (nrrd(LPS, STEPS) + b"x", Reason.TRAILING_DATA),
        (nrrd(LPS, STEPS).split(b"\n\n")[0], Reason.HEADER_INVALID),
        (nrrd(LPS, STEPS, "encoding: gzip", body=b"not a gzip stream"), Reason.GZIP_CORRUPT),
        (b"NRRD0005\ntype uchar\n\n" + bytes(400), Reason.HEADER_INVALID),
    ],
)  # fmt: skip
def test_an_nrrd_file_that_cannot_be_used_is_refused_with_its_reason(tmp_path: Path, content: bytes, reason) -> None:
    (tmp_path / "x.nrrd").write_bytes(content)
    with pytest.raises(InvalidVolume) as caught:
        read_label_map(tmp_path / "x.nrrd")
    assert caught.value.reason == reason


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
@pytest.mark.parametrize("ending", [".img", ".img.gz"])
def test_a_pair_is_read_and_only_the_file_beside_it_is_opened(tmp_path: Path, kind, ending: str) -> None:
    kind(LABELS.astype(np.int16), AFFINE).to_filename(tmp_path / f"x{ending}")
    header = next(tmp_path.glob("x.hdr*"))
    assert np.array_equal(read_label_map(header).array, LABELS)
    assert np.allclose(read_grid(header).affine, AFFINE)
    voxels = (tmp_path / f"x{ending}").rename(tmp_path / "elsewhere")
    with pytest.raises(InvalidVolume, match=r"no file at x\.img") as caught:
        read_grid(header)
    assert caught.value.reason == Reason.MISSING
    (tmp_path / f"x{ending}").symlink_to(voxels)  # a link may lead to a reference
    with pytest.raises(InvalidVolume) as caught:
        read_label_map(header)
    assert caught.value.reason == Reason.NOT_A_REGULAR_FILE


def test_half_a_pair_is_refused_with_its_reason(tmp_path: Path) -> None:
    nibabel.Nifti1Pair(LABELS.astype(np.uint8), AFFINE).to_filename(tmp_path / "x.img")
    (tmp_path / "x.img").write_bytes((tmp_path / "x.img").read_bytes()[:-1])
    with pytest.raises(InvalidVolume) as caught:
        read_label_map(tmp_path / "x.hdr")
    assert caught.value.reason == Reason.TRUNCATED
    written(tmp_path / "y.nii").rename(tmp_path / "x.hdr")  # a whole volume under a header's name
    with pytest.raises(InvalidVolume) as caught:
        read_label_map(tmp_path / "x.hdr")
    assert caught.value.reason == Reason.FORMAT_UNSUPPORTED


def test_the_limited_child_reads_nrrd_and_refuses_pairs(tmp_path: Path) -> None:
    (tmp_path / "x.nrrd").write_bytes(NRRD["gzip"])
    canonicalise(source=tmp_path / "x.nrrd", destination=tmp_path / "c.nii.gz", grid=None, allowed_values=None)
    assert np.array_equal(read_label_map(tmp_path / "c.nii.gz").array, LABELS)
    nibabel.Nifti1Pair(LABELS.astype(np.uint8), AFFINE).to_filename(tmp_path / "x.img")
    with pytest.raises(InvalidVolume) as caught:
        canonicalise(source=tmp_path / "x.hdr", destination=tmp_path / "c.nii.gz", grid=None, allowed_values=None)
    assert caught.value.reason == Reason.EXTERNAL_DATA


def test_simpleitk_writes_what_is_read(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(LABELS.astype(np.uint8).T)
    image.SetSpacing((0.5, 0.6, 2.0))
    image.SetOrigin((1, 2, 3))
    for ending in (".nii", ".nii.gz", ".mha"):
        sitk.WriteImage(image, str(tmp_path / f"x{ending}"))
        assert np.array_equal(read_label_map(tmp_path / f"x{ending}").array, LABELS)
