"""How the cases of a test set spread: a picture per spacing axis and label, made of the report of its ingestion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from assay.pages import svg

MOST_LABELS = 12
MOST_BARS = 12
WIDTH, HEIGHT = 220, 72


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """One picture, and in words what it shows."""

    title: str
    picture: SafeString
    ends: tuple[str, str]


def histograms_of(report: dict[str, Any]) -> list[Histogram]:
    """Voxel sizes along each axis, and the volume of each label in the cases that have it. Nothing of a report that has no grids."""
    cases = [case for case in report.get("cases", []) if isinstance(case, dict) and case.get("spacing_mm")]
    found = [
        _histogram(_("Spacing along %(axis)s in mm") % {"axis": axis}, [case["spacing_mm"][place] for case in cases])
        for place, axis in enumerate("xyz")
        if cases and all(len(case["spacing_mm"]) > place for case in cases)
    ]
    values = sorted({value for case in cases for value in case.get("voxels_per_label", {})}, key=int)[:MOST_LABELS]
    for value in values:
        volumes = [
            case["voxels_per_label"][value] * math.prod(case["spacing_mm"]) / 1000
            for case in cases
            if value in case.get("voxels_per_label", {})
        ]
        found.append(_histogram(_("Volume of label %(value)s in ml") % {"value": value}, volumes))
    return found


def _histogram(title: str, values: Sequence[float]) -> Histogram:
    low, high = min(values), max(values)
    bars = 1 if low == high else min(MOST_BARS, max(3, math.ceil(math.sqrt(len(values)))))
    counts = [0] * bars
    for value in values:
        counts[min(bars - 1, int((value - low) / ((high - low) or 1) * bars))] += 1
    width = WIDTH / bars
    drawn = [
        svg.named(
            "rect",
            words=_("%(count)s cases") % {"count": count},
            x=place * width,
            y=float(HEIGHT - HEIGHT * count / max(counts)),
            width=max(width - 2, 1),
            height=HEIGHT * count / max(counts),
        )
        for place, count in enumerate(counts)
    ]
    words = _("%(title)s: %(low)s to %(high)s in %(count)s cases") % {
        "title": title, "low": f"{low:.3g}", "high": f"{high:.3g}", "count": len(values),
    }  # fmt: skip
    picture = svg.picture(*drawn, words=words, viewBox=f"0 0 {WIDTH} {HEIGHT}", class_="histogram")
    return Histogram(title=title, picture=picture, ends=(f"{low:.3g}", f"{high:.3g}"))
