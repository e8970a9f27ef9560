"""What decides a ranking: frozen records, one per section of the `ranking` part of a protocol document.

`parse.py` reads the document into these. `schemes/tree.py` evaluates the tree. Nothing here computes.

    RankingConfig
    ├── metrics        MetricSpec …      direction, bounds, weight, tolerance, rounding, pooled form
    ├── levels         structure → case → patient → site: the order in which scores are aggregated
    ├── cluster        the level that bootstrap and tests treat as independent
    ├── missing        MissingRules      failure class × metric → what a missing value counts as
    ├── scheme         Node              the expression tree, evaluated bottom-up
    ├── ties           Ties              how equal scores share ranks, and what breaks a tie
    ├── significance   Significance      which test, which family, which level
    ├── stability      Stability         bootstrap, intervals, compatibility
    └── submissions, subgroups, multi_task, justification
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

CHALLENGER = "challengeR-1.0.5"
FEW_CLUSTERS = 100
"""Below this many clusters percentile intervals cover too little, and `interval: auto` takes studentised ones."""


class SchemeType(StrEnum):
    """What a node of the expression tree computes."""

    VALUE = "value"
    MEAN_OF_RANKS = "mean_of_ranks"
    MEDIAN_OF_RANKS = "median_of_ranks"
    SUM_OF_RANKS = "sum_of_ranks"
    BORDA = "borda"
    SIGNIFICANCE = "significance"
    LEXICOGRAPHIC = "lexicographic"
    CONSENSUS = "consensus"
    RANK_SCORES = "rank_scores"
    MIN_MAX = "min_max"


class TieMethod(StrEnum):
    """Which rank equal scores share: 1, 2, 2, 4 is `min`."""

    MIN = "min"
    AVERAGE = "average"
    MAX = "max"
    DENSE = "dense"


class RuleKind(StrEnum):
    """What a missing value counts as."""

    NUMBER = "number"
    BOUND = "bound"
    DIAGONAL = "diagonal"
    TIMES_WORST_OF_OTHERS = "times_worst_of_others"
    SAME_AS_OTHERS = "same_as_others"
    RANK_LAST = "rank_last"
    DROP_CASE = "drop_case"
    DROP_PAIR = "drop_pair"
    DISQUALIFY = "disqualify"


class Test(StrEnum):
    """Paired tests of "i is better than j"."""

    __test__ = False  # not a pytest class

    WILCOXON = "wilcoxon"
    T_PAIRED = "t_paired"
    PERMUTATION = "permutation"
    BOOTSTRAP = "bootstrap_diff"
    E_VALUE = "e_value"


class Adjustment(StrEnum):
    """Multiplicity adjustment over the family of all ordered (one-sided) or unordered (two-sided) pairs."""

    NONE = "none"
    HOLM = "holm"
    BH = "bh"
    BONFERRONI = "bonferroni"


class ConsensusMethod(StrEnum):
    """How several rankings become one."""

    EUCLIDEAN = "euclidean"
    KEMENY_LINEAR = "kemeny_linear"
    KEMENY_WEAK = "kemeny_weak"
    BORDA = "borda"
    COPELAND = "copeland"


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """A ratio of sums over cases: each side maps a stored statistic to its coefficient (DSCagg: 2·inter / (ref +
    pred)).
    """

    numerator: Mapping[str, float]
    denominator: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """One metric as the ranking sees it. `tolerance` is subtracted and clipped at zero before anything else happens.

    `scale` is (worst, best): where it is given, values count as the share of the way from the first to the second, clipped to 0…1,
    and larger is better. Direction, bounds and missing rules speak of the values as they were measured. `margin` is the smallest mean
    difference that matters: algorithms that are shown to differ by less are practically equal.
    """

    id: str
    larger_is_better: bool
    bounds: tuple[float | None, float | None] = (None, None)
    unit: str = ""
    weight: float = 1.0
    structures: Mapping[str, float] | None = None
    tolerance: float | None = None
    round_decimals: int | None = None
    scale: tuple[float, float] | None = None
    margin: float | None = None
    pooled: Pooled | None = None

    @property
    def worse_bound(self) -> float | None:
        """The bound a bad value runs into. `None` when the metric is open on that side."""
        return self.bounds[0] if self.larger_is_better else self.bounds[1]

    @property
    def better_bound(self) -> float | None:
        """The best a value can be. `None` when the metric is open on that side."""
        return self.bounds[1] if self.larger_is_better else self.bounds[0]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What one kind of missing value counts as. `number` is the constant or the factor."""

    kind: RuleKind
    number: float | None = None

    def __str__(self) -> str:
        if self.kind is RuleKind.NUMBER:
            return f"{self.number:g}"
        if self.kind is RuleKind.TIMES_WORST_OF_OTHERS:
            return f"{self.number:g} × the worst of the others"
        return self.kind.value.replace("_", " ")


