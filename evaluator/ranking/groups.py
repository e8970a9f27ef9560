"""Cases in groups: the tasks of a challenge, or the bands of an attribute."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from evaluator.ranking.document.config import Subgroup
from evaluator.ranking.table import ScoreTable, natural_key


def split(table: ScoreTable, subgroup: Subgroup) -> Mapping[str, tuple[str, ...]]:
    """Group name → cases, in natural order (bands from low to high)."""
    groups: dict[str, list[str]] = {}
    for case in table.cases:
        name = _group_of(table.attributes.get(case, {}).get(subgroup.attribute, ""), subgroup.bands)
        if name:
            groups.setdefault(name, []).append(case)
    names = band_names(subgroup.bands) if subgroup.bands else tuple(sorted(groups, key=natural_key))
    return {name: tuple(groups[name]) for name in names if name in groups}


def band_names(bands: Sequence[float]) -> tuple[str, ...]:
    """`< 18`, `18 to < 40`, `≥ 40` for the cuts 18 and 40."""
    inner = [f"{low:g} to < {high:g}" for low, high in pairwise(bands)]
    return (f"< {bands[0]:g}", *inner, f"≥ {bands[-1]:g}")


def _group_of(text: str, bands: Sequence[float]) -> str:
    if not bands or not text:
        return text
    try:
        number = float(text)
    except ValueError:
        return ""
    return "" if math.isnan(number) else band_names(bands)[int(np.searchsorted(bands, number, side="right"))]
