"""What a site lets out: building the release by its rules, and showing a person exactly the bytes that would leave. Pure.

Groups of fewer than `SMALLEST_GROUP` cases are withheld. When a single group of a total would be withheld, it could be found
by subtraction; then a second one, the smallest of the others, is withheld with it.
"""

import json
from collections.abc import Mapping
from typing import Any

SMALLEST_GROUP = 5
DECIMALS = 3
RELEASED = ("mean", "sd", "n")


class TooFewCases(Exception):
    """Nothing may be released about so few cases."""


def build_release(aggregates: Mapping[str, Any], *, case_count: int) -> dict[str, Any]:
    """The part of the evaluator's summary that may leave. Raises TooFewCases."""
    if case_count < SMALLEST_GROUP:
        raise TooFewCases(f"the data has {case_count} cases; numbers about fewer than {SMALLEST_GROUP} do not leave")
    release = {}
    for metric, summary in aggregates.items():
        if (summary.get("n") or 0) < SMALLEST_GROUP:
            continue
        release[metric] = _numbers(summary)
        for group, values in summary.items():
            if group.startswith("per_") and isinstance(values, Mapping):
                kept = withhold_small(values)
                if kept:
                    release[metric][group] = {name: _numbers(numbers) for name, numbers in kept.items()}
    return release


def withhold_small(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The groups that are large enough, less one more when a lone withheld one could be told from the total."""
    kept = {name: numbers for name, numbers in groups.items() if (numbers.get("n") or 0) >= SMALLEST_GROUP}
    if len(groups) - len(kept) == 1 and kept:
        smallest = min(kept, key=lambda name: (kept[name]["n"], name))
        kept.pop(smallest)
    return kept


def shown_bytes(release: Mapping[str, Any]) -> str:
    """Exactly what would be sent, for a person to read."""
    return json.dumps(release, indent=2, sort_keys=True, ensure_ascii=False)


def _numbers(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _rounded(summary[name]) for name in RELEASED if name in summary}


def _rounded(value: Any) -> Any:
    return round(value, DECIMALS) if isinstance(value, float) else value
