"""Folders and files as people have them: what lies there beside volumes, what is wrong with a file, and what others' faults cost."""

import csv
import json
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner

from evaluator.commands.evaluate import evaluate
from evaluator.volumes import Grid, grids_match, read_grid
from evaluator.volumes.geometry import axis_codes
from evaluator.volumes.trusted import read_image

SHAPE = (12, 10, 8)


def save(path: Path, array=None, affine=None) -> Path:
    array = np.zeros(SHAPE, np.uint8) if array is None else array
    if array.ndim == 3 and not array.any():
        array[3:9, 3:8, 2:6] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine).to_filename(path)
    return path


def run(folder: Path, *options: str, labels: str = "1:liver:1"):
    arguments = ["--references", str(folder / "R"), "--predictions", str(folder / "P"), "-o", str(folder / "o.csv")]
    chosen = [] if "--protocol" in options else ["--labels", labels, "--metrics", "dice"]
    return CliRunner().invoke(evaluate, [*arguments, "--json", str(folder / "o.json"), *chosen, *options])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "o.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "entry",
    [".ipynb_checkpoints/c1-checkpoint.nii.gz", "._c1.nii.gz", "__MACOSX/._c1.nii.gz", "@eaDir/c1.nii.gz", ".DS_Store"],
)
def test_what_systems_leave_in_a_folder_is_no_case(tmp_path: Path, entry: str) -> None:
    for side in "RP":
        save(tmp_path / side / "c1.nii.gz")
        path = tmp_path / side / entry
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not a volume")
    result = run(tmp_path, "--strict")
    assert result.exit_code == 0, result.output
    assert [(row["case"], row["value"]) for row in rows(tmp_path)] == [("c1", "1.0")]


def test_a_format_that_is_not_read_is_named_and_never_called_missing(tmp_path: Path) -> None:
    save(tmp_path / "R" / "c1.nii.gz")
    save(tmp_path / "P" / "c1.nii.gz")
    for name in ("c2.MHD", "c3.img"):  # the second one lacks its header
        (tmp_path / "P" / name).write_bytes(b"ObjectType = Image\n")
    (tmp_path / "R" / "c4.NRRD").write_bytes(b"NRRD0004\n")
    result = run(tmp_path)
    assert "Not read, no format that is scored: c4.NRRD, c2.MHD, c3.img" in result.output
    assert json.loads((tmp_path / "o.json").read_text())["not_read"] == ["c4.NRRD", "c2.MHD", "c3.img"]
    (tmp_path / "R" / "c4.NRRD").unlink()
    (tmp_path / "R" / "c1.nii.gz").rename(tmp_path / "R" / "c1.mhd")
    assert "holds no volumes that are read (c1.mhd is not)" in run(tmp_path).output


@pytest.mark.parametrize(
    ("reference", "prediction"), [("c1.nrrd", "c1.hdr"), ("c1.img.gz", "c1.nii.gz"), ("c1.nii", "c1.nrrd")]
)
def test_references_and_predictions_may_be_nrrd_or_pairs(tmp_path: Path, reference: str, prediction: str) -> None:
    """Written by other libraries. The pair is one case, and its voxels are no file without a reference."""
    array = np.zeros(SHAPE, np.uint8)
    array[3:9, 3:8, 2:6] = 1
    for side, name in (("R", reference), ("P", prediction)):
        (tmp_path / side).mkdir()
        if name.endswith(".nrrd"):
            image = sitk.GetImageFromArray(array.T)
            image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # RAS, as nibabel's identity
            sitk.WriteImage(image, str(tmp_path / side / name), True)
        else:
            kind = nibabel.Nifti1Pair if name.endswith((".hdr", ".img.gz")) else nibabel.Nifti1Image
            kind(array, np.eye(4)).to_filename(tmp_path / side / name)
    result = run(tmp_path, "--strict")
    assert result.exit_code == 0, result.output
    assert "Not read" not in result.output
    assert [(row["case"], row["value"]) for row in rows(tmp_path)] == [("c1", "1.0")]


def test_one_name_in_two_spellings_of_unicode_is_one_name(tmp_path: Path) -> None:
    save(tmp_path / "R" / "f\u00e4lle.nii.gz")
    save(tmp_path / "P" / "fa\u0308lle.nii.gz")
    result = run(tmp_path, "--strict")
    assert result.exit_code == 0, result.output
    assert [row["value"] for row in rows(tmp_path)] == ["1.0"]


