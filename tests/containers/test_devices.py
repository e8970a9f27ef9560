"""GPUs on a scripted double of the driver's library: the same ctypes calls, no GPU. Marked `gpu`: the real one."""

import dataclasses
import functools
import time

import pytest

from containers.engines.fake import FakeEnding, FakeEngine
from containers.machine.devices import CpuSlots, GpuSlots, NoFreeGpu
from containers.sandbox import runner
from containers.usage.gpu_monitor import GpuRecording, record_gpus
from containers.usage.nvml import GpuReading, NvmlUnavailable, open_nvml
from containers.verdicts import Verdict
from gpu_double import double, set_gpu

A, B = "GPU-aaaa", "GPU-bbbb"
__all__ = ["double", "set_gpu"]  # fixtures
MIB = 2**20


@pytest.fixture
def slots(double, set_gpu):
    waited = []
    return GpuSlots(uuids=(A, B), open_reader=functools.partial(open_nvml, double), sleep=waited.append)


def test_what_the_library_says_about_the_host(double, set_gpu):
    with open_nvml(double) as nvml:
        assert nvml.driver_version() == "580.65.06"
        assert [(gpu.uuid, gpu.name, gpu.memory_bytes) for gpu in nvml.gpus()] == [
            (A, "Double X1", 16384 * MIB),
            (B, "Double X1", 16384 * MIB),
        ]


def test_one_reading(double, set_gpu):
    set_gpu(B, used_mib=1234, utilisation=87, processes=(41, 42))
    with open_nvml(double) as nvml:
        assert nvml.read(B) == GpuReading(used_bytes=1234 * MIB, utilisation_percent=87, process_ids=(41, 42))


def test_a_host_without_a_driver_says_so():
    with pytest.raises(NvmlUnavailable, match="No NVIDIA driver"), open_nvml("libnvidia-ml-absent.so.1"):
        pass


def test_a_lost_gpu_says_so(double, set_gpu):
    set_gpu(A, code=15)
    with open_nvml(double) as nvml, pytest.raises(NvmlUnavailable, match="answered 15"):
        nvml.read(A)


def test_a_gpu_belongs_to_one_run_at_a_time(slots):
    with slots.taken(1) as first, slots.taken(1) as second:
        assert {*first, *second} == {A, B}
        with pytest.raises(NoFreeGpu, match="0 of 2 GPUs are free"), slots.taken(1):
            pass
    assert slots.free_count() == 2


def test_no_gpus_asked_for_needs_no_driver():
    with GpuSlots(uuids=()).taken(0) as uuids:
        assert uuids == ()


@pytest.mark.catalogue(
    48,
    attack="a process is left computing on the GPU",
    verdict="the slot is quarantined",
    guard="baseline before and after",
)
def test_a_slot_that_does_not_come_back_clean_is_quarantined(slots, set_gpu):
    with slots.taken(1) as (uuid,):
        set_gpu(uuid, used_mib=900, processes=(77,))
    (state, other) = slots.states()
    assert state.quarantined_because == "1 processes and 400 MiB were left 10 s after a run"
    assert not state.is_taken
    assert other.quarantined_because == ""
    with slots.taken(1) as uuids:
        assert uuids == (B,)


def test_memory_left_without_a_process_is_quarantined_too(slots, set_gpu):
    with slots.taken(1) as (uuid,):
        set_gpu(uuid, used_mib=500 + 65)
    assert "65 MiB were left" in slots.states()[0].quarantined_because


def test_a_driver_that_needs_a_moment_is_given_it(double, set_gpu):
    def wait(_seconds):
        set_gpu(A)

    slots = GpuSlots(uuids=(A,), open_reader=functools.partial(open_nvml, double), sleep=wait)
    with slots.taken(1):
        set_gpu(A, used_mib=9000, processes=(77,))
    assert slots.free_count() == 1


def test_a_gpu_that_is_busy_before_the_run_is_not_given_away(slots, set_gpu):
    set_gpu(A, processes=(1,))
    with pytest.raises(NoFreeGpu), slots.taken(1):
        pass
    assert slots.states()[0].quarantined_because == "1 processes compute on it before the run"
    assert not slots.states()[0].is_taken


