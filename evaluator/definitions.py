"""Definition presets: what a challenge or a library means by a metric's name, as options, rounding and conventions.

`deepmind` is the default: google-deepmind/surface-distance, which most challenges copied into their repositories. Its empty
masks are our default table, because not-a-number and infinity cannot be ranked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from evaluator.conventions import Situation, Worth


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
)
PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _PRESETS})
