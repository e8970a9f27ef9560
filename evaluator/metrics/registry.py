"""The registry: every metric by name, with its unit, range, direction, definition, options and source.

A metric of a label is a pure function of one `LabelPair`. It answers the number its formula gives, not-a-number and infinity
included. What an empty mask or a failed case is *worth* is decided in `conventions.py`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from evaluator.measurements import overlap
from evaluator.metrics import classification, findings, formulas
from evaluator.metrics.findings import OverFindings
from evaluator.metrics.formulas import Compute


class Scope(StrEnum):
    """What one value of a metric speaks about."""

    LABEL = "label"
    CASE = "case"
    """Measured while the algorithm ran: time, memory."""
    COHORT = "cohort"
    """A ratio of sums over all cases. Each case only contributes counts."""
    TABLE = "table"
    """Computed from columns of a table: classes, choices, measurements."""
    ROUNDS = "rounds"
    """Computed from the values another metric had after each interaction."""
    EXTERNAL = "external"
    """Computed by the organizers' own metric image. See `external.py`."""


class Direction(StrEnum):
    """Which way is better. `NONE` marks a statistic that is summed or looked at, never ranked by itself."""

    MAX = "max"
    MIN = "min"
    NONE = ""


OverCases = Callable[[Sequence[float], Sequence[float | None]], list[float | None]]


@dataclass(frozen=True, kw_only=True)
class Option:
    """One thing a protocol may set: its default, and either the choices or the bounds of a number."""

    default: Any
    choices: tuple[Any, ...] = ()
    low: float = -math.inf
    high: float = math.inf

    def accepts(self, value: Any) -> bool:
        """Whether a protocol may set this value."""
        if value == self.default and type(value) is type(self.default):
            return True
        if self.choices:
            return value in self.choices
        number = int if self.is_whole else int | float
        return isinstance(value, number) and not isinstance(value, bool) and self.low <= value <= self.high

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers make sense: its default is one."""
        return isinstance(self.default, int) and not self.choices

    @property
    def expected(self) -> str:
        """What may be set, in words."""
        if self.choices:
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        number = "a whole number" if self.is_whole else "a number"
        return f"{number} from {self.low:g} to {self.high:g}" if self.high < math.inf else f"{number} from {self.low:g}"


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """A ratio of sums over cases: statistic → coefficient, above and below the line."""

    numerator: Mapping[str, float]
    denominator: Mapping[str, float]


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
    scope: Scope = Scope.LABEL
    compute: Compute | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    pooled: Pooled | None = None
    over_cases: OverCases | None = None
    """For a score that needs all rows of a table: from (references, predictions) of one column to the score of each row."""
    over_findings: OverFindings | None = None
    """For a score that needs all rows of a table whose cells hold points or boxes."""
    is_of_points: bool = False
    """Of a table: each cell holds one point, a landmark."""
    base: str = ""
    """For a score over rounds: the metric whose values it follows."""
    needs_tolerance: bool = False
    is_total: bool = False
    """True when the formula is defined when one mask is empty too, so that no convention has to stand in for it."""

    @property
    def is_over_all(self) -> bool:
        """Whether a score of a case depends on all the other cases of its table."""
        return self.over_cases is not None or self.over_findings is not None

    @property
    def best(self) -> float | None:
        """The value of a perfect answer."""
        return self.upper if self.direction is Direction.MAX else self.lower

    @property
    def worst(self) -> float | str | None:
        """The value of no answer: the bad end of the range, and for a distance in a volume without one the case's diagonal."""
        bound = self.lower if self.direction is Direction.MAX else self.upper
        return "diagonal" if bound is None and self.unit == "mm" and self.scope is Scope.LABEL else bound


_SURFACE = Option(default="surfels", choices=("surfels", "voxels6", "voxels26"))
_COMBINE = Option(default="larger", choices=("larger", "pooled", "mean"))
_LESION_OPTIONS = {
    "neighbourhood": Option(default=26, choices=(6, 18, 26)),
    "dilation": Option(default=0, low=0, high=50),
    "dilation_neighbourhood": Option(default=18, choices=(6, 18, 26)),
    "volume_threshold_mm3": Option(default=0.0, low=0.0),
}


