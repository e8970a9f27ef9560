"""How much work a ranking asks for, counted before any of it is done.

Theory of operation. A step is what one element of an array costs in one operation, about a nanosecond. `work_of` walks the scheme as
`schemes/tree.py` evaluates it and adds up elements times steps; the prices below were measured once and rounded up, so that the count
says what a ranking costs at most. Replicates of the bootstrap cost the same each: work is a fixed part, and one part per replicate.

A document is refused when it would cost too much for a challenge of `USUAL` size (`check_work`). The ranking then asks again with the
true numbers of algorithms and cases (`replicates_within`), and takes fewer replicates, or none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from evaluator.ranking.document.config import (
    FEW_CLUSTERS,
    Aggregate,
    ConsensusMethod,
    Node,
    RankingConfig,
    SchemeType,
    Significance,
    Test,
)
from evaluator.ranking.document.parse_scheme import walk
from evaluator.ranking.errors import ConfigError
from evaluator.ranking.rank_sets import REPLICATES
from evaluator.ranking.schemes.climb import kept_level
from evaluator.ranking.schemes.consensus import EXACT_LINEAR, EXACT_WEAK, MOST_PASSES
from evaluator.ranking.schemes.tree import is_flat
from evaluator.ranking.table import ScoreTable

MOST_STEPS = 300_000_000_000
"""What one ranking with its analysis may cost: some five minutes, half of what its worker is given."""
FEWEST_REPLICATES = 100
"""Fewer say nothing about a 95 % interval: then none are drawn."""
MOST_PAIRED = 100
"""Algorithms; longer boards are not compared pair by pair in an analysis."""
BATCH_CELLS = 20_000_000
"""Doubles in the largest array of a batch of replicates; each batch evaluates the scheme once."""

SORT = 45  # per element ranked
AGGREGATE = 30  # per element of a whole table, aggregated without draws
MOMENT = 2  # per element and draw: mean, sum, standard deviation
QUANTILE = 14  # per element and draw: median, quantile
FLAT = 5  # per element and draw: mean with every unit side by side
NODE = 200_000  # of the interpreter, per metric of a node
CONSENSUS = 150_000  # of the interpreter, per consensus
PREFERENCE = 6  # per pair and vote
E_STEP = 40_000  # per pair and case: the betting process in the interpreter
MOVE = 15_000  # per member and pass of the local search


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a ranking is of. `units` counts the units of each level above the cases; `structures` is the most that a metric has."""

    algorithms: int
    cases: int
    structures: int = 1
    metrics: int = 1
    units: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, table: ScoreTable, config: RankingConfig) -> "Size":
        """The size of a table of scores."""
        levels = {level for level in (*config.levels, config.cluster) if level not in ("structure", "case")}
        return cls(
            algorithms=len(table.algorithms),
            cases=len(table.cases),
            structures=max((scores.values.shape[1] for scores in table.metrics.values()), default=1),
            metrics=len(table.metrics),
            units={
                level: len({table.attributes.get(case, {}).get(level, "") for case in table.cases}) for level in levels
            },
        )


USUAL = Size(algorithms=60, cases=200)
USUAL_UNITS = 20
"""Of a level whose units are not counted yet."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Steps: to rank once; to examine the ranking (intervals, tests of pairs); and for one replicate more."""

    ranking: float
    examination: float
    replicate: float

    def total(self, replicates: int) -> float:
        """Everything."""
        return self.ranking + self.examination + replicates * self.replicate


def replicates_within(work: Work, *, wanted: int, limit: float = MOST_STEPS) -> int | None:
    """How many of the wanted replicates stay within the limit; 0 where only the rest does, None where not even that does."""
    left = limit - work.total(0)
    if left < 0:
        return None
    fitting = min(wanted, int(left / work.replicate))
    return fitting if fitting >= min(wanted, FEWEST_REPLICATES) else 0


