"""The one record of what a run used: from the runner to the leaderboard it is the same, and nothing else gets in."""

import json
import math
from dataclasses import FrozenInstanceError, fields

import jsonschema
import pytest

from containers.spec import Curve, FailedCase, RoundUsage, Usage, UsageInvalid
from containers.usage_record import KINDS, MOST_POINTS, VERSION

FULL = Usage(
    wall_seconds=12.5, startup_seconds=0.25, cpu_seconds=20.0, cpu_area_percent_seconds=1000.0, cpus=2,
    peak_memory_bytes=2**21, stable_memory_bytes=2**20, memory_area_byte_seconds=1e9,
    memory_curve=Curve(seconds=(0.0, 0.1), values=(1.0, 2.0)), cpu_curve=Curve(seconds=(0.0,), values=(0.5,)),
    sample_count=2, largest_gap_seconds=0.1, is_valid=True, gpu_uuids=("GPU-1",), gpu_baseline_bytes=1,
    gpu_peak_memory_bytes=2, gpu_stable_memory_bytes=3, gpu_memory_area_byte_seconds=4.0,
    gpu_memory_area_over_tolerance_byte_seconds=5.0, gpu_utilisation_area_percent_seconds=6.0,
    gpu_memory_curve=Curve(seconds=(), values=()), gpu_utilisation_curve=Curve(seconds=(1.0,), values=(97.0,)),
    gpu_sample_count=7, gpu_largest_gap_seconds=0.5, gpu_is_valid=False, output_bytes=8, output_files=9, store="ext4",
    failed_cases={"3": FailedCase("output_invalid", "not_integral")},
    rounds=(RoundUsage(verdict="ok", wall_seconds=1.0), RoundUsage(verdict="timeout", reason="time_limit")),
)  # fmt: skip


def test_a_usage_comes_back_from_json_as_it_went():
    assert [one.name for one in fields(Usage) if getattr(FULL, one.name) is None] == []
    assert Usage.from_json(json.loads(json.dumps(FULL.to_json()))) == FULL
    assert Usage.salvaged(json.loads(json.dumps(FULL.to_json()))) == FULL
    assert Usage().to_json() == {"version": VERSION}


def test_a_document_written_before_there_was_a_version_means_the_same():
    document = FULL.to_json()
    del document["version"]
    assert Usage.from_json(document) == FULL


@pytest.mark.parametrize("version", [0, 2, "1", True, 1.5])
def test_another_version_is_refused_and_says_what_to_do(version):
    with pytest.raises(UsageInvalid, match=r"version: found .* expected 1. The sender and the receiver"):
        Usage.from_json({**FULL.to_json(), "version": version})
    assert Usage.salvaged({"wall_seconds": 1.0, "version": 2}) == Usage()


def test_a_newer_node_may_report_more():
    assert Usage.from_json({"wall_seconds": 1.0, "page": "<script>"}) == Usage(wall_seconds=1.0)


BAD = [
    ("wall_seconds", 1e300), ("wall_seconds", -1), ("wall_seconds", "3"), ("wall_seconds", True),
    ("wall_seconds", math.nan), ("wall_seconds", math.inf), ("cpu_seconds", 1e25), ("peak_memory_bytes", 2**60),
    ("peak_memory_bytes", 1.5), ("peak_memory_bytes", False), ("is_valid", 1), ("is_valid", "yes"), ("store", "x" * 61),
    ("store", 3), ("memory_curve", 7), ("memory_curve", {"seconds": [1], "values": []}),
    ("memory_curve", {"seconds": "abc", "values": "abc"}), ("memory_curve", {"seconds": [math.nan], "values": [1]}),
    ("memory_curve", {"seconds": [True], "values": [1]}), ("memory_curve", {"seconds": [-1], "values": [1]}),
    ("memory_curve", {"seconds": [0] * (MOST_POINTS + 1), "values": [0] * (MOST_POINTS + 1)}),
    ("failed_cases", [1]), ("failed_cases", {"0": "xy"}), ("failed_cases", {"0": ["timeout"]}),
    ("failed_cases", {"0": ["timeout", 3]}), ("rounds", {}), ("rounds", [{}]), ("rounds", [{"verdict": 1}]),
    ("rounds", [{"verdict": "ok", "wall_seconds": "1"}]), ("gpu_uuids", "GPU-1"), ("gpu_uuids", [1]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_wrong_type_or_an_impossible_figure_is_refused_by_name_and_left_out_of_old_rows(name, value):
    with pytest.raises(UsageInvalid, match=rf"^{name}: found .*expected"):
        Usage.from_json({"cpus": 2, name: value})
    assert Usage.salvaged({"cpus": 2, name: value}) == Usage(cpus=2)


@pytest.mark.parametrize("document", [None, [], "x", 3])
def test_what_is_no_object_is_no_usage(document):
    with pytest.raises(UsageInvalid, match="expected an object"):
        Usage.from_json(document)
    assert Usage.salvaged(document) == Usage()


def test_the_schema_takes_what_the_record_takes():
    schema = Usage.json_schema()
    assert set(schema["properties"]) == {"version", *KINDS}
    jsonschema.validate(FULL.to_json(), schema)
    for name, value in (("wall_seconds", -1), ("peak_memory_bytes", 1.5), ("rounds", [{}]), ("version", 2)):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({name: value}, schema)


def test_the_figures_of_both_stand_beside_each_other():
    both = Usage(wall_seconds=1.0, cpus=2).beside(Usage(cpus=3, gpu_peak_memory_bytes=0))
    assert both == Usage(wall_seconds=1.0, cpus=3, gpu_peak_memory_bytes=0)


def test_a_usage_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        FULL.wall_seconds = 0.0
