"""ASSAY_INFLATE=zlib: no gzip stream reaches the kernel's decoder, and every value stays what it was."""

import subprocess
import sys

import pytest

from evaluator.backends import measure_files, stored
from evaluator.errors import InvalidVolume, Reason
from evaluator.kernel.inflate import SWITCH, uses_kernel_decoder
from evaluator.kernel.library import load_kernel
from evaluator.volumes import conversion
from evaluator.volumes.conversion import canonicalise
from evaluator.volumes.strict import read_grid
from tests.evaluator import label_maps
from tests.evaluator.test_kernel import assert_same
from tests.evaluator.volume_files import save_nifti

pytestmark = pytest.mark.skipif(load_kernel() is None, reason="the kernel was not built: no C compiler here")
LABELS = [(1,), (2, 3)]


@pytest.fixture
def pair(tmp_path):
    reference, prediction, spacing_mm = next(pair for pair in label_maps.pairs(seed=61, count=9) if pair[0].ndim == 3)
    paths = []
    for name, array in (("reference", reference), ("prediction", prediction)):
        paths.append(save_nifti(tmp_path / f"{name}.nii.gz", array, spacing_mm=spacing_mm))
    return tuple(paths)


@pytest.fixture
def without_kernel_decoder(monkeypatch):
    """The switch is set, and both ways to the kernel's decoder fail loudly."""
    monkeypatch.setenv(SWITCH, "zlib")
    monkeypatch.setattr(stored, "gzip_source", None)
    monkeypatch.setattr(conversion, "_SWIFT", "raise SystemExit('the kernel was asked')")


def test_two_files_give_the_same_measurements(pair, without_kernel_decoder, monkeypatch):
    question = {"reference": pair[0], "prediction": pair[1], "labels": LABELS}
    by_zlib = measure_files(**question)
    monkeypatch.undo()
    assert_same(by_zlib, measure_files(**question))


def test_a_file_becomes_the_same_bytes(pair, tmp_path, without_kernel_decoder, monkeypatch):
    grid = read_grid(pair[0])
    question = {"source": pair[1], "grid": grid, "allowed_values": frozenset(range(256))}
    canonicalise(destination=tmp_path / "zlib.nii.gz", **question)
    monkeypatch.undo()
    canonicalise(destination=tmp_path / "kernel.nii.gz", **question)
    assert (tmp_path / "zlib.nii.gz").read_bytes() == (tmp_path / "kernel.nii.gz").read_bytes()


def test_a_damaged_stream_is_refused_with_the_same_reason(pair, without_kernel_decoder):
    damaged = bytearray(pair[1].read_bytes())
    damaged[-6] ^= 1
    pair[1].write_bytes(damaged)
    with pytest.raises(InvalidVolume) as refused:
        measure_files(reference=pair[0], prediction=pair[1], labels=LABELS)
    assert refused.value.reason is Reason.GZIP_CORRUPT


def test_an_unknown_word_is_refused(monkeypatch):
    monkeypatch.setenv(SWITCH, "libdeflate")
    with pytest.raises(ValueError, match="found ASSAY_INFLATE=libdeflate; expected kernel or zlib"):
        uses_kernel_decoder()


def test_an_empty_word_is_none(monkeypatch):
    monkeypatch.setenv(SWITCH, "")
    assert uses_kernel_decoder()


def test_the_command_says_which_decoder_serves(monkeypatch):
    monkeypatch.setenv(SWITCH, "zlib")
    said = subprocess.run([sys.executable, "-m", "evaluator.kernel"], capture_output=True, text=True, check=True).stdout
    assert "gzip streams go through zlib" in said
