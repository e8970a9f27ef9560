"""Volumes: where they lie, how untrusted ones are read, how our own are written."""

from evaluator.volumes.canonical import CanonicalFile
from evaluator.volumes.canonicalise import ChildLimits, canonicalise
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
