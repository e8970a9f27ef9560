"""The C of the evaluator's kernel: laid out by .clang-format, and a comment above every function."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

KERNEL = Path(__file__).parents[2] / "evaluator" / "kernel"
SOURCES = sorted([*KERNEL.glob("*.c"), *KERNEL.glob("*.h")])
FUNCTION = re.compile(r"^(?!typedef|enum|struct|#|/\*| \*)[A-Za-z_][^;={}]*\([^;{}]*\)\s*\{", re.MULTILINE)


def bare_functions(text: str) -> list[str]:
    """The first line of every function without a comment directly above it."""
    bare = []
    for function in FUNCTION.finditer(text):
        before = text[: function.start()].rstrip("\n").splitlines()
        if not before or not before[-1].rstrip().endswith("*/"):
            bare.append(function[0].splitlines()[0])
    return bare


def test_the_pattern_finds_functions_and_what_stands_above_them():
    text = "/* Adds. */\nstatic int add(int a,\n               int b) {\n}\n\nint bare(void) { return 0; }\n"
    assert bare_functions(text) == ["int bare(void) {"]
    assert sum(len(FUNCTION.findall(path.read_text())) for path in SOURCES) > 120


def test_every_function_has_a_comment_above_it():
    assert [(path.name, line) for path in SOURCES for line in bare_functions(path.read_text())] == []


def test_every_file_begins_with_what_it_is_for():
    assert [path.name for path in SOURCES if not path.read_text().startswith("/* ")] == []


def test_the_formatter_would_change_nothing():
    formatter = shutil.which("clang-format", path=str(Path(sys.executable).parent))
    assert formatter, "clang-format is missing; run: make setup"
    command = [formatter, "--dry-run", "-Werror", *map(str, SOURCES)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, f"run: make format\n{finished.stderr[:2000]}"
