"""The same files under the same protocol give the same bits: in another process, with another kernel, with and without kept references."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

import evaluator
from evaluator import identity
from evaluator.kernel.library import load_kernel

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from pathlib import Path
from evaluator.protocol import load_protocol
from evaluator.scoring import ReferenceCache, score_case, summarise

folder, backend = Path(sys.argv[1]), sys.argv[2]
protocol = load_protocol((folder / "protocol.json").read_text())
kept = ReferenceCache(folder / f"kept-{sys.argv[3]}") if len(sys.argv) > 3 else None
results = [
    score_case(
        protocol=protocol, case_id=name, references={"r": folder / f"{name}-r.nii.gz"},
        predictions={"s": folder / f"{name}-p.nii.gz"}, backend=backend, kept_references=kept,
    )
    for name in ("a", "b", "c")
]
values = [[row.label, row.metric, None if row.value is None else float(row.value).hex(), row.reason] for r in results for row in r.rows]
summary = {name: [row["mean"], row["sd"]] for name, row in summarise(protocol, results).items()}
print(json.dumps({"values": values, "summary": repr(summary)}))
"""
METRICS = (
    "dice", "iou", "volume_similarity", "hd", "hd95", "assd", "mean_distance_to_prediction", "lesion_dice", "lesion_hd95",
    "euler_difference", "pooled_dice", "f1_at_iou",
)  # fmt: skip


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Path:
    """Three pairs with odd spacings, an absent label among them, and a protocol of many metrics."""
    folder = tmp_path_factory.mktemp("same_bits")
    draw = np.random.default_rng(5)
    for number, name in enumerate("abc"):
        field = draw.random((40, 36, 24))
        for axis in range(3):
            field = field + np.roll(field, 1, axis) + np.roll(field, 2, axis)
        reference = np.digitize(field, np.quantile(field, [0.6, 0.8, 0.95])).astype(np.uint8)
        prediction = np.where(draw.random(reference.shape) < 0.03, 0, np.roll(reference, number, number % 3))
        affine = np.diag([0.7 + number / 9, 0.83, 2.3, 1])
        for side, array in (("r", reference), ("p", prediction * (prediction != number + 1))):
            nibabel.Nifti1Image(array.astype(np.uint8), affine).to_filename(folder / f"{name}-{side}.nii.gz")
    document = {
        "protocol": 1, "name": "bits", "labels": {str(value): {"values": value, "tolerance_mm": 1.1} for value in (1, 2, 3)},
        "metrics": [{"name": name} for name in (*METRICS, "nsd")],
        "outputs": [{"name": "s", "kind": "label_map", "file": "{case}.nii.gz"}],
        "conventions": {"failed": {name: None for name in (*METRICS, "nsd") if name != "pooled_dice"}},
    }  # fmt: skip
    (folder / "protocol.json").write_text(json.dumps(document))
    return folder


def scored(cases: Path, *arguments: str, instructions: str = "") -> dict:
    """What a process of its own computes: values as hexadecimal, so that nothing is rounded on the way."""
    environment = os.environ | ({"ASSAY_KERNEL_INSTRUCTIONS": instructions} if instructions else {})
    command = [sys.executable, "-c", PROGRAM, str(cases), *arguments]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return json.loads(said.stdout)


@pytest.fixture(scope="module")
def first(cases) -> dict:
    found = scored(cases, "auto")
    assert len({value for _, _, value, _ in found["values"]}) > 50, "values that could differ"
    return found


def test_another_process_gives_the_same_bits(cases, first):
    assert scored(cases, "auto") == first


@pytest.mark.parametrize("round_", ["fills", "reads"])
def test_kept_references_change_no_bit(cases, first, round_):
    assert scored(cases, "auto", "kept") == first


@pytest.mark.skipif(load_kernel() is None, reason="the kernel is not built here: python -m evaluator.kernel build")
@pytest.mark.parametrize("instructions", ["avx512", "avx2", "sse2", "plain"])
def test_every_kernel_gives_the_same_bits(cases, first, instructions):
    """A set that this processor lacks falls back to the next one, which is compared instead."""
    assert scored(cases, "auto", instructions=instructions) == first


def test_without_the_kernel_only_sums_over_surfaces_differ_in_their_last_digits(cases, first):
    """NumPy adds in another order. Which backend served is part of every receipt."""
    other = scored(cases, "numpy")
    pairs = list(zip(first["values"], other["values"], strict=True))
    assert [one[:2] for one, _ in pairs] == [two[:2] for _, two in pairs]
    assert {one[1] for one, two in pairs if one != two} <= {"nsd", "assd", "mean_distance_to_prediction"}
    assert all(abs(float.fromhex(one[2]) - float.fromhex(two[2])) < 1e-15 for one, two in pairs if one != two)


def test_the_evaluators_hash_changes_with_any_of_its_files(tmp_path, monkeypatch):
    package = tmp_path / "evaluator"
    (package / "metrics").mkdir(parents=True)
    (package / "identity.py").write_text("x = 1\n")
    (package / "metrics" / "dice.py").write_text("x = 1\n")
    monkeypatch.setattr(identity, "__file__", str(package / "identity.py"))
    found = set()
    for change in (
        lambda: None,
        lambda: (package / "metrics" / "dice.py").write_text("x = 2\n"),
        lambda: (package / "metrics" / "dice.py").rename(package / "metrics" / "dyce.py"),
        lambda: (package / "kernel.c").write_text(""),
    ):
        change()
        found.add(identity.source_sha256.__wrapped__())
    (package / "notes.md").write_text("words change no number")
    assert identity.source_sha256.__wrapped__() in found
    assert len(found) == 4
    assert len(evaluator.source_sha256()) == 64
