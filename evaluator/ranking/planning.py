"""Is the test set big enough? How many cases a difference needs, and which difference these cases can show.

The spread is that of the paired differences of independent units (`unit.cluster`: cases, patients or sites), so a clustered test set
counts its clusters.

    test of means     power from the noncentral t distribution (Student's test of paired differences)
    Wilcoxon          power from mean and variance of the signed-rank statistic under the observed distribution: Lehmann, Nonparametrics
                      (1975), section 4.2; Shieh, Jan and Randles, J. Nonparametr. Stat. 19 (2007). Zero differences say nothing, so the
                      number of cases is divided by the share of those that differ.
    smallest          the smallest true difference found with this power by n cases of this spread: (t + z) · s / √n, for Wilcoxon times
    difference        √(π/3), its efficiency for normal differences
    whole ranking     every neighbouring pair found at once: Bonferroni in level and in power, so the number is an upper bound

A number of cases for the observed difference supposes that the true difference is the observed one. It plans the next test set. It
says nothing new about this one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from evaluator.arrays import Floats
from evaluator.ranking.document.config import RankingConfig, Significance, Test
from evaluator.ranking.engine import headline, rank_algorithms
from evaluator.ranking.errors import TableError
from evaluator.ranking.schemes.prepare import Prepared, prepare
from evaluator.ranking.statistics.distributions import normal_quantile, normal_tail, student_quantile
from evaluator.ranking.statistics.significance import gaps
from evaluator.ranking.table import ScoreTable

POWER = 0.8
FEWEST_UNITS = 5
MOST_CASES = 1_000_000
"""Beyond this a difference counts as none."""
MOST_COMPARED = 2000
"""Differences of which every pair is looked at; of more, evenly spaced ones in sorted order."""


@dataclass(frozen=True, kw_only=True)
class PairPlan:
    """One pair. `needed`: independent units for the stated power at the observed difference and spread, `None` where there is no
    difference, or no number that anybody could collect. `ratio`: units there are over units needed. `smallest`: the
    smallest true difference that these units show with the stated power. `half_widths`: of the interval of the
    difference with n, 2n and 5n units.
    """

    better: str
    worse: str
    units: int
    difference: float
    spread: float
    needed: int | None
    ratio: float | None
    smallest: float
    half_widths: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`winner`: units needed to find the winner better than every other at once. `ranking`: to separate all neighbours at once."""

    power: float
    alpha: float
    test: str
    unit: str
    units: int
    measure: str
    pairs: tuple[PairPlan, ...]
    winner: int | None
    ranking: int | None

    def to_json(self) -> dict[str, Any]:
        """As plain values; what is not a number is `None`."""
        return {**asdict(self), "pairs": [_plain(asdict(pair)) for pair in self.pairs]}


