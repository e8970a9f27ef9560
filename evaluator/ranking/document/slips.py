"""Slips of the pen in a ranking document that would go unnoticed: the worst would win, or a rule would never be looked up.

They are refused where a document is new. A stored one is ranked as it stands.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from evaluator.ranking.document.config import RankingConfig
from evaluator.ranking.document.known import KNOWN_METRICS
from evaluator.ranking.document.spellings import did_you_mean, find_metric, is_same_metric
from evaluator.ranking.errors import ConfigError, TableError

_KNOWN: Mapping[str, bool] = {name: spec.larger_is_better for name, spec in KNOWN_METRICS.items()}


def refuse_slips(
    config: RankingConfig, written: Mapping[str, Any], path: str, *, larger_is_better: Mapping[str, bool] | None = None
) -> None:
    """`written`: the part of the document that is new. `larger_is_better`: of metrics under names of their own. Raises `ConfigError`."""
    known = {**_KNOWN, **(larger_is_better or {})}
    _refuse_turned(config, path, known=known)
    missing = written.get("missing")
    if isinstance(missing, Mapping):
        _refuse_strangers(config, missing, f"{path}.missing", known=known)


def _refuse_turned(config: RankingConfig, path: str, *, known: Mapping[str, bool]) -> None:
    """A metric that everybody knows, turned round, would put the worst first."""
    for place, spec in enumerate(config.metrics):
        name = spec.id if spec.id in known else _usual_name(spec.id)
        if name is not None and known[name] != spec.larger_is_better:
            found, expected = ("max", "min") if spec.larger_is_better else ("min", "max")
            raise ConfigError(
                f"{path}.metrics[{place}].direction: found {found} for {spec.id}; expected {expected}, or another name for what is "
                f"not {name}"
            )


def _usual_name(text: str) -> str | None:
    try:
        return find_metric(text, _KNOWN)
    except TableError:  # in another unit, so perhaps another thing
        return None


def _refuse_strangers(
    config: RankingConfig, missing: Mapping[str, Any], path: str, *, known: Mapping[str, bool]
) -> None:
    """A rule for a metric that does not exist is never looked up, nor is one for a ranked metric under another name.

    Rules may speak of metrics that are known and not ranked: people keep one list of rules for all their rankings.
    """
    names = tuple(dict.fromkeys(_names(config))) or tuple(_KNOWN)
    for failure, rules in missing.items():
        if failure in names or failure in known:
            raise ConfigError(
                f"{path}.{failure}: found the metric {failure} where a kind of failure stands; expected it below one, as in "
                f"any: {{{failure}: rank_last}}"
            )
        own = set(map(str, rules)) if isinstance(rules, Mapping) else set()
        for metric in config.missing.by_class.get(str(failure), {}):
            is_idle = metric in known and not any(is_same_metric(metric, name) for name in names)
            if metric in own and metric not in (*names, "*") and not is_idle:
                raise ConfigError(
                    f"{path}.{failure}.{metric}: found a rule for {metric}, which is not ranked; expected one of {', '.join(names)}"
                    f"{_meant(metric, names)}"
                )


def _meant(metric: str, names: tuple[str, ...]) -> str:
    try:
        same = find_metric(metric, names)
    except TableError:
        same = None
    return f"; did you mean {same}?" if same else did_you_mean(metric, names)


def _names(config: RankingConfig) -> Iterator[str]:
    """What rules may be looked up for: the metrics, and the statistics that pooled ones are made of."""
    for spec in config.metrics:
        yield spec.id
        if spec.pooled is not None:
            yield from (*spec.pooled.numerator, *spec.pooled.denominator)
