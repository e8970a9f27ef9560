"""Building what may leave a site about one metric, from the values of its cases. The theory is in the package's docstring."""

import math
import statistics
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from evaluator.disclosure.count_audit import hide_unsafe_counts
from evaluator.disclosure.cuts import fewest_patients
from evaluator.disclosure.history import History, Told

SMALLEST_GROUP = 5
SPREAD_GROUP = 20
DECIMALS = 3
MOST_CLASSES = 40
"""With more classes of patients by their labels than this, label means are withheld without searching."""
HIDDEN = "\0hidden"
"""The block that all withheld groups of a partition form together. No group can have this name: it is no text of a table."""


class TooFewCases(Exception):
    """Nothing may be released about so few cases."""


@dataclass(frozen=True, kw_only=True)
class MetricRelease:
    """What may leave about one metric, and what is withheld and why, for the people of the site."""

    numbers: Mapping[str, Any]
    """`{mean, n, sd?, per_label?, per_<attribute>?}`."""
    withheld: tuple[str, ...] = field(default=())
    told: Told | None = None
    """How this release divides the patients, for the next one. It stays at the site."""


def release_metric(
    values: Mapping[str, Mapping[str, float | None]],
    *,
    attributes: Mapping[str, Mapping[str, str]],
    breakdowns: Sequence[str],
    smallest: int = SMALLEST_GROUP,
    earlier: Sequence[Told] = (),
    patients: Mapping[str, str] | None = None,
) -> MetricRelease:
    """The release of one metric. `values`: case → label → value, `None` where undefined. `attributes`: case → name → value.

    `earlier`: what was released of this metric before. `patients`: case → hash of everything about it, for comparing with `earlier`.
    Raises `TooFewCases` where even the headline is about fewer than `smallest` patients, or tells them from an earlier release.
    """
    patients = dict.fromkeys(values, "") if patients is None else patients
    defined = {
        case: {label: value for label, value in row.items() if value is not None} for case, row in values.items()
    }
    means = {case: math.fsum(row.values()) / len(row) for case, row in defined.items() if row}
    if len(means) < smallest:
        raise TooFewCases(f"{len(means)} cases have a value; numbers about fewer than {smallest} do not leave")
    groups_of = {name: {case: attributes.get(case, {}).get(name, "") for case in values} for name in breakdowns}
    history = History(earlier, patients=patients, groups=groups_of, smallest=smallest)
    if not history.admits_total(means.keys()):
        raise TooFewCases(
            f"with earlier releases on other data, numbers about fewer than {smallest} cases could be found"
        )
    numbers = summary(list(means.values()))
    withheld: list[str] = []
    cases = list(means)
    partitions: list[list[Hashable]] = []
    labels, classes = label_means(defined, cases=cases, smallest=smallest, history=history, withheld=withheld)
    if labels:
        numbers["per_label"] = labels
        if len(set(classes)) > 1:
            partitions.append(classes)
    groupings: dict[str, dict[str, str]] = {}
    for name, groups in groups_of.items():
        shown = shown_groups(Counter(groups[case] for case in cases), smallest=smallest)
        whole = {case: group if group in shown else HIDDEN for case, group in groups.items()}
        blocks: list[Hashable] = [whole[case] for case in cases]
        if (
            not shown
            or not holds(partitions, blocks, smallest=smallest)
            or not history.admits_grouping(whole, defined=means.keys())
        ):
            withheld.append(f"per_{name}")
            continue
        partitions.append(blocks)
        groupings[name] = whole
        withheld += [f"per_{name}.{group}" for group in sorted({groups[case] for case in cases} - shown)]
        numbers[f"per_{name}"] = {
            group: summary([means[case] for case in cases if whole[case] == group]) for group in sorted(shown)
        }
    hide_unsafe_counts(
        numbers,
        labels={case: row.keys() for case, row in defined.items()},
        blocks={f"per_{name}": of for name, of in groupings.items()},
        smallest=smallest,
    )
    told = Told(patients=patients, lacking=lacking_of(defined), groupings=groupings, asked=groups_of)
    return MetricRelease(numbers=numbers, withheld=tuple(withheld), told=told)


def lacking_of(defined: Mapping[str, Mapping[str, float]]) -> dict[str, list[str]]:
    """Label → cases without a value of it. The empty label: cases without any value."""
    names = dict.fromkeys(label for row in defined.values() for label in row if label)
    of_labels = {name: [case for case, row in defined.items() if name not in row] for name in names}
    return {"": [case for case, row in defined.items() if not row], **of_labels}


