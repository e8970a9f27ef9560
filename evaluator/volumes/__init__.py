"""Volumes: where they lie, how untrusted ones are read, how our own are written."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluator.volumes.canonical import CanonicalFile
    from evaluator.volumes.conversion import ChildLimits, canonicalise
    from evaluator.volumes.exports import CANONICAL_SUFFIX, write_as_named
    from evaluator.volumes.geometry import Grid, GridMismatch, GridTolerance, grids_match
    from evaluator.volumes.strict import LabelMap, ReaderLimits, read_grid, read_label_map
    from evaluator.volumes.trusted import Channels, Volume, read_channels_of, read_image, write_canonical

__all__ = [
    "CANONICAL_SUFFIX",
    "CanonicalFile",
    "Channels",
    "ChildLimits",
    "Grid",
    "GridMismatch",
    "GridTolerance",
    "LabelMap",
    "ReaderLimits",
    "Volume",
    "canonicalise",
    "grids_match",
    "read_channels_of",
    "read_grid",
    "read_image",
    "read_label_map",
    "write_as_named",
    "write_canonical",
]

_HOMES = {
    "CanonicalFile": "canonical",
    "ChildLimits": "conversion",
    "canonicalise": "conversion",
    "CANONICAL_SUFFIX": "exports",
    "write_as_named": "exports",
    "Grid": "geometry",
    "GridMismatch": "geometry",
    "GridTolerance": "geometry",
    "grids_match": "geometry",
    "LabelMap": "strict",
    "ReaderLimits": "strict",
    "read_grid": "strict",
    "read_label_map": "strict",
    "Channels": "trusted",
    "Volume": "trusted",
    "read_channels_of": "trusted",
    "read_image": "trusted",
    "write_canonical": "trusted",
}


def __getattr__(name: str) -> Any:
    """Imported when first asked for: the process that looks at an untrusted file must start in milliseconds."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
