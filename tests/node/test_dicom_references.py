"""A hospital's DICOM segmentations and structure sets become label maps on the grid of their series, exactly or not at all."""

from contextlib import suppress

import numpy as np
import pytest
import SimpleITK as sitk

from assay.node.dicom_file import modality_of, read_dicom
from assay.node.dicom_references import filled, read_reference
from assay.node.folder import FolderInvalid
from assay.node.site_data import check_itself, recognise
from dicom_files import write_file, write_segmentation, write_structures
from evaluator.protocol import load_protocol
from evaluator.volumes import read_channels_of, read_image
from testset_folders import write_dicom_series

SPACING, ORIGIN, SHAPE = (0.8, 1.25, 3.0), (-20.0, 30.0, 100.0), (12, 10, 6)
VALUES = {"core": 1, "rim": 2}
PROTOCOL = load_protocol(
    {
        "protocol": 1,
        "name": "t",
        "labels": {"core": {"values": 1}, "rim": {"values": 2}},
        "inputs": [{"name": "ct", "file": "ct.nii.gz"}],
        "outputs": [{"name": "segmentation", "kind": "label_map", "file": "segmentation.nii.gz"}],
        "metrics": [{"name": "dice"}],
    }
)


def masks():
    core, rim = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    core[3:7, 2:5, 1:4] = True
    rim[8:10, 6:9, 2:5] = True
    return {"Core": core, "Rim": rim}


@pytest.fixture
def series(tmp_path):
    picture = sitk.GetImageFromArray(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE[::-1]))
    picture.SetSpacing(SPACING)
    picture.SetOrigin(ORIGIN)
    write_dicom_series(picture, tmp_path / "cohort" / "case1" / "ct")
    return tmp_path / "cohort" / "case1" / "ct"


@pytest.fixture
def grid(series):
    return read_channels_of(series).grid


def expected():
    found = masks()
    return found["Core"] * 1 + found["Rim"] * 2


def place(x, y, z):
    return tuple(o + s * v for o, s, v in zip(ORIGIN, SPACING, (x, y, z), strict=True))


@pytest.mark.parametrize("is_explicit", [True, False])
def test_a_segmentation_lies_where_its_voxels_lie(tmp_path, grid, is_explicit):
    write_segmentation(tmp_path / "seg.dcm", masks(), origin=ORIGIN, spacing=SPACING, is_explicit=is_explicit)
    assert modality_of(tmp_path / "seg.dcm") == "SEG"
    volume = read_reference(tmp_path / "seg.dcm", grid=grid, values=VALUES, names={})
    assert np.array_equal(volume.array, expected())
    assert volume.grid == grid


def test_a_contour_is_filled_by_the_centres_of_voxels_and_an_inner_one_is_a_hole(tmp_path, grid):
    outer = [place(x, y, 2) for x, y in ((1.5, 1.5), (8.5, 1.5), (8.5, 7.5), (1.5, 7.5))]
    inner = [place(x, y, 2) for x, y in ((3.5, 3.5), (5.5, 3.5), (5.5, 5.5), (3.5, 5.5))]
    write_structures(tmp_path / "rt.dcm", {"Tumor": [outer, inner]})
    volume = read_reference(tmp_path / "rt.dcm", grid=grid, values={"core": 1}, names={"core": "tumor"})
    wanted = np.zeros(SHAPE, dtype=int)
    wanted[2:9, 2:8, 2] = 1
    wanted[4:6, 4:6, 2] = 0
    assert np.array_equal(volume.array, wanted)


def test_a_triangle_holds_the_pixels_that_a_person_counts():
    inside = filled(np.array([(-0.5, -0.5), (3.6, -0.5), (-0.5, 3.6)]), shape=(5, 5))
    assert [int(row.sum()) for row in inside] == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"origin": (ORIGIN[0] + 0.4, *ORIGIN[1:])}, "beside the image's voxels"),
        ({"origin": (*ORIGIN[:2], ORIGIN[2] + 1.5)}, "beside the image's voxels"),
        ({"spacing": (1.0, *SPACING[1:])}, "beside the image's voxels"),
        ({"origin": (ORIGIN[0] + 8 * SPACING[0], *ORIGIN[1:])}, "beyond the image"),
        ({"kind": b"FRACTIONAL"}, "expected BINARY"),
    ],
)
def test_a_segmentation_that_does_not_fit_is_refused(tmp_path, grid, change, words):
    write_segmentation(tmp_path / "seg.dcm", masks(), **{"origin": ORIGIN, "spacing": SPACING, **change})
    with pytest.raises(FolderInvalid, match=words):
        read_reference(tmp_path / "seg.dcm", grid=grid, values=VALUES, names={})