def test_a_gpu_that_stops_answering_during_a_run_is_quarantined(slots, set_gpu):
    with slots.taken(1) as (uuid,):
        set_gpu(uuid, code=15)
    assert "does not answer" in slots.states()[0].quarantined_because


def test_a_run_that_raises_gives_its_gpu_back(slots):
    def use():
        with slots.taken(2):
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        use()
    assert slots.free_count() == 2


def test_runs_are_spread_over_the_cpus_and_share_when_there_are_more_of_them():
    cpus = CpuSlots(cpu_ids=(4, 5, 6))
    with cpus.taken(1) as first, cpus.taken(1) as second:
        assert (first, second) == ((4,), (5,))
        with cpus.taken(2) as third:
            assert third == (4, 6)
        with cpus.taken(8) as everything:
            assert everything == (4, 5, 6)
    with cpus.taken(1) as again:
        assert again == (4,)


def recording(tmp_path, samples):
    path = tmp_path / "samples"
    lines = [
        f'{{"at_seconds": {at}, "used_bytes": {used * MIB}, "utilisation_percent": {busy}}}'
        for at, used, busy in samples
    ]
    path.write_text("\n".join(lines) + '\n{"at_sec')
    return GpuRecording(path.open("rb"))


def test_gpu_usage_by_hand(tmp_path):
    # before the run 500 MiB are in use. The run holds 1000, then 3000 MiB more
    samples = [(9.9, 500, 0), (10.0, 1500, 0), (11.0, 1500, 50), (12.0, 3500, 100)]
    record = recording(tmp_path, samples)
    usage = record.usage(start=9.95, end=12.1, tolerance_bytes=2048 * MIB)
    record._file.close()
    assert usage.gpu_baseline_bytes == 500 * MIB
    assert usage.gpu_peak_memory_bytes == 3000 * MIB
    assert usage.gpu_memory_area_byte_seconds == (1000 + 2000) * MIB
    assert usage.gpu_memory_area_over_tolerance_byte_seconds == 476 * MIB  # (3000 − 2048) / 2 over one second
    assert usage.gpu_utilisation_area_percent_seconds == 25 + 75
    assert usage.gpu_largest_gap_seconds == 1.0
    assert usage.gpu_is_valid


def test_gpu_usage_without_a_baseline_or_with_a_gap_is_invalid(tmp_path):
    late = recording(tmp_path, [(10.5, 500, 0)])
    assert not late.usage(start=10.0, end=11.0).gpu_is_valid
    late._file.close()
    sparse = recording(tmp_path, [(9.0, 500, 0), (12.0, 500, 0)])
    assert not sparse.usage(start=9.5, end=12.0).gpu_is_valid
    sparse._file.close()


def test_the_monitor_samples_at_ten_hertz_in_a_process_of_its_own(double, set_gpu):
    with record_gpus([A, B], library=double) as record:
        start = time.monotonic()
        set_gpu(A, used_mib=1500, utilisation=100)
        while time.monotonic() < start + 1.0:
            time.sleep(0.05)
        usage = record.usage(start=start, end=time.monotonic())
    assert 3 <= usage.gpu_sample_count <= 12
    assert usage.gpu_peak_memory_bytes == 1000 * MIB
    assert max(usage.gpu_utilisation_curve.values) == 50.0  # of two GPUs, one is busy
    assert usage.gpu_is_valid


def test_a_run_on_a_gpu_reports_its_gpu(double, set_gpu, execute, spec_of, monkeypatch):
    monkeypatch.setattr(runner, "record_gpus", functools.partial(record_gpus, library=double))

    def script(call):
        assert f"NVIDIA_VISIBLE_DEVICES={A}" in call.environment
        set_gpu(A, used_mib=4500, utilisation=90)
        (call.output_dir / "result.txt").write_text("a mask")
        return FakeEnding(seconds=0.5)

    result = execute(spec_of(gpu_uuids=(A,)), FakeEngine(script))
    assert result.verdict is Verdict.OK
    assert result.usage.gpu_peak_memory_bytes == 4000 * MIB
    assert result.usage.gpu_uuids == (A,)


