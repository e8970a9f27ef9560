"""Parts of a ranking document as a command line says them."""

import re
from collections.abc import Mapping
from dataclasses import replace

from evaluator.ranking.document.config import MissingRules, RankingConfig, Rule
from evaluator.ranking.document.parse import parse_missing
from evaluator.ranking.document.rewards import refuse_rewards
from evaluator.ranking.document.spellings import find_metric, is_same_metric
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
            )
        said = parse_missing({"any": _plain(rule.strip())}, "--missing").by_class["any"]["*"]
        for same in (other for other in ("*", *metrics) if other == metric or is_same_metric(other, metric)):
            if same in rules:
                raise ConfigError(f"--missing: found a second rule for {same} ({item}); expected one")
            rules[same] = said
    if not rules:
        raise ConfigError("--missing: found nothing; expected metric=rule, such as dice=0,hd95=diagonal")
    return rules


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
