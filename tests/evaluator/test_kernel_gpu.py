"""The GPU backend: its kernels run as loops everywhere, and on a card where there is one. The numbers are the oracle's."""

import importlib.util
import os
import shutil
import subprocess

import numpy as np
import pytest

from evaluator.backends import devices, gpu, measure_pair
from evaluator.errors import UnavailableBackend
from evaluator.kernel.library import load_kernel
from evaluator.volumes import read_label_map
from published import inputs
from tests.evaluator import anatomy, label_maps
from tests.evaluator.test_kernel import assert_same, two_balls
from tests.evaluator.test_odd_files import FILES, READ

DEVICES = [
    pytest.param(
        "host",
        marks=pytest.mark.skipif(load_kernel() is None, reason="the kernel was not built: no C compiler here"),
    ),
    pytest.param("cuda", marks=pytest.mark.gpu),
]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> devices.Device:
    if request.param == "host":
        return devices.HostDevice()
    if not devices.has_cuda_device():
        pytest.skip("there is no CUDA device here, or no CuPy")
    return devices.cuda_device()


def assert_device_equals_oracle(device, reference, prediction, spacing_mm, labels) -> None:
    question = {"reference": reference, "prediction": prediction, "spacing_mm": spacing_mm, "labels": labels}
    assert_same(gpu.measure_pair(**question, device=device), measure_pair(**question, backend="numpy"))


def test_random_pairs_give_the_oracles_numbers(device):
    for reference, prediction, spacing_mm in label_maps.pairs(seed=41, count=12):
        labels = [(value,) for value in range(1, int(reference.max()) + 1)]
        assert_device_equals_oracle(device, reference, prediction, spacing_mm, labels)


def test_regions_share_values_and_background_may_be_a_label(device):
    reference, prediction, spacing_mm = next(label_maps.pairs(seed=43, count=1))
    labels = [(1, 2, 3), (1, 2), (2,), (0,), (99,)]
    assert_device_equals_oracle(device, reference, prediction, spacing_mm, labels)


@pytest.mark.parametrize("storage", ["i2", "u2", "i4", "i8", "f4", "?"])
def test_every_storage_gives_the_oracles_numbers(device, storage):
    reference, prediction, spacing_mm = next(label_maps.pairs(seed=45, count=1))
    stored = reference.astype(storage), prediction.astype(storage)
    assert_device_equals_oracle(device, *stored, spacing_mm, [(1,), (2, 3)])


def test_large_values_and_every_memory_order_give_the_oracles_numbers(device):
    reference, prediction, spacing_mm = next(label_maps.pairs(seed=47, count=1))
    table = np.array([0, 12175, 2035, 70000, -4, 5, 6, 7])
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        pair = [table[each].transpose(order).copy().transpose(np.argsort(order)) for each in (reference, prediction)]
        assert_device_equals_oracle(device, *pair, spacing_mm, [(12175,), (70000, -4)])


def nonzero_labels(*maps: np.ndarray) -> list[tuple[int, ...]]:
    return [(value,) for value in np.unique(np.concatenate([each.ravel() for each in maps])).tolist() if value] or [
        (1,)
    ]


CORPUS = {
    **{f"anatomy: {name}": name for name in anatomy.pairs()},
    **{f"published: {case.name}": case for case in (*inputs.tumours(), *inputs.volumes(), *inputs.lesions())},
    **{f"odd file: {name}": content for name, (content, verdict) in FILES.items() if verdict == READ},
}


@pytest.mark.parametrize("name", CORPUS)
def test_every_case_of_the_corpora_gives_the_oracles_numbers(device, tmp_path, name):
    """Whole label maps as others' code gets them: anatomy, the inputs of published scripts, every odd file that is read."""
    if name.startswith("anatomy"):
        pair = anatomy.pairs()[CORPUS[name]].unchanged()
        maps, spacing_mm = (pair.reference, pair.prediction), pair.spacing_mm
    elif name.startswith("published"):
        maps, spacing_mm = (CORPUS[name].reference, CORPUS[name].prediction), CORPUS[name].spacing_mm
    else:
        (tmp_path / "x").write_bytes(CORPUS[name])
        found = read_label_map(tmp_path / "x")
        maps, spacing_mm = (found.array, np.roll(found.array, 1, axis=0)), found.grid.spacing_mm
    assert_device_equals_oracle(device, *maps, spacing_mm, nonzero_labels(*maps))


