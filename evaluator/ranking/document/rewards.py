"""The one promise about missing values, held when a document is read: no failure counts as the best value there is."""

import numpy as np
import numpy.typing as npt

from evaluator.ranking.document.config import MetricSpec, RankingConfig, RuleKind
from evaluator.ranking.errors import ConfigError

STRUCTURE_ABSENT = ("both_empty", "reference_empty", "class_absent")


def refuse_rewards(config: RankingConfig, path: str) -> None:
    """No failure may count as the best value there is. Raises `ConfigError`."""
    for name, by_metric in config.missing.by_class.items():
        if name in STRUCTURE_ABSENT:
            continue
        for spec in config.metrics:
            rule = by_metric.get(spec.id, by_metric.get("*"))
            best = spec.better_bound
            if rule is None or rule.kind is not RuleKind.NUMBER or best is None or spec.pooled is not None:
                continue
            if not is_worse(np.array(rule.number), best, spec):
                raise ConfigError(
                    f"{path}.missing.{name}: found {rule} for {spec.id}; expected a value worse than {best:g}, the best "
                    f"it can be, for a missing value must never win: a rule for each metric, as in {{{spec.id}: rank_last}}"
                )


def is_worse(values: npt.NDArray[np.floating], bar: float, spec: MetricSpec) -> npt.NDArray[np.bool_]:
    """Where `values` are worse than `bar`, in the metric's direction."""
    return np.asarray(values < bar if spec.larger_is_better else values > bar)
