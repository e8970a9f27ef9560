"""Two GPUs that are not there: a scripted double of the driver's library (`containers/nvml_double.c`), compiled for the tests."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

GPUS = ("GPU-aaaa", "GPU-bbbb")
SOURCE = Path(__file__).with_name("containers") / "nvml_double.c"


@pytest.fixture(scope="session")
def double(tmp_path_factory) -> str:
    """The compiled library."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build the double of the driver's library")
    library = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(library), str(SOURCE)], check=True)
    return str(library)


@pytest.fixture
def set_gpu(tmp_path, monkeypatch) -> Callable[..., None]:
    """Give a GPU its state: return code, used MiB, utilisation, process IDs."""
    folder = tmp_path / "gpus"
    folder.mkdir()
    monkeypatch.setenv("NVML_DOUBLE", str(folder))

    def go(uuid, *, code=0, used_mib=500, utilisation=0, processes=()):
        text = " ".join(str(part) for part in (code, used_mib, utilisation, *processes))
        (folder / f"{uuid}.new").write_text(text)
        (folder / f"{uuid}.new").rename(folder / uuid)

    for uuid in GPUS:
        go(uuid)
    return go