@pytest.mark.parametrize("name", ["C1.nii.gz", "c1.NII.GZ", "c1 .nii.gz", "c_1.nii.gz", "C-1.nii"])
def test_names_that_only_look_the_same_are_told_and_not_guessed(tmp_path: Path, name: str) -> None:
    for case in ("c1", "c2"):
        save(tmp_path / "R" / f"{case}.nii.gz")
        save(tmp_path / "P" / f"{case}.nii.gz")
    (tmp_path / "P" / "c1.nii.gz").rename(tmp_path / "P" / name)
    result = run(tmp_path)
    assert f"Names that look like a case's and are others, not scored: {name} (case c1)" in result.output
    assert [(row["value"], row["reason"]) for row in rows(tmp_path)] == [("0.0", "output_missing"), ("1.0", "")]
    assert json.loads((tmp_path / "o.json").read_text())["lookalikes"] == [f"{name} (case c1)"]


def test_what_was_found_wrong_reaches_terminal_csv_and_json(tmp_path: Path) -> None:
    save(tmp_path / "R" / "c1.nii.gz")
    save(tmp_path / "R" / "c2.nii.gz")
    save(tmp_path / "P" / "c1.nii.gz", np.zeros((12, 10, 7), np.uint8))
    save(tmp_path / "P" / "c2.nii.gz")
    expected = "found 12 × 10 × 7; expected 12 × 10 × 8"
    result = run(tmp_path)
    assert result.exit_code == 0
    assert f"c1 (output_invalid:shape_mismatch: {expected})" in result.output
    assert [(row["reason"], row["detail"]) for row in rows(tmp_path)] == [
        ("output_invalid:shape_mismatch", expected),
        ("", ""),
    ]
    assert json.loads((tmp_path / "o.json").read_text())["cases"][0]["detail"] == expected


@pytest.mark.parametrize(
    ("affine", "words"),
    [
        (np.diag([-1.0, 1, 1, 1]), "found axes LAS, a corner 22 mm off; expected axes RAS, at most 0.1 mm"),
        (np.array([[1.0, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, -2], [0, 0, 0, 1]]), "+3 mm along x, -2 mm along z"),
    ],
)
def test_a_wrong_place_is_said_by_axis(tmp_path: Path, affine: np.ndarray, words: str) -> None:
    save(tmp_path / "R" / "c1.nii.gz")
    save(tmp_path / "P" / "c1.nii.gz", affine=affine)
    result = run(tmp_path)
    assert result.exit_code == 1, "every case failed"
    assert words in rows(tmp_path)[0]["detail"]


def test_axis_codes_are_nibabels(tmp_path: Path) -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
        affine = np.eye(4)
        affine[:3, :3] = rotation
        grid = Grid(shape=SHAPE, spacing_mm=(1, 1, 1), affine=tuple(tuple(row) for row in affine.tolist()))
        if len({int(np.abs(rotation[:, axis]).argmax()) for axis in range(3)}) == 3:
            assert axis_codes(grid) == "".join(nibabel.aff2axcodes(affine))


def test_a_structure_without_a_file_is_named(tmp_path: Path) -> None:
    protocol = tmp_path / "p.yaml"
    protocol.write_text(
        "protocol: 1\nname: x\nlabels: {liver: 1, kidney: 2}\nmetrics: [{name: dice}]\n"
        'outputs: [{name: seg, kind: mask_per_structure, file: "{case}/{structure}.nii.gz"}]\n'
    )
    for name in ("liver", "kidney"):
        save(tmp_path / "R" / "c1" / f"{name}.nii.gz")
    save(tmp_path / "P" / "c1" / "kidney.nii.gz")
    run(tmp_path, "--protocol", str(protocol))
    assert {row["detail"] for row in rows(tmp_path)} == {"found no file for liver; expected one file per structure"}


def test_one_broken_reference_costs_its_own_case_only(tmp_path: Path) -> None:
    for name in ("c1", "c2", "c3"):
        save(tmp_path / "R" / f"{name}.nii.gz")
        save(tmp_path / "P" / f"{name}.nii.gz")
    (tmp_path / "R" / "c1.nii.gz").write_bytes(b"broken")
    whole = (tmp_path / "R" / "c3.nii.gz").read_bytes()
    (tmp_path / "R" / "c3.nii.gz").write_bytes(whole[:-12])  # its header is sound: found while it is scored
    result = run(tmp_path)
    assert result.exit_code == 1
    assert [(row["case"], row["value"]) for row in rows(tmp_path)] == [("c2", "1.0")]
    document = json.loads((tmp_path / "o.json").read_text())
    assert list(document["unusable_references"]) == ["c1", "c3"]
    assert "References that cannot be used, not scored: c1 (" in result.output
    for name in ("c2", "c3"):
        (tmp_path / "R" / f"{name}.nii.gz").unlink()
    assert "no reference can be used: c1:" in run(tmp_path).output