_MATCH_OPTIONS = {
    "neighbourhood": _LESION_OPTIONS["neighbourhood"],
    "iou": Option(default=0.5, low=0.0, high=1.0),
    "iou_rule": Option(default="above", choices=("above", "at_least")),
    "assignment": Option(default="largest_first", choices=("largest_first", "most_pairs")),
    "spare_predictions": Option(default="count", choices=("count", "forgiven")),
    "border": Option(default=0, low=0, high=1000),
    "tile": Option(default=0, low=0),
    "tile_from_voxels": Option(default=0, low=0),
}
_COUNT_OPTIONS = {"weigh_by": Option(default="voxel", choices=("voxel", "mm3"))}
"""What a voxel counts in sums over cases: 1, or its volume, so that cases of coarse voxels weigh as much as their tissue."""
_FINDING_OPTIONS = {
    "rule": Option(default="best_first", choices=("best_first", "each", "most_overlap")),
    "iou": Option(default=0.5, low=0.0, high=1.0),
    "within_mm": Option(default=None, low=0.0),
    "spare_predictions": _MATCH_OPTIONS["spare_predictions"],
    "most_findings": Option(default=100, low=1, high=500),
    "failed_cases": Option(default="all_false", choices=("all_false", "no_findings")),
}
"""How answers are matched to findings: `findings.py`."""
_BETWEEN = {"between": Option(default="linear", choices=("linear", "step"))}
_DEEPMIND = "Nikolov et al. 2021, google-deepmind/surface-distance"
_TAHA = "Taha and Hanbury 2015"
_BRATS = "rachitsaluja/BraTS-2023-Metrics"
_TABLE_SOURCE = "scikit-learn's definition"


def _ratio(name: str, title: str, definition: str, source: str, compute: Compute | None, **more: Any) -> Metric:
    """From 0 (worst) to 1 (best)."""
    return Metric(
        name=name, title=title, unit="", direction=Direction.MAX, lower=0.0, upper=1.0, definition=definition,
        source=source, compute=compute, **more,
    )  # fmt: skip


def _share(name: str, title: str, definition: str, source: str, compute: Compute | None, **more: Any) -> Metric:
    """A share of all findings. 1 is best over all cases. What one case adds has no upper end: it may have many of the findings."""
    return Metric(
        name=name, title=title, unit="", direction=Direction.MAX, lower=0.0, upper=None, definition=definition,
        source=source, compute=compute, **more,
    )  # fmt: skip


def _distance(name: str, title: str, definition: str, compute: Compute, **options: Option) -> Metric:
    """A distance in mm between two surfaces, 0 at best."""
    return Metric(
        name=name, title=title, unit="mm", direction=Direction.MIN, lower=0.0, upper=None, definition=definition,
        source=_DEEPMIND, compute=compute, options={"surface": _SURFACE, **options},
    )  # fmt: skip


def _count(name: str, title: str, unit: str, definition: str, compute: Compute, **more: Any) -> Metric:
    """A number that rankings add up over cases."""
    return Metric(
        name=name, title=title, unit=unit, direction=Direction.NONE, lower=0.0, upper=None, definition=definition,
        source="sufficient statistic of pooled metrics", compute=compute, is_total=True, **more,
    )  # fmt: skip


def _difference(name: str, title: str, unit: str, definition: str, source: str, compute: Compute) -> Metric:
    """A difference, 0 at best, defined on empty masks too."""
    return Metric(
        name=name, title=title, unit=unit, direction=Direction.MIN, lower=0.0, upper=None, definition=definition,
        source=source, compute=compute, is_total=True,
    )  # fmt: skip


def _over_rounds(name: str, title: str, base: str) -> Metric:
    """The area under a metric over interactions, one unit apart: at most the number of rounds minus one."""
    return Metric(
        name=name, title=title, unit="", direction=Direction.MAX, lower=0.0, upper=None, scope=Scope.ROUNDS, base=base,
        definition=f"trapezoidal area under {base} over the last `rounds` interactions", source="CVPR 2025 interactive 3D",
        options={"rounds": Option(default=5, low=1, high=1000)},
    )  # fmt: skip


