"""Parts of a ranking document as a command line says them."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace

from evaluator.ranking.document.config import MissingRules, Node, RankingConfig, Rule
from evaluator.ranking.document.parse import parse_missing
from evaluator.ranking.document.rewards import refuse_rewards
from evaluator.ranking.document.spellings import did_you_mean, find_metric, is_same_metric
from evaluator.ranking.errors import ConfigError

_TIMES = re.compile(r"(\d+(?:\.\d+)?)\*worst_of_others")


def missing_option(text: str, metrics: Mapping[str, object]) -> Mapping[str, Rule]:
    """`dice=0,hd95=diagonal` as rules by metric. A rule without a metric is that of all (`rank_last`).

    Rules: a number, `bound`, `diagonal`, `2*worst_of_others`, `rank_last`, `drop_case`, `drop_pair`, `disqualify`.
    Raises `ConfigError`.
    """
    rules: dict[str, Rule] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, mark, rule = item.rpartition("=")
        metric = "*" if not mark else find_metric(name.strip(), metrics) or name.strip()
        if metric != "*" and metric not in metrics:
            raise ConfigError(
                f"--missing: found the metric {metric!r}; expected one of {', '.join(list(metrics)[:12])} …"
                f"{did_you_mean(metric, metrics)}"
            )
        said = parse_missing({"any": _plain(rule.strip())}, "--missing").by_class["any"]["*"]
        for same in (other for other in ("*", *metrics) if other == metric or is_same_metric(other, metric)):
            if same in rules:
                raise ConfigError(f"--missing: found a second rule for {same} ({item}); expected one")
            rules[same] = said
    if not rules:
        raise ConfigError("--missing: found nothing; expected metric=rule, such as dice=0,hd95=diagonal")
    return rules


def margin_option(text: str, metrics: Mapping[str, object]) -> Mapping[str, float]:
    """`dice=0.01,hd95=1` as margins by metric. Raises `ConfigError`."""
    margins: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = item.partition("=")
        metric = find_metric(name.strip(), metrics) or name.strip()
        if metric not in metrics:
            raise ConfigError(
                f"--margin: found the metric {metric!r}; expected one of {', '.join(list(metrics)[:12])}"
                f"{did_you_mean(metric, metrics)}"
            )
        try:
            margin = float(value)
        except ValueError:
            margin = math.nan
        if not 0 < margin < math.inf:
            raise ConfigError(f"--margin: found {item!r}; expected metric=number above 0, such as dice=0.01")
        margins[metric] = margin
    if not margins:
        raise ConfigError("--margin: found nothing; expected metric=number, such as dice=0.01,hd95=1")
    return margins


def with_margins(config: RankingConfig, margins: Mapping[str, float]) -> RankingConfig:
    """The configuration with these margins. Its metrics are filled in before."""
    specs = tuple(replace(spec, margin=margins.get(spec.id, spec.margin)) for spec in config.metrics)
    return replace(config, metrics=specs)


def _plain(rule: str) -> object:
    times = _TIMES.fullmatch(rule)
    if times is not None:
        return {"times_worst_of_others": float(times[1])}
    try:
        return float(rule)
    except ValueError:
        return rule


def with_missing(config: RankingConfig, rules: Mapping[str, Rule]) -> RankingConfig:
    """The configuration with these rules for whatever no rule of its own names more exactly. Raises `ConfigError`."""
    by_class = {**config.missing.by_class, "any": {**config.missing.by_class.get("any", {}), **rules}}
    changed = replace(config, missing=MissingRules(by_class=by_class))
    refuse_rewards(changed, "--missing")
    return changed


def with_raters(config: RankingConfig) -> RankingConfig:
    """The configuration for a table of readings, whose cases say their `scan` and `rater`: readings are averaged within a scan.

    A configuration that has a level `scan` already says itself how.
    """
    if "scan" in config.levels:
        return config
    place = config.levels.index("case") + 1
    levels = (*config.levels[:place], "scan", *config.levels[place:])

    def raised(node: Node) -> Node:
        own = levels if node.levels == config.levels else node.levels
        return replace(node, levels=own, children=tuple(raised(child) for child in node.children))

    return replace(
        config,
        levels=levels,
        cluster="scan" if config.cluster == "case" else config.cluster,
        scheme=raised(config.scheme),
        ties=replace(config.ties, breakers=tuple(raised(node) for node in config.ties.breakers)),
        stability=replace(config.stability, raters="rater"),
    )
