"""FLARE 2022 end to end: accuracy and cost ranked together, on a GPU whose memory is scripted."""

import functools

import numpy as np
import pytest
from django.utils import timezone

import hosting
from assay.leaderboards.models import LeaderboardEntry
from assay.node import agent
from containers.engines.fake import FakeEnding
from containers.machine.devices import GpuSlots
from containers.sandbox import runner
from containers.usage import gpu_monitor
from containers.usage.gpu_monitor import record_gpus
from containers.usage.nvml import open_nvml
from evaluator.protocol import load_named_protocol
from evaluator.ranking import parse_ranking
from gpu_double import GPUS, double, set_gpu

__all__ = ["double", "set_gpu"]  # fixtures

WORST = {"dice": 0.0, "nsd": 0.0, "time": 3600.0, "gpu_auc": 29_491_200.0, "cpu_auc": 360_000.0}


@pytest.fixture
def flare(stage, tmp_path, double, set_gpu, monkeypatch):
    """Two cases of thirteen organs, and a node with two scripted GPUs."""
    protocol = load_named_protocol("flare22")
    folder = hosting.reference_folder(protocol, tmp_path / "bellies", ["b1", "b2"])
    shape = hosting.blocks(protocol, share=1.0)[0].shape
    hosting.volume([np.full(shape, 40, np.int16)], folder / "ct.nii.gz")
    rows = [{"case_id": name, "input:ct": "ct.nii.gz", "reference": f"{name}.nii.gz"} for name in ("b1", "b2")]
    stage.scene.phase.delete()
    phase = hosting.hosted(
        scene=stage.scene, protocol=protocol, folder=hosting.write_manifest(folder, rows), now=timezone.now()
    )
    object.__setattr__(stage.scene, "phase", phase)

    def driver_frees_memory(_seconds: float) -> None:
        for uuid in GPUS:
            set_gpu(uuid)

    slots = GpuSlots(uuids=GPUS, open_reader=functools.partial(open_nvml, double), sleep=driver_frees_memory)
    monkeypatch.setattr(agent, "slots_of_this_host", lambda: slots)
    monkeypatch.setattr(gpu_monitor, "LARGEST_GAP_SECONDS", 10.0)  # a busy machine samples late
    monkeypatch.setattr(runner, "record_gpus", functools.partial(record_gpus, library=double))
    return stage


def algorithm(set_gpu, *, used_mib: int, seconds: float, share: float = 1.0, fails_first: bool = False):
    """Segments as well as `share` says, holding so much GPU memory for so long."""
    protocol, calls = load_named_protocol("flare22"), []

    def run(call):
        calls.append(call)
        if fails_first and len(calls) == 1:
            return FakeEnding(exit_code=1)
        (uuid,) = [entry.partition("=")[2] for entry in call.environment if entry.startswith("NVIDIA_VISIBLE_DEVICES=")]
        set_gpu(uuid, used_mib=500 + used_mib)
        (scan,) = call.input_dir.iterdir()
        name = scan.name.replace("_0000.nii.gz", ".nii.gz")
        hosting.volume(hosting.blocks(protocol, share=share), call.output_dir / name)
        return FakeEnding(seconds=seconds)

    return run


@pytest.fixture
def board(flare, set_gpu):
    """Metrics and rank by algorithm: one uses little, one much, one fails on its first case."""
    scripts = {
        "frugal": algorithm(set_gpu, used_mib=2000, seconds=0.4),
        "greedy": algorithm(set_gpu, used_mib=6144, seconds=0.8),
        "broken": algorithm(set_gpu, used_mib=2000, seconds=0.4, fails_first=True),
    }
    for name, script in scripts.items():
        flare.script = script
        flare.submit(name=name)
        flare.check()
        while flare.run_cases():
            pass
        flare.score()
    flare.rank()
    entries = LeaderboardEntry.objects.select_related("submission", "evaluation")
    return {entry.submission.name: entry for entry in entries}


def test_equal_masks_are_ranked_by_what_they_cost(board):
    """Dice and NSD tie. Time and GPU memory separate them with weights 1 and a half. Ranks per case and metric, as FLARE does."""
    frugal, greedy, broken = (board[name] for name in ("frugal", "greedy", "broken"))
    assert frugal.metrics["dice"]["mean"] == greedy.metrics["dice"]["mean"] == 1.0
    assert frugal.metrics["time"]["mean"] == pytest.approx(0.4)
    assert greedy.metrics["time"]["mean"] == pytest.approx(0.8)
    assert frugal.metrics["gpu_auc"]["mean"] == 0.0, "2000 MiB stay below the 2048 that cost nothing"
    assert 0 < greedy.metrics["gpu_auc"]["mean"] <= (6144 - 2048) * 1.5  # MB · s
    assert [entry.submission.name for entry in sorted(board.values(), key=lambda entry: entry.rank)] == [
        "frugal", "greedy", "broken",
    ]  # fmt: skip
    assert broken.failed_cases == 1


def test_a_failed_case_costs_the_published_worst_values(board):
    stored = board["broken"].evaluation.case_scores.all()
    failed = [row for row in stored if any(reason for *_, reason in row.scores)]
    assert len(failed) == 1
    found = {metric: value for _, metric, value, reason in failed[0].scores if reason == "nonzero_exit"}
    assert found == WORST


def test_the_weights_are_those_of_the_page():
    metrics = load_named_protocol("flare22").ranking
    assert metrics["preset"] == "flare22"
    weights = {spec.id: spec.weight for spec in parse_ranking(metrics).metrics}
    assert weights == {"dice": 1.0, "nsd": 1.0, "time": 1.0, "gpu_auc": 0.5, "cpu_auc": 0.5}
