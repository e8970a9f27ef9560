"""Definition presets: what a challenge or a library means by a metric's name, as options, rounding and conventions.

`deepmind` is the default: google-deepmind/surface-distance, which most challenges copied into their repositories. Its empty
masks are our default table, because not-a-number and infinity cannot be ranked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from evaluator.metrics.registry import REGISTRY
from evaluator.protocol.conventions import Situation, Worth


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Defaults a protocol starts from. All keyed by metric name."""

    name: str
    definition: str
    source: str
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    conventions: Mapping[Situation, Mapping[str, Worth]] = field(default_factory=dict)
    rounding: int | None = None
    geometry: Mapping[str, Any] = field(default_factory=dict)


_VOXELS = {"surface": "voxels6"}
_ONE_EMPTY = (Situation.REFERENCE_EMPTY, Situation.PREDICTION_EMPTY)

_BRATS_LESIONS = {"dilation": 3, "volume_threshold_mm3": 50.0}

_PRESETS = (
    Preset(
        name="deepmind",
        definition="surface elements at voxel corners, weighted by area; larger of the two directed percentiles",
        source="google-deepmind/surface-distance 0.1",
    ),
    Preset(
        name="flare22",
        definition="deepmind's NSD, set to 0 when Dice < 0.2; scores rounded to 4 digits; headers never compared",
        source="JunMa11/FLARE FLARE22_DSC_NSD_Eval.py",
        options={"nsd": {"min_dice": 0.2}},
        rounding=4,
        geometry={"compare": "shape"},
    ),
    Preset(
        name="segrap23",
        definition="Dice, and deepmind's NSD; scores rounded to 4 digits",
        source="HiLab-git/SegRap2023 SegRap_Task001_DSC_NSD_Eval.py",
        rounding=4,
    ),
    Preset(
        name="brats23-lesionwise",
        definition="lesions over 50 mm³ matched by contact with the reference dilated three times; deepmind's HD95 per lesion; "
        "374 mm for each one missed or false; full-volume HD95 of an empty mask 374 mm",
        source="rachitsaluja/BraTS-2023-Metrics",
        options={
            **{name: _BRATS_LESIONS for name, metric in REGISTRY.items() if _BRATS_LESIONS.keys() <= metric.options.keys()},
            "lesion_hd95": _BRATS_LESIONS | {"penalty_mm": 374.0},
        },
        conventions={
            **{situation: {"hd95": 374.0} for situation in _ONE_EMPTY},
            Situation.FAILED: {"hd95": 374.0, "lesion_hd95": 374.0},
        },
    ),
    Preset(
        name="topcow24",
        definition="boundary voxels with 26 neighbours, unweighted; larger of the two directed percentiles; 90 mm when missed",
        source="TopCoW 2024 evaluation, 25ca839",
        options={"hd95": {"surface": "voxels26"}, "hd": {"surface": "voxels26"}},
        conventions={key: {"hd95": 90.0, "hd": 90.0} for key in (*_ONE_EMPTY, Situation.FAILED)},
    ),
    Preset(
        name="metrics-reloaded",
        definition="boundary voxels with 6 neighbours, unweighted; larger of the two directed percentiles, linear between "
        "voxels; distances to an empty mask undefined",
        source="csudre/MetricsReloaded (= MONAI's default)",
        options={"nsd": _VOXELS, "hd": _VOXELS, "hd95": _VOXELS, "hd_percentile": _VOXELS,
                 "assd": {"surface": "voxels6", "combine": "pooled"}},
        conventions={key: {"hd": None, "hd95": None, "hd_percentile": None, "assd": None} for key in _ONE_EMPTY},
    ),
    Preset(
        name="medpy",
        definition="boundary voxels with 6 neighbours, unweighted; one percentile of both directions pooled; ASSD the mean of "
        "the two directed means; distances to an empty mask undefined",
        source="loli/medpy 0.5 (panoptica alike)",
        options={"nsd": _VOXELS, "hd": _VOXELS, "hd95": {"surface": "voxels6", "combine": "pooled"},
                 "hd_percentile": {"surface": "voxels6", "combine": "pooled"},
                 "assd": {"surface": "voxels6", "combine": "mean"}},
        conventions={key: {"hd": None, "hd95": None, "hd_percentile": None, "assd": None} for key in _ONE_EMPTY},
    ),
)  # fmt: skip
PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _PRESETS})
