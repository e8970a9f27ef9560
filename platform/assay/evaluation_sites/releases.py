"""What may leave a site: numbers about groups of cases, and nothing else. Pure. The server checks what the site's agent built.

A release is `{metric: {mean, n, sd?, per_label?: {label: {mean, n, sd?}}, per_<attribute>?: {value: {mean, n, sd?}}}}` with every
metric of the protocol. A metric that is withheld as a whole is null. No text, no single case: `evaluator.disclosure` says which
counts may stand in it. Means lie in the metric's range and are rounded.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from containers.verdicts import Fault, Verdict
from evaluator.disclosure import SMALLEST_GROUP, CountProblem, check_counts
from evaluator.protocol import MetricSpec, Protocol

DECIMALS = 3
OTHER = "other"
"""The group of everybody whose group the organizers never named."""
NUMBERS = frozenset({"mean", "sd", "n"})
LARGEST = 1e9
MOST_GROUPS = 200
LONGEST_NAME = 80


def check_release(
    document: Mapping[str, Any], *, protocol: Protocol, case_count: int, groups: Mapping[str, Sequence[str]]
) -> None:
    """Return quietly when the document holds nothing but permitted numbers. Raise InvalidError naming the first that is not.

    `groups`: attribute → names of groups that the organizers know. Any other name could be a patient's.
    """
    metrics = {spec.id: spec for spec in protocol.metrics}
    if set(document) != set(metrics) or all(numbers is None for numbers in document.values()):
        raise _refused("metrics", found=_names(document), expected=f"{_names(metrics)}, null where withheld")
    if case_count < SMALLEST_GROUP:
        raise _refused(
            "cases", found=str(case_count), expected=f"at least {SMALLEST_GROUP}, so that no patient stands out"
        )
    for name, numbers in document.items():
        if numbers is not None:
            _check_metric(numbers, spec=metrics[name], protocol=protocol, case_count=case_count, known=groups)


def check_failures(document: Mapping[str, Any], *, case_count: int) -> None:
    """Verdict → how many cases ended so, null for fewer than the smallest group. Raise InvalidError naming the first that is not."""
    known = {verdict.value for verdict in Verdict if verdict.fault is not Fault.NONE}
    if not set(document) <= known:
        raise _refused("failures", found=_names(document), expected=_names(known))
    for verdict, count in document.items():
        is_count = isinstance(count, int) and not isinstance(count, bool) and SMALLEST_GROUP <= count <= case_count
        if count is not None and not is_count:
            raise _refused(
                f"failures.{verdict}",
                found=str(count)[:40],
                expected=f"null for fewer than {SMALLEST_GROUP}, else a count up to {case_count}",
            )


def _check_metric(
    summary: Any, *, spec: MetricSpec, protocol: Protocol, case_count: int, known: Mapping[str, Sequence[str]]
) -> None:
    partitions = {"per_label"} | {f"per_{attribute}" for attribute in protocol.breakdowns}
    if not isinstance(summary, Mapping) or not set(summary) <= NUMBERS | partitions:
        raise _refused(spec.id, found=_names(summary), expected=_names(NUMBERS | partitions))
    _check_numbers(summary, where=spec.id, spec=spec, case_count=case_count)
    for partition in partitions & set(summary):
        groups = summary[partition]
        where = f"{spec.id}.{partition}"
        if not isinstance(groups, Mapping) or not 0 < len(groups) <= MOST_GROUPS:
            raise _refused(where, found=type(groups).__name__, expected=f"1 to {MOST_GROUPS} groups by name")
        for name, numbers in groups.items():
            names = (*known.get(partition.removeprefix("per_"), ()), OTHER)
            is_known = protocol.names_label(name) if partition == "per_label" else name in names
            if not is_known:
                raise _refused(
                    f"{where}.{str(name)[:LONGEST_NAME]}",
                    found=str(name)[:LONGEST_NAME],
                    expected="a label of the protocol" if partition == "per_label" else _names(set(names)),
                )
            if not isinstance(numbers, Mapping) or not set(numbers) <= NUMBERS:
                raise _refused(f"{where}.{str(name)[:LONGEST_NAME]}", found=_names(numbers), expected=_names(NUMBERS))
            _check_numbers(numbers, where=f"{where}.{name}", spec=spec, case_count=case_count)
    try:
        check_counts(summary, where=spec.id)
    except CountProblem as problem:
        raise _refused(problem.where, found=problem.found, expected=problem.expected) from problem


def _check_numbers(summary: Mapping[str, Any], *, where: str, spec: MetricSpec, case_count: int) -> None:
    if "mean" not in summary or "n" not in summary:
        raise _refused(where, found=_names(summary), expected="mean and n")
    for name in NUMBERS & set(summary):
        value = summary[name]
        if value is None and name == "n":
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_small(value):
            raise _refused(
                f"{where}.{name}", found=type(value).__name__, expected=f"a number between {-LARGEST:g} and {LARGEST:g}"
            )
        if round(value, DECIMALS) != value:
            raise _refused(f"{where}.{name}", found=str(value), expected=f"at most {DECIMALS} decimals")
    lower, upper, mean = spec.metric.lower, spec.metric.upper, summary["mean"]
    if (lower is not None and mean < lower) or (upper is not None and mean > upper):
        raise _refused(
            f"{where}.mean", found=str(mean), expected=f"{lower} to {upper}, the range of {spec.metric.name}"
        )
    if summary.get("sd") is not None and summary["sd"] < 0:
        raise _refused(f"{where}.sd", found=str(summary["sd"]), expected="0 or more")
    if summary["n"] is not None and summary["n"] > case_count:
        raise _refused(f"{where}.n", found=str(summary["n"]), expected=f"at most the {case_count} cases of the data")


def _is_small(value: float) -> bool:
    """Compared before anything is computed: an integer of 400 digits has no float."""
    return -LARGEST <= value <= LARGEST and math.isfinite(value)


def _names(names: Any) -> str:
    return (
        ", ".join(sorted(str(name)[:LONGEST_NAME] for name in names))[:300]
        if isinstance(names, Mapping | set | frozenset)
        else str(type(names).__name__)
    )


def _refused(where: str, *, found: str, expected: str) -> InvalidError:
    return InvalidError(
        _("The release cannot be taken: %(where)s.") % {"where": where},
        code="release_refused",
        found=found,
        expected=expected,
        what_to_do=_("Use the agent of the server's version; it builds releases by these rules."),
    )
