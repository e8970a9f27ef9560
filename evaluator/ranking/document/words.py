"""A ranking configuration in plain words: for rules pages and reports, written by the same data that decides the ranking."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluator.ranking.document.config import (
    FEW_CLUSTERS,
    Adjustment,
    MetricSpec,
    Node,
    RankingConfig,
    SchemeType,
    Test,
    TieMethod,
)


@dataclass(frozen=True)
class Item:
    """One line of the checklist: what was asked, what the configuration says. `is_stated` is false where it is silent."""

    heading: str
    text: str
    is_stated: bool = True


def describe(config: RankingConfig) -> tuple[Item, ...]:
    """The items of the BIAS checklist (Maier-Hein 2020) that a ranking configuration can answer."""
    why = config.justification
    return (
        Item(
            "Metrics", "; ".join(_metric(spec) for spec in config.metrics) or "every metric of the scores that is known"
        ),
        _reason("Why these metrics", why.get("metrics", "")),
        Item("Ranking method", in_words(config)),
        _reason("Why this ranking", why.get("ranking", "")),
        Item("Missing values", _missing(config), is_stated=bool(config.missing.by_class)),
        _reason("Why this missing rule", why.get("missing", "")),
        Item("Units", _units(config)),
        *_several_tasks(config),
        Item("Statistical method", _tests(config)),
        Item("Variability analysis", _stability(config)),
        *_groups(config),
        Item("Submissions", _submissions(config)),
        Item("Unconfirmed", "; ".join(config.unconfirmed) or "nothing: every setting is the organizers' own"),
    )


def in_words(config: RankingConfig) -> str:
    """How the ranking is made, ties included."""
    return f"{sentence(config.scheme, config)} {_ties(config)}"


def _several_tasks(config: RankingConfig) -> tuple[Item, ...]:
    rules = config.multi_task
    if rules is None:
        return ()
    weights = ", ".join(f"{name} {weight:g}" for name, weight in rules.weights.items())
    how = f"each {rules.by} is ranked apart; {rules.consensus.value.replace('_', ' ')} consensus of the rankings"
    return (Item("Several tasks", f"{how}; weights {weights}, others 1" if weights else how),)


def _groups(config: RankingConfig) -> tuple[Item, ...]:
    if not config.subgroups:
        return ()
    named = [
        f"{group.attribute}{_cuts(group.bands)}, groups of at least {group.minimum_cases} cases"
        for group in config.subgroups
    ]
    return (
        Item("Subgroups", f"{'; '.join(named)}. Kruskal–Wallis, then Mann–Whitney of every pair (Benjamini–Hochberg)"),
    )


def _cuts(bands: Sequence[float]) -> str:
    return f" (cut at {_join([f'{cut:g}' for cut in bands])})" if bands else ""


def _reason(heading: str, text: str) -> Item:
    return Item(heading, text or "not stated by the organizers", is_stated=bool(text))


def sentence(node: Node, config: RankingConfig) -> str:
    """What a node of the scheme does."""
    if node.children:
        return _of_children(node, config)
    metrics = _named_metrics(node, config)
    match node.type:
        case SchemeType.VALUE:
            return f"Rank the {_aggregated(node)} of {metrics}."
        case SchemeType.MIN_MAX:
            return f"Scale the {_aggregated(node)} of {metrics} from 0 (the worst of the teams) to 1 (the best); rank the mean."
        case SchemeType.SIGNIFICANCE:
            return f"Rank by the share of the other algorithms that one is significantly better than in {metrics}."
        case SchemeType.LEXICOGRAPHIC:
            return f"Rank the {_aggregated(node)} of the first of {metrics}; the next ones break ties in turn."
    what = "number of significant wins" if node.of == "significance" else _aggregated(node, kept=node.rank_at)
    places = [level for level in (*node.levels, "metric") if level in node.rank_at]
    combined = {
        SchemeType.MEAN_OF_RANKS: "take the mean of the ranks",
        SchemeType.MEDIAN_OF_RANKS: "take the median of the ranks",
        SchemeType.SUM_OF_RANKS: "add the ranks",
        SchemeType.BORDA: "count Borda points (how many others each is ranked before, half for a tie)",
        SchemeType.CONSENSUS: f"merge the rankings ({node.consensus.value.replace('_', ' ')} consensus)",
        SchemeType.RANK_SCORES: "map the ranks to scores from 1 (first) to 0.1 (last) and take their geometric mean",
    }[node.type]
    flat = " over all of them at once" if node.nesting == "flat" else ""
    teams = ", divide by the number of teams" if node.normalise else ""
    return f"For each {_join(places)} rank the {what} of {metrics}; {combined}{flat}{teams}; rank the result."


def _named_metrics(node: Node, config: RankingConfig) -> str:
    """`dice and time (weight 0.5) of GTVn`: what a node works on, with what is not as usual."""
    specs = [spec for spec in config.metrics if not node.metrics or spec.id in node.metrics]
    names = [
        f"{spec.id}{' pooled over cases' if spec.pooled else ''}{f' (weight {spec.weight:g})' if spec.weight != 1 else ''}"
        for spec in specs
    ]
    return f"{_join(names or ['every metric'])}{f' of {_join(node.structures)}' if node.structures else ''}"


def _of_children(node: Node, config: RankingConfig) -> str:
    inner = " ".join(f"({index}) {sentence(child, config)}" for index, child in enumerate(node.children, 1))
    how = {
        SchemeType.LEXICOGRAPHIC: "Rank by the first; the next ones break ties in turn",
        SchemeType.VALUE: "Rank the mean of",
        SchemeType.MIN_MAX: "Scale each from 0 (the worst of the teams) to 1 (the best), and rank the mean of",
        SchemeType.RANK_SCORES: "Map the ranks of each to scores from 1 to 0.1, and rank the geometric mean of",
        SchemeType.CONSENSUS: f"Merge by {node.consensus.value.replace('_', ' ')} consensus",
    }.get(node.type, f"Combine by {node.type.value.replace('_', ' ')}")
    return f"{how}: {inner}"


def _aggregated(node: Node, *, kept: Sequence[str] | frozenset[str] = ()) -> str:
    steps = []
    reached = False
    for level in node.levels:
        reached = reached or (level != "structure" and level in kept)
        if level not in kept and not (reached and level != "structure"):
            how = node.aggregate.get(level)
            steps.append(f"{how or 'mean'} over {level}s")
    return " of the ".join(reversed(steps)) or "value"


def _metric(spec: MetricSpec) -> str:
    parts = [f"{spec.id} ({'larger' if spec.larger_is_better else 'smaller'} is better"]
    low, high = spec.bounds
    if low is not None or high is not None:
        parts.append(
            f"from {'−∞' if low is None else f'{low:g}'} to {'∞' if high is None else f'{high:g}'} {spec.unit}".strip()
        )
    if spec.weight != 1:
        parts.append(f"weight {spec.weight:g}")
    if spec.tolerance is not None:
        parts.append(f"the first {spec.tolerance:g} {spec.unit} are free".replace("  ", " "))
    if spec.round_decimals is not None:
        parts.append(f"rounded to {spec.round_decimals} decimals")
    if spec.scale is not None:
        parts.append(f"{spec.scale[0]:g} counts as 0 and {spec.scale[1]:g} as 1")
    if spec.margin is not None:
        parts.append(f"differences below {spec.margin:g} do not matter")
    if spec.pooled is not None:
        parts.append("pooled over cases")
    return ", ".join(parts) + ")"


def _ties(config: RankingConfig) -> str:
    shared = {
        TieMethod.MIN: "Equal scores share the best of their ranks (1, 2, 2, 4)",
        TieMethod.AVERAGE: "Equal scores share the mean of their ranks",
        TieMethod.MAX: "Equal scores share the worst of their ranks",
        TieMethod.DENSE: "Equal scores share a rank and leave no gap (1, 2, 2, 3)",
    }[config.ties.method]
    within = f"; scores within {config.ties.tolerance:g} are equal" if config.ties.tolerance else ""
    names = [breaker.name or breaker.type.value for breaker in config.ties.breakers]
    broken = f"; ties are broken by {_join(names)}" if names else ""
    tested = "; algorithms not significantly worse than the leader of their group share its rank"
    return f"{shared}{within}{broken}{tested if config.significance.ties_unless_significant else ''}."


def _missing(config: RankingConfig) -> str:
    if not config.missing.by_class:
        return "no rule is stated: a missing value ranks behind every number"
    parts = []
    for name, by_metric in config.missing.by_class.items():
        rules = ", ".join(f"{'' if metric == '*' else metric + ' '}{rule}" for metric, rule in by_metric.items())
        parts.append(f"{name.replace('_', ' ')}: {rules}")
    return "; ".join(parts)


def _units(config: RankingConfig) -> str:
    return f"aggregated over {_join(config.levels)} in this order; {config.cluster}s count as independent"


def _tests(config: RankingConfig) -> str:
    rules = config.significance
    test = {
        Test.WILCOXON: "Wilcoxon signed-rank test (zeros dropped, continuity correction, normal approximation)",
        Test.T_PAIRED: "paired t-test",
        Test.PERMUTATION: f"sign-flip permutation test ({rules.repetitions} permutations)",
        Test.E_VALUE: "sign test by betting, valid after every case (e-values)",
        Test.BOOTSTRAP: f"bootstrap of the mean difference ({rules.repetitions} samples)",
    }[rules.test]
    family = "all k(k − 1) ordered pairs" if rules.is_one_sided else "all k(k − 1)/2 pairs"
    adjusted = {
        Adjustment.NONE: f"no adjustment for multiplicity in the ranking (maps: Holm over {family} of a metric)",
        Adjustment.HOLM: f"Holm adjustment over {family} of a metric",
        Adjustment.BH: f"Benjamini–Hochberg adjustment over {family} of a metric",
        Adjustment.BONFERRONI: f"Bonferroni adjustment over {family} of a metric",
    }[rules.adjust]
    neighbours = "neighbouring ranks: Holm over the k − 1 pairs"
    return f"{'one' if rules.is_one_sided else 'two'}-sided {test}, {adjusted}, α = {rules.alpha:g}; {neighbours}"


def _stability(config: RankingConfig) -> str:
    rules = config.stability
    kind = {"bca": "BCa", "percentile": "percentile", "studentised": "studentised bootstrap"}.get(
        rules.interval, f"studentised bootstrap (under {FEW_CLUSTERS} {config.cluster}s, percentile from there)"
    )
    raters = "" if rules.raters is None else f" and over the raters ({rules.raters})"
    compat = f", resampled as {rules.compat} does" if rules.compat else ""
    return (
        f"{rules.bootstrap} bootstrap replicates over {config.cluster}s{raters} (seed {rules.seed}){compat}; {rules.confidence:.0%} "
        f"rank intervals and {kind} intervals of the metrics; order-statistic intervals for medians"
    )


def _submissions(config: RankingConfig) -> str:
    kept = {"all": "every submission", "best": "each team's best submission", "latest": "each team's latest submission"}
    complete = "; incomplete submissions are unranked" if config.submissions.require_complete else ""
    return f"{kept[config.submissions.per_team]} is ranked{complete}"


def _join(names: Sequence[str]) -> str:
    names = list(names)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "nothing"