def check_work(config: RankingConfig, size: Size = USUAL, *, path: str = "ranking") -> None:
    """Refuse a ranking that would cost too much. Raises `ConfigError` with what was found, what is allowed and what to lower."""
    work, wanted = work_of(config, size), config.stability.bootstrap
    if work.total(wanted) <= MOST_STEPS:
        return
    rules = config.significance
    has_repetitions = rules.test in (Test.PERMUTATION, Test.BOOTSTRAP)
    fitting = replicates_within(work, wanted=wanted)
    if work.total(0) > MOST_STEPS:
        key = "significance.repetitions" if has_repetitions else "scheme"
        found = f"{work.total(0):.1e} steps without any replicate"
    else:
        key, found = "stability.bootstrap", f"{wanted} replicates, {work.total(wanted):.1e} steps"
    ways = [f"at most {fitting} replicates"] if fitting else []
    ways += ["fewer `significance.repetitions`, or the Wilcoxon test"] if has_repetitions else []
    ways += ["a consensus that is not Kemeny's"] if any(_is_kemeny(node) for node in _nodes(config)) else []
    ways += ["fewer metrics, or fewer parts of the scheme"]
    raise ConfigError(
        f"{path}.{key}: found {found} for {size.algorithms} algorithms and {size.cases} cases; expected at most "
        f"{MOST_STEPS:.1e} steps: {', '.join(ways)}"
    )


def work_of(config: RankingConfig, size: Size) -> Work:
    """What ranking a table of this size costs at most, and what analysing the ranking does."""
    once = _Count(config, size, is_drawn=False)
    drawn = _Count(config, size, is_drawn=True)
    names = [spec.id for spec in config.metrics] or [f"metric {number}" for number in range(size.metrics)]
    table = len(names) * size.algorithms * size.cases * size.structures
    scheme = once.scheme()
    ranking = scheme + 2 * AGGREGATE * table
    if config.significance.ties_unless_significant:
        ranking += once.tests(groups=1)
    interval = sum(drawn.climbed(once.leaf_of(name), structures=size.structures) for name in names)
    examination = 2 * ranking + 5 * AGGREGATE * table + once.neighbours()
    if size.algorithms <= MOST_PAIRED:
        examination += 2 * len(names) * once.tests(groups=1)
        examination += once.pairs * REPLICATES * size.cases * MOMENT
    if config.stability.interval == "bca" or (config.stability.interval == "auto" and size.cases < FEW_CLUSTERS):
        examination += size.cases * interval
    share_of_batch = once.widest(len(names)) / BATCH_CELLS
    pairs = size.algorithms**2
    replicate = drawn.scheme() + interval + scheme * share_of_batch + 5 * pairs + 2 * SORT * size.algorithms
    return Work(ranking=ranking, examination=examination, replicate=replicate)


def _nodes(config: RankingConfig) -> tuple[Node, ...]:
    return tuple(node for root in (config.scheme, *config.ties.breakers) for node in walk(root))


def _is_kemeny(node: Node) -> bool:
    kinds = (ConsensusMethod.KEMENY_LINEAR, ConsensusMethod.KEMENY_WEAK)
    return node.type is SchemeType.CONSENSUS and node.consensus in kinds


