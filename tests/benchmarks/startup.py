"""`python tests/benchmarks/startup.py` (part of `make bench`): what the command costs before it does anything.

Processor time, user and system together, of whole processes, beside `python -c "import numpy"` in the same run. The commands take
turns, so that a machine that is busy for a while is busy for all of them. Every program has run once before the first
measurement, and Python may keep its bytecode. The tests in `tests/client/test_start.py` hold what this rests on:
which modules are imported.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from figures import keep

from evaluator.volumes import Grid, write_canonical_channels

ROUNDS = 21
IDENTITY = ((1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 1.0, 0), (0, 0, 0, 1.0))
BARS = {
    "assay --help": 1.0,
    "assay evaluate --help": 1.0,
    "assay evaluate, one tiny case": 2.0,
    "… by a protocol": None,
}
"""How many times the processor time of `import numpy` each may take."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as name:
        numpy_ms, *others_ms = measure(commands(Path(name)), rounds=options.rounds)
    lines = table(numpy_ms, dict(zip(BARS, others_ms, strict=True)))
    print(*lines, sep="\n")
    if options.write:
        keep(lines, program="startup")


def commands(folder: Path) -> list[list[str]]:
    """`import numpy`, and what is measured beside it, in the order of `BARS`."""
    python = sys.executable
    assay = str(Path(python).with_name("assay"))
    evaluate = [assay, "evaluate", *tiny_case(folder)]
    return [
        [python, "-c", "import numpy"],
        [assay, "--help"],
        [assay, "evaluate", "--help"],
        [*evaluate, "--labels", "1:liver:5"],
        [*evaluate, "--protocol", "flare22"],
    ]


def tiny_case(folder: Path) -> list[str]:
    """The options for one case of 16 × 16 × 8 voxels."""
    mask = np.zeros((16, 16, 8), np.uint8)
    mask[4:9, 4:9, 2:6] = 1
    grid = Grid(shape=mask.shape, spacing_mm=(1.0, 1.0, 1.0), affine=IDENTITY)
    for name, moved in (("references", mask), ("predictions", np.roll(mask, 1, axis=0))):
        (folder / name).mkdir()
        with (folder / name / "case.nii.gz").open("wb") as target:
            write_canonical_channels([moved], grid=grid, count=1, target=target)
    places = [f"--{name}={folder / name}" for name in ("references", "predictions")]
    return [*places, "-o", str(folder / "scores.csv")]


def measure(programs: Sequence[Sequence[str]], *, rounds: int) -> list[float]:
    """Median milliseconds of processor time of each program."""
    for program in programs:
        processor_ms(program)
    found = [[processor_ms(program) for program in programs] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*found, strict=True)]


def processor_ms(program: Sequence[str]) -> float:
    """What one run takes, threads included."""
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(program, env=surroundings, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise SystemExit(f"{' '.join(program)} ended with {ended.returncode}:\n{ended.stderr}")
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def table(numpy_ms: float, others_ms: dict[str, float]) -> list[str]:
    """Each program, its milliseconds, and how many times `import numpy` that is, bold where it misses its bar."""
    lines = ["| processor time | ms | times `import numpy` | at most |", "|---|---|---|---|"]
    lines.append(f'| `python -c "import numpy"` | {numpy_ms:.0f} | 1 | |')
    for name, ms in others_ms.items():
        bar, times = BARS[name], f"{ms / numpy_ms:.2f}"
        misses = bar is not None and ms / numpy_ms > bar
        lines.append(f"| {name} | {ms:.0f} | {f'**{times}**' if misses else times} | {bar or ''} |")
    return [*lines, "", f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}."]


if __name__ == "__main__":
    main()
