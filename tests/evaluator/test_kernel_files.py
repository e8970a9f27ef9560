"""Measuring straight from files, with and without kept references: the same numbers as from arrays, or the reader's words."""

import gzip
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest

from evaluator.backends import Crop, PairMeasurements, measure_files, measure_pair
from evaluator.backends.reference_cache import ReferenceCache
from evaluator.errors import InvalidReference, InvalidVolume, Reason, UnavailableBackend
from evaluator.kernel import compiler, library
from evaluator.kernel.library import load_kernel
from tests.evaluator import label_maps
from tests.evaluator.test_kernel import assert_same

LABELS = [(1,), (2,), (1, 3)]
needs_kernel = pytest.mark.skipif(load_kernel() is None, reason="the kernel was not built: no C compiler here")


def write(path: Path, array: np.ndarray, spacing_mm: tuple[float, ...], *, big_endian: bool = False) -> Path:
    header = nibabel.Nifti1Header(endianness=">" if big_endian else "<")
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_zooms(spacing_mm)
    affine = np.diag([*spacing_mm, *(1.0,) * (4 - len(spacing_mm))])
    nibabel.save(nibabel.Nifti1Image(array, affine, header), path)
    return path


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    generator = np.random.default_rng(77)
    reference = label_maps.random_label_map(shape=(70, 30, 22), labels=3, density=0.1, generator=generator)
    return reference, label_maps.disturb(reference, generator=generator), (0.75, 1.5, 2.5)


