"""What each column of a sheet is: a key, a metric, a metric of one structure, or something said of the case."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from evaluator.ranking.document.config import MetricSpec, RankingConfig
from evaluator.ranking.document.known import KNOWN_METRICS
from evaluator.ranking.document.spellings import find_keys, find_metric, is_same_metric
from evaluator.ranking.errors import TableError
from evaluator.ranking.schemes.prepare import stored_names
from evaluator.ranking.score_files.cells import is_summary
from evaluator.ranking.score_files.sheets import ScoresError, Sheet

KEYS = ("algorithm", "case", "label", "metric", "value", "reason", "detail", "team")
_JOINTS = re.compile(r"[\s_./:-]+")


@dataclass(frozen=True, kw_only=True)
class OrganColumn:
    """A column that holds one metric of one structure (`liver_dice`)."""

    column: str
    metric: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Header:
    """The columns of one sheet, by what they are. Values are names of columns as they are written."""

    keys: dict[str, str]
    metrics: dict[str, str]
    organs: tuple[OrganColumn, ...] = ()
    others: tuple[str, ...] = ()
    summaries: tuple[str, ...] = field(default=())
    """Columns that summarise others (`mean_dice` beside `liver_dice`): never scores."""


def wanted_metrics(config: RankingConfig) -> tuple[str, ...]:
    """The metrics a sheet is searched for: those of the configuration, or all we know."""
    if config.metrics:
        return tuple(dict.fromkeys(name for spec in config.metrics for name in stored_names(spec)))
    return tuple(KNOWN_METRICS)


def specs_of(config: RankingConfig) -> dict[str, MetricSpec]:
    """What is known of each metric that a sheet may hold."""
    if config.metrics:
        return {spec.id: spec for spec in config.metrics if spec.pooled is None}
    return dict(KNOWN_METRICS)


def understand(sheet: Sheet, config: RankingConfig) -> Header:
    """Sort the columns. Raises `ScoresError` where one could mean two things."""
    names = sheet.header
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ScoresError(f"{sheet.name}, line 1, column {repeated[0]}: found it twice; expected each column once")
    wanted = wanted_metrics(config)
    try:
        keys = {key: name for name, key in find_keys([name for name in names if name not in wanted]).items()}
        left = [name for name in names if name not in keys.values()]
        metrics = _metrics(sheet, left, wanted, config)
        left = [name for name in left if name not in metrics.values()]
        organs = [] if "metric" in keys else [found for name in left if (found := _organ_column(name, wanted))]
    except TableError as error:
        raise error if isinstance(error, ScoresError) else ScoresError(f"{sheet.name}, line 1: {error}") from error
    summaries = tuple(organ.column for organ in organs if is_summary(organ.label))
    kept = _one_spelling([organ for organ in organs if organ.column not in summaries])
    _refuse_mixture(sheet, kept, metrics)
    taken = {organ.column for organ in organs}
    others = tuple(name for name in left if name not in taken)
    return Header(keys=keys, metrics=metrics, organs=kept, others=others, summaries=summaries)


def _metrics(sheet: Sheet, names: Sequence[str], wanted: Sequence[str], config: RankingConfig) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        metric = name if name in wanted else find_metric(name, wanted)
        if metric is None:
            continue
        twin = next((other for other in found if _is_twin(other, metric, config)), None)
        if twin is not None:
            raise ScoresError(
                f"{sheet.name}, line 1: found columns {found[twin]} and {name}, which are both {metric}; expected one of them"
            )
        found[metric] = name
    return found


def _is_twin(one: str, other: str, config: RankingConfig) -> bool:
    """Whether two columns hold one thing. A configuration may tell dice from dsc."""
    return one == other or (not config.metrics and is_same_metric(one, other))


def _organ_column(name: str, wanted: Sequence[str]) -> OrganColumn | None:
    """The metric is the longest beginning or end of the name that is one."""
    text = name.strip()
    ends = [(match.start(), match.end()) for match in _JOINTS.finditer(text) if 0 < match.start() < len(text)]
    parts = [(text[end:], text[:start]) for start, end in ends] + [(text[:start], text[end:]) for start, end in ends]
    for metric_text, label in sorted(parts, key=lambda part: -len(part[0])):
        metric = find_metric(metric_text, wanted) if label else None
        if metric is not None:
            return OrganColumn(column=name, metric=metric, label=label)
    return None


def is_any_metric(name: str) -> bool:
    """Whether a column is spelled like a metric we know, or like one of a structure, whatever the configuration ranks."""
    try:
        return find_metric(name, KNOWN_METRICS) is not None or _organ_column(name, tuple(KNOWN_METRICS)) is not None
    except TableError:  # a metric in another unit
        return True


def _one_spelling(organs: Sequence[OrganColumn]) -> tuple[OrganColumn, ...]:
    """`Liver_dice` and `liver_hd95` are one structure, in the spelling that comes first."""
    first: dict[str, str] = {}
    return tuple(
        OrganColumn(
            column=organ.column, metric=organ.metric, label=first.setdefault(organ.label.casefold(), organ.label)
        )
        for organ in organs
    )


def _refuse_mixture(sheet: Sheet, organs: Sequence[OrganColumn], metrics: dict[str, str]) -> None:
    for organ in organs:
        if organ.metric in metrics:
            raise ScoresError(
                f"{sheet.name}, line 1: found columns {metrics[organ.metric]} and {organ.column}; expected either {organ.metric} "
                "or a column for each structure: a mean beside its parts would count them twice"
            )
    pairs = [(organ.metric, organ.label) for organ in organs]
    twice = next((organ for organ, pair in zip(organs, pairs, strict=True) if pairs.count(pair) > 1), None)
    if twice is not None:
        both = " and ".join(o.column for o in organs if (o.metric, o.label) == (twice.metric, twice.label))
        raise ScoresError(f"{sheet.name}, line 1: found columns {both}, which are the same; expected one of them")


def meaning(name: str, header: Header, config: RankingConfig) -> str:
    """How a column was understood, in words."""
    key = next((key for key, column in header.keys.items() if column == name), None)
    if key is not None:
        return f"the {key}"
    if name in header.summaries:
        return "a summary of other columns, not read"
    organ = next((organ for organ in header.organs if organ.column == name), None)
    metric = organ.metric if organ else next((m for m, column in header.metrics.items() if column == name), None)
    if metric is None:
        return f"attribute {name} of the case"
    of = f" of {organ.label}" if organ else ""
    spec = specs_of(config).get(metric)
    if spec is None:
        return f"statistic {metric}{of}"
    unit = f", in {spec.unit}" if spec.unit else ""
    return f"metric {metric}{of}, {'larger' if spec.larger_is_better else 'smaller'} is better{unit}"
