"""One contender in a process of its own: it warms up, then runs whenever it is told to and answers how long that took.

    python -m evaluator.bench.worker NAME REFERENCE PREDICTION LABELS

One line of JSON per answer: {"seconds", "cpu_seconds", "peak_bytes"}, and the scores in the first.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from evaluator.bench.contenders import CONTENDERS

SHORT_SECONDS = 0.5


def main() -> int:
    name, reference, prediction, values = sys.argv[1:]
    try:
        contender = CONTENDERS[name]()
    except ImportError as missing:
        _answer({"missing": str(missing)})
        return 0
    labels = tuple(int(value) for value in values.split(","))
    paths = Path(reference), Path(prediction)
    scores = contender(*paths, labels)
    _answer({"scores": {str(label): values for label, values in scores.items()}, "peak_bytes": _peak_bytes()})
    for _ in sys.stdin:
        laps = list(_laps(lambda: contender(*paths, labels)))
        seconds, cpu_seconds = (statistics.median(column) for column in zip(*laps, strict=True))
        _answer({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": _peak_bytes()})
    return 0


def _laps(run: Callable[[], object]) -> Iterator[tuple[float, float]]:
    """Wall and processor seconds of one run, or of as many as fit into `SHORT_SECONDS`.

    After the turn of another contender the first run is slow for everybody: processor and system have to fetch the program again.
    That doubles a run of 60 ms and is nothing beside one of ten seconds.
    """
    began = time.perf_counter()
    while True:
        start, cpu_start = time.perf_counter(), time.process_time()
        run()
        yield time.perf_counter() - start, time.process_time() - cpu_start
        if time.perf_counter() - began > SHORT_SECONDS:
            return


def _peak_bytes() -> int:
    """Of this process since it began. What getrusage says starts with the memory of the process that forked it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _answer(record: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
