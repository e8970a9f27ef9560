"""What a run consumed, by the names metrics have."""

from dataclasses import replace

from assay.evaluations.specs import Answer, telemetry_of
from assay.runs.models import CaseRun
from assay.testsets.models import Case
from containers.spec import Usage
from evaluator.scoring.telemetry import lost_to_gaps

USAGE = Usage(
    wall_seconds=12.5,
    cpu_seconds=20.0,
    cpu_area_percent_seconds=1000.0,
    peak_memory_bytes=2 * 2**20,
    gpu_peak_memory_bytes=3 * 2**20,
    gpu_stable_memory_bytes=5 * 2**19,
    gpu_memory_area_over_tolerance_byte_seconds=4 * 2**20,
    is_valid=True,
)


def answer(**fields) -> Answer:
    return Answer(case_run=CaseRun(**fields), played=Case())


def test_usage_becomes_metrics_in_their_units():
    assert telemetry_of(answer(usage=USAGE)) == {
        "wall_seconds": 12.5,
        "cpu_seconds": 20.0,
        "cpu_percent_seconds": 1000.0,
        "peak_memory_mb": 2.0,
        "gpu_memory_mb": 3.0,
        "gpu_stable_memory_mb": 2.5,
        "gpu_memory_mb_seconds": 4.0,
    }


def test_a_gap_spoils_what_was_sampled_and_not_what_was_counted():
    late = replace(USAGE, is_valid=False, gpu_is_valid=False)
    assert telemetry_of(answer(usage=late)) == {
        "wall_seconds": 12.5,
        "cpu_seconds": 20.0,
        "cpu_percent_seconds": 1000.0,
    }
    assert "peak_memory_mb" in telemetry_of(answer(usage=replace(USAGE, gpu_is_valid=False)))


def test_only_what_would_have_been_measured_is_lost_to_a_gap():
    assert lost_to_gaps(USAGE) == set()
    assert lost_to_gaps(Usage(wall_seconds=1.0, is_valid=False)) == set()
    assert lost_to_gaps(replace(USAGE, is_valid=False)) == {"peak_memory_mb"}
    assert lost_to_gaps(replace(USAGE, gpu_is_valid=False)) == {
        "gpu_memory_mb",
        "gpu_stable_memory_mb",
        "gpu_memory_mb_seconds",
    }


def test_a_case_that_never_ran_consumed_nothing():
    assert telemetry_of(None) == {}
