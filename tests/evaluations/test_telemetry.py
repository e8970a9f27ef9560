"""What a run consumed, by the names metrics have."""

from assay.evaluations.specs import telemetry_of
from assay.runs.models import CaseRun

USAGE = {
    "wall_seconds": 12.5,
    "cpu_seconds": 20.0,
    "cpu_area_percent_seconds": 1000.0,
    "peak_memory_bytes": 2 * 2**20,
    "gpu_peak_memory_bytes": 3 * 2**20,
    "gpu_stable_memory_bytes": 2.5 * 2**20,
    "gpu_memory_area_over_tolerance_byte_seconds": 4 * 2**20,
    "is_valid": True,
}


def test_usage_becomes_metrics_in_their_units():
    assert telemetry_of(CaseRun(usage=USAGE)) == {
        "wall_seconds": 12.5,
        "cpu_seconds": 20.0,
        "cpu_percent_seconds": 1000.0,
        "peak_memory_mb": 2.0,
        "gpu_memory_mb": 3.0,
        "gpu_stable_memory_mb": 2.5,
        "gpu_memory_mb_seconds": 4.0,
    }


def test_a_curve_with_a_gap_is_not_a_measurement_but_the_clock_still_is():
    assert telemetry_of(CaseRun(usage=USAGE | {"is_valid": False})) == {"wall_seconds": 12.5}
    assert "gpu_memory_mb_seconds" not in telemetry_of(CaseRun(usage=USAGE | {"gpu_is_valid": False}))


def test_a_case_that_never_ran_consumed_nothing():
    assert telemetry_of(None) == {}
