"""Pictures of slices: what is where, whichever way a volume is stored, and what is said where there is nothing to show."""

import io

import numpy as np
import pytest
from PIL import Image

from assay.node.review_slices import COLOURS, COVER, CaseFiles, CaseSlices, NoPicture, png
from evaluator.volumes import Grid, Volume, write_canonical

SPACING = (1.0, 1.0, 2.0)


def write(path, array, *, directions=(1, 1, 1)):
    """A volume whose axes run to the right, front and top, or the other way where a direction is -1."""
    array = array[tuple(slice(None, None, step) for step in directions)]
    affine = np.diag([*(mm * way for mm, way in zip(SPACING, directions, strict=True)), 1.0])
    grid = {"shape": array.shape, "spacing_mm": SPACING, "affine": affine.tolist()}
    write_canonical(Volume(array=array, grid=Grid.from_json(grid)), path)
    return path


@pytest.fixture
def files(tmp_path):
    """A bright spot at the patient's right, front and top. The reference covers it, the prediction lies elsewhere."""
    scan, label, wrong = (np.zeros((8, 10, 6), dtype=np.uint8) for _ in range(3))
    scan[6:, 8:, 4:] = 200
    label[6:, 8:, 4:] = 1
    wrong[:2, :2, 4:] = 2
    return CaseFiles(
        case_id="A",
        inputs={"t1": write(tmp_path / "scan.nii.gz", scan)},
        references={"reference": write(tmp_path / "label.nii.gz", label)},
        predictions={"segmentation": write(tmp_path / "wrong.nii.gz", wrong)},
    )


def pixels(slices, what, *, axis="axial", place=5):
    return np.asarray(Image.open(io.BytesIO(slices.picture(what, axis=axis, place=place))))


def test_the_patients_right_is_on_the_left_and_the_front_at_the_top(files):
    shown = pixels(CaseSlices(files), "image")
    height, width = shown.shape[:2]
    assert (round(width / height, 2)) == 0.8
    assert shown[2, 2].tolist() == [255, 255, 255]
    assert shown[-3, -3].tolist() == [0, 0, 0]
    front = pixels(CaseSlices(files), "image", axis="coronal", place=9)
    assert front[2, 2].tolist() == [255, 255, 255], "the top is at the top"
    assert round(front.shape[1] / front.shape[0], 2) == round(8 / 12, 2), "slices are two millimetres thick"


@pytest.mark.parametrize("directions", [(-1, 1, 1), (1, -1, 1), (-1, -1, -1)])
def test_a_volume_stored_the_other_way_looks_the_same(files, tmp_path, directions):
    scan = np.zeros((8, 10, 6), dtype=np.uint8)
    scan[6:, 8:, 4:] = 200
    turned = CaseFiles(
        case_id="A", inputs={"t1": write(tmp_path / "turned.nii.gz", scan, directions=directions)}, references={}
    )
    assert (pixels(CaseSlices(turned), "image") == pixels(CaseSlices(files), "image")).all()


def test_reference_and_prediction_have_colours_over_the_scan(files):
    slices = CaseSlices(files)
    expected = ((1 - COVER) * 255 + COVER * COLOURS[0]).astype(np.uint8)
    assert pixels(slices, "reference")[2, 2].tolist() == expected.tolist()
    assert pixels(slices, "prediction")[2, 2].tolist() == [255, 255, 255]
    assert pixels(slices, "prediction")[-3, -3].tolist() == (COVER * COLOURS[1]).astype(np.uint8).tolist()


def test_the_first_slice_shown_is_the_one_with_most_of_the_reference(files):
    assert CaseSlices(files).best_place("axial") in (4, 5)
    nothing = CaseFiles(case_id="A", inputs=files.inputs, references={})
    assert CaseSlices(nothing).best_place("axial") == 3


def test_what_cannot_be_shown_is_said(files, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("a,b\n")
    other = write(tmp_path / "other.nii.gz", np.zeros((4, 4, 4), dtype=np.uint8))
    with pytest.raises(NoPicture, match="It cannot be shown"):
        CaseSlices(CaseFiles(case_id="A", inputs={"t": table}, references={})).length("axial")
    with pytest.raises(NoPicture, match="no input"):
        CaseSlices(CaseFiles(case_id="A", inputs={}, references={})).length("axial")
    with pytest.raises(NoPicture, match="open them with a viewer of your own"):
        pixels(CaseSlices(CaseFiles(case_id="A", inputs=files.inputs, references={"r": other})), "reference")
    with pytest.raises(NoPicture, match="There is no prediction"):
        pixels(CaseSlices(CaseFiles(case_id="A", inputs=files.inputs, references=files.references)), "prediction")


def test_several_files_of_a_reference_are_labels_of_their_own(files):
    both = {"one": files.references["reference"], "two": files.predictions["segmentation"]}
    shown = pixels(CaseSlices(CaseFiles(case_id="A", inputs=files.inputs, references=both)), "reference")
    assert shown[-3, -3].tolist() == (COVER * COLOURS[1]).astype(np.uint8).tolist()


def test_any_program_reads_the_picture():
    drawn = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert (np.asarray(Image.open(io.BytesIO(png(drawn)))) == drawn).all()