@pytest.mark.parametrize("storage", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_storage_in_a_file_gives_what_its_array_gives(tmp_path, pair, storage, big_endian, suffix):
    reference, prediction, spacing_mm = pair
    stored = np.dtype(storage)
    found = measure_files(
        reference=write(tmp_path / f"r{suffix}", reference.astype(stored), spacing_mm, big_endian=big_endian),
        prediction=write(tmp_path / f"p{suffix}", prediction.astype(stored), spacing_mm, big_endian=big_endian),
        labels=LABELS,
        allowed_values=frozenset({1, 2, 3}),
    )
    assert_same(found, measure_pair(reference=reference, prediction=prediction, spacing_mm=spacing_mm, labels=LABELS))


def test_a_planar_file_is_measured_in_the_plane(tmp_path, pair):
    reference, prediction = (array[:, :, 8] for array in pair[:2])
    found = measure_files(
        reference=write(tmp_path / "r.nii.gz", reference, (0.5, 2.0)),
        prediction=write(tmp_path / "p.nii.gz", prediction, (0.5, 2.0)),
        labels=LABELS,
    )
    assert_same(found, measure_pair(reference=reference, prediction=prediction, spacing_mm=(0.5, 2.0), labels=LABELS))


def test_numpy_reads_the_same_files_to_the_same_numbers(tmp_path, pair):
    reference, prediction, spacing_mm = pair
    files = {
        "reference": write(tmp_path / "r.nii.gz", reference, spacing_mm),
        "prediction": write(tmp_path / "p.nii.gz", prediction, spacing_mm),
    }
    plain = measure_files(**files, labels=LABELS, backend="numpy")
    assert plain.backend == "numpy"
    assert_same(plain, measure_files(**files, labels=LABELS))


@pytest.fixture
def older_library(tmp_path, monkeypatch):
    """A library that was built before the sources changed, in place of the one that serves."""
    older = tmp_path / "older.so"
    older.write_bytes(library.LIBRARY.read_bytes().replace(compiler.stamp(), b"x" * len(compiler.stamp())))
    monkeypatch.setattr(library, "LIBRARY", older)
    library.load_kernel.cache_clear()
    yield older
    library.load_kernel.cache_clear()


@pytest.mark.slow
@needs_kernel
@pytest.mark.skipif(compiler.find_compiler() is None, reason="there is no C compiler here")
def test_a_kernel_older_than_its_sources_is_built_anew(older_library):
    assert compiler.is_stale(older_library)
    assert "compiled kernel serves" in library.describe()
    assert not compiler.is_stale(older_library)


@needs_kernel
def test_a_kernel_that_cannot_be_built_anew_is_not_used_and_a_warning_names_the_command(older_library, monkeypatch):
    monkeypatch.setattr(compiler, "find_compiler", lambda: None)
    with pytest.warns(RuntimeWarning, match="python -m evaluator.kernel build") as warned:
        assert "NumPy serves" in library.describe()
    assert len(warned) == 1


@needs_kernel
@pytest.mark.parametrize("is_on_disk", [False, True])
def test_a_kept_reference_gives_the_same_numbers_to_the_last_bit(tmp_path, pair, is_on_disk):
    reference, prediction, spacing_mm = pair
    files = {
        "reference": write(tmp_path / "r.nii.gz", reference, spacing_mm),
        "prediction": write(tmp_path / "p.nii.gz", prediction, spacing_mm),
    }
    folder = tmp_path / "kept" if is_on_disk else None
    first_cache = ReferenceCache(folder)
    without = measure_files(**files, labels=LABELS)
    filling = measure_files(**files, labels=LABELS, references=first_cache)
    second_cache = ReferenceCache(folder) if is_on_disk else first_cache
    kept = measure_files(**files, labels=LABELS, references=second_cache)
    for other in (filling, kept):
        for one, another in zip(without.labels, other.labels, strict=True):
            assert one.overlap == another.overlap
            for name in ("reference_to_prediction", "prediction_to_reference"):
                ours, theirs = getattr(one.surface, name), getattr(another.surface, name)
                assert ours.distances_mm.tobytes() == theirs.distances_mm.tobytes()
                assert ours.codes.tobytes() == theirs.codes.tobytes()
    assert not is_on_disk or len(list(folder.glob("*.npz"))) == 1


@needs_kernel
def test_a_changed_reference_or_other_labels_are_never_answered_from_an_old_entry(tmp_path, pair):
    reference, prediction, spacing_mm = pair
    cache = ReferenceCache(tmp_path / "kept")
    files = {
        "reference": write(tmp_path / "r.nii.gz", reference, spacing_mm),
        "prediction": write(tmp_path / "p.nii.gz", prediction, spacing_mm),
    }
    measure_files(**files, labels=LABELS, references=cache)
    for labels in ([(2,)], [(3,), (1,)]):
        expected = measure_pair(reference=reference, prediction=prediction, spacing_mm=spacing_mm, labels=labels)
        assert_same(measure_files(**files, labels=labels, references=cache), expected)
    write(files["reference"], reference[::-1], spacing_mm)
    expected = measure_pair(reference=reference[::-1], prediction=prediction, spacing_mm=spacing_mm, labels=LABELS)
    assert_same(measure_files(**files, labels=LABELS, references=cache), expected)


@needs_kernel
def test_a_damaged_entry_is_read_anew(tmp_path, pair):
    reference, prediction, spacing_mm = pair
    files = {
        "reference": write(tmp_path / "r.nii.gz", reference, spacing_mm),
        "prediction": write(tmp_path / "p.nii.gz", prediction, spacing_mm),
    }
    expected = measure_files(**files, labels=LABELS, references=ReferenceCache(tmp_path / "kept"))
    for entry in (tmp_path / "kept").glob("*.npz"):
        entry.write_bytes(entry.read_bytes()[:100])
    assert_same(measure_files(**files, labels=LABELS, references=ReferenceCache(tmp_path / "kept")), expected)


@pytest.mark.parametrize("side", ["reference", "prediction"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", Reason.MISSING),
        ("truncated", Reason.TRUNCATED),
        ("trailing", Reason.TRAILING_DATA),
        ("checksum", Reason.GZIP_CORRUPT),
        ("fractions", Reason.NOT_INTEGRAL),
    ],
)
def test_an_unsound_file_is_refused_in_the_strict_readers_words(tmp_path, pair, side, name, reason):
    reference, prediction, spacing_mm = pair
    files = {
        "reference": write(tmp_path / "reference.nii.gz", reference, spacing_mm),
        "prediction": write(tmp_path / "prediction.nii.gz", prediction, spacing_mm),
    }
    spoil(files[side], name, reference, spacing_mm)
    expected = InvalidReference if side == "reference" else InvalidVolume
    with pytest.raises(expected, match=reason):
        measure_files(**files, labels=LABELS)


def spoil(path: Path, name: str, array: np.ndarray, spacing_mm: tuple[float, ...]) -> None:
    content = path.read_bytes()
    if name == "missing":
        path.unlink()
    elif name == "truncated":
        path.write_bytes(content[:-300])
    elif name == "trailing":
        path.write_bytes(gzip.compress(gzip.decompress(content) + b"more"))
    elif name == "checksum":
        path.write_bytes(content[:-6] + bytes([content[-6] ^ 255]) + content[-5:])
    else:
        write(path, array.astype(np.float32) * 0.5, spacing_mm)


def test_a_prediction_with_an_unknown_label_or_on_another_grid_is_refused(tmp_path, pair):
    reference, prediction, spacing_mm = pair
    ours = write(tmp_path / "r.nii.gz", reference, spacing_mm)
    prediction = prediction.copy()
    prediction[3, 3, 3] = 9
    theirs = write(tmp_path / "p.nii.gz", prediction, spacing_mm)
    assert measure_files(reference=ours, prediction=theirs, labels=LABELS)
    with pytest.raises(InvalidVolume, match=Reason.LABEL_UNKNOWN):
        measure_files(reference=ours, prediction=theirs, labels=LABELS, allowed_values=frozenset({1, 2, 3}))
    write(theirs, reference, (0.75, 1.5, 3.0))
    with pytest.raises(InvalidVolume, match="mismatch"):
        measure_files(reference=ours, prediction=theirs, labels=LABELS)
    write(theirs, reference[:-1], spacing_mm)
    with pytest.raises(InvalidVolume, match=Reason.SHAPE_MISMATCH):
        measure_files(reference=ours, prediction=theirs, labels=LABELS)


def test_without_a_kernel_numpy_serves_and_says_so(tmp_path, pair, monkeypatch):
    reference, prediction, spacing_mm = pair
    expected = measure_pair(reference=reference, prediction=prediction, spacing_mm=spacing_mm, labels=LABELS)
    library.load_kernel.cache_clear()
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "never built.so")
    try:
        assert "NumPy serves" in library.describe()
        found = measure_files(
            reference=write(tmp_path / "r.nii.gz", reference, spacing_mm),
            prediction=write(tmp_path / "p.nii.gz", prediction, spacing_mm),
            labels=LABELS,
        )
        assert found.backend == "numpy"
        with pytest.raises(UnavailableBackend, match="build it with"):
            measure_pair(
                reference=reference, prediction=prediction, spacing_mm=spacing_mm, labels=LABELS, backend="cpu"
            )
    finally:
        library.load_kernel.cache_clear()
    assert_same(found, expected)


