"""Many cases side by side: does `assay evaluate --jobs 2` keep what a single case promises?"""

import shutil
import time
from pathlib import Path

from evaluator.bench.cases import Pair
from evaluator.protocol import Protocol
from evaluator.protocol.quick import quick_protocol
from evaluator.results import CaseResult
from evaluator.scoring.case import score_case
from evaluator.scoring.many_cases import Budget, score_cases
from evaluator.scoring.pairing import CaseFiles

JOBS = 2


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
        f"{summed / seconds:.0%} of the summed single-case speed; {failed} failed.\n"
    )


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