def test_when_every_case_failed_the_command_says_so_without_strict(tmp_path: Path) -> None:
    for name in ("c1", "c2"):
        save(tmp_path / "R" / f"{name}.nii.gz")
    (tmp_path / "P").mkdir()
    assert run(tmp_path).exit_code == 1
    save(tmp_path / "P" / "c1.nii.gz")
    assert run(tmp_path).exit_code == 0
    assert run(tmp_path, "--strict").exit_code == 1


def flat(path: Path, *, height: float) -> Path:
    """A 2-D NIfTI whose slice lies at a height."""
    image = nibabel.Nifti1Image(np.ones((6, 5), np.uint8), None)
    affine = np.eye(4)
    affine[2, 3] = height
    image.header.set_sform(affine, code=1)
    image.header["dim"][:3] = (2, 6, 5)
    image.to_filename(path)
    return path


def test_a_right_slice_is_not_refused_for_its_height(tmp_path: Path) -> None:
    """SimpleITK, which reads the references of organizers, forgets the height of a 2-D slice. The strict reader keeps it."""
    at_ten, at_zero = flat(tmp_path / "a.nii.gz", height=10), flat(tmp_path / "b.nii.gz", height=0)
    assert read_grid(at_ten).affine[2][3] == 10
    trusted = read_image(at_ten).grid
    assert grids_match(trusted, read_grid(at_ten)) is None
    assert grids_match(read_grid(at_ten), read_grid(at_zero)) is None
    moved = tmp_path / "c.nii.gz"
    image = nibabel.load(at_zero)
    affine = np.eye(4)
    affine[0, 3] = 2
    nibabel.Nifti1Image(np.asarray(image.dataobj), affine).to_filename(moved)
    mismatch = grids_match(trusted, read_grid(moved))
    assert mismatch is not None
    assert "+2 mm along x" in mismatch.found


TABLES = {
    "a blank last line": ("case,negative,tumour\nc0,0.8,0.2\nc1,0.2,0.8\n\n", 1.0, ""),
    "blank cells": ("case,negative,tumour\n,,\nc0,0.8,0.2\nc1,0.2,0.8\n", 1.0, ""),
    "spaces after commas": ("case, negative, tumour\nc0, 0.80, 0.20\n c1, 0.20, 0.80\n", 1.0, ""),
    "a column missing": ("case,negative\nc0,0.5\nc1,0.5\n", 0.0, "found columns case, negative; expected also tumour"),
    "a short line": ("case,negative,tumour\nc0,0.8\n", 0.0, "found 2 cells in line 2 under 3 columns"),
    "a case twice": ("case,negative,tumour\nc0,1,0\nc0,1,0\n", 0.0, "found the case 'c0' again in line 3"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_as_people_write_it_or_says_what_is_wrong(tmp_path: Path, name: str) -> None:
    text, value, detail = TABLES[name]
    (tmp_path / "R").write_text("case,negative,tumour\nc0,1,0\nc1,0,1\n")
    (tmp_path / "R").rename(tmp_path / "R.csv")
    (tmp_path / "P.csv").write_text(text)
    CliRunner().invoke(
        evaluate,
        ["--protocol", "medfm-colon", "--references", str(tmp_path / "R.csv"), "--predictions", str(tmp_path / "P.csv"),
         "-o", str(tmp_path / "o.csv")],
        catch_exceptions=False,
    )  # fmt: skip
    found = [row for row in rows(tmp_path) if row["metric"] == "accuracy"]
    assert {float(row["value"]) for row in found} == {value}
    assert all(row["detail"].startswith(detail) if detail else not row["detail"] for row in found)


def test_the_header_of_a_two_dimensional_file_says_so(tmp_path: Path) -> None:
    raw = nibabel.load(flat(tmp_path / "a.nii.gz", height=3)).header.binaryblock
    assert struct.unpack_from("<3h", raw, 40) == (2, 6, 5)