@needs_kernel
@pytest.mark.parametrize("crop", [Crop.INCLUSIVE, Crop.EXCLUSIVE])
@pytest.mark.parametrize("is_kept", [False, True])
def test_a_crop_measures_what_cropped_arrays_measure(tmp_path, crop, is_kept):
    generator = np.random.default_rng(5)
    reference = label_maps.random_label_map(shape=(40, 22, 18), labels=3, density=0.1, generator=generator)
    reference[:, :, :5][reference[:, :, :5] == 2] = 0
    reference[:, :, 12:][reference[:, :, 12:] == 2] = 0
    reference[reference == 3] = 0
    reference[:, 3:6, 9] = 3
    prediction = np.roll(reference, 2, axis=2)
    files = {
        "reference": write(tmp_path / "r.nii.gz", reference, (1.0, 0.5, 2.0)),
        "prediction": write(tmp_path / "p.nii.gz", prediction, (1.0, 0.5, 2.0)),
    }
    labels = [(1,), (2,), (1, 2), (9,), (3,)]
    cache = ReferenceCache() if is_kept else None
    for _ in range(2):
        found = measure_files(**files, labels=labels, crops=[crop] * 5, references=cache)
    one_slice_left = crop is Crop.INCLUSIVE
    assert (found.labels[4].cropped is not None) == one_slice_left
    for label in found.labels[: 5 if one_slice_left else 4]:
        used = np.flatnonzero(np.isin(reference, label.values).any(axis=(0, 1)))
        end = int(used[-1]) + (crop is Crop.INCLUSIVE) if used.size else reference.shape[2]
        slices = slice(int(used[0]) if used.size else 0, end)
        expected = measure_pair(
            reference=np.isin(reference[:, :, slices], label.values),
            prediction=np.isin(prediction[:, :, slices], label.values),
            spacing_mm=(1.0, 0.5, 2.0),
            labels=[(1,)],
            backend="numpy",
        )
        assert label.cropped is not None
        assert_same(PairMeasurements(labels=(label.cropped,), backend=""), expected)


def test_a_cache_lets_go_of_the_oldest_references_and_keeps_the_latest() -> None:
    table: Any = SimpleNamespace(labels=("a",), values=np.arange(2), keys=np.arange(2))
    volumes: list[Any] = [SimpleNamespace(sha256=str(number)) for number in range(5)]
    scans: list[Any] = [SimpleNamespace(bytes=10) for _ in volumes]
    for most, held in ((0, 1), (10, 1), (25, 2), (50, 5)):
        cache = ReferenceCache(memory_bytes=most)
        for _ in range(2):  # the same again takes no more room
            for volume, scan in zip(volumes, scans, strict=True):
                cache.keep(volume, table=table, scanned=scan)
        found = [cache.find(volume, table=table) for volume in volumes]
        assert found == [None] * (5 - held) + scans[5 - held :], most
