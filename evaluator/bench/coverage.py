"""Whether intervals, rank sets, plans and claims of equality hold what they promise: `python -m evaluator.bench.coverage [--boards 1000]`.

Every line simulates boards whose truth is known, counts how often the statement is right, and prints the share beside what was promised and
the error of counting. Part of `make bench`. The tests run the same with fewer boards.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import click
import numpy as np

from evaluator.arrays import Floats
from evaluator.ranking import ScoreTable, Significance, parse_ranking
from evaluator.ranking.document.config import Test
from evaluator.ranking.intervals import metric_interval
from evaluator.ranking.planning import cases_needed
from evaluator.ranking.rank_sets import rank_sets
from evaluator.ranking.schemes.prepare import prepare
from evaluator.ranking.stability import draw_clusters
from evaluator.ranking.statistics.equivalence import equivalence_p
from evaluator.ranking.statistics.significance import t_tail

TRUTHS = {
    "all tied": (0, 0, 0, 0),
    "near ties": (0, 0.02, 0.04, 0.06),
    "a clear order": (0, 2, 4, 6),
    "two groups": (0, 0, 3, 3),
}
SIZES = (10, 50, 200)
POPULATIONS: Mapping[str, Callable[[Floats], Floats]] = {
    "uniform": lambda u: np.asarray((u - 0.5) * math.sqrt(12) + 0.3),
    "skewed": lambda u: np.asarray(-np.log1p(-u) - 0.6),
}
"""Quantile functions of paired differences of spread 1."""
SCORES: Mapping[str, tuple[Callable[[np.random.Generator, int], Floats], float]] = {
    "Dice near 0.8": (lambda random, n: random.beta(8, 2, n), 0.8),
    "Dice near its end": (lambda random, n: random.beta(12, 1, n), 12 / 13),
    "a distance with a long tail": (lambda random, n: random.lognormal(0, 0.8, n), math.exp(0.32)),
}
"""Scores of cases and their true mean."""


def line(name: str, hits: int, boards: int, promised: str) -> str:
    """A share with the error of counting, beside what was promised."""
    share = hits / boards
    return (
        f"| {name} | {share:.1%} ± {1.96 * math.sqrt(max(share * (1 - share), 1 / boards) / boards):.1%} | {promised} |"
    )


def _sets(boards: int) -> Iterator[str]:
    random = np.random.default_rng(3)
    for name, truth in TRUTHS.items():
        means = np.array(truth, dtype=np.float64)
        lowest = 1 + (means[None] > means[:, None]).sum(axis=1)
        highest = len(means) - (means[None] < means[:, None]).sum(axis=1)
        for n in SIZES:
            hits = 0
            for board in range(boards):
                noise = random.normal(0, 1, (len(means), n)) * np.array([[0.5], [1], [1], [2]])
                found = rank_sets(
                    means[:, None] + random.exponential(1, n) + noise,
                    larger_is_better=True,
                    confidence=0.95,
                    seed=board,
                )
                hits += bool((found.low <= lowest).all() and (found.high >= highest).all())
            yield line(f"rank sets hold all true ranks: {name}, {n} cases", hits, boards, "at least 95 %")


def _intervals(boards: int) -> Iterator[str]:
    for name, (scores, truth) in SCORES.items():
        for n in SIZES:
            for kind in ("percentile", "bca", "studentised"):
                hits = covered(scores, truth, n=n, kind=kind, boards=boards, seed=4)
                yield line(f"interval of a mean, {name}, {kind}, {n} cases", hits, boards, "95 %")


def covered(
    scores: Callable[[np.random.Generator, int], Floats], truth: float, *, n: int, kind: str, boards: int, seed: int
) -> int:
    """How many boards of one algorithm have the true mean in their interval."""
    random = np.random.default_rng(seed)
    config = parse_ranking({"metrics": [{"id": "value", "direction": "max"}], "scheme": "value"})
    hits = 0
    for board in range(boards):
        table = ScoreTable.from_arrays(
            algorithms=["a"], cases=[f"c{i}" for i in range(n)], metrics={"value": scores(random, n)[None]}
        )
        prepared = prepare(table, config)
        found = metric_interval("value", prepared, draw_clusters(prepared, count=1000, seed=board), kind=kind)
        hits += bool(found.low[0] <= truth <= found.high[0])
    return hits


def _plans(boards: int) -> Iterator[str]:
    """Planned from the distribution itself, so that only the method errs."""
    random = np.random.default_rng(5)
    rules = Significance(test=Test.T_PAIRED)
    grid = (np.arange(1000) + 0.5) / 1000
    for name, drawn in POPULATIONS.items():
        n = cases_needed(drawn(grid), rules) or 0
        hits = sum(t_tail(row) <= rules.alpha for row in drawn(random.random((boards, n))))
        yield line(f"planned power, t-test, {name} differences, {n} cases", hits, boards, "80 %, within 3 points")


DIFFERENCES: Mapping[str, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
    "normal": lambda random, shape: random.normal(0, 1, shape),
    "exponential": lambda random, shape: random.exponential(1, shape) - 1,
    "heavy-tailed (t with 3 degrees)": lambda random, shape: random.standard_t(3, shape),
    "long-tailed (lognormal)": lambda random, shape: random.lognormal(0, 0.8, shape) - math.exp(0.32),
}
"""Paired differences of mean 0, boards × cases."""


def _equality(boards: int) -> Iterator[str]:
    random = np.random.default_rng(8)
    for name, drawn in DIFFERENCES.items():
        for n in (20, 40, 100):
            called = called_equal(drawn(random, (boards, n)))
            yield line(f"called equal though they differ by the margin, {name}, {n} cases", called, boards, "5 %")


def called_equal(noise: Floats) -> int:
    """Of how many boards whose true mean difference is the margin, on the side where skewness misleads, two are called equal."""
    margin = 5 * float(noise.std()) / math.sqrt(noise.shape[1])
    return sum(equivalence_p(row + margin, margin) <= 0.05 for row in noise)


@click.command(help=__doc__)
@click.option("--boards", type=click.IntRange(min=10), default=1000, help="How many boards each line simulates.")
def main(boards: int) -> None:
    """Print every share beside its promise."""
    click.echo("| | found | promised |\n| --- | ---: | ---: |")
    for part in (_plans, _equality, _sets, _intervals):
        for found in part(boards):
            click.echo(found)


if __name__ == "__main__":
    main()
