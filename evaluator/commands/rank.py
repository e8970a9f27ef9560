"""`assay rank`: rank a file of scores, no server needed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import yaml

import evaluator
from evaluator.commands.board_on_terminal import board_lines, preset_lines
from evaluator.commands.published_tables import sheet_of_layout
from evaluator.documents import DocumentError, read_document
from evaluator.errors import EvaluatorError
from evaluator.layouts import named_layouts
from evaluator.protocol import Protocol, load_named_protocol, load_protocol
from evaluator.ranking.analysis import Analysis, analyse
from evaluator.ranking.document.config import RankingConfig
from evaluator.ranking.document.options import margin_option, missing_option, with_margins, with_missing
from evaluator.ranking.document.parse import parse_ranking, with_metrics
from evaluator.ranking.document.presets import preset_document, preset_titles
from evaluator.ranking.document.slips import refuse_slips
from evaluator.ranking.engine import rank_algorithms
from evaluator.ranking.errors import ConfigError, RankingError
from evaluator.ranking.planning import plan_lines, plan_table
from evaluator.ranking.rank_files import ranks_rows, write_rows
from evaluator.ranking.report_file import read_report, report_document
from evaluator.ranking.score_files import FORMS, ScoreFile, ScoresError, read_scores, read_sheets
from evaluator.ranking.score_files.columns import specs_of
from evaluator.ranking.score_files.forms import WHOLE
from evaluator.ranking.table import ScoreTable
from evaluator.ranking.teams import one_per_team


@click.command()
@click.argument("scores", type=click.Path(exists=True, path_type=Path), nargs=-1)
@click.option("--protocol", help="Rank as this protocol says: a name or a YAML file.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A ranking document.")
@click.option("--preset", help="Rank as a known challenge or platform does.")
@click.option(
    "--as",
    "as_form",
    type=click.Choice(["auto", *FORMS, *named_layouts()]),
    default="auto",
    help="How SCORES are laid out.",
)
@click.option(
    "--metric", help="Whose values they are, where SCORES do not say (one column per algorithm, or a column value)."
)
@click.option("--missing", help="What a missing value counts as: dice=0,hd95=diagonal, or rank_last for every metric.")
@click.option(
    "--margin",
    help="The smallest mean difference that matters, by metric: dice=0.01,hd95=1. Says who is practically equal.",
)
@click.option("--list-presets", is_flag=True, help="List the presets and stop.")
@click.option("--show-preset", metavar="NAME", help="Print a preset, to start a configuration from, and stop.")
@click.option("--bootstrap", type=click.IntRange(min=0), help="Bootstrap replicates (default: as configured, 1000).")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the bootstrap (default: as configured, 1).")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the ranks as CSV.")
@click.option(
    "--json", "json_output", type=click.Path(dir_okay=False, path_type=Path), help="Write everything as JSON."
)
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write a self-contained HTML report.")
@click.option("--figures", type=click.Path(file_okay=False, path_type=Path), help="Also write figures and tables here.")
@click.option(
    "--from",
    "again",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Make the ranking of a file that --json wrote again.",
)
@click.option(
    "--plan", "only_plan", is_flag=True, help="Only say how many cases the ranking needs: of SCORES, or of a pilot."
)
@click.option(
    "--difference", type=click.FloatRange(min=0, min_open=True), help="With --plan: the true difference to plan for."
)
@click.option("--width", help="With --figures: how wide they are, such as 88mm.")
@click.option("--font", help='With --figures: such as "Helvetica 7pt".')
@click.option("--format", "formats", help="With --figures: some of pdf,svg,png (default: svg,png).")
@click.option("--top", type=click.IntRange(min=2), help="With --figures: show the best few algorithms only.")
@click.option("--explain", is_flag=True, help="Also print how each column of SCORES was understood.")
def rank(
    scores: tuple[Path, ...],
    protocol: str | None,
    config: Path | None,
    preset: str | None,
    as_form: str,
    metric: str | None,
    missing: str | None,
    margin: str | None,
    list_presets: bool,
    show_preset: str | None,
    bootstrap: int | None,
    seed: int | None,
    output: Path | None,
    json_output: Path | None,
    report: Path | None,
    figures: Path | None,
    again: Path | None,
    only_plan: bool,
    difference: float | None,
    width: str | None,
    font: str | None,
    formats: str | None,
    top: int | None,
    explain: bool,
) -> None:
    """Rank the algorithms of SCORES: one table, a file for each algorithm, or a folder of them.

    A table is CSV (also .csv.gz), .xlsx, .parquet or JSON: algorithm, case, metric, value; or one column per metric, per metric and
    organ, or per algorithm (with --metric). A file without a column for the algorithm is one algorithm's, named by the file or its
    folder. --explain prints how each column was understood.
    """
    try:
        if list_presets or show_preset:
            shown = yaml.safe_dump(dict(preset_document(show_preset or ""))) if show_preset else ""
            click.echo(shown or preset_lines(preset_titles(), width=_terminal_width()))
            return
        chosen = None if protocol is None else _protocol(protocol)
        if difference is not None and not only_plan:
            raise click.UsageError("found --difference without --plan; expected --plan beside it")
        if again is not None:
            if scores or protocol or config or preset or missing or margin or only_plan:
                raise click.UsageError(
                    "found --from beside SCORES or rules; expected --from alone, for its file holds the scores and the rules"
                )
            made = read_report(again)
            table, title, told = made.table, made.title, made.warnings
            analysis = analyse(table, made.config, bootstrap=made.bootstrap, seed=made.seed)
            analysis = replace(analysis, warnings=tuple(dict.fromkeys((*analysis.warnings, *told))))
        else:
            if not scores:
                raise click.UsageError("found no SCORES file; expected one (or --list-presets)")
            rules = _configuration(chosen, config, preset)
            if missing is not None:
                rules = with_missing(rules, missing_option(missing, specs_of(rules)))
            found = _read(scores, rules, as_form=as_form, metric=metric, protocol=chosen)
            if explain:
                click.echo(f"form: {found.form}")
                click.echo("".join(f"column {name}: {meaning}\n" for name, meaning in found.columns.items()))
            table, left_out = _of_each_team(found)
            rules = found.config
            if margin is not None:
                rules = with_metrics(rules, list(table.metrics))
                rules = with_margins(rules, margin_option(margin, {spec.id: spec for spec in rules.metrics}))
            title = scores[0].stem
            if only_plan:
                click.echo(
                    "\n".join(plan_lines(plan_table(table, rules, difference=difference), difference=difference))
                )
                return
            analysis = analyse(table, rules, bootstrap=bootstrap if found.has_cases else 0, seed=seed)
            analysis = replace(analysis, warnings=(*analysis.warnings, *left_out, *found.notes))
        _refuse_nothing(analysis)
        if output is not None:
            write_rows(list(ranks_rows(analysis)), output)
        if json_output is not None:
            document = report_document(table, analysis, title=title, version=evaluator.__version__)
            json_output.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        if report is not None or figures is not None or any((width, font, formats, top)):
            asked = {"width": width, "font": font, "formats": formats, "top": top}
            _draw(table, analysis, asked, html=report, folder=figures, title=title, protocol=chosen)
    except (RankingError, EvaluatorError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
    click.echo(board_lines(analysis, width=_terminal_width(), has_cases=table.cases != (WHOLE,)))


def _read(
    paths: tuple[Path, ...], rules: RankingConfig, *, as_form: str, metric: str | None, protocol: Protocol | None
) -> ScoreFile:
    if as_form in named_layouts():
        return read_sheets([sheet_of_layout(paths, as_form, protocol)], rules)
    return read_scores(paths, rules, as_form=as_form, metric=metric)


def _refuse_nothing(analysis: Analysis) -> None:
    """Where no value counts, all are equal, and everybody would be first."""
    rows = [row for row in ranks_rows(analysis) if row["rank"] is not None]
    if rows and all(row[metric] is None for row in rows for metric in analysis.metrics):
        told = "".join(f" ({note})" for note in analysis.ranking.notes)
        raise ScoresError(
            f"found no value that counts{told}; expected one at least: where algorithms lack values, --missing rank_last keeps "
            "those of the others"
        )


def _draw(table: ScoreTable, analysis: Analysis, asked: dict[str, Any], **more: Any) -> None:
    """Write the report. matplotlib is an extra: only those who ask for pictures need it."""
    try:
        from evaluator.reports import Paper, write_report
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"found no {error.name}; expected it for a report: pip install matplotlib"
        ) from error
    paper = None
    if any(value is not None for value in asked.values()):
        if more["folder"] is None:
            raise click.UsageError(
                "found --width, --font, --format or --top without --figures; expected a folder for the files"
            )
        try:
            paper = Paper.of(**asked)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        if not paper.has_font:
            click.secho(
                f"The font {paper.font} is not on this machine: SVG names it, PDF and PNG are drawn with DejaVu Sans.",
                err=True,
            )
    write_report(table, analysis, paper=paper, version=evaluator.__version__, **more)


def _of_each_team(found: ScoreFile) -> tuple[ScoreTable, tuple[str, ...]]:
    """The scores of the submissions that count, and what to say of the others."""
    rule = found.config.submissions.per_team
    if rule == "all":
        return found.table, ()
    if not found.teams:
        return found.table, (
            f"each team's {rule} submission counts, but no column team says whose is whose: all are ranked",
        )
    kept = one_per_team(found.teams, rule=rule, ranks=lambda: rank_algorithms(found.table, found.config).ranks())
    others = [name for name in found.teams if name not in kept]
    told = (f"each team's {rule} submission counts; left out: {', '.join(others)}",) if others else ()
    return found.table.only_algorithms(kept).trimmed(), told


def _protocol(name: str) -> Protocol:
    return load_protocol(Path(name)) if Path(name).exists() else load_named_protocol(name)


def _configuration(protocol: Protocol | None, config: Path | None, preset: str | None) -> RankingConfig:
    if sum(choice is not None for choice in (protocol, config, preset)) > 1:
        raise click.UsageError("found several of --protocol, --config and --preset; expected one")
    if protocol is not None:
        return parse_ranking(protocol.ranking)
    if preset is not None:
        return parse_ranking({"preset": preset})
    document = {} if config is None else _document(config)
    rules = parse_ranking(document)
    refuse_slips(rules, document, "ranking")
    return rules


def _document(path: Path) -> dict[str, Any]:
    """A ranking document. Its content may stand under a key `ranking`, as in a protocol."""
    try:
        document = read_document(path.read_bytes()).value
    except DocumentError as error:
        raise ConfigError(f"{path.name}: {error}") from error
    inner = document.get("ranking", document)
    return inner if isinstance(inner, dict) else document


def _terminal_width() -> int | None:
    """How wide the terminal is. `None` when nobody looks (a pipe, a file)."""
    return shutil.get_terminal_size(fallback=(0, 0)).columns or None
