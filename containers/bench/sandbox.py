"""What the sandbox costs: `python -m containers.bench.sandbox` (part of `make bench`).

Two questions, with the base image on the real engine:

overhead   how much longer than `docker run` of the same image does a case take, everything included: staging, a file system of
           its own, the watcher, telemetry, collecting, removing? Both alternate, medians are compared.
leaks      does anything grow over many tiny cases: containers, volumes, loop devices, mounts, cgroups, descriptors, memory?
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from containers.base.build import base_image
from containers.engines import OWNER_LABEL
from containers.engines.docker import DockerEngine
from containers.sandbox.runner import remove_leftovers, run
from containers.spec import Limits, OutputSpec, RunSpec
from containers.verdicts import Verdict

OWNER = f"bench/{os.getpid()}"
MIB = 2**20
LIMITS = Limits(wall_seconds=30, memory_bytes=256 * MIB, shm_bytes=MIB, tmp_bytes=16 * MIB, output_bytes=16 * MIB)
WARM_CASES = 8
COPY = ("cp", "/input/scan.txt", "/output/result.txt")


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What may not grow."""

    containers: int
    volumes: int
    loop_devices: int
    mounts: int
    cgroups: int
    descriptors: int
    resident_mib: float


def measure_overhead(*, engine: DockerEngine, image_id: str, folder: Path, repeats: int) -> dict[str, float]:
    """Medians in seconds of a bare `docker run`, of a sandboxed case, and their difference."""
    bare, sandboxed = [], []
    for number in range(repeats):
        bare.append(_seconds_of_bare_run(image_id=image_id, folder=folder))
        started = time.perf_counter()
        _run_case(engine=engine, image_id=image_id, folder=folder, number=number)
        sandboxed.append(time.perf_counter() - started)
    medians = {"bare": statistics.median(bare), "sandboxed": statistics.median(sandboxed)}
    return {**medians, "overhead": medians["sandboxed"] - medians["bare"]}


def measure_leaks(
    *, engine: DockerEngine, image_id: str, folder: Path, cases: int
) -> tuple[Footprint, Footprint, float]:
    """The footprint once caches are warm (a tenth of the cases, eight at least) and after all cases, and cases per second."""
    started = time.perf_counter()
    warm = footprint(engine=engine, folder=folder)
    for number in range(cases):
        _run_case(engine=engine, image_id=image_id, folder=folder, number=number)
        if number + 1 == min(cases, max(WARM_CASES, cases // 10)):
            warm = footprint(engine=engine, folder=folder)
    return warm, footprint(engine=engine, folder=folder), cases / (time.perf_counter() - started)


def footprint(*, engine: DockerEngine, folder: Path) -> Footprint:
    """Counted by our own names, so that others may use the same machine meanwhile."""
    loops = subprocess.run(
        ["losetup", "-l", "-n", "-O", "BACK-FILE"], capture_output=True, text=True, check=True
    ).stdout
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    resident_kib = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    return Footprint(
        containers=len(engine.containers_of(OWNER)),
        volumes=len(engine.volumes_of(OWNER)),
        loop_devices=sum(str(folder) in line for line in loops.splitlines()),
        mounts=Path("/proc/mounts").read_text(encoding="utf-8").count(str(folder)),
        cgroups=sum(
            is_abandoned(folder)
            for folder in [*Path("/sys/fs/cgroup").glob("assay-*"), *Path("/sys/fs/cgroup").glob("*/assay-*")]
        ),
        descriptors=len(list(Path("/proc/self/fd").iterdir())),
        resident_mib=round(resident_kib / 1024, 1),
    )


def is_abandoned(cgroup: Path) -> bool:
    """A parent cgroup without a container in it."""
    return not any(child.is_dir() for child in cgroup.iterdir())


def _run_case(*, engine: DockerEngine, image_id: str, folder: Path, number: int) -> None:
    spec = RunSpec(
        name=f"assay-bench-{os.getpid()}-{number}",
        image_id=image_id,
        input_dir=folder / "input",
        outputs=(OutputSpec(name="result", path="result.txt"),),
        limits=LIMITS,
        command=COPY,
    )
    result = run(
        spec, engine=engine, scratch=folder / "scratch", should_cancel=lambda: False, labels={OWNER_LABEL: OWNER}
    )
    if result.verdict is not Verdict.OK:
        raise SystemExit(f"case {number} ended {result.verdict} ({result.reason}); expected ok")


def _seconds_of_bare_run(*, image_id: str, folder: Path) -> float:
    mounts = ["-v", f"{folder / 'input'}:/input:ro", "-v", f"{folder / 'bare'}:/output"]
    started = time.perf_counter()
    subprocess.run(["docker", "run", "--rm", *mounts, image_id, *COPY], check=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What the sandbox costs.")
    parser.add_argument("--repeats", type=int, default=20, help="pairs of runs for the overhead")
    parser.add_argument("--cases", type=int, default=1000, help="tiny cases for the leak check")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as name, DockerEngine() as engine:
        folder = Path(name)
        (folder / "input").mkdir()
        (folder / "bare").mkdir()
        (folder / "input" / "scan.txt").write_text("a scan", encoding="ascii")
        image_id = engine.image_facts(base_image()).image_id
        try:
            overhead = measure_overhead(engine=engine, image_id=image_id, folder=folder, repeats=arguments.repeats)
            _say(
                f"per case: bare docker run {overhead['bare']:.3f} s, sandboxed {overhead['sandboxed']:.3f} s, "
                f"overhead {overhead['overhead']:+.3f} s (bar: 0.35 s)"
            )
            warm, end, rate = measure_leaks(engine=engine, image_id=image_id, folder=folder, cases=arguments.cases)
            _say(f"{arguments.cases} tiny cases, {rate:.1f} per second; after a tenth and after all of them:")
            for key, before in asdict(warm).items():
                _say(f"  {key:<13} {before:>8} {asdict(end)[key]:>8}")
        finally:
            remove_leftovers(engine, owner=OWNER, keep=set(), scratch=folder / "scratch")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
