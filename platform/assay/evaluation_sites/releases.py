"""What may leave a site: numbers about groups of cases, and nothing else. Pure; the server checks what the site's agent built.

A release is `{metric: {mean, sd, n, per_label: {label: {mean, sd, n}}, per_<attribute>: {value: {mean, n}}}}` with the
protocol's metric and label names. No text, no single case: a number about fewer than `SMALLEST_GROUP` cases is not
released, and values are rounded.
"""

import math
from collections.abc import Mapping
from typing import Any

from assay.accounts.errors import InvalidError
from evaluator.protocol import Protocol

SMALLEST_GROUP = 5
DECIMALS = 3
NUMBERS = frozenset({"mean", "sd", "median", "n", "n_undefined"})
MOST_GROUPS = 200
LONGEST_NAME = 80


def check_release(document: Mapping[str, Any], *, protocol: Protocol, case_count: int) -> None:
    """Return quietly when the document holds nothing but permitted numbers; raise InvalidError naming the first that is not."""
    metrics = {spec.id for spec in protocol.metrics}
    if not document or not set(document) <= metrics:
        raise _refused("metrics", found=_names(document), expected=_names(metrics))
    if case_count < SMALLEST_GROUP:
        raise _refused(
            "cases", found=str(case_count), expected=f"at least {SMALLEST_GROUP}, so that no patient stands out"
        )
    labels = {label.name for label in protocol.labels}
    breakdowns = {f"per_{attribute}" for attribute in protocol.breakdowns}
    for metric, summary in document.items():
        if not isinstance(summary, Mapping) or not set(summary) <= NUMBERS | {"per_label"} | breakdowns:
            raise _refused(metric, found=_names(summary), expected=_names(NUMBERS | {"per_label"} | breakdowns))
        _check_numbers(summary, where=metric)
        for group in ({"per_label"} | breakdowns) & set(summary):
            _check_group(summary[group], where=f"{metric}.{group}", names=labels if group == "per_label" else None)


def _check_group(group: Any, *, where: str, names: set[str] | None) -> None:
    if not isinstance(group, Mapping) or len(group) > MOST_GROUPS:
        raise _refused(where, found=type(group).__name__, expected=f"at most {MOST_GROUPS} groups by name")
    for name, numbers in group.items():
        is_known = name in names if names is not None else 0 < len(name) <= LONGEST_NAME
        if not is_known or not isinstance(numbers, Mapping) or not set(numbers) <= NUMBERS:
            raise _refused(f"{where}.{str(name)[:LONGEST_NAME]}", found=_names(numbers), expected=_names(NUMBERS))
        _check_numbers(numbers, where=f"{where}.{name}")


def _check_numbers(summary: Mapping[str, Any], *, where: str) -> None:
    count = summary.get("n")
    if not isinstance(count, int) or isinstance(count, bool) or count < SMALLEST_GROUP:
        raise _refused(f"{where}.n", found=str(count), expected=f"a count of at least {SMALLEST_GROUP}")
    for name in NUMBERS & set(summary):
        value = summary[name]
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise _refused(f"{where}.{name}", found=str(value)[:LONGEST_NAME], expected="a finite number or null")
        if round(value, DECIMALS) != value:
            raise _refused(f"{where}.{name}", found=str(value), expected=f"at most {DECIMALS} decimals")


def _names(names: Any) -> str:
    return (
        ", ".join(sorted(str(name)[:LONGEST_NAME] for name in names))
        if isinstance(names, Mapping | set | frozenset)
        else str(type(names).__name__)
    )


def _refused(where: str, *, found: str, expected: str) -> InvalidError:
    return InvalidError(
        f"The release cannot be taken: {where}.",
        code="release_refused",
        found=found,
        expected=expected,
        what_to_do="Use the agent of the server's version; it builds releases by these rules.",
    )
