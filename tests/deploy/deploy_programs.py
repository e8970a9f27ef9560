"""Programs of `deploy/`, which is no package, as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parents[2] / "deploy"


def load(name: str) -> ModuleType:
    """Run `deploy/<name>.py` as a module."""
    spec = importlib.util.spec_from_file_location(f"deploy_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
