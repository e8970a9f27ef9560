"""From the `ranking` section of a protocol document to a `RankingConfig`.

Every message starts with the path of the culprit (`ranking.metrics[1].direction`) and says what was found and expected.
A document may start from a preset (`preset: flare22`) and override whole sections of it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evaluator.ranking.document.config import (
    CHALLENGER,
    Adjustment,
    ConsensusMethod,
    MetricSpec,
    MissingRules,
    MultiTask,
    Pooled,
    RankingConfig,
    Rule,
    RuleKind,
    Significance,
    Stability,
    Subgroup,
    Submissions,
    Test,
)
from evaluator.ranking.document.known import KNOWN_METRICS
from evaluator.ranking.document.parse_scheme import parse_node, parse_ties, walk
from evaluator.ranking.document.presets import preset_document
from evaluator.ranking.document.rewards import refuse_rewards
from evaluator.ranking.document.section import Section, number, show
from evaluator.ranking.errors import ConfigError

MOST_REPLICATES = 10_000
MOST_REPETITIONS = 200_000
"""What a document may ask for: the usual is 1 000 and 10 000, the most that a published challenge used 100 000."""
DEFAULT_LEVELS = ("structure", "case")


def parse_ranking(document: Mapping[str, Any], *, path: str = "ranking") -> RankingConfig:
    """Read a ranking document. Raises `ConfigError`."""
    section = Section(_with_preset(document, path), path)
    metrics = section.each("metrics", _metric)
    unit = Section(section.get("unit", {}), f"{path}.unit")
    levels = unit.names("levels") or DEFAULT_LEVELS
    cluster = unit.text("cluster", [level for level in levels if level != "structure"][-1])
    unit.done()
    if sorted(set(levels)) != sorted(levels) or "case" not in levels:
        raise ConfigError(f"{path}.unit.levels: found {list(levels)}; expected each level once, `case` among them")
    scheme = parse_node(section.get("scheme", "mean_of_ranks"), f"{path}.scheme", levels=levels)
    config = RankingConfig(
        version=section.integer("version", 1, minimum=1),
        metrics=metrics,
        levels=levels,
        cluster=cluster,
        missing=parse_missing(section.get("missing", {}), f"{path}.missing"),
        scheme=scheme,
        ties=parse_ties(section.get("ties", {}), f"{path}.ties", levels=levels),
        significance=_significance(section.get("significance", {}), f"{path}.significance"),
        stability=_stability(section.get("stability", {}), f"{path}.stability"),
        submissions=_submissions(section.get("submissions", {}), f"{path}.submissions"),
        subgroups=section.each("subgroups", _subgroup),
        multi_task=_multi_task(section.get("multi_task"), f"{path}.multi_task"),
        justification=_texts(section.get("justification", {}), f"{path}.justification"),
        unconfirmed=section.names("unconfirmed"),
    )
    for told in ("title", "source", "board"):
        section.text(told)
    section.done()
    if config.stability.nested and config.cluster == config.levels[-1]:
        raise ConfigError(
            f"{path}.stability.nested: found true where {config.cluster} is the top level; expected a level above it, such as site, in "
            "unit.levels"
        )
    if config.stability.raters is not None and (config.cluster == "case" or config.cluster not in config.levels):
        raise ConfigError(
            f"{path}.stability.raters: found it where {config.cluster}s count as independent; expected a level above case, such as "
            "levels: [structure, case, scan] and cluster: scan, for each reading of a scan is a case"
        )
    _check_names(config, path)
    refuse_rewards(config, path)
    return config


def _with_preset(document: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    if not isinstance(document, Mapping) or "preset" not in document:
        return document
    own = {key: value for key, value in document.items() if key != "preset"}
    return {**preset_document(str(document["preset"]), path=f"{path}.preset"), **own}


def _metric(value: Any, path: str) -> MetricSpec:
    if isinstance(value, str):
        if value not in KNOWN_METRICS:
            raise ConfigError(
                f"{path}: found {value!r}; expected a metric we know ({', '.join(sorted(KNOWN_METRICS))}) or a mapping "
                "with id and direction (max or min)"
            )
        return KNOWN_METRICS[value]
    section = Section(value, path)
    name = section.text("id") or section.text("name")
    if not name:
        raise ConfigError(f"{path}: found no id; expected the name of a metric")
    known = KNOWN_METRICS.get(name)
    direction = section.get("direction", None if known is None else ("max" if known.larger_is_better else "min"))
    if direction not in ("max", "min"):
        raise ConfigError(f"{path}.direction: found {show(direction)}; expected max (larger is better) or min")
    if section.get("transform", "clip_above") != "clip_above":
        raise ConfigError(
            f"{path}.transform: found {section.get('transform')!r}; expected clip_above, max(0, x - tolerance)"
        )
    spec = MetricSpec(
        id=name,
        larger_is_better=direction == "max",
        bounds=_bounds(section.get("bounds", known.bounds if known else (None, None)), f"{path}.bounds"),
        unit=section.text("unit", known.unit if known else ""),
        weight=section.number("weight", 1.0, minimum=0),
        structures=_weights(section.get("structures"), f"{path}.structures"),
        tolerance=section.number("tolerance", None, minimum=0),
        round_decimals=section.integer("round_decimals", 0) if section.has("round_decimals") else None,
        scale=_scale(section.get("scale"), f"{path}.scale", larger_is_better=direction == "max"),
        margin=section.number("margin", None, minimum=0),
        pooled=_pooled(section.get("pooled"), f"{path}.pooled"),
    )
    section.done()
    if spec.margin == 0:
        raise ConfigError(f"{path}.margin: found 0; expected the smallest difference that matters, or no margin")
    if spec.scale is not None and spec.pooled is not None:
        raise ConfigError(f"{path}.scale: found it on a pooled metric; expected either scale or pooled")
    if spec.tolerance is not None and spec.larger_is_better:
        raise ConfigError(
            f"{path}.tolerance: found {spec.tolerance:g} where larger is better; expected it on a cost only, max(0, x - tolerance)"
        )
    return spec


def _bounds(value: Any, path: str) -> tuple[float | None, float | None]:
    if not isinstance(value, Sequence) or len(value) != 2:
        raise ConfigError(f"{path}: found {show(value)}; expected [lower, upper], null where open")
    low, high = (None if end is None else number(end, path) for end in value)
    if low is not None and high is not None and low >= high:
        raise ConfigError(f"{path}: found {show(value)}; expected the lower end first")
    return low, high


def _scale(value: Any, path: str, *, larger_is_better: bool) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise ConfigError(f"{path}: found {show(value)}; expected [worst, best], the values that count as 0 and 1")
    worst, best = (number(end, path) for end in value)
    if worst == best or (best > worst) != larger_is_better:
        order = "the smaller value first" if larger_is_better else "the larger value first"
        raise ConfigError(f"{path}: found {show(value)}; expected [worst, best], here {order}")
    return worst, best


def _weights(value: Any, path: str) -> Mapping[str, float] | None:
    if value is None:
        return None
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = dict.fromkeys(value, 1)
    if not isinstance(value, Mapping) or not value:
        raise ConfigError(f"{path}: found {show(value)}; expected structure: weight, or a list of structures")
    weights = {str(name): number(weight, f"{path}.{name}", minimum=0) for name, weight in value.items()}
    if not any(weights.values()):
        raise ConfigError(f"{path}: found weights of zero only; expected one that counts")
    return weights


def _pooled(value: Any, path: str) -> Pooled | None:
    if value is None:
        return None
    section = Section(value, path)
    sides = {side: linear(section.text(side), f"{path}.{side}") for side in ("numerator", "denominator")}
    section.done()
    return Pooled(**sides)


def linear(text: str, path: str) -> Mapping[str, float]:
    """`2*inter + b` → {inter: 2, b: 1}. Sums of statistics with coefficients are all a pooled ratio needs."""
    terms: dict[str, float] = {}
    for term in text.split("+"):
        match = re.fullmatch(r"\s*(?:(\d+(?:\.\d+)?)\s*\*\s*)?([A-Za-z_]\w*)\s*", term)
        if match is None:
            raise ConfigError(f"{path}: found {text!r}; expected a sum such as 2*intersection + volume")
        terms[match[2]] = terms.get(match[2], 0.0) + float(match[1] or 1)
    return terms


def parse_missing(value: Any, path: str) -> MissingRules:
    """Failure class or exact reason → rule, or metric → rule. Raises `ConfigError`."""
    section = Section(value, path)
    rules: dict[str, Mapping[str, Rule]] = {}
    for name in value:
        entry = section.get(name)
        where = f"{path}.{name}"
        if isinstance(entry, Mapping) and not _is_rule(entry):
            rules[str(name)] = {str(metric): _rule(rule, f"{where}.{metric}") for metric, rule in entry.items()}
        else:
            rules[str(name)] = {"*": _rule(entry, where)}
    return MissingRules(by_class=rules)


def _is_rule(entry: Mapping[str, Any]) -> bool:
    return set(entry) <= {"times_worst_of_others", "times_max_of_others"}


def _rule(value: Any, path: str) -> Rule:
    if isinstance(value, Mapping) and len(value) == 1 and _is_rule(value):
        return Rule(kind=RuleKind.TIMES_WORST_OF_OTHERS, number=number(next(iter(value.values())), path, minimum=0))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Rule(kind=RuleKind.NUMBER, number=number(value, path))
    aliases = {"exclude": RuleKind.DROP_PAIR, "worst": RuleKind.BOUND}
    plain = {kind.value: kind for kind in RuleKind if kind not in (RuleKind.NUMBER, RuleKind.TIMES_WORST_OF_OTHERS)}
    kind = {**plain, **aliases}.get(str(value))
    if kind is None:
        expected = ", ".join(sorted({**plain, **aliases}))
        raise ConfigError(
            f"{path}: found {show(value)}; expected a number, {{times_worst_of_others: k}} or one of {expected}"
        )
    return Rule(kind=kind)


def _significance(value: Any, path: str) -> Significance:
    section = Section(value, path)
    for key, only in (("family", "all_ordered_pairs"), ("correction", "continuity"), ("zero", "drop")):
        if section.get(key, only) != only:
            raise ConfigError(f"{path}.{key}: found {section.get(key)!r}; expected {only}, the only form offered")
    if section.get("sides", "one") not in ("one", "two"):
        raise ConfigError(f"{path}.sides: found {section.get('sides')!r}; expected one or two")
    alpha = number(section.get("alpha", 0.05), f"{path}.alpha", minimum=0)
    if not 0 < alpha < 1:
        raise ConfigError(f"{path}.alpha: found {alpha:g}; expected a level between 0 and 1, such as 0.05")
    result = Significance(
        test=section.choice("test", Test, Test.WILCOXON),
        is_one_sided=section.get("sides", "one") == "one",
        adjust=section.choice("adjust", Adjustment, Adjustment.NONE),
        alpha=alpha,
        ties_unless_significant=section.flag("tie_if_not_significant", default=False),
        repetitions=section.integer("repetitions", 10_000, minimum=1, maximum=MOST_REPETITIONS),
    )
    section.done()
    return result


def _stability(value: Any, path: str) -> Stability:
    section = Section(value, path)
    compat = section.get("compat")
    if compat not in (None, CHALLENGER):
        raise ConfigError(f"{path}.compat: found {show(compat)}; expected null or {CHALLENGER}")
    interval = section.text("interval", "auto")
    if interval not in ("auto", "studentised", "percentile", "bca"):
        raise ConfigError(f"{path}.interval: found {interval!r}; expected auto, studentised, percentile or bca")
    confidence = number(section.get("ci", 0.95), f"{path}.ci", minimum=0)
    if not 0.5 <= confidence < 1:
        raise ConfigError(f"{path}.ci: found {confidence:g}; expected a share such as 0.95")
    result = Stability(
        bootstrap=section.integer("bootstrap", 1000, maximum=MOST_REPLICATES),
        seed=section.integer("seed", 1),
        confidence=confidence,
        interval=interval,
        compat=compat,
        nested=section.flag("nested", default=False),
        raters=None if section.get("raters") is None else section.text("raters"),
    )
    section.done()
    return result


def _submissions(value: Any, path: str) -> Submissions:
    section = Section(value, path)
    per_team = section.text("per_team", "all")
    if per_team not in ("best", "latest", "all"):
        raise ConfigError(f"{path}.per_team: found {per_team!r}; expected best, latest or all")
    result = Submissions(per_team=per_team, require_complete=section.flag("require_complete", default=False))
    section.done()
    return result


def _subgroup(value: Any, path: str) -> Subgroup:
    if isinstance(value, str):
        return Subgroup(attribute=value)
    section = Section(value, path)
    result = Subgroup(
        attribute=section.text("attribute"),
        bands=section.each("bands", number),
        minimum_cases=section.integer("minimum_cases", 10, minimum=1),
    )
    section.done()
    if not result.attribute or list(result.bands) != sorted(set(result.bands)):
        raise ConfigError(f"{path}: found {show(value)}; expected an attribute, and bands that rise")
    return result


def _multi_task(value: Any, path: str) -> MultiTask | None:
    if value is None:
        return None
    section = Section(value, path)
    result = MultiTask(
        by=section.text("by", "task"),
        consensus=section.choice("consensus", ConsensusMethod, ConsensusMethod.EUCLIDEAN),
        weights=_weights(section.get("weights"), f"{path}.weights") or {},
    )
    section.done()
    return result


def _texts(value: Any, path: str) -> Mapping[str, str]:
    section = Section(value, path)
    return {str(key): section.text(str(key)) for key in value}


def _check_names(config: RankingConfig, path: str) -> None:
    """Every metric a node names must be declared, once metrics are declared at all."""
    declared = {spec.id for spec in config.metrics}
    if len(declared) != len(config.metrics):
        raise ConfigError(f"{path}.metrics: found {[spec.id for spec in config.metrics]}; expected each metric once")
    if config.metrics and not any(spec.weight for spec in config.metrics):
        raise ConfigError(f"{path}.metrics: found weights of zero only; expected one that counts")
    for node in (*walk(config.scheme), *(inner for breaker in config.ties.breakers for inner in walk(breaker))):
        unknown = set(node.metrics) - declared
        if declared and unknown:
            raise ConfigError(
                f"{path}.scheme: found metrics {', '.join(sorted(unknown))}; expected some of "
                f"{', '.join(sorted(declared))}"
            )


def with_metrics(config: RankingConfig, names: Sequence[str]) -> RankingConfig:
    """The configuration with its metrics filled in from a table's, when it declares none. Raises `ConfigError`."""
    if config.metrics:
        return config
    specs = [_metric(name, f"metric {name}") for name in names]
    place = {name: index for index, name in enumerate(KNOWN_METRICS)}
    filled = replace(config, metrics=tuple(sorted(specs, key=lambda spec: place[spec.id])))
    refuse_rewards(filled, "ranking")
    return filled