def release_pooled(
    summary_over_cases: Mapping[str, Any],
    *,
    contributors: Mapping[str, AbstractSet[str]],
    smallest: int = SMALLEST_GROUP,
    earlier: Sequence[Told] = (),
    patients: Mapping[str, str] | None = None,
) -> MetricRelease:
    """The release of a metric that divides sums over all cases. `contributors`: label → the cases that its value depends on.

    Raises `TooFewCases` where a label depends on fewer than `smallest`, because the headline is a mean that contains it, or where the
    difference to earlier releases does.
    """
    patients = {} if patients is None else patients
    few = [label for label, cases in contributors.items() if len(cases) < smallest]
    if few or not contributors:
        raise TooFewCases(f"{', '.join(few) or 'every label'}: values of fewer than {smallest} cases do not leave")
    history = History(earlier, patients=patients, groups={}, smallest=smallest)
    if not all(history.admits_total(cases) for cases in contributors.values()):
        raise TooFewCases(
            f"with earlier releases on other data, numbers about fewer than {smallest} cases could be found"
        )
    count = summary_over_cases["n"]
    labels = {
        label: {"mean": rounded(cell["mean"]), "n": count}
        for label, cell in summary_over_cases["per_label"].items()
        if cell["mean"] is not None
    }
    lacking = {label: sorted(patients.keys() - cases) for label, cases in contributors.items()}
    anywhere = set[str]().union(*contributors.values())
    return MetricRelease(
        numbers={"mean": rounded(summary_over_cases["mean"]), "n": count, "per_label": labels},
        told=Told(patients=patients, lacking={**lacking, "": sorted(patients.keys() - anywhere)}),
    )


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean and count of one group."""
    numbers: dict[str, Any] = {"mean": rounded(math.fsum(values) / len(values)), "n": len(values)}
    if len(values) >= SPREAD_GROUP:
        numbers["sd"] = rounded(statistics.stdev(values))
    return numbers


def rounded(value: float) -> float | None:
    """To the released decimals. Infinite values have no mean that can be released."""
    return round(value, DECIMALS) + 0.0 if math.isfinite(value) else None  # never -0.0, which databases spell 0


def shown_groups(sizes: Mapping[str, int], *, smallest: int) -> set[str]:
    """The groups of a partition that may be shown: the hidden ones together hold no patient or at least `smallest`."""
    shown = {group for group, size in sizes.items() if size >= smallest}
    while shown and 0 < sum(sizes[group] for group in sizes.keys() - shown) < smallest:
        shown.remove(min(shown, key=lambda group: (sizes[group], group)))
    return shown


def holds(partitions: Sequence[Sequence[Hashable]], further: Sequence[Hashable], *, smallest: int) -> bool:
    """Whether sums by one further partition still let no combination depend on fewer than `smallest` patients."""
    if not partitions:
        return True
    if len(partitions) == 1 and fewest_patients(partitions[0], further) >= smallest:
        return True
    return min(Counter(zip(*partitions, further, strict=True)).values()) >= smallest


def label_means(
    defined: Mapping[str, Mapping[str, float]],
    *,
    cases: Sequence[str],
    smallest: int,
    history: History,
    withheld: list[str],
) -> tuple[dict[str, Any], list[Hashable]]:
    """The label means that may be shown beside the headline, and each case's class by the labels it has."""
    names = list(dict.fromkeys(label for case in cases for label in defined[case] if label))
    having = {name: {case for case in cases if name in defined[case]} for name in names}
    shown = {name for name in names if len(having[name]) >= smallest}
    while shown and 0 < len(set[str]().union(*(having[name] for name in having.keys() - shown))) < smallest:
        shown.remove(min(shown, key=lambda name: (len(having[name]), name)))
    classes: list[Hashable] = [
        (len(defined[case]), frozenset(defined[case]) & shown, bool(frozenset(defined[case]) - shown)) for case in cases
    ]
    is_told = history.admits_labels({name: having[name] for name in shown}, defined=set(cases))
    if shown and (not is_told or leaks(Counter(classes), smallest=smallest)):
        shown = set()
    withheld += (
        [f"per_label.{name}" for name in names if name not in shown] if shown else ["per_label"] if names else []
    )
    numbers = {
        name: summary([defined[case][name] for case in cases if case in having[name]])
        for name in names
        if name in shown
    }
    return numbers, classes


def leaks(classes: Mapping[Any, int], *, smallest: int) -> bool:
    """Whether headline and label means can be combined so that only 1 to `smallest - 1` patients remain."""
    if cancel(classes):
        return False
    if len(classes) > MOST_CLASSES:
        return True
    small = [name for name, size in classes.items() if size < smallest]
    for count in range(1, smallest):
        for left in combinations(small, count):
            if sum(classes[name] for name in left) < smallest and cancel(set(classes) - set(left)):
                return True
    return False


def cancel(classes: Iterable[Any]) -> bool:
    """Whether one weight per label makes every patient of these classes vanish from the headline.

    A class is (number of labels, shown labels, whether it has a hidden one). Its patients vanish where each of its shown labels weighs
    1 / number. Classes with other numbers must then share no label. A patient with a hidden label never vanishes.
    """
    weights: dict[str, int] = {}
    for count, labels, has_hidden in classes:
        if has_hidden or any(weights.setdefault(label, count) != count for label in labels):
            return False
    return True
