"""The swift way through the limited child: the same bytes as the strict one, and nothing at all for a file that is not for it."""

import ctypes
import gzip
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from evaluator.errors import InvalidVolume, Reason
from evaluator.kernel.compiler import LIBRARY
from evaluator.kernel.library import address, kernel, load_kernel
from evaluator.volumes import canonicalise, conversion, read_grid
from evaluator.volumes.swift_child import copy_voxels
from tests.evaluator.volume_files import save_nifti

pytestmark = pytest.mark.skipif(load_kernel() is None, reason="the kernel was not built: no C compiler here")
ALLOWED = frozenset({1, 2})


@pytest.fixture
def labels():
    array = np.zeros((70, 9, 5), np.uint8)
    array[3:66, 2:7, 1:4] = 1
    array[69, 8, 4] = 2
    return array


@pytest.fixture
def sound(tmp_path, labels) -> Path:
    return save_nifti(tmp_path / "sound.nii.gz", labels, spacing_mm=(0.5, 1.0, 2.0))


def canonical_bytes(source: Path, *, allowed: frozenset[int] | None = ALLOWED) -> bytes:
    grid = read_grid(source.with_name("sound.nii.gz"))
    made = canonicalise(source=source, destination=source.with_name("ours.nii.gz"), grid=grid, allowed_values=allowed)
    return made.path.read_bytes()


@pytest.fixture
def children(monkeypatch) -> list[bool]:
    """Whether each child that was asked took the file."""
    asked, ask = [], conversion._ask_child

    def record(*arguments, **named):
        asked.append(ask(*arguments, **named))
        return asked[-1]

    monkeypatch.setattr(conversion, "_ask_child", record)
    return asked


@pytest.mark.parametrize("allowed", [ALLOWED, None])
def test_both_ways_write_the_same_bytes(sound, children, monkeypatch, allowed):
    swift = canonical_bytes(sound, allowed=allowed)
    assert children == [True]
    monkeypatch.setattr(conversion, "load_kernel", lambda: None)
    assert canonical_bytes(sound, allowed=allowed) == swift


def test_voxels_stored_otherwise_go_to_the_strict_reader_and_become_the_same_bytes(sound, labels, children):
    wide = save_nifti(sound.with_name("wide.nii.gz"), labels.astype(np.int16), spacing_mm=(0.5, 1.0, 2.0))
    assert canonical_bytes(wide) == canonical_bytes(sound)
    assert children == [False, True, True]


def with_label(source: Path, value: int) -> bytes:
    array = np.asarray(nibabel.load(source).dataobj).copy()
    array[69, 8, 4] = value
    return save_nifti(source.with_name("other.nii.gz"), array, spacing_mm=(0.5, 1.0, 2.0)).read_bytes()


def test_other_bytes_are_found_wherever_they_stand():
    allowed = bytes(value in (0, 3) for value in range(256))
    for size in (1, 63, 64, 65, 130, 300):
        voxels = np.repeat(np.array([0, 3, 0], np.uint8), size)
        assert kernel().assay_holds_only(address(voxels), voxels.size, allowed)
        for place in {0, 1, size, voxels.size // 2, voxels.size - 1}:
            spoilt = voxels.copy()
            spoilt[place] = 7
            assert not kernel().assay_holds_only(address(spoilt), spoilt.size, allowed)


UNSOUND = {
    "an unknown label at the very end": (lambda path: with_label(path, 7), Reason.LABEL_UNKNOWN),
    "a truncated stream": (lambda path: path.read_bytes()[:-20], Reason.TRUNCATED),
    "something behind it": (lambda path: path.read_bytes() + b"more", Reason.TRAILING_DATA),
    "no gzip": (lambda path: b"plain text", Reason.FORMAT_UNSUPPORTED),
    "more voxels than announced": (
        lambda path: gzip.compress(gzip.decompress(path.read_bytes()) + b"\0"),
        Reason.TRAILING_DATA,
    ),
}


@pytest.mark.parametrize(("make", "reason"), UNSOUND.values(), ids=UNSOUND)
def test_whatever_is_unsound_is_left_to_the_strict_reader_who_finds_the_words(sound, children, make, reason):
    bad = sound.with_name("bad.nii.gz")
    bad.write_bytes(make(sound))
    with pytest.raises(InvalidVolume) as refusal:
        canonical_bytes(bad)
    assert refusal.value.reason == reason
    assert children == [False]
    assert not sound.with_name("ours.nii.gz").exists()


def test_another_grid_is_not_for_it_and_it_writes_nothing(sound, labels, tmp_path):
    elsewhere = save_nifti(tmp_path / "elsewhere.nii.gz", labels, spacing_mm=(0.7, 1.0, 2.0))
    target = tmp_path / "target"
    request = {
        "source": os.open(elsewhere, os.O_RDONLY),
        "target": os.open(target, os.O_WRONLY | os.O_CREAT),
        "grid": read_grid(sound).to_json(),
        "tolerance": {"corner_voxels": 0.1, "spacing_relative": 1e-3, "shape_only": False},
        "voxels": 1 << 20,
        "allowed": bytes([1] * 256).hex(),
        "header": "",
    }
    assert copy_voxels(request, ctypes.CDLL(str(LIBRARY))) == {"unsupported": True}
    assert target.read_bytes() == b""


def test_pipes_and_descriptors_stay_as_many_whatever_comes(sound):
    bad = sound.with_name("bad.nii.gz")
    bad.write_bytes(sound.read_bytes()[:-20])

    def held() -> int:
        return len([*Path("/proc/self/fd").iterdir()])

    canonical_bytes(sound)
    before = held()
    for _ in range(3):
        canonical_bytes(sound)
        with pytest.raises(InvalidVolume):
            canonical_bytes(bad)
    assert held() == before
