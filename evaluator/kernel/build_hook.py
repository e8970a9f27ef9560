"""Hatchling's hook: build the kernel on `pip install`. Without a compiler, install anyway and say what serves instead."""

import importlib.util
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KernelBuildHook(BuildHookInterface[Any]):
    """Adds the compiled library to a wheel, or leaves it in the source tree for an editable install."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        compiler = _load_compiler(Path(self.root) / "evaluator" / "kernel" / "compiler.py")
        try:
            library = compiler.compile_kernel()
        except (compiler.CompilerMissingError, OSError) as problem:
            self.app.display_warning(f"The evaluator's kernel was not built, NumPy will serve (slower): {problem}")
            return
        if version != "editable":
            build_data["artifacts"].append(str(library.relative_to(self.root)))
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def _load_compiler(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("assay_kernel_compiler", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"found no kernel sources at {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
