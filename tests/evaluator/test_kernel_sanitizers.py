"""The kernel under AddressSanitizer, UndefinedBehaviourSanitizer and valgrind, on sound and on damaged input."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evaluator.kernel.compiler import SOURCES, compile_kernel, find_compiler

ROOT = Path(__file__).parents[2]
EXERCISE = Path(__file__).with_name("kernel_exercise.py")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler here"),
]


def exercise(
    library: Path, *, prefix: tuple[str, ...] = (), times: int = 12, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, sys.executable, str(EXERCISE), str(library), str(times)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONMALLOC": "malloc"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def test_the_address_and_undefined_behaviour_sanitizers_find_nothing(tmp_path):
    flags = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    library = compile_kernel(destination=tmp_path / "sanitized.so", extra_flags=flags)
    runtime = subprocess.run(
        [find_compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(runtime).is_absolute():
        pytest.skip("the compiler has no AddressSanitizer runtime")
    finished = exercise(library, LD_PRELOAD=runtime, ASAN_OPTIONS="detect_leaks=0")
    assert finished.returncode == 0, finished.stderr[-4000:]
    assert finished.stdout.endswith("done\n")
    assert "compiled kernel serves" in finished.stdout


@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-gcc") is None,
    reason="no compiler for ARM here: apt-get install gcc-aarch64-linux-gnu",
)
def test_the_kernel_compiles_for_64_bit_arm_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "aarch64-linux-gnu-gcc")
    assert compile_kernel(destination=tmp_path / "arm.so", extra_flags=["-Wextra", "-Wno-sign-compare", "-Werror"])


def test_the_kernel_compiles_here_without_a_warning(tmp_path):
    assert compile_kernel(destination=tmp_path / "here.so", extra_flags=["-Wextra", "-Wno-sign-compare", "-Werror"])


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="no valgrind here: apt-get install valgrind")
def test_valgrind_finds_no_error_that_starts_in_the_kernel(tmp_path):
    library = compile_kernel(destination=tmp_path / "debuggable.so", extra_flags=["-g", "-O1"])
    finished = exercise(library, prefix=("valgrind", "--quiet", "--error-limit=no", "--num-callers=30"), times=3)
    assert finished.stdout.endswith("done\n"), finished.stderr[-4000:]
    ours = [line for line in finished.stderr.splitlines() if ".c:" in line and "debuggable" not in line]
    kernel_sources = (*SOURCES, "nearest.h")
    assert not [line for line in ours if any(name in line for name in kernel_sources)], finished.stderr[-4000:]
