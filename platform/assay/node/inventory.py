"""What a node tells about itself: enough to choose it for a job and to explain its timings, nothing of its users."""

import os
import platform
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assay.handshake import installed_version
from containers.engines.choice import EngineChoice
from containers.machine import gpu_inventory


def take_inventory(*, folder: Path, engine: EngineChoice) -> dict[str, Any]:
    """Hardware, engine and disk as they are now. Raises EngineError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "assay": installed_version(),
        "cpu_count": os.cpu_count(),
        "cpu_model": cpu_model(),
        "memory_bytes": memory_bytes,
        "disk_free_bytes": shutil.disk_usage(folder).free,
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **engine_words(engine),
        **asdict(gpu_inventory()),
    }


def engine_words(engine: EngineChoice) -> dict[str, Any]:
    """The engine, and whether a batch system behind it gives processors and GPUs: this machine's are then not what counts."""
    with engine.open() as opened:
        facts = opened.facts()
        return {"engine": f"{engine.kind} {facts.version}", "is_batch": facts.is_batch}


def describe_engine(engine: EngineChoice) -> str:
    """Name and version, such as "docker 20.10.24"."""
    with engine.open() as opened:
        return f"{engine.kind} {opened.facts().version}"


def cpu_model() -> str:
    """The processor's name, as the kernel has it. Empty where it has none."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="ascii", errors="replace").splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