def _external(name: str, title: str, direction: Direction) -> Metric:
    """What a metric image says. Its range is its organizers' business, so their protocol states what a failed case is worth."""
    return Metric(
        name=name, title=title, unit="", direction=direction, lower=None, upper=None, scope=Scope.EXTERNAL,
        definition="what the organizers' metric image says of a case, or of each of its labels (per)",
        source="the image named by the protocol's `evaluation`", options={"per": Option(default="case", choices=("case", "label"))},
    )  # fmt: skip


def _usage(name: str, title: str, unit: str, definition: str, **options: Option) -> Metric:
    """What one case run consumed, less is better."""
    return Metric(
        name=name, title=title, unit=unit, direction=Direction.MIN, lower=0.0, upper=None, definition=definition,
        source="telemetry of the run", scope=Scope.CASE, options=options,
    )  # fmt: skip


_METRICS = (
    _ratio("dice", "Dice", "2|R∩P| / (|R| + |P|)", "Dice 1945", formulas.of_overlap(overlap.dice)),
    _ratio("iou", "IoU", "|R∩P| / |R∪P|", "Jaccard 1912", formulas.of_overlap(overlap.intersection_over_union)),
    _ratio("precision", "Precision", "|R∩P| / |P|", _TAHA, formulas.of_overlap(overlap.precision)),
    _ratio("recall", "Recall", "|R∩P| / |R|", _TAHA, formulas.of_overlap(overlap.recall)),
    _ratio(
        "volume_similarity", "Volume similarity", "1 − ||R| − |P|| / (|R| + |P|)", _TAHA,
        formulas.of_overlap(overlap.volume_similarity),
    ),
    _difference(
        "volume_difference", "Volume difference", "ml", "||P| − |R|| in millilitres", "autoPET", formulas.volume_difference_ml
    ),
    Metric(
        name="relative_volume_difference", title="Relative volume difference", unit="", direction=Direction.NONE,
        lower=-1.0, upper=None, definition="(|P| − |R|) / |R|", source="Heimann et al. 2009",
        compute=formulas.of_overlap(overlap.relative_volume_difference),
    ),
    _ratio(
        "nsd", "NSD", "share of both surfaces, by area, within the tolerance of the other; 0 where Dice is too low (min_dice)",
        _DEEPMIND, formulas.nsd, needs_tolerance=True,
        options={
            "tolerance_mm": Option(default=None, low=0.0),
            "tie_rule": Option(default="reference", choices=("reference", "tolerant")),
            "min_dice": Option(default=0.0, low=0.0, high=1.0),
            "min_dice_over": Option(default="label", choices=("label", "case")),
            "min_dice_rule": Option(default="reached", choices=("reached", "exceeded")),
            "surface": _SURFACE,
        },
    ),
    _distance("hd", "HD", "largest distance between the surfaces, both ways", formulas.hd),
    _distance("hd95", "HD95", "95th percentile of the distances by area, the larger of both ways", formulas.hd95, combine=_COMBINE),
    _distance(
        "hd_percentile", "HD percentile", "a percentile of the distances by area, the larger of both ways",
        formulas.hd_percentile, combine=_COMBINE, percentile=Option(default=95.0, low=0.0, high=100.0),
    ),
    _distance(
        "assd", "ASSD", "mean distance over both surfaces, by area", formulas.assd,
        combine=Option(default="pooled", choices=("pooled", "mean", "larger")),
    ),
    _distance(
        "mean_distance_to_prediction", "Mean distance to prediction",
        "mean distance from the reference's surface to the prediction's, by area", formulas.mean_distance(0),
    ),
    _distance(
        "mean_distance_to_reference", "Mean distance to reference",
        "mean distance from the prediction's surface to the reference's, by area", formulas.mean_distance(1),
    ),
    _difference(
        "euler_difference", "Euler number difference", "", "|χ(P) − χ(R)|, voxels as closed cubes", "FeTA 2024",
        formulas.euler_difference,
    ),
    _difference(
        "betti0_difference", "Component difference", "", "difference of the numbers of components", "FeTA 2024",
        formulas.betti_difference("components"),
    ),
    _difference(
        "betti1_difference", "Tunnel difference", "", "difference of the numbers of tunnels", "FeTA 2024",
        formulas.betti_difference("tunnels"),
    ),
    _difference(
        "betti2_difference", "Cavity difference", "", "difference of the numbers of cavities", "FeTA 2024",
        formulas.betti_difference("cavities"),
    ),
    _ratio(
        "lesion_dice", "Lesion-wise Dice", "mean Dice of reference lesions; 0 for each missed or false one", _BRATS,
        formulas.lesion_dice, options=_LESION_OPTIONS, is_total=True,
    ),
    Metric(
        name="lesion_hd95", title="Lesion-wise HD95", unit="mm", direction=Direction.MIN, lower=0.0, upper=None,
        definition="mean HD95 of reference lesions; penalty_mm, or the case's diagonal, for each missed or false one", source=_BRATS,
        compute=formulas.lesion_hd95, options=_LESION_OPTIONS | {"penalty_mm": Option(default=None, low=0.0)}, is_total=True,
    ),
    _ratio(
        "lesion_f1", "Lesion F1", "2TP / (2TP + FP + FN) over lesions", _BRATS,
        formulas.lesion_f1, options=_LESION_OPTIONS, is_total=True,
    ),
    _ratio(
        "f1_at_iou", "F1@IoU", "2TP / (2TP + FP + FN) over objects (components, or instances) matched one to one by their IoU",
        "NeurIPS 2022 CellSeg, HECKTOR", formulas.f1_at_iou,
        is_total=True, options=_MATCH_OPTIONS | {"without_objects": Option(default=1.0, low=0.0, high=1.0)},
    ),
    _count(
        "reference_voxels", "Reference voxels", "voxels", "|R|", formulas.weighed(lambda o: o.reference_voxels), options=_COUNT_OPTIONS
    ),
    _count(
        "prediction_voxels", "Prediction voxels", "voxels", "|P|", formulas.weighed(lambda o: o.prediction_voxels),
        options=_COUNT_OPTIONS,
    ),
    _count(
        "intersection_voxels", "Common voxels", "voxels", "|R∩P|", formulas.weighed(lambda o: o.intersection_voxels),
        options=_COUNT_OPTIONS,
    ),
    _count(
        "lesion_true_positives", "Lesions found", "lesions", "reference lesions that were found",
        formulas.lesion_count("true_positives"), options=_LESION_OPTIONS,
    ),
    _count(
        "lesion_false_positives", "False lesions", "lesions", "predicted components that belong to no lesion",
        formulas.lesion_count("false_positives"), options=_LESION_OPTIONS,
    ),
    _count(
        "lesion_false_negatives", "Lesions missed", "lesions", "reference lesions that were missed",
        formulas.lesion_count("false_negatives"), options=_LESION_OPTIONS,
    ),
    _count(
        "matched_true_positives", "Objects found", "objects", "objects matched one to one where IoU > iou",
        formulas.match_count("true_positives"), options=_MATCH_OPTIONS,
    ),
    _count(
        "matched_false_positives", "False objects", "objects", "predicted objects without a match",
        formulas.match_count("false_positives"), options=_MATCH_OPTIONS,
    ),
    _count(
        "matched_false_negatives", "Objects missed", "objects", "reference objects without a match",
        formulas.match_count("false_negatives"), options=_MATCH_OPTIONS,
    ),
    _ratio(
        "pooled_dice", "Pooled Dice", "2 Σ|R∩P| / Σ(|R| + |P|) over cases", "HECKTOR 2022 (DSCagg)", None,
        scope=Scope.COHORT, options=_COUNT_OPTIONS,
        pooled=Pooled(
            numerator={"intersection_voxels": 2.0}, denominator={"reference_voxels": 1.0, "prediction_voxels": 1.0}
        ),
    ),
    _ratio(
        "pooled_f1", "Pooled lesion F1", "2ΣTP / Σ(2TP + FP + FN) of lesions over cases", _BRATS, None, scope=Scope.COHORT,
        options=_LESION_OPTIONS,
        pooled=Pooled(
            numerator={"lesion_true_positives": 2.0},
            denominator={
                "lesion_true_positives": 2.0, "lesion_false_positives": 1.0, "lesion_false_negatives": 1.0
            },
        ),
    ),
    _ratio(
        "pooled_f1_at_iou", "Pooled F1@IoU", "2ΣTP / Σ(2TP + FP + FN) of objects matched where IoU > iou, over cases",
        "HECKTOR 2025 (F1agg)", None, scope=Scope.COHORT, options=_MATCH_OPTIONS,
        pooled=Pooled(
            numerator={"matched_true_positives": 2.0},
            denominator={
                "matched_true_positives": 2.0, "matched_false_positives": 1.0, "matched_false_negatives": 1.0
            },
        ),
    ),
    _over_rounds("dice_auc", "Dice over interactions", "dice"),
    _over_rounds("nsd_auc", "NSD over interactions", "nsd"),
    _external("external_score", "External score", Direction.MAX),
    _external("external_error", "External error", Direction.MIN),
    _usage(
        "wall_seconds", "Time", "s",
        "from container start to end, by the engine's clock, beyond free_seconds or, if more, free_seconds_per_megavoxel",
        free_seconds=Option(default=0.0, low=0.0), free_seconds_per_megavoxel=Option(default=0.0, low=0.0),
    ),
    _usage("cpu_seconds", "CPU time", "s", "processor seconds of the container"),
    _usage("peak_memory_mb", "Peak memory", "MB", "largest memory of the container"),
    _usage("gpu_memory_mb", "Peak GPU memory", "MB", "largest GPU memory of the run"),
    _usage(
        "gpu_stable_memory_mb", "Stable GPU memory", "MB", "largest GPU memory of the run that over 2 % of the samples reach"
    ),
    _usage(
        "gpu_memory_mb_seconds", "GPU memory–time area", "MB·s", "area under the GPU memory curve above free_mb",
        free_mb=Option(default=0.0, low=0.0),
    ),
    _usage("cpu_percent_seconds", "CPU–time area", "%·s", "area under the CPU utilisation curve"),
    _ratio(
        "accuracy", "Accuracy", "share of rows whose class is right: the cell itself, or the column with the row's largest score",
        _TABLE_SOURCE, None, scope=Scope.TABLE, options={"decision": Option(default="cell", choices=("cell", "largest"))},
    ),
    _ratio(
        "macro_auc", "Macro AUC", "area under the ROC curve, averaged over the columns where both classes occur",
        _TABLE_SOURCE, None, scope=Scope.TABLE, over_cases=classification.wins_of_rows,
        options={
            "one_sided": Option(default="skip", choices=("skip", "previous")),
            "normalise": Option(default="none", choices=("none", "softmax")),
        },
    ),
    _ratio(
        "mean_average_precision", "mAP", "average precision, averaged over the columns with a positive row",
        _TABLE_SOURCE, None, scope=Scope.TABLE, over_cases=classification.precisions_of_rows,
    ),
    _ratio(
        "balanced_accuracy", "Balanced accuracy", "recall of each class, averaged over the columns with a positive row",
        "scikit-learn balanced_accuracy_score", None, scope=Scope.TABLE, over_cases=classification.hits_of_rows,
        options={"decision": Option(default="largest", choices=("largest", "threshold"))},
    ),
    Metric(
        name="brier", title="Brier score", unit="", direction=Direction.MIN, lower=0.0, upper=1.0, scope=Scope.TABLE,
        definition="mean of (probability − truth)²", source="scikit-learn brier_score_loss", over_cases=classification.brier_of_rows,
    ),
    Metric(
        name="log_loss", title="Log loss", unit="", direction=Direction.MIN, lower=0.0, upper=None, scope=Scope.TABLE,
        definition="mean of −log of the probability of what is true", source="scikit-learn log_loss",
        over_cases=classification.log_loss_of_rows,
    ),
    Metric(
        name="calibration_error", title="Calibration error", unit="", direction=Direction.MIN, lower=None, upper=None,
        definition="mean over ten bins of |mean probability − share of positive rows|, by rows", scope=Scope.TABLE,
        source="Naeini, Cooper and Hauskrecht, AAAI 2015", over_cases=classification.calibration_of_rows,
    ),
    Metric(
        name="quadratic_kappa", title="Quadratic kappa", unit="", direction=Direction.MAX, lower=None, upper=1.0, scope=Scope.TABLE,
        definition="1 − squared error / squared error of all pairs of rows", source="scikit-learn cohen_kappa_score",
        over_cases=classification.kappa_of_rows,
    ),
    Metric(
        name="concordance", title="Concordance index", unit="", direction=Direction.MAX, lower=0.0, upper=None, scope=Scope.TABLE,
        definition="share of comparable pairs whose risks are in the right order", source="Harrell et al. 1982, as lifelines has it",
        over_cases=classification.concordance_of_rows,
    ),
    Metric(
        name="absolute_error", title="Mean absolute error", unit="", direction=Direction.MIN, lower=0.0, upper=None,
        scope=Scope.TABLE, definition="mean of |prediction − reference|", source="scikit-learn mean_absolute_error",
    ),
    Metric(
        name="squared_error", title="Mean squared error", unit="", direction=Direction.MIN, lower=0.0, upper=None,
        scope=Scope.TABLE, definition="mean of (prediction − reference)²", source="scikit-learn mean_squared_error",
    ),
    _share(
        "finding_precision", "Average precision of findings",
        "precision at the confidence of each finding, averaged over the findings; averaged over labels it is mAP",
        "picai_eval; COCO with interpolation coco", None, scope=Scope.TABLE, over_findings=findings.precisions_of_cases,
        options=_FINDING_OPTIONS | {
            "iou_to": Option(default=None, low=0.0, high=1.0),
            "interpolation": Option(default="step", choices=("step", "envelope", "coco")),
        },
    ),
    _share(
        "froc", "FROC", "sensitivity, averaged over 1/8, 1/4, 1/2, 1, 2, 4 and 8 false answers per case (rates)",
        "LUNA16; CAMELYON16 with rates quarter_to_8", None, scope=Scope.TABLE, over_findings=findings.froc_of_cases,
        options=_FINDING_OPTIONS | _BETWEEN | {"rates": Option(default="eighth_to_8", choices=tuple(findings.RATES))},
    ),
    _share(
        "finding_sensitivity", "Sensitivity", "share of findings found at so many false answers per case",
        "LUNA16", None, scope=Scope.TABLE, over_findings=findings.sensitivity_of_cases,
        options=_FINDING_OPTIONS | _BETWEEN | {"false_positives_per_case": Option(default=1.0, low=0.0, high=500.0)},
    ),
    _ratio(
        "finding_auc", "AUC of cases", "area under the ROC curve of cases with against cases without findings, by the surest answer",
        "picai_eval", None, scope=Scope.TABLE, over_findings=findings.auc_of_cases,
        options={"failed_cases": _FINDING_OPTIONS["failed_cases"]},
    ),
    Metric(
        name="landmark_error", title="Landmark error", unit="mm", direction=Direction.MIN, lower=0.0, upper=None,
        scope=Scope.TABLE, definition="distance from the landmark to the point of the reference", is_of_points=True,
        source="Wang et al. 2016, cephalometric landmarks",
    ),
    _ratio(
        "landmark_hit", "Landmark hit rate", "share of landmarks at most within_mm from the point of the reference",
        "Wang et al. 2016 (successful detection rate)", None, scope=Scope.TABLE, is_of_points=True,
        options={"within_mm": Option(default=2.0, low=0.0)},
    ),
    _ratio(
        "choice_accuracy", "Choice accuracy", "share of multiple-choice answers that parse to the right letter",
        "VLMEvalKit without judge and without random fallback", None, scope=Scope.TABLE,
        options={"parser": Option(default="strict", choices=("strict", "vlmevalkit"))},
    ),
    Metric(
        name="mape", title="MAPE", unit="%", direction=Direction.MIN, lower=0.0, upper=None, scope=Scope.TABLE,
        definition="mean of |prediction − reference| / |reference|, in percent", source="FeTA 2024 biometry",
    ),
)  # fmt: skip

REGISTRY: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _METRICS})
