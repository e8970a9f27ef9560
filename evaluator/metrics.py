"""The registry: every metric by name, with its unit, range, direction, definition and source.

A metric is a pure function of one `LabelPair`: one label of one case, measured once for all metrics. It answers the number
its formula gives, NaN or infinity included; what an empty mask or a failed case is *worth* is decided in `conventions.py`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluator import distance, overlap
from evaluator.overlap import Overlap
from evaluator.surface import SurfaceDistances

Mask = npt.NDArray[np.bool_]


class Scope(StrEnum):
    """What one value of a metric speaks about."""

    LABEL = "label"
    CASE = "case"
    COHORT = "cohort"


class Direction(StrEnum):
    """Which way is better; `NONE` marks a statistic that is summed, never ranked by itself."""

    MAX = "max"
    MIN = "min"
    NONE = ""


@dataclass(frozen=True, kw_only=True)
class LabelPair:
    """One label of one case, as every metric sees it."""

    overlap: Overlap
    surface: SurfaceDistances
    spacing_mm: tuple[float, ...]
    tolerance_mm: float | None
    masks: Callable[[], tuple[Mask, Mask]]
    """Reference and prediction masks, made when a metric asks for them."""

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres (area in cm² ÷ 10 of a pixel in 2-D)."""
        return math.prod(self.spacing_mm) / 1000.0


Compute = Callable[[LabelPair, Mapping[str, Any]], float]


@dataclass(frozen=True, kw_only=True)
class OptionProblem:
    """Why an option's value makes no sense."""

    found: str
    expected: str


Check = Callable[[Mapping[str, Any]], OptionProblem | None]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One row of the registry."""

    name: str
    title: str
    unit: str
    direction: Direction
    lower: float | None
    upper: float | None
    definition: str
    source: str
    compute: Compute | None
    """None for a metric that is not computed from one label of one case (telemetry, tables, pooled forms)."""
    scope: Scope = Scope.LABEL
    options: Mapping[str, Any] = field(default_factory=dict)
    """Every option with its default: what a protocol may set, and nothing else."""
    check: Check | None = None
    needs_tolerance: bool = False
    needs_surface: bool = False

    @property
    def best(self) -> float | None:
        """The value of a perfect answer."""
        return self.upper if self.direction is Direction.MAX else self.lower

    @property
    def worst(self) -> float | str | None:
        """The value of no answer: the bad end of the range, and for a distance without one the case's diagonal."""
        bound = self.lower if self.direction is Direction.MAX else self.upper
        return "diagonal" if bound is None and self.unit == "mm" else bound


TOLERANT_SLACK_MM = 1e-4
"""What the tie rule `tolerant` forgives: more than float32 header rounding, far less than a voxel."""


def _check_nsd(options: Mapping[str, Any]) -> OptionProblem | None:
    tolerance_mm = options["tolerance_mm"]
    if tolerance_mm is not None and not (_is_number(tolerance_mm) and tolerance_mm >= 0):
        return OptionProblem(found=f"tolerance_mm {tolerance_mm!r}", expected="millimetres, zero or more")
    if options["tie_rule"] not in ("reference", "tolerant"):
        return OptionProblem(found=f"tie_rule {options['tie_rule']!r}", expected="reference or tolerant")
    if not (_is_number(options["min_dice"]) and 0 <= options["min_dice"] <= 1):
        return OptionProblem(found=f"min_dice {options['min_dice']!r}", expected="a Dice from 0 to 1")
    return None


def _check_percentile(options: Mapping[str, Any]) -> OptionProblem | None:
    percentile = options["percentile"]
    if _is_number(percentile) and 0 < percentile <= 100:
        return None
    return OptionProblem(found=f"percentile {percentile!r}", expected="a number above 0, at most 100")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _tolerance_mm(pair: LabelPair, options: Mapping[str, Any]) -> float:
    tolerance_mm = options["tolerance_mm"] if options["tolerance_mm"] is not None else pair.tolerance_mm
    if tolerance_mm is None:
        raise ValueError("NSD needs a tolerance for this label")  # the protocol reader demands one
    return float(tolerance_mm) + (TOLERANT_SLACK_MM if options["tie_rule"] == "tolerant" else 0.0)


def _nsd(pair: LabelPair, options: Mapping[str, Any]) -> float:
    if overlap.dice(pair.overlap) < options["min_dice"]:
        return 0.0
    return distance.normalised_surface_dice(pair.surface, tolerance_mm=_tolerance_mm(pair, options))


def _of_overlap(function: Callable[[Overlap], float]) -> Compute:
    return lambda pair, options: function(pair.overlap)  # noqa: ARG005 - one signature for every metric


def _of_surface(function: Callable[[SurfaceDistances], float]) -> Compute:
    return lambda pair, options: function(pair.surface)  # noqa: ARG005 - one signature for every metric