@dataclass(frozen=True, kw_only=True)
class MissingRules:
    """`by_class`: failure class or exact reason → metric id or `*` → rule. `schemes/missing.py` defines the classes."""

    by_class: Mapping[str, Mapping[str, Rule]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """How values of one level become one value of the next: `mean`, `median`, `geometric`, `std`, `sum`, or with a number `q`
    `quantile`, `trimmed` (that share cut off at both ends), `highest` and `lowest` (the mean of that share of the values) and
    `share_above` (the share of values above it).
    """

    kind: str
    q: float = 0.5

    def __str__(self) -> str:
        texts = {
            "quantile": f"quantile {self.q:g}",
            "trimmed": f"mean without {self.q:.0%} at each end",
            "highest": f"mean of the highest {self.q:.0%}",
            "lowest": f"mean of the lowest {self.q:.0%}",
            "share_above": f"share above {self.q:g}",
            "geometric": "geometric mean",
        }
        return texts.get(self.kind, self.kind)


MEAN = Aggregate(kind="mean")
MEDIAN = Aggregate(kind="median")


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node of the expression tree.

    A leaf keeps the axes of `rank_at`, aggregates the others, ranks what is left (or takes the value, or counts
    significant wins when `of` says so) and combines. A node with `children` ranks the children's scores and combines
    those. `nesting`: `nested` averages ranks level by level, `flat` gives every ranked unit the same weight.
    """

    type: SchemeType
    name: str = ""
    metrics: tuple[str, ...] = ()
    structures: tuple[str, ...] = ()
    rank_at: frozenset[str] = frozenset({"metric"})
    of: str = "value"
    aggregate: Mapping[str, Aggregate] = field(default_factory=dict)
    levels: tuple[str, ...] = ()
    nesting: str = "nested"
    normalise: bool = False
    consensus: ConsensusMethod = ConsensusMethod.EUCLIDEAN
    weights: tuple[float, ...] = ()
    children: tuple["Node", ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ties:
    """`digits`: aggregates are rounded to that many significant digits before they are compared. `None` compares
    exactly.
    """

    method: TieMethod = TieMethod.MIN
    tolerance: float = 0.0
    digits: int | None = 12
    breakers: tuple[Node, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Significance:
    """How differences are tested. `repetitions` belongs to the permutation and bootstrap tests."""

    test: Test = Test.WILCOXON
    is_one_sided: bool = True
    adjust: Adjustment = Adjustment.NONE
    alpha: float = 0.05
    ties_unless_significant: bool = False
    repetitions: int = 10_000


@dataclass(frozen=True, kw_only=True)
class Stability:
    """The bootstrap. `compat` reproduces the resampling and missing-rank behaviour of the named tool. `interval: auto` is
    studentised under 100 clusters, where percentiles cover too little, and percentiles above.
    """

    bootstrap: int = 1000
    seed: int = 1
    confidence: float = 0.95
    interval: str = "auto"
    compat: str | None = None
    nested: bool = False
    """Draw the units of the top level first (sites), then the clusters within each (patients)."""
    raters: str | None = None
    """The attribute of a case that names its rater, where raters are drawn too."""

    @property
    def follows_challenger(self) -> bool:
        """Whether results are meant to equal challengeR's, defects included."""
        return self.compat == CHALLENGER


@dataclass(frozen=True, kw_only=True)
class Submissions:
    """Which of a team's submissions enter: `best`, `latest` or `all`. Incomplete ones may be left unranked."""

    per_team: str = "all"
    require_complete: bool = False


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """A case attribute to break results down by. `bands` cut a number into half-open intervals."""

    attribute: str
    bands: tuple[float, ...] = ()
    minimum_cases: int = 10


@dataclass(frozen=True, kw_only=True)
class MultiTask:
    """Several tasks in one challenge: the case attribute that tells them apart, and how their rankings become one."""

    by: str = "task"
    consensus: ConsensusMethod = ConsensusMethod.EUCLIDEAN
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RankingConfig:
    """Everything that decides a ranking. `metrics` may be empty: then every known metric of the table is used."""

    scheme: Node
    version: int = 1
    metrics: tuple[MetricSpec, ...] = ()
    levels: tuple[str, ...] = ("structure", "case")
    cluster: str = "case"
    missing: MissingRules = field(default_factory=MissingRules)
    ties: Ties = field(default_factory=Ties)
    significance: Significance = field(default_factory=Significance)
    stability: Stability = field(default_factory=Stability)
    submissions: Submissions = field(default_factory=Submissions)
    subgroups: tuple[Subgroup, ...] = ()
    multi_task: MultiTask | None = None
    justification: Mapping[str, str] = field(default_factory=dict)
    unconfirmed: tuple[str, ...] = ()
