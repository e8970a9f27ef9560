"""Per-case tables in the columns of FLARE, KiTS and Touchstone, a folder or file of each algorithm, for `assay rank --as flare`."""

from collections.abc import Sequence
from pathlib import Path

import click

from evaluator.layouts import load_layout, read_tables
from evaluator.protocol import Protocol
from evaluator.ranking.score_files import ScoresError, Sheet, Source, find_sources

_HEADER = ("algorithm", "case", "label", "metric", "value", "reason")


def sheet_of_layout(paths: Sequence[Path], layout_name: str, protocol: Protocol | None) -> tuple[Source, Sheet]:
    """All tables as one long sheet. Raises `LayoutError`, `ScoresError`."""
    if protocol is None:
        raise click.UsageError(
            f"--as {layout_name}: found no --protocol; expected one, for it says which columns are scores"
        )
    layout = load_layout(layout_name)
    sources = find_sources(paths)
    if any(source.own is None for source in sources):
        raise ScoresError(
            f"{sources[0].path.name}: found the tables of one algorithm; expected a folder with a file or folder for each"
        )
    rows: list[tuple[str, ...]] = []
    for algorithm in dict.fromkeys(source.own for source in sources):
        tables = {s.path.name: s.path.read_text("utf-8-sig") for s in sources if s.own == algorithm}
        names = tables if len(tables) > 1 else {next(iter(layout.files)): next(iter(tables.values()))}
        rows += [
            (
                str(algorithm),
                case.case_id,
                row.label,
                row.metric,
                "" if row.value is None else repr(row.value),
                row.reason or "",
            )
            for case in read_tables(layout, protocol, names)
            for row in case.rows
        ]
    sheet = Sheet(name=layout.title, header=_HEADER, columns=tuple(zip(*rows, strict=True)), unit="row", first=1)
    return Source(path=paths[0], own=None), sheet
