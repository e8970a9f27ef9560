"""`make test-future`: the suite in two days, in a year and in ten years.

    make test-future                                        # everything but Docker and the browser, three times
    make test-future ARGS="--by +10y tests/workflow"        # one clock, some tests; pytest's own options follow

Theory of operation. libfaketime (Debian: faketime) moves the wall clock of a process and of those it starts: the tests, web
servers, workers, nodes, and the embedded PostgreSQL and broker, which get its variables on purpose (`config/embedded.py`).
The monotonic clock stays, so waiting takes as long as ever. What keeps the real clock is what no library reaches: the kernel
(times of files), the Docker daemon with its containers, and Chromium. Tests marked `docker` or `browser` would therefore live in
two years at once, which no installation does, and are left out here. A database named by `DATABASE_URL` has its own clock, so
it is refused.
"""

import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CLOCKS = {"+2d": timedelta(days=2), "+1y": timedelta(days=365), "+10y": timedelta(days=3653)}
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "auto", "--dist", "loadgroup"]
LEFT_OUT = "not docker and not browser and not gpu"


def library() -> Path:
    """Where libfaketime is."""
    for folder in (Path("/usr/lib"), Path("/usr/local/lib")):
        for pattern in ("*/faketime/libfaketime.so.1", "faketime/libfaketime.so.1"):
            for path in folder.glob(pattern):
                return path
    raise SystemExit("test-future: libfaketime is missing. Run: sudo apt-get install faketime")


def environment(*, by: timedelta, folder: Path) -> dict[str, str]:
    """What moves the clock of a process and of its children by a whole number of seconds."""
    shim = folder / "sleep.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(shim), str(HERE / "sleep.c")], check=True)
    return {
        **os.environ,
        "LD_PRELOAD": f"{shim} {library()}",
        "FAKETIME": f"{int(by.total_seconds()):+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }


def main(arguments: list[str]) -> int:
    """Run once for each clock. Returns 1 when any run failed."""
    if os.environ.get("DATABASE_URL"):
        raise SystemExit("test-future: DATABASE_URL names a server with a clock of its own. Unset it.")
    clocks = CLOCKS
    if arguments[:1] == ["--by"]:
        if arguments[1:2] == [] or arguments[1] not in CLOCKS:
            raise SystemExit(
                f"test-future: --by {' '.join(arguments[1:2])!r} found, one of {', '.join(CLOCKS)} expected."
            )
        clocks, arguments = {arguments[1]: CLOCKS[arguments[1]]}, arguments[2:]
    failed = []
    with tempfile.TemporaryDirectory(prefix="assay-future-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as `nobody`, who loads it too
        for clock, by in clocks.items():
            print(f"test-future: {clock}, {datetime.now(UTC) + by:%Y-%m-%d}", flush=True)
            command = [*PYTEST, "-m", LEFT_OUT, *arguments]
            if subprocess.run(command, cwd=ROOT, env=environment(by=by, folder=folder), check=False).returncode:
                failed.append(clock)
    print(
        f"test-future: {'failed at ' + ', '.join(failed) if failed else 'passed at ' + ', '.join(clocks)}", flush=True
    )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
