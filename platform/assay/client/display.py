"""How the command line shows things: tables and one-line summaries. Pure functions of records."""

from rich.table import Table

from assay.client.records import Leaderboard, Metric, Submission

MIB = 2**20
NOTHING = "–"


def leaderboard_table(board: Leaderboard) -> Table:
    """Rank, team, each metric as mean ± sd with its unit and direction, failed cases, time and memory."""
    table = Table(title=f"Leaderboard, {board.phase}", title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("team")
    table.add_column("algorithm")
    for metric in board.metrics:
        table.add_column(metric_heading(metric), justify="right")
    for heading in ("failed cases", "s per case", "peak memory"):
        table.add_column(heading, justify="right")
    for entry in board.entries:
        values = [
            mean_and_sd(mean=entry.means.get(metric.name), sd=entry.sds.get(metric.name)) for metric in board.metrics
        ]
        table.add_row(
            NOTHING if entry.rank is None else f"{entry.rank:g}",
            entry.team,
            entry.name,
            *values,
            f"{entry.cases_failed} of {entry.cases_total}",
            NOTHING if entry.seconds_per_case is None else f"{entry.seconds_per_case:.1f}",
            NOTHING if not entry.peak_memory_bytes else f"{entry.peak_memory_bytes / MIB:.0f} MiB",
        )
    return table


def metric_heading(metric: Metric) -> str:
    """Name, unit, and an arrow that says which way is better."""
    arrow = {"max": " ↑", "min": " ↓"}.get(metric.direction, "")
    return metric.name + (f" ({metric.unit})" if metric.unit and metric.unit != "1" else "") + arrow


def mean_and_sd(*, mean: float | None, sd: float | None) -> str:
    """Such as 0.891 ± 0.004. A missing mean is shown as missing, never as 0."""
    if mean is None:
        return NOTHING
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


def submissions_table(submissions: list[Submission]) -> Table:
    """One line per submission."""
    table = Table()
    for heading in ("number", "algorithm", "team", "phase", "status", "what happened"):
        table.add_column(heading)
    for submission in submissions:
        table.add_row(
            f"#{submission.number}",
            submission.name,
            submission.team,
            f"{submission.challenge}/{submission.phase}",
            submission.status,
            submission.outcome,
        )
    return table