@pytest.mark.parametrize("spacing_mm", [(0.8, 0.8, 2.5), (3.0, 0.4, 0.4)])
def test_far_islands_and_empty_predictions_give_the_oracles_numbers(device, spacing_mm):
    reference = two_balls((90, 40, 24), (12, 12, 8), (18, 14, 9), 6)
    prediction = two_balls((90, 40, 24), (13, 12, 8), (78, 30, 18), 4)
    assert_device_equals_oracle(device, reference, prediction, spacing_mm, [(1,)])
    assert_device_equals_oracle(device, reference, np.zeros_like(reference), spacing_mm, [(1,)])


def test_many_cases_come_back_in_order(device):
    cases = [gpu.DeviceCase(*case) for case in label_maps.pairs(seed=49, count=5)]
    labels = [(1,), (2,)]
    found = list(gpu.measure_many(iter(cases), labels=labels, device=device))
    assert len(found) == 5
    for case, measured in zip(cases, found, strict=True):
        alone = measure_pair(
            reference=case.reference, prediction=case.prediction, spacing_mm=case.spacing_mm, labels=labels
        )
        assert_same(measured, alone)


def test_a_kept_reference_gives_the_same_bits_and_is_not_read_again(device):
    labels = [(1,), (2, 3)]
    pairs = list(label_maps.pairs(seed=53, count=3))
    references = gpu.DeviceReferences()
    first = [gpu.DeviceCase(*pair, case_id=str(number)) for number, pair in enumerate(pairs)]
    again = [gpu.DeviceCase(None, *pair[1:], case_id=str(number)) for number, pair in enumerate(pairs)]
    without = list(gpu.measure_many(first, labels=labels, device=device))
    for cases in (first, again):
        found = list(gpu.measure_many(cases, labels=labels, device=device, references=references))
        for one, other in zip(found, without, strict=True):
            assert_same(one, other)
    assert references.find("0", [(1,)]) is None, "other labels are another reference"


def test_references_used_longest_ago_leave_the_card_first(device):
    array, _, _ = next(label_maps.pairs(seed=55, count=1))
    volume = gpu.prepare(array, labels=[(1,)], device=device)
    assert volume.bytes >= array.size
    references = gpu.DeviceReferences(memory_bytes=2 * volume.bytes)
    for case_id in ("a", "b"):
        references.keep(case_id, volume)
    assert references.find("a", [(1,)]) is volume
    references.keep("c", volume)
    assert [references.find(case_id, [(1,)]) is not None for case_id in "abc"] == [True, False, True]


def test_what_is_sent_arrives_in_the_order_it_lay_in(device):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(1, 2, 0)
    arrived = device.take(device.send(array))
    np.testing.assert_array_equal(device.to_host(arrived), array)
    assert np.argsort(arrived.strides).tolist() == np.argsort(array.strides).tolist()


def test_a_case_that_cannot_be_read_stops_the_stream_with_its_own_error(device):
    def cases():
        yield gpu.DeviceCase(*next(label_maps.pairs(seed=51, count=1)))
        raise OSError("the disk went away")

    stream = gpu.measure_many(cases(), labels=[(1,)], device=device)
    next(stream)
    with pytest.raises(OSError, match="the disk went away"):
        next(stream)


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed here")
def test_without_cupy_the_error_says_what_to_install():
    empty = np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(UnavailableBackend, match=r"install assay\[gpu\]"):
        measure_pair(reference=empty, prediction=empty, spacing_mm=(1, 1, 1), labels=[(1,)], backend="gpu")


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="the CUDA compiler is not installed")
def test_the_cuda_compiler_accepts_the_device_source_as_one_text(tmp_path):
    source = tmp_path / "device.cu"
    source.write_text(devices.device_source())
    command = ["nvcc", "-arch=sm_90", "--fmad=false", "-cubin", "-o", str(tmp_path / "device.cubin"), str(source)]
    # The compiler hangs under the library with which `make test-future` moves the clock.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    for name in devices.KERNELS:
        assert f"assay_device_{name}".encode() in (tmp_path / "device.cubin").read_bytes()