def _plain(pair: dict[str, Any]) -> dict[str, Any]:
    def number(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {
        key: [number(v) for v in value] if isinstance(value, tuple) else number(value) for key, value in pair.items()
    }


def plan_table(
    table: ScoreTable, config: RankingConfig, *, difference: float | None = None, most: int | None = None
) -> Plan:
    """Plan from a table of scores, or from a pilot's: with a `difference`, that true difference is planned for in every pair.

    `most`: only the best few algorithms. Raises `RankingError`, also where there is too little to know a spread.
    """
    if config.significance.test is Test.E_VALUE:
        raise TableError(
            "plan: found the test e_value; expected another: a board that stays open has no planned number"
        )
    prepared = prepare(table, config)
    ranked = [entry.algorithm for entry in rank_algorithms(table, config).entries if entry.rank is not None][:most]
    if len(ranked) < 2 or prepared.unit_count(config.cluster) < FEWEST_UNITS:
        raise TableError(
            f"plan: found {len(ranked)} algorithms and {prepared.unit_count(config.cluster)} {config.cluster}s; expected two algorithms "
            f"and {FEWEST_UNITS} {config.cluster}s at least, to know a spread"
        )
    return plan_cases(prepared, [prepared.algorithms.index(name) for name in ranked], difference=difference)


def plan_cases(prepared: Prepared, order: Sequence[int], *, difference: float | None = None) -> Plan:
    """Plan from scores, `order` best first. With a `difference`, that true difference is planned for in every pair."""
    values, larger_is_better = headline(prepared)
    values = (values if larger_is_better else -values)[list(order)]
    names = [prepared.algorithms[index] for index in order]
    rules = prepared.config.significance
    one_metric = len(prepared.metrics) == 1 and _is_of_values(prepared)
    pairs = tuple(
        _pair(names[i], names[i + 1], gaps(values[i], values[i + 1]), rules, difference=difference)
        for i in range(len(names) - 1)
    )
    return Plan(
        power=POWER,
        alpha=rules.alpha,
        test=rules.test.value,
        unit=prepared.config.cluster,
        units=values.shape[1],
        measure=next(iter(prepared.metrics)) if one_metric else "mean rank of a case",
        pairs=pairs,
        winner=_together([gaps(values[0], other) for other in values[1:]], rules, difference=difference),
        ranking=_together([gaps(a, b) for a, b in pairwise(values)], rules, difference=difference),
    )


def _is_of_values(prepared: Prepared) -> bool:
    return "case" not in prepared.config.scheme.rank_at


def _pair(better: str, worse: str, d: Floats, rules: Significance, *, difference: float | None) -> PairPlan:
    d = d[np.isfinite(d)]
    n = len(d)
    spread = float(d.std(ddof=1)) if n > 1 else math.nan
    needed = cases_needed(d, rules, difference=difference)
    level = rules.alpha if rules.is_one_sided else rules.alpha / 2
    efficiency = math.sqrt(math.pi / 3) if rules.test is Test.WILCOXON else 1.0
    return PairPlan(
        better=better,
        worse=worse,
        units=n,
        difference=float(d.mean()) if n else math.nan,
        spread=spread,
        needed=needed,
        ratio=None if not needed else n / needed,
        smallest=_smallest(spread, n, level=level) * efficiency if n > 1 else math.nan,
        half_widths=tuple(_half_width(spread, n * times) for times in (1, 2, 5)),  # type: ignore[arg-type] # three of them
    )


def cases_needed(
    d: Floats, rules: Significance, *, difference: float | None = None, power: float = POWER, level: float | None = None
) -> int | None:
    """Units for this power, from observed paired differences `d`, shifted to a mean of `difference` where it is given."""
    d = d[np.isfinite(d)]
    if len(d) < 2:
        return None
    level = (rules.alpha if rules.is_one_sided else rules.alpha / 2) if level is None else level
    if difference is not None:
        d = d - d.mean() + difference
    if d.mean() < 0:
        d = -d
    if rules.test is Test.WILCOXON:
        return _first_with(_wilcoxon_power(d, level), power)
    spread = float(d.std(ddof=1))
    if d.mean() == 0:
        return None
    if spread == 0:
        return 2
    effect, steepness = float(d.mean()) / spread, _steepness(d)
    return _first_with(lambda n: t_power(effect, n, level=level, steepness=steepness), power)


def _together(every: Sequence[Floats], rules: Significance, *, difference: float | None) -> int | None:
    """Units for finding all these differences at once with the stated power."""
    if not every:
        return None
    count = len(every)
    level = (rules.alpha if rules.is_one_sided else rules.alpha / 2) / count
    needed = [cases_needed(d, rules, difference=difference, power=1 - (1 - POWER) / count, level=level) for d in every]
    known = [n for n in needed if n is not None]
    return max(known) if len(known) == count else None


def _first_with(power_of: Callable[[int], float], power: float) -> int | None:
    """The smallest n with this power: doubling, then halving the gap."""
    low, high = 2, 4
    while power_of(high) < power:
        low, high = high, high * 2
        if high > MOST_CASES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= power else (middle, high)
    return low if power_of(low) >= power else high


def _steepness(d: Floats) -> float:
    """How much steeper power rises than for normal differences.

    The variance of mean / spread times n is 1 - δγ + δ²(κ - 1)/4 by the delta method, with skewness γ and kurtosis κ. It is
    1 + δ²/2 for normal differences.
    """
    z = (d - d.mean()) / d.std()
    effect = float(d.mean() / d.std(ddof=1))
    variance = 1 - effect * float((z**3).mean()) + effect**2 * (float((z**4).mean()) - 1) / 4
    return math.sqrt((1 + effect**2 / 2) / max(variance, 0.05))


def t_power(effect: float, n: int, *, level: float, steepness: float = 1.0) -> float:
    """Power of the one-sided paired t-test: P(T > t) of the noncentral t, averaged over the distribution of the spread."""
    if n < 2:
        return 0.0
    degrees = n - 1
    limit = student_quantile(level, degrees)
    # The chi distribution of √(V/ν) on a grid that holds all but 1e-12 of it.
    width = 8 / math.sqrt(2 * degrees)
    s = np.linspace(max(1e-9, 1 - width), 1 + width, 801)
    log_density = (degrees - 1) * np.log(s) - degrees * s * s / 2
    weights = np.exp(log_density - log_density.max())
    below = normal_tail(limit * s - effect * math.sqrt(n))
    power = float((weights * below).sum() / weights.sum())
    if steepness == 1.0 or not 0 < power < 1:
        return power
    return float(normal_tail(np.array(-normal_quantile(power) * steepness)))


def _wilcoxon_power(d: Floats, level: float) -> Callable[[int], float]:
    differ = np.sort(d[d != 0])
    differ = differ[:: max(1, len(differ) // MOST_COMPARED)] if len(differ) > MOST_COMPARED else differ
    share = np.count_nonzero(d) / len(d)
    if len(differ) < 2:
        return lambda _: 0.0
    m = len(differ)
    positive = differ > 0
    sums = np.sign(differ[:, None] + differ[None, :]) / 2 + 0.5
    np.fill_diagonal(sums, 0)
    p1 = float(positive.mean())
    p2 = float(sums.sum() / (m * (m - 1)))
    h = sums.sum(axis=1)
    p3 = float((h**2 - (sums**2).sum(axis=1)).sum() / (m * (m - 1) * (m - 2))) if m > 2 else p2**2
    z = normal_quantile(1 - level)
    tied = float(((np.unique(np.abs(differ), return_counts=True)[1] / m) ** 3).sum()) if m < MOST_CASES else 0.0
    tied = tied if tied > m**-2 * 1.001 else 0.0  # no two equal: no correction

    def power(cases: int) -> float:
        n = cases * share
        mean = n * p1 + n * (n - 1) / 2 * p2
        variance = (
            n * p1 * (1 - p1)
            + n * (n - 1) / 2 * (2 * (p1 - p2) ** 2 + 3 * p2 * (1 - p2))
            + n * (n - 1) * (n - 2) * (p3 - p2 * p2)
        )
        null_variance = n * (n + 1) * (2 * n + 1) / 24 - tied * n**3 / 48
        limit = n * (n + 1) / 4 + 0.5 + z * math.sqrt(null_variance)
        if limit > n * (n + 1) / 2:
            return 0.0
        if variance <= 0:
            return float(mean > limit)
        return float(normal_tail(np.array((limit - mean) / math.sqrt(variance))))

    return power


def _smallest(spread: float, n: int, *, level: float) -> float:
    return (student_quantile(level, n - 1) + normal_quantile(POWER)) * spread / math.sqrt(n)


def _half_width(spread: float, n: int) -> float:
    return student_quantile(0.025, n - 1) * spread / math.sqrt(n) if n > 1 else math.nan


def plan_lines(plan: Plan, *, difference: float | None = None) -> list[str]:
    """The plan as sentences for a terminal. `difference`: the true one it was made for, if not the observed ones."""
    unit = f"{plan.unit}s"
    test = plan.test.replace("wilcoxon", "Wilcoxon")
    title = f"{plan.units} {unit}, {test} test at {plan.alpha:g}, power {plan.power:.0%}, measured as {plan.measure}"
    lines = [f"Is the test set big enough? {title}."]
    if difference is not None:
        lines.append(f"The {unit} are those for a true difference of {difference:g}, in {plan.measure}, in every pair.")
    word = "difference" if difference is None else "observed difference"
    for pair in plan.pairs:
        enough = "no number of them would do" if pair.needed is None else f"needs {pair.needed} {unit}"
        ratio = "" if pair.ratio is None else f" (there are {pair.ratio:.2g} times as many)"
        lines.append(
            f"{pair.better} before {pair.worse}: {word} {pair.difference:.3g}, {enough}{ratio}; these {pair.units} show "
            f"{pair.smallest:.3g} or more; interval ± {pair.half_widths[0]:.2g}, with twice as many ± "
            f"{pair.half_widths[1]:.2g}, with five times ± {pair.half_widths[2]:.2g}"
        )
    for what, needed in (("the winner before every other", plan.winner), ("the whole ranking", plan.ranking)):
        lines.append(f"{what}: {'no number would do' if needed is None else f'at most {needed} {unit}'}")
    return lines
