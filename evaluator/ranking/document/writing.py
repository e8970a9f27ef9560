"""A configuration back as the document it could have been read from, every default written out."""

from typing import Any

from evaluator.ranking.document.config import Aggregate, MetricSpec, Node, RankingConfig, Rule, RuleKind


def ranking_document(config: RankingConfig) -> dict[str, Any]:
    """The `ranking` section that reads as `config`: plain values for JSON or YAML."""
    rules, stability = config.significance, config.stability
    return {
        "version": config.version,
        "metrics": [_metric(spec) for spec in config.metrics],
        "unit": {"levels": list(config.levels), "cluster": config.cluster},
        "missing": {
            name: {metric: _rule(rule) for metric, rule in by_metric.items()}
            if set(by_metric) != {"*"}
            else _rule(by_metric["*"])
            for name, by_metric in config.missing.by_class.items()
        },
        "scheme": _node(config.scheme),
        "ties": {
            "method": config.ties.method.value,
            "tolerance": config.ties.tolerance,
            "digits": config.ties.digits,
            "break": [_node(node) for node in config.ties.breakers],
        },
        "significance": {
            "test": rules.test.value,
            "sides": "one" if rules.is_one_sided else "two",
            "adjust": rules.adjust.value,
            "alpha": rules.alpha,
            "tie_if_not_significant": rules.ties_unless_significant,
            "repetitions": rules.repetitions,
        },
        "stability": {
            "bootstrap": stability.bootstrap,
            "seed": stability.seed,
            "ci": stability.confidence,
            "interval": stability.interval,
            "compat": stability.compat,
            "nested": stability.nested,
            "raters": stability.raters,
        },
        "submissions": {
            "per_team": config.submissions.per_team,
            "require_complete": config.submissions.require_complete,
        },
        "subgroups": [
            {"attribute": group.attribute, "bands": list(group.bands), "minimum_cases": group.minimum_cases}
            for group in config.subgroups
        ],
        "multi_task": None
        if config.multi_task is None
        else {
            "by": config.multi_task.by,
            "consensus": config.multi_task.consensus.value,
            "weights": dict(config.multi_task.weights) or None,
        },
        "justification": dict(config.justification),
        "unconfirmed": list(config.unconfirmed),
    }


def _metric(spec: MetricSpec) -> dict[str, Any]:
    pooled = None
    if spec.pooled is not None:
        pooled = {
            side: " + ".join(f"{factor:.12g}*{name}" for name, factor in terms.items())
            for side, terms in (("numerator", spec.pooled.numerator), ("denominator", spec.pooled.denominator))
        }
    document = {
        "id": spec.id,
        "direction": "max" if spec.larger_is_better else "min",
        "bounds": list(spec.bounds),
        "unit": spec.unit,
        "weight": spec.weight,
        "structures": None if spec.structures is None else dict(spec.structures),
        "tolerance": spec.tolerance,
        "round_decimals": spec.round_decimals,
        "scale": None if spec.scale is None else list(spec.scale),
        "margin": spec.margin,
        "pooled": pooled,
    }
    return {key: value for key, value in document.items() if value is not None}


def _rule(rule: Rule) -> Any:
    if rule.kind is RuleKind.NUMBER:
        return rule.number
    return {"times_worst_of_others": rule.number} if rule.kind is RuleKind.TIMES_WORST_OF_OTHERS else rule.kind.value


def _node(node: Node) -> dict[str, Any]:
    return {
        "type": node.type.value,
        "name": node.name,
        "metrics": list(node.metrics),
        "structures": list(node.structures),
        "rank_at": sorted(node.rank_at),
        "of": node.of,
        "aggregate": {level: _aggregate(how) for level, how in node.aggregate.items()},
        "levels": list(node.levels),
        "nesting": node.nesting,
        "normalise": "teams" if node.normalise else "none",
        "consensus": node.consensus.value,
        "weights": list(node.weights),
        "children": [_node(child) for child in node.children],
    }


def _aggregate(how: Aggregate) -> str:
    return (
        f"{how.kind}:{how.q!r}" if how.kind in ("quantile", "trimmed", "highest", "lowest", "share_above") else how.kind
    )