@dataclass(frozen=True)
class _Count:
    """Steps of one evaluation of the scheme: of the data as they are, or of one replicate."""

    config: RankingConfig
    size: Size
    is_drawn: bool

    def units(self, level: str | None) -> int:
        if level is None:
            return 1
        return self.size.cases if level == "case" else self.size.units.get(level, min(USUAL_UNITS, self.size.cases))

    @property
    def most_units(self) -> int:
        levels = [level for level in self.config.levels if level not in ("structure", "case")]
        return max((self.units(level) for level in levels), default=1)

    def widest(self, metrics: int) -> float:
        """Doubles of one replicate in the largest array: as `stability.widest_row` counts them."""
        size, structures = self.size, self.size.structures * metrics
        widest = structures * max(size.algorithms * self.most_units, size.cases)
        if any(is_flat(node) and kept_level(node) == "case" for node in _nodes(self.config)):
            widest = max(widest, structures * size.algorithms * size.cases)
        return max(widest, size.algorithms**2)

    @property
    def pairs(self) -> float:
        return self.size.algorithms * (self.size.algorithms - 1) / 2

    def scheme(self) -> float:
        """The scheme and whatever breaks its ties."""
        roots = (self.config.scheme, *self.config.ties.breakers)
        return sum(self.node(root) + 3 * SORT * self.size.algorithms for root in roots)

    def node(self, node: Node) -> float:
        if node.children:
            below = sum(self.node(child) + SORT * self.size.algorithms for child in node.children)
            return below + self.combined(node, votes=len(node.children))
        names = node.metrics or tuple(spec.id for spec in self.config.metrics) or ("",) * self.size.metrics
        return len(names) * self.leaf(node) + self.combined(node, votes=len(names) * self.votes(node))

    def votes(self, node: Node) -> int:
        """Ranked units of one metric."""
        return self.structures(node) * self.units(kept_level(node))

    def structures(self, node: Node) -> int:
        """What is left of the structures where ranks are taken."""
        return self.size.structures if "structure" in node.rank_at else 1

    def leaf(self, node: Node) -> float:
        """One metric."""
        size = self.size
        cells = size.algorithms * size.cases * size.structures
        interpreter = 0 if self.is_drawn else NODE
        if node.type is SchemeType.SIGNIFICANCE or node.of == "significance":
            tested = self.structures(node) * self.tests(groups=self.units(kept_level(node)))
            return interpreter + tested + (0 if self.is_drawn else AGGREGATE * cells)
        if node.type in (SchemeType.VALUE, SchemeType.LEXICOGRAPHIC):
            return interpreter + self.climbed(node, structures=size.structures)
        ranked = SORT * size.algorithms * self.votes(node)
        if self.is_drawn and self.config.stability.follows_challenger:  # replicates one by one
            return NODE + 3 * SORT * cells
        if self.is_drawn and kept_level(node) == "case":
            return MOMENT * size.algorithms * self.votes(node)
        return interpreter + self.climbed(node, structures=size.structures) + ranked

    def climbed(self, node: Node, *, structures: int) -> float:
        """A metric aggregated from its cases to the top."""
        cells = self.size.algorithms * self.size.cases * structures
        return cells * (_per_draw(node.aggregate) if self.is_drawn else AGGREGATE)

    def combined(self, node: Node, *, votes: int) -> float:
        """The ranks of all units made one score."""
        count = self.size.algorithms
        if node.type is SchemeType.CONSENSUS:
            return CONSENSUS + count * votes * SORT + count**2 * votes * PREFERENCE + _kemeny(node, count)
        if node.type is SchemeType.MEDIAN_OF_RANKS:
            return QUANTILE * count * votes
        return FLAT * count * votes

    def tests(self, *, groups: int) -> float:
        """All pairs on one structure, in so many groups of cases."""
        rules, size = self.config.significance, self.size
        overhead = SORT * size.algorithms**2 * groups
        match rules.test:
            case Test.WILCOXON if self.is_drawn:
                return overhead + self.pairs * (8 * size.cases + 600 * groups)
            case Test.WILCOXON:
                return overhead + self.pairs * (SORT * size.cases + 100 * groups)
            case Test.E_VALUE:
                return overhead + self.pairs * size.cases * E_STEP
            case Test.T_PAIRED:
                return overhead + self.pairs * (10 * size.cases + 150_000 * groups)
            case _:
                rows = _resampling(rules, cases=size.cases, rows=size.algorithms, groups=groups)
                return overhead + rows + rules.repetitions * self.pairs * (25 * groups + 0.3 * size.cases)

    def neighbours(self) -> float:
        """Each algorithm against the next."""
        rules, size = self.config.significance, self.size
        if rules.test in (Test.PERMUTATION, Test.BOOTSTRAP):
            return _resampling(rules, cases=size.cases, rows=size.algorithms, groups=1)
        return size.algorithms * (
            SORT * size.cases + 150_000 + (E_STEP * size.cases if rules.test is Test.E_VALUE else 0)
        )

    def leaf_of(self, name: str) -> Node:
        """The node that aggregates a metric."""
        leaves = [node for node in walk(self.config.scheme) if not node.children]
        return next((node for node in leaves if not node.metrics or name in node.metrics), leaves[0])


def _per_draw(aggregate: Mapping[str, Aggregate]) -> int:
    return QUANTILE if any(how.kind in ("median", "quantile") for how in aggregate.values()) else MOMENT


def _resampling(rules: Significance, *, cases: int, rows: int, groups: int) -> float:
    """Making the resamples, and multiplying each row of differences with them."""
    made = 10_000 * groups if rules.test is Test.BOOTSTRAP else 0
    return rules.repetitions * (made + 15 * cases + 9 * rows * cases)


def _kemeny(node: Node, count: int) -> float:
    """An exact search in every component, or a local one through all; never both of the same algorithms."""
    if not _is_kemeny(node):
        return 0
    local = MOST_PASSES * count * (MOVE + 20 * count)
    if node.consensus is ConsensusMethod.KEMENY_LINEAR:
        size, whole = min(count, EXACT_LINEAR), 2.0**EXACT_LINEAR * EXACT_LINEAR
        exact = 13.0 * (2**size * size if count == size else -(-count // size) * whole)
    else:
        size = min(count, EXACT_WEAK)
        exact = 100.0 * (-(-count // size)) * 3**size
    return max(local, exact)
