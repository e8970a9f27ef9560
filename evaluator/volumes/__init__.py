"""Volumes and tables: how untrusted files are read, how our own are written."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluator.volumes.canonical import CanonicalFile, write_canonical_channels
    from evaluator.volumes.conversion import ChildLimits, canonicalise
    from evaluator.volumes.error_map import ADDED, CONFUSED, MISSED, write_error_map
    from evaluator.volumes.exports import CANONICAL_SUFFIX, write_as_named
    from evaluator.volumes.findings import Cells
    from evaluator.volumes.geometry import Grid, GridMismatch, GridTolerance, grids_match
    from evaluator.volumes.left_behind import is_left_behind
    from evaluator.volumes.strict import PAIR_VOXELS, LabelMap, ReaderLimits, read_grid, read_label_map
    from evaluator.volumes.tables import (
        CASE_COLUMN,
        DOCUMENT_SUFFIX,
        TableForm,
        TableRow,
        canonicalise_json,
        canonicalise_table,
        chosen_rows,
        delimiter_of,
        read_table,
    )
    from evaluator.volumes.trusted import (
        Channels,
        Volume,
        header_texts,
        nonfinite_voxels,
        read_channels_of,
        read_image,
        spacing_contradiction,
        write_canonical,
    )

__all__ = [
    "ADDED",
    "CANONICAL_SUFFIX",
    "CASE_COLUMN",
    "CONFUSED",
    "DOCUMENT_SUFFIX",
    "MISSED",
    "PAIR_VOXELS",
    "CanonicalFile",
    "Cells",
    "Channels",
    "ChildLimits",
    "Grid",
    "GridMismatch",
    "GridTolerance",
    "LabelMap",
    "ReaderLimits",
    "TableForm",
    "TableRow",
    "Volume",
    "canonicalise",
    "canonicalise_json",
    "canonicalise_table",
    "chosen_rows",
    "delimiter_of",
    "grids_match",
    "header_texts",
    "is_left_behind",
    "nonfinite_voxels",
    "read_channels_of",
    "read_grid",
    "read_image",
    "read_label_map",
    "read_table",
    "spacing_contradiction",
    "write_as_named",
    "write_canonical",
    "write_canonical_channels",
    "write_error_map",
]

_HOMES = {
    "CanonicalFile": "evaluator.volumes.canonical",
    "write_canonical_channels": "evaluator.volumes.canonical",
    "is_left_behind": "evaluator.volumes.left_behind",
    "Cells": "evaluator.volumes.findings",
    "ChildLimits": "evaluator.volumes.conversion",
    "canonicalise": "evaluator.volumes.conversion",
    "ADDED": "evaluator.volumes.error_map",
    "CONFUSED": "evaluator.volumes.error_map",
    "MISSED": "evaluator.volumes.error_map",
    "write_error_map": "evaluator.volumes.error_map",
    "CANONICAL_SUFFIX": "evaluator.volumes.exports",
    "write_as_named": "evaluator.volumes.exports",
    "Grid": "evaluator.volumes.geometry",
    "GridMismatch": "evaluator.volumes.geometry",
    "GridTolerance": "evaluator.volumes.geometry",
    "grids_match": "evaluator.volumes.geometry",
    "PAIR_VOXELS": "evaluator.volumes.strict",
    "LabelMap": "evaluator.volumes.strict",
    "ReaderLimits": "evaluator.volumes.strict",
    "read_grid": "evaluator.volumes.strict",
    "read_label_map": "evaluator.volumes.strict",
    "CASE_COLUMN": "evaluator.volumes.tables",
    "DOCUMENT_SUFFIX": "evaluator.volumes.tables",
    "canonicalise_json": "evaluator.volumes.tables",
    "TableForm": "evaluator.volumes.tables",
    "TableRow": "evaluator.volumes.tables",
    "canonicalise_table": "evaluator.volumes.tables",
    "chosen_rows": "evaluator.volumes.tables",
    "delimiter_of": "evaluator.volumes.tables",
    "read_table": "evaluator.volumes.tables",
    "Channels": "evaluator.volumes.trusted",
    "Volume": "evaluator.volumes.trusted",
    "header_texts": "evaluator.volumes.trusted",
    "read_channels_of": "evaluator.volumes.trusted",
    "spacing_contradiction": "evaluator.volumes.trusted",
    "nonfinite_voxels": "evaluator.volumes.trusted",
    "read_image": "evaluator.volumes.trusted",
    "write_canonical": "evaluator.volumes.trusted",
}


def __getattr__(name: str) -> Any:
    """Imported when first asked for: the process that looks at an untrusted file must start in milliseconds."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
