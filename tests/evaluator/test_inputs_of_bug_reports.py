"""Inputs that once gave a wrong number or said nothing, each with the right answer of `assay evaluate`. All are made here."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from evaluator.commands.evaluate import evaluate
from tests.evaluator.volume_files import save_nifti

LIVER, CUT, TUMOUR = (slice(4, 14), slice(4, 14), slice(3, 9)), (slice(5, 14), slice(4, 14), slice(3, 9)), (
    slice(6, 9), slice(6, 9), slice(4, 6)
)  # fmt: skip
SHAPE = (20, 20, 12)
BY_LABEL = ("--labels", "1:liver:1,2:tumour:1", "--metrics", "dice")
STRUCTURES = """
protocol: 1
name: structures
labels: {liver: {values: 1, tolerance_mm: 1}, kidney: {values: 2, tolerance_mm: 1}}
inputs: [{name: ct, file: ct.nii.gz}]
outputs: [{name: seg, kind: mask_per_structure, file: "{case}/{structure}.nii.gz"}]
metrics: [{name: dice}]
"""


def organs(liver=LIVER, shape=SHAPE) -> np.ndarray:
    """A liver with a tumour of 18 voxels in it: 582 voxels of liver, 522 where it is cut."""
    array = np.zeros(shape, np.uint8)
    array[liver], array[TUMOUR] = 1, 2
    return array


def box(*where: slice, value: int = 1, shape=SHAPE) -> np.ndarray:
    array = np.zeros(shape, np.uint8)
    array[where] = value
    return array


def pair(folder: Path, reference: np.ndarray, prediction: np.ndarray, name: str = "c1") -> None:
    for side, array in (("R", reference), ("P", prediction)):
        path = folder / side / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_nifti(path, array)


def cut_liver(folder: Path) -> None:
    pair(folder, organs(), organs(CUT))


def hidden_entry(folder: Path) -> None:
    cut_liver(folder)
    (folder / "R" / ".ipynb_checkpoints").mkdir()
    save_nifti(folder / "R" / ".ipynb_checkpoints" / "c1-checkpoint.nii.gz", organs())


def apple_double(folder: Path) -> None:
    cut_liver(folder)
    (folder / "R" / "._c1.nii.gz").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(108))


def small_lesion(folder: Path) -> None:
    """27 mm³, missed."""
    shape = (30, 30, 30)
    pair(folder, box(slice(2, 5), slice(2, 5), slice(2, 5), shape=shape), np.zeros(shape, np.uint8))


def one_slice_less(folder: Path) -> None:
    pair(folder, organs(), organs(CUT, (20, 20, 11)))


def mask_of_255(folder: Path) -> None:
    pair(folder, organs(), box(*CUT, value=255))


def no_liver_file(folder: Path) -> None:
    (folder / "p.yaml").write_text(STRUCTURES)
    pair(folder, box(*TUMOUR), box(*TUMOUR), "c1/kidney")
    save_nifti(folder / "R" / "c1" / "liver.nii.gz", box(*LIVER))


def table(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "R").write_text("case,negative,tumour\nc0,1,0\nc1,0,1\n")
        (folder / "P").write_text(text)

    return write


@dataclass(frozen=True)
class Report:
    """What lay there, how it is scored, and the right answer: values by label and metric, one detail for all rows, words on screen."""

    make: Callable[[Path], None]
    options: tuple[str, ...]
    values: dict[tuple[str, str], float]
    detail: str = ""
    shown: str = ""
    exit_code: int = 0


TABLE = ("--protocol", "medfm-colon")
MEANS = {("liver", "dice"): 2 * 522 / (582 + 522), ("tumour", "dice"): 1.0}
REPORTS = {
    "a notebook's checkpoints": Report(hidden_entry, BY_LABEL, MEANS, shown="0.9728"),
    "a file of macOS": Report(apple_double, BY_LABEL, MEANS, shown="0.9728"),
    "a small lesion that is missed": Report(
        small_lesion,
        ("--labels", "1:a:1", "--metrics", "lesion_f1,lesion_dice,lesion_false_negatives"),
        {("a", "lesion_f1"): 0, ("a", "lesion_dice"): 0, ("a", "lesion_false_negatives"): 1},
    ),
    "one slice less": Report(
        one_slice_less,
        BY_LABEL,
        {("liver", "dice"): 0, ("tumour", "dice"): 0},
        detail="found 20 × 20 × 11; expected 20 × 20 × 12",
        shown="found 20 × 20 × 11; expected 20 × 20 × 12",
        exit_code=1,  # not one case could be scored
    ),
    "a mask of 255": Report(
        mask_of_255,
        BY_LABEL,
        {("liver", "dice"): 0, ("tumour", "dice"): 0},
        shown="values found that stand for nothing: 255",
    ),
    "a structure without a file": Report(
        no_liver_file,
        ("--protocol", "p.yaml"),
        {("liver", "dice"): 0, ("kidney", "dice"): 0},
        detail="found no file for liver; expected one file per structure",
        shown="found no file for liver",
        exit_code=1,
    ),
    "a blank last line": Report(
        table("case,negative,tumour\nc0,0.800000,0.200000\nc1,0.200000,0.800000\n\n"), TABLE, {("", "accuracy"): 1}
    ),
    "spaces after commas": Report(
        table("case, negative, tumour\nc0, 0.800000, 0.200000\nc1, 0.200000, 0.800000\n"),
        TABLE,
        {("", "accuracy"): 1},
    ),
    "a column missing": Report(
        table("case,negative\nc0,0.800000\nc1,0.200000\n"),
        TABLE,
        {("", "accuracy"): 0},
        detail="found columns case, negative; expected also tumour",
        shown="expected also tumour",
        exit_code=1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTS)
def test_what_was_reported_has_its_right_answer(tmp_path: Path, monkeypatch, name: str) -> None:
    report = REPORTS[name]
    report.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    for side in "RP":
        if (tmp_path / side).is_file():
            (tmp_path / side).rename(tmp_path / f"{side}.csv")
    ending = ".csv" if (tmp_path / "R.csv").exists() else ""
    given = ["--references", f"R{ending}", "--predictions", f"P{ending}", "-o", "o.csv", *report.options]
    result = CliRunner().invoke(evaluate, given)
    assert result.exit_code == report.exit_code, result.output
    assert report.shown in result.output
    with (tmp_path / "o.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = {(row["label"], row["metric"]): row for row in rows}
    for (label, metric), value in report.values.items():
        row = next(row for key, row in found.items() if key[1] == metric and label in ("", key[0]))
        assert float(row["value"]) == pytest.approx(value, abs=1e-12)
    if not ending:
        assert set(found) == set(report.values), "every row is one of a case that there is"
    assert {row["detail"] for row in rows} == {report.detail} or ending
    assert not report.detail or any(row["detail"].startswith(report.detail) for row in rows)
