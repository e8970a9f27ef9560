"""Many cases side by side: does `assay evaluate --jobs 2` keep what a single case promises? And what would two processes of
surface-distance need for the same folder?"""

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

from evaluator.bench.cases import Pair
from evaluator.bench.contenders import surface_distance
from evaluator.protocol import Protocol
from evaluator.protocol.quick import quick_protocol
from evaluator.results import CaseResult
from evaluator.scoring.case import score_case
from evaluator.scoring.many_cases import Budget, score_cases
from evaluator.scoring.pairing import CaseFiles

JOBS = 2
_EVALUATE = "from evaluator.commands.evaluate import evaluate; evaluate()"


def measure_throughput(files: dict[str, tuple[Path, Path]], pairs: dict[str, Pair], *, folder: Path, count: int) -> str:
    """`count` cases, all kinds in turn, with two jobs, against the sum of their times one by one."""
    most = max(len(pair.labels) for pair in pairs.values())
    labels = ",".join(f"{value}:structure {value}:2" for value in range(1, most + 1))
    protocol = quick_protocol(labels=labels, metrics="dice,nsd,hd95")
    cases = _many(files, folder, count)
    single = {kind: _single_seconds(protocol, case) for kind, case in zip(files, cases, strict=False)}
    summed = sum(single[kind] for kind, _ in zip(list(files) * count, cases, strict=False))
    start = time.perf_counter()
    results = [
        r for r in score_cases(protocol=protocol, cases=cases, budget=Budget(jobs=JOBS)) if isinstance(r, CaseResult)
    ]
    seconds = time.perf_counter() - start
    failed = sum(bool(result.failure) for result in results)
    return (
        f"{count} cases with {JOBS} jobs: {seconds:.2f} s, one by one on all cores {summed:.2f} s: "
        f"{summed / seconds:.0%} of the summed single-case speed. {failed} failed.\n"
    )


def measure_beside_pool(references: Path, predictions: Path, *, labels: Sequence[int], most: int) -> str:
    """The first `most` pairs of two folders, by the command with two jobs and by two processes of surface-distance.

    The command is timed whole, its start included. The two processes have everything imported before they are timed.
    """
    names = sorted(path.name for path in references.iterdir() if (predictions / path.name).is_file())[:most]
    with tempfile.TemporaryDirectory() as folder:
        sides = [Path(folder) / side for side in ("references", "predictions")]
        for side, original in zip(sides, (references, predictions), strict=True):
            side.mkdir()
            for name in names:
                (side / name).symlink_to((original / name).resolve())
        command = [sys.executable, "-c", _EVALUATE, "--labels"]
        command += [",".join(f"{value}:structure {value}:2" for value in labels), "--jobs", str(JOBS)]
        command += [
            "--references",
            str(sides[0]),
            "--predictions",
            str(sides[1]),
            "-o",
            str(Path(folder) / "scores.csv"),
        ]
        start, before = time.perf_counter(), _processor_seconds_of_children()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        ours, our_work = time.perf_counter() - start, _processor_seconds_of_children() - before
    work = [(references / name, predictions / name, list(labels)) for name in names]
    with get_context("spawn").Pool(JOBS, initializer=_import_surface_distance) as pool:
        pool.map(_nothing, range(JOBS), chunksize=1)
        start = time.perf_counter()
        their_work = sum(pool.starmap(_by_surface_distance, work, chunksize=1))
        theirs = time.perf_counter() - start
    return (
        f"{len(names)} pairs with {JOBS} jobs, the command whole: {ours:.2f} s, {our_work:.2f} s of processors. {JOBS} processes of "
        f"surface-distance: {theirs:.2f} s, {theirs / ours:.0f}×, and {their_work:.2f} s of processors, {their_work / our_work:.0f}×.\n"
    )


def folders_of(files: dict[str, tuple[Path, Path]], folder: Path, *, count: int) -> tuple[Path, Path]:
    """Two folders with `count` pairs, all kinds in turn."""
    kinds = list(files)
    for side, place in (("references", 0), ("predictions", 1)):
        (folder / side).mkdir(parents=True)
        for number in range(count):
            shutil.copyfile(files[kinds[number % len(kinds)]][place], folder / side / f"{number:03}.nii.gz")
    return folder / "references", folder / "predictions"


def _import_surface_distance() -> None:
    surface_distance()


def _nothing(_number: int) -> None:
    time.sleep(0.2)  # so that every process of the pool takes one


def _by_surface_distance(reference: Path, prediction: Path, labels: Sequence[int]) -> float:
    """Processor seconds of one pair."""
    start = time.process_time()
    surface_distance()(reference, prediction, labels)
    return time.process_time() - start


def _processor_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _many(files: dict[str, tuple[Path, Path]], folder: Path, count: int) -> list[CaseFiles]:
    folder.mkdir(parents=True, exist_ok=True)
    kinds = list(files)
    cases = []
    for number in range(count):
        copies = []
        for side, original in zip(("r", "p"), files[kinds[number % len(kinds)]], strict=True):
            copies.append(Path(shutil.copyfile(original, folder / f"{number:03}{side}.nii.gz")))
        cases.append(
            CaseFiles(
                case_id=f"{number:03}", references={"segmentation": copies[0]}, predictions={"segmentation": copies[1]}
            )
        )
    return cases


def _single_seconds(protocol: Protocol, case: CaseFiles) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        score_case(protocol=protocol, case_id=case.case_id, references=case.references, predictions=case.predictions)
        times.append(time.perf_counter() - start)
    return sorted(times)[2]
