"""A ranking as rows of a table, and tables as CSV files."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluator.ranking.analysis import Analysis
from evaluator.spreadsheets import harmless_row


def ranks_rows(analysis: Analysis) -> Iterator[dict[str, Any]]:
    """The rows of `ranks.csv`: rank, score, and for each metric its aggregate and interval. Unranked algorithms last."""
    for entry in analysis.ranking.entries:
        row: dict[str, Any] = {"algorithm": entry.algorithm, "rank": entry.rank, "score": entry.score}
        is_ranked = entry.rank is not None
        index = analysis.algorithms.index(entry.algorithm) if is_ranked else -1
        row["rank_low"], row["rank_high"] = analysis.rank_intervals[index] if is_ranked else (None, None)
        if analysis.sets is not None:
            row["rank_set_low"] = float(analysis.sets.low[index]) if is_ranked else None
            row["rank_set_high"] = float(analysis.sets.high[index]) if is_ranked else None
        for name, part in analysis.metrics.items():
            row[name] = entry.aggregates.get(name)
            row[f"{name}_low"] = _finite(part.interval.low[index]) if is_ranked else None
            row[f"{name}_high"] = _finite(part.interval.high[index]) if is_ranked else None
        yield row


def span(low: float, high: float) -> str:
    """An interval of ranks as people read it: `2–5`, or `1` when it is one rank."""
    return f"{low:.3g}" if low == high else f"{low:.3g}–{high:.3g}"


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a CSV. Numbers with all their digits, nothing where there is none, and no cell a formula."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = list(rows[0])
        writer.writerow(harmless_row(columns))
        writer.writerows(harmless_row(row[column] for column in columns) for row in rows)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
