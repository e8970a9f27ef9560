"""What `containers` offers to other rooms: a change here is a change of the room's contract."""

import ast
import importlib
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OFFERED = {
    "containers.spec": {
        "MEBIBYTE", "MODEL_FOLDER", "CollectedOutput", "Curve", "FailedCase", "Limits", "OutputProblem", "OutputSpec", "ReadOnlyFolder", "RoundUsage",
        "RunResult", "RunSpec", "Usage", "UsageInvalid", "is_model_folder",
    },
    "containers.verdicts": {"Ending", "Fault", "Reason", "Verdict", "judge", "most_important"},
    "containers.errors": {
        "ContainerStuck", "ContainersError", "DiskFull", "EngineError", "EngineRefused", "EngineUnreachable", "ImageAbsent",
        "NameTaken", "StartRefused", "WorkspaceError", "lacks_space",
    },
    "containers.log_text": {"readable"},
    "containers.waiting": {"NotStartedError", "Patience", "Program", "patience_from", "processor_seconds", "wait_until_ready"},
    "containers.engines": {
        "OWNER_LABEL", "STORES_LABEL", "WALL_LABEL", "ContainerBody", "ContainerState", "Engine", "EngineFacts", "ImageFacts", "Measured", "OwnedContainer",
    },
    "containers.engines.choice": {"EngineChoice", "EngineKind"},
    "containers.intake": {
        "ImageInvalid", "IntakeLimits", "IntakeReport", "IntakeUnavailable", "KeptImage", "Program", "Reason", "inspect_archive", "load_archive",
    },
    "containers.sandbox": {"remove_leftovers", "run", "sweep"},
    "containers.machine": {
        "CpuSlots", "Finding", "GpuInventory", "GpuSlots", "ImageBusy", "ImageCache", "Level", "NoFreeGpu", "borrowed_image", "examine", "gpu_inventory",
        "has_image", "report", "slots_of_this_host",
    },
}  # fmt: skip


@pytest.mark.parametrize("module", sorted(OFFERED))
def test_a_public_module_offers_these_names(module):
    imported = importlib.import_module(module)
    assert set(imported.__all__) == OFFERED[module]
    assert [name for name in imported.__all__ if not hasattr(imported, name)] == []


def test_the_platform_takes_only_what_is_offered():
    taken = [
        (path.relative_to(ROOT).as_posix(), node.module, alias.name)
        for path in (ROOT / "platform").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "containers"
        for alias in node.names
    ]
    assert len(taken) > 50
    assert [use for use in taken if use[2] not in OFFERED.get(use[1], set())] == []


def test_every_other_module_of_containers_is_protected():
    """A new file is the room's own until it is offered here."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (protected,) = (
        one["protected_modules"] for one in contracts if "containers.engines.docker" in one.get("protected_modules", ())
    )
    engines = {f"containers.engines.{path.stem}" for path in (ROOT / "containers" / "engines").glob("[a-z]*.py")}
    assert engines - set(protected) == engines & set(OFFERED)
