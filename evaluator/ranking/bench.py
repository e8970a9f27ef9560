"""How fast rankings are, beside what they are measured against: `python -m evaluator.ranking.bench`, part of `make bench`.

The other figures are for two shared cores and 20 algorithms × 500 cases: challengeR 1.0.5 with 1000 bootstraps in one process
(test-then-rank extrapolated from 100), and a plain vectorised NumPy prototype.
"""

import os
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from evaluator.ranking import Board, ScoreTable, analyse, parse_ranking, rank_algorithms
from evaluator.ranking.prepare import prepare
from evaluator.ranking.stability import bootstrap_ranks, draw_clusters
from evaluator.reports import write_report

REPLICATES = 1000
SCHEMES: Mapping[str, tuple[Mapping[str, Any], float, float, float]] = {
    "mean-then-rank": ({"type": "value"}, 0.1, 29.8, 0.025),
    "rank-then-mean": ({"type": "mean_of_ranks", "rank_at": ["case"]}, 0.1, 100.9, 0.023),
    "test-then-rank": ({"type": "significance"}, 2.0, 508.0, 2.45),
}
_HEADER = f"{'':<52}{'here':>9}{'bar':>9}{'challengeR':>12}{'prototype':>11}"


def board(algorithms: int, cases: int, *, metrics: tuple[str, ...] = ("dice",), seed: int = 0) -> ScoreTable:
    """Random scores without ties: algorithms of different skill on cases of different difficulty."""
    random = np.random.default_rng(seed)
    skill, difficulty = random.normal(0, 0.02, (algorithms, 1)), random.normal(0, 0.05, cases)
    values = {name: 0.8 + skill + difficulty + random.normal(0, 0.03, (algorithms, cases)) for name in metrics}
    return ScoreTable.from_arrays(
        algorithms=[f"a{index}" for index in range(algorithms)],
        cases=[f"c{index}" for index in range(cases)],
        metrics=values,
    )


def seconds(work: Callable[[], object], *, repeats: int = 5) -> float:
    """The best of a few runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _line(name: str, here: float, bar: float, other: float | None = None, prototype: float | None = None) -> None:
    verdict = "" if here < bar else "  over the bar"
    texts = ["" if value is None else f"{value:.3g} s" for value in (other, prototype)]
    click.echo(f"{name:<52}{here:>7.3f} s{bar:>7.3g} s{texts[0]:>12}{texts[1]:>11}{verdict}")


def _bootstraps() -> None:
    table = board(20, 500)
    for name, (scheme, bar, other, prototype) in SCHEMES.items():
        config = parse_ranking({"metrics": ["dice"], "scheme": scheme})

        def work(config: Any = config) -> None:
            prepared = prepare(table, config)
            bootstrap_ranks(prepared, draw_clusters(prepared, count=REPLICATES, seed=1))

        _line(f"{name}, 20 × 500, {REPLICATES} bootstraps", seconds(work), bar, other, prototype)


def _large_board() -> None:
    table = board(200, 2000, metrics=("dice", "nsd", "hd95"))
    for name, scheme in {
        "mean ranks": {"type": "mean_of_ranks"},
        "ranks per case": SCHEMES["rank-then-mean"][0],
    }.items():
        work = partial(rank_algorithms, table, parse_ranking({"scheme": scheme}))
        _line(f"{name}, 200 × 2000 × 3", seconds(work), 1.0)


def _incremental() -> None:
    metrics = ("dice", "nsd", "hd95")
    schemes = {"ranks per case": SCHEMES["rank-then-mean"][0], "test-then-rank": SCHEMES["test-then-rank"][0]}
    for name, scheme in schemes.items():
        live = Board(
            config=parse_ranking({"scheme": {**scheme, "metrics": ["dice"]}}), table=board(1000, 200, metrics=metrics)
        )
        live.rank()
        numbers = iter(range(100))

        def work(live: Board = live, numbers: Any = numbers) -> None:
            number = next(numbers)
            live.put((f"new{number}", f"c{case}", "", metric, 0.8, "") for case in range(200) for metric in metrics)
            live.rank()

        _line(f"one more of 1000 × 200 × 3, {name}", seconds(work), 0.1)


def _report() -> None:
    table = board(20, 500)
    config = parse_ranking({"metrics": ["dice"], "scheme": SCHEMES["rank-then-mean"][0]})
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"

        def work() -> None:
            write_report(table, analyse(table, config, bootstrap=REPLICATES), html=page, title="bench")

        _line(f"full report, 20 × 500, {REPLICATES} bootstraps", seconds(work, repeats=1), 15.0)


def main() -> None:
    """Print every figure beside its bar."""
    click.echo(_HEADER)
    for part in (_bootstraps, _large_board, _incremental, _report):
        part()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    click.echo(f"{'load of this machine, last minute':<52}{os.getloadavg()[0]:>9.1f}")
    click.echo(f"{'peak memory':<52}{peak:>6.0f} MB{1024:>6} MB")


if __name__ == "__main__":
    main()