def test_other_names_overlaps_and_open_contours_are_refused(tmp_path, grid):
    found = masks()
    write_segmentation(tmp_path / "seg.dcm", {"Core": found["Core"]}, origin=ORIGIN, spacing=SPACING)
    with pytest.raises(FolderInvalid, match=r"no structure rim for the label rim; it has Core.*--label rim="):
        read_reference(tmp_path / "seg.dcm", grid=grid, values=VALUES, names={})
    write_segmentation(
        tmp_path / "both.dcm", {"Core": found["Core"], "Rim": found["Core"]}, origin=ORIGIN, spacing=SPACING
    )
    with pytest.raises(FolderInvalid, match="shares voxels"):
        read_reference(tmp_path / "both.dcm", grid=grid, values=VALUES, names={})
    points = [place(1, 1, 2), place(4, 1, 2), place(4, 4, 2)]
    write_structures(tmp_path / "open.dcm", {"core": [points]}, kind=b"OPEN_PLANAR")
    write_structures(tmp_path / "between.dcm", {"core": [[(x, y, z + 1.5) for x, y, z in points]]})
    for name, words in (("open.dcm", "CLOSED_PLANAR"), ("between.dcm", "between the image's slices")):
        with pytest.raises(FolderInvalid, match=words):
            read_reference(tmp_path / name, grid=grid, values={"core": 1}, names={})


def test_files_that_are_cut_or_no_dicom_are_refused_with_a_sentence(tmp_path):
    write_segmentation(tmp_path / "seg.dcm", masks(), origin=ORIGIN, spacing=SPACING)
    whole = (tmp_path / "seg.dcm").read_bytes()
    for length in range(0, len(whole), 37):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        with suppress(FolderInvalid):  # any other error would end this test
            read_dicom(tmp_path / "cut.dcm")
    write_file(tmp_path / "jpeg.dcm", b"", is_explicit=True)
    jpeg = (tmp_path / "jpeg.dcm").read_bytes().replace(b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.9")
    (tmp_path / "jpeg.dcm").write_bytes(jpeg)
    with pytest.raises(FolderInvalid, match="not compressed"):
        read_dicom(tmp_path / "jpeg.dcm")


def test_exported_cases_are_recognised_and_checked_and_a_changed_reference_changes_the_root(tmp_path, series):
    write_segmentation(tmp_path / "cohort" / "case1" / "seg" / "1.dcm", masks(), origin=ORIGIN, spacing=SPACING)
    cache = tmp_path.with_name(f"{tmp_path.name}-home") / "references"
    data = recognise(tmp_path / "cohort", protocol=PROTOCOL, inputs={}, cache=cache)
    (case,) = data.cases()
    assert (data.form, case.case_id, case.inputs) == ("DICOM", "case1", {"ct": series})
    (reference,) = case.references.values()
    assert np.array_equal(read_image(reference).array, expected())
    assert check_itself([case], protocol=PROTOCOL).problems == ()
    before = data.examine(secret=b"k" * 32)
    assert data.examine(secret=b"k" * 32) == before
    elsewhere = recognise(tmp_path / "cohort", protocol=PROTOCOL, inputs={}, cache=tmp_path.with_name("other-home"))
    assert elsewhere.examine(secret=b"k" * 32) == before, "another machine has the same root"
    moved = masks()
    moved["Core"] = np.roll(moved["Core"], 1, axis=2)
    write_segmentation(tmp_path / "cohort" / "case1" / "seg" / "1.dcm", moved, origin=ORIGIN, spacing=SPACING)
    assert data.examine(secret=b"k" * 32) != before
    (tmp_path / "cohort" / "case1" / "seg" / "1.dcm").rename(series / "seg.dcm")
    with pytest.raises(FolderInvalid, match="folder of its own"):
        data.cases()