def _volume_difference_ml(pair: LabelPair, _options: Mapping[str, Any]) -> float:
    return abs(pair.overlap.prediction_voxels - pair.overlap.reference_voxels) * pair.voxel_ml


def _percentile(pair: LabelPair, options: Mapping[str, Any]) -> float:
    return distance.percentile_distance(pair.surface, percent=float(options["percentile"]))


_DEEPMIND = "Nikolov et al. 2021, google-deepmind/surface-distance"
_TAHA = "Taha and Hanbury 2015"


def _ratio(name: str, title: str, definition: str, source: str, function: Callable[[Overlap], float]) -> Metric:
    """A metric from 0 (worst) to 1 (best) read off the voxel counts."""
    return Metric(
        name=name, title=title, unit="", direction=Direction.MAX, lower=0.0, upper=1.0, definition=definition,
        source=source, compute=_of_overlap(function),
    )  # fmt: skip


def _distance(name: str, title: str, definition: str, function: Callable[[SurfaceDistances], float]) -> Metric:
    """A distance in mm between two surfaces, 0 at best."""
    return Metric(
        name=name, title=title, unit="mm", direction=Direction.MIN, lower=0.0, upper=None, definition=definition,
        source=_DEEPMIND, compute=_of_surface(function), needs_surface=True,
    )  # fmt: skip


def _count(name: str, title: str, definition: str, function: Callable[[Overlap], float]) -> Metric:
    """A number of voxels that rankings add up over cases (pooled Dice and its kind)."""
    return Metric(
        name=name, title=title, unit="voxels", direction=Direction.NONE, lower=0.0, upper=None, definition=definition,
        source="sufficient statistic of pooled metrics", compute=_of_overlap(function),
    )  # fmt: skip


_METRICS = (
    _ratio("dice", "Dice", "2|R∩P| / (|R| + |P|)", "Dice 1945", overlap.dice),
    _ratio("iou", "IoU", "|R∩P| / |R∪P|", "Jaccard 1912", overlap.intersection_over_union),
    _ratio("precision", "Precision", "|R∩P| / |P|", _TAHA, overlap.precision),
    _ratio("recall", "Recall", "|R∩P| / |R|", _TAHA, overlap.recall),
    _ratio("volume_similarity", "Volume similarity", "1 − ||R| − |P|| / (|R| + |P|)", _TAHA, overlap.volume_similarity),
    Metric(
        name="volume_difference", title="Volume difference", unit="ml", direction=Direction.MIN, lower=0.0, upper=None,
        definition="||P| − |R|| in millilitres", source="autoPET", compute=_volume_difference_ml,
    ),
    Metric(
        name="relative_volume_difference", title="Relative volume difference", unit="", direction=Direction.NONE,
        lower=-1.0, upper=None, definition="(|P| − |R|) / |R|", source="Heimann et al. 2009",
        compute=_of_overlap(overlap.relative_volume_difference),
    ),
    Metric(
        name="nsd", title="NSD", unit="", direction=Direction.MAX, lower=0.0, upper=1.0, source=_DEEPMIND,
        definition="share of both surfaces, by area, within the tolerance of the other; 0 when Dice < min_dice",
        compute=_nsd, check=_check_nsd, needs_tolerance=True, needs_surface=True,
        options={"tolerance_mm": None, "tie_rule": "reference", "min_dice": 0.0},
    ),
    _distance("hd", "HD", "largest distance between the surfaces, both ways", distance.hausdorff_distance),
    _distance(
        "hd95", "HD95", "larger of the two directed 95th percentiles, by area",
        lambda surface: distance.percentile_distance(surface, percent=95.0),
    ),
    Metric(
        name="hd_percentile", title="HD percentile", unit="mm", direction=Direction.MIN, lower=0.0, upper=None,
        definition="larger of the two directed percentiles, by area", source=_DEEPMIND, compute=_percentile,
        check=_check_percentile, options={"percentile": 95.0}, needs_surface=True,
    ),
    _distance("assd", "ASSD", "mean distance over both surfaces, by area", distance.average_symmetric_surface_distance),
    _distance(
        "mean_distance_to_prediction", "Mean distance to prediction",
        "mean distance from the reference's surface to the prediction's, by area",
        lambda surface: distance.mean_distances(surface)[0],
    ),
    _distance(
        "mean_distance_to_reference", "Mean distance to reference",
        "mean distance from the prediction's surface to the reference's, by area",
        lambda surface: distance.mean_distances(surface)[1],
    ),
    _count("reference_voxels", "Reference voxels", "|R|", lambda counts: counts.reference_voxels),
    _count("prediction_voxels", "Prediction voxels", "|P|", lambda counts: counts.prediction_voxels),
    _count("intersection_voxels", "Intersection voxels", "|R∩P|", lambda counts: counts.intersection_voxels),
)  # fmt: skip

REGISTRY: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _METRICS})