def test_a_monitor_that_cannot_start_leaves_an_invalid_measurement_not_a_failed_run(
    execute, spec_of, monkeypatch, capfd
):
    monkeypatch.setattr(runner, "record_gpus", functools.partial(record_gpus, library="libnvidia-ml-absent.so.1"))

    def script(call):
        (call.output_dir / "result.txt").write_text("a mask")
        return FakeEnding()

    result = execute(spec_of(gpu_uuids=(A,)), FakeEngine(script))
    assert result.verdict is Verdict.OK
    assert not result.usage.gpu_is_valid
    assert "No NVIDIA driver" in capfd.readouterr().err


@pytest.fixture
def real_gpu():
    """The UUID of this host's first GPU."""
    try:
        with open_nvml() as nvml:
            gpus = nvml.gpus()
    except NvmlUnavailable as error:
        pytest.skip(f"needs an NVIDIA GPU: {error}")
    return gpus[0].uuid


@pytest.fixture
def run_on_gpu(real_gpu, spec_of, execute, docker_engine, base_image):
    """A Python program in the sandbox with one GPU, on an image that has CuPy: `ASSAY_BASE_IMAGE` names it."""

    def go(program):
        spec = spec_of(image_id=base_image, command=("python3", "-c", program), gpu_uuids=(real_gpu,))
        spec = dataclasses.replace(spec, limits=dataclasses.replace(spec.limits, gpus=1, memory_bytes=8 * 2**30))
        return execute(spec, docker_engine)

    return go


@pytest.mark.gpu
def test_the_real_library_reads_a_real_gpu(real_gpu):
    with open_nvml() as nvml:
        memory_bytes = nvml.gpus()[0].memory_bytes
        reading = nvml.read(real_gpu)
    assert real_gpu.startswith("GPU-")
    assert 0 < reading.used_bytes < memory_bytes
    assert 0 <= reading.utilisation_percent <= 100


@pytest.mark.gpu
def test_the_real_monitor_sees_memory_being_taken(real_gpu):
    cupy = pytest.importorskip("cupy", reason="needs CuPy to take GPU memory")
    cupy.zeros(1).sum()  # the context itself is several hundred MiB: have it in the baseline
    with record_gpus([real_gpu]) as record:
        start = time.monotonic()
        block = cupy.zeros(2**28, dtype=cupy.uint8)
        time.sleep(1.0)
        usage = record.usage(start=start, end=time.monotonic())
        del block
    assert 256 * MIB <= usage.gpu_peak_memory_bytes < 320 * MIB
    assert usage.gpu_is_valid


@pytest.mark.gpu
@pytest.mark.docker
@pytest.mark.catalogue(
    47,
    attack="nvidia-smi of other GPUs and processes",
    verdict="only its own GPU",
    guard="GPU by UUID, compute and utility only",
)
def test_an_algorithm_sees_its_own_gpu_only(run_on_gpu, real_gpu):
    result = run_on_gpu(
        "import subprocess; print(subprocess.run(['nvidia-smi', '-L'], capture_output=True, text=True).stdout)"
    )
    assert [line for line in result.log.decode().splitlines() if "GPU-" in line] == [
        line for line in result.log.decode().splitlines() if real_gpu in line
    ]


@pytest.mark.gpu
@pytest.mark.docker
@pytest.mark.catalogue(
    49, attack="reads GPU memory of the previous run", verdict="zeros", guard="driver clears on allocation; checked"
)
def test_gpu_memory_of_the_previous_run_is_gone(run_on_gpu):
    run_on_gpu("import cupy; block = cupy.full(2**30, 0xA5, dtype=cupy.uint8); cupy.cuda.Device().synchronize()")
    result = run_on_gpu("import cupy; print(int((cupy.empty(2**30, dtype=cupy.uint8) == 0xA5).sum()))")
    assert result.log.split() == [b"0"]


@pytest.mark.gpu
@pytest.mark.docker
@pytest.mark.catalogue(
    50, attack="allocates more GPU memory than there is", verdict="nonzero_exit", guard="the verdict table"
)
def test_running_out_of_gpu_memory_is_the_algorithms_own_failure(run_on_gpu):
    result = run_on_gpu("import cupy; cupy.zeros(2**42, dtype=cupy.uint8)")
    assert result.verdict is Verdict.NONZERO_EXIT
    assert b"OutOfMemory" in result.log
