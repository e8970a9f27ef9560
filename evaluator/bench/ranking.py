"""How fast rankings are, beside what they are measured against: `python -m evaluator.bench.ranking [--write]`, part of `make bench`.

`--write` puts the table between the markers in `evaluator/ranking/README.md`.
The other figures are for two shared cores and 20 algorithms × 500 cases: challengeR 1.0.5 with 1000 bootstraps in one process
(test-then-rank extrapolated from 100), and a plain vectorised NumPy prototype.
"""

import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np

from evaluator.ranking import Board, RankingConfig, ScoreTable, analyse, parse_ranking, rank_algorithms, read_scores
from evaluator.ranking.schemes.prepare import prepare
from evaluator.ranking.stability import bootstrap_ranks, draw_clusters
from evaluator.reports import write_report

README = Path(__file__).parents[1] / "ranking" / "README.md"
MARKERS = "<!-- bench: begin -->", "<!-- bench: end -->"
REPLICATES = 1000
SCHEMES: Mapping[str, tuple[Mapping[str, Any], float, float, float]] = {
    "mean-then-rank": ({"type": "value"}, 0.1, 29.8, 0.025),
    "rank-then-mean": ({"type": "mean_of_ranks", "rank_at": ["case"]}, 0.1, 100.9, 0.023),
    "test-then-rank": ({"type": "significance"}, 2.0, 508.0, 2.45),
}
LARGEST_MB = 1024


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


def row(name: str, here: float, bar: float, other: float | None = None, prototype: float | None = None) -> str:
    """A figure beside its bar and beside what others need."""
    verdict = "" if here < bar else " (over the bar)"
    others = ["–" if value is None else f"{value:.3g} s" for value in (other, prototype)]
    return f"| {name} | {here:.3f} s{verdict} | {bar:g} s | {others[0]} | {others[1]} |"


def _bootstraps() -> Iterator[str]:
    table = board(20, 500)
    for name, (scheme, bar, other, prototype) in SCHEMES.items():
        config = parse_ranking({"metrics": ["dice"], "scheme": scheme})

        def work(config: RankingConfig = config) -> None:
            prepared = prepare(table, config)
            bootstrap_ranks(prepared, draw_clusters(prepared, count=REPLICATES, seed=1))

        yield row(f"{name}, 20 × 500, {REPLICATES} bootstraps", seconds(work), bar, other, prototype)


def _large_board() -> Iterator[str]:
    table = board(200, 2000, metrics=("dice", "nsd", "hd95"))
    for name, scheme in {
        "mean ranks": {"type": "mean_of_ranks"},
        "ranks per case": SCHEMES["rank-then-mean"][0],
    }.items():
        work = partial(rank_algorithms, table, parse_ranking({"scheme": scheme}))
        yield row(f"{name}, 200 × 2000 × 3, no bootstrap", seconds(work), 1.0)


def _incremental() -> Iterator[str]:
    metrics = ("dice", "nsd", "hd95")
    schemes = {"ranks per case": SCHEMES["rank-then-mean"][0], "test-then-rank": SCHEMES["test-then-rank"][0]}
    for name, scheme in schemes.items():
        live = Board(
            config=parse_ranking({"scheme": {**scheme, "metrics": ["dice"]}}), table=board(1000, 200, metrics=metrics)
        )
        live.rank()
        numbers = iter(range(100))

        def work(live: Board = live, numbers: Iterator[int] = numbers) -> None:
            number = next(numbers)
            live.put((f"new{number}", f"c{case}", "", metric, 0.8, "") for case in range(200) for metric in metrics)
            live.rank()

        yield row(f"one more on a board of 1000 × 200 × 3, {name}", seconds(work), 0.1)


def _report() -> Iterator[str]:
    """Processor time, which other programs on the machine disturb less than the clock."""
    table = board(20, 500, metrics=("dice", "nsd", "hd95"))
    config = parse_ranking({"metrics": ["dice", "nsd", "hd95"], "scheme": SCHEMES["rank-then-mean"][0]})
    with tempfile.TemporaryDirectory() as folder:
        html = Path(folder) / "report.html"

        def work(figures: Path | None = None) -> None:
            write_report(table, analyse(table, config, bootstrap=REPLICATES), html=html, folder=figures, title="bench")

        yield row(f"report, 20 × 500 × 3, {REPLICATES} bootstraps, processor time", processor_seconds(work), 3.0)
        yield f"| its size | {html.stat().st_size / 1e6:.2f} MB | 1.5 MB | – | – |"
        with_figures = processor_seconds(partial(work, Path(folder) / "figures"))
        yield row("the same with figures as SVG and PNG, processor time", with_figures, 8.0)


def _reading() -> Iterator[str]:
    """A long table of 400 000 rows."""
    algorithms, cases = 200, 2000
    values = np.random.default_rng(0).random((algorithms, cases)).round(6)
    lines = ["algorithm,case,metric,value"]
    lines += [f"a{a},c{c},dice,{values[a, c]}" for a in range(algorithms) for c in range(cases)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.csv"
        path.write_text("\n".join(lines) + "\n", "utf-8")
        config = parse_ranking({"metrics": ["dice"]})
        rows = algorithms * cases
        micro = processor_seconds(lambda: read_scores(path, config), repeats=3) / rows * 1e6
        verdict = "" if micro <= 2 else " (over the bar)"
        yield f"| reading a long table of {algorithms} × {cases}, processor time a row | {micro:.2f} µs{verdict} | 2 µs | – | – |"
        if find_spec("pandas"):
            by_hand = processor_seconds(lambda: _read_by_hand(path), repeats=3) / rows * 1e6
            yield f"| the same by hand with pandas, which checks nothing | {by_hand:.2f} µs | – | – | – |"


def _read_by_hand(path: Path) -> None:
    """What people write: algorithms × cases."""
    import pandas as pd

    frame = pd.read_csv(path)
    frame[frame["metric"] == "dice"].pivot(index="algorithm", columns="case", values="value").to_numpy()


def processor_seconds(work: Callable[[], object], *, repeats: int = 2) -> float:
    """Processor time of the best of a few runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def _host() -> str:
    return f"Python {platform.python_version()}, NumPy {np.__version__}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}."


@click.command(help=__doc__)
@click.option("--write", is_flag=True, help="Keep the table in evaluator/ranking/README.md.")
def main(write: bool) -> None:
    """Print every figure beside its bar."""
    lines = [
        _host(),
        "",
        "| | here | bar | challengeR 1.0.5 | NumPy prototype |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    click.echo("\n".join(lines))
    for part in (_bootstraps, _large_board, _incremental, _reading, _report):
        for line in part():
            click.echo(line)
            lines.append(line)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines.append(f"| memory, the most at any time | {peak:.0f} MB | {LARGEST_MB} MB | – | – |")
    click.echo(lines[-1])
    if write:
        text = README.read_text("utf-8")
        before, rest = text.split(MARKERS[0])
        after = rest.split(MARKERS[1])[1]
        README.write_text("\n".join((before + MARKERS[0], *lines, MARKERS[1])) + after, "utf-8")


if __name__ == "__main__":
    main()
