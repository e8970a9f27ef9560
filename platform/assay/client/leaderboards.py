"""A leaderboard on the command line: print it, take a published table onto it, write it in the columns the field uses."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from assay.client.display import leaderboard_table
from assay.client.errors import ClientError
from assay.client.http import Connection
from assay.client.participating import json_option, phase_option, print_rows
from assay.client.records import Leaderboard
from assay.client.session import Session, pass_session, phase_path

layout_option = click.option("--layout", required=True, help="Whose columns: flare, flare21, kits, touchstone.")


@click.group(invoke_without_command=True)
@click.option("--phase", default="", metavar="CHALLENGE/PHASE", help="Such as mni-brain-tissue/open.")
@json_option
@click.pass_context
def leaderboard(context: click.Context, phase: str, as_json: bool) -> None:
    """Print the ranking of a phase. Import a published table. Export the scores."""
    if context.invoked_subcommand is not None:
        return
    if not phase:
        raise click.UsageError("Missing option '--phase'.")
    session: Session = context.obj
    with session.connect() as connection:
        document = connection.get(f"{phase_path(phase)}/leaderboard")
        while len(document["entries"]) < document["count"] and (more := _entries_after(connection, document, phase)):
            document["entries"] += more
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        Console().print(leaderboard_table(Leaderboard.from_json(document)))


def _entries_after(connection: Connection, document: dict[str, Any], phase: str) -> list[Any]:
    have = len(document["entries"])
    more: list[Any] = connection.get(f"{phase_path(phase)}/leaderboard", offset=have)["entries"]
    return more


@leaderboard.command("combined")
@click.argument("challenge")
@click.argument("name", default="")
@json_option
@pass_session
def show_combined(session: Session, challenge: str, name: str, as_json: bool) -> None:
    """Print a board over several phases of CHALLENGE. Without NAME, list those it has."""
    with session.connect() as connection:
        if not name:
            rows = connection.get(f"challenges/{challenge}/combined")
            print_rows(rows, line=combined_line, nothing="It has none.", as_json=as_json)
            return
        board = connection.get(f"challenges/{challenge}/combined/{name}")
    if as_json:
        click.echo(json.dumps(board, indent=2, ensure_ascii=False))
    elif board["why_hidden"]:
        click.echo(f"Not shown to you. {board['why_hidden']}")
    else:
        Console().print(combined_table(board))
        for notice in board["notices"]:
            click.echo(notice)


def combined_line(row: Mapping[str, Any]) -> str:
    """A combined board in a list."""
    return f"{row['slug']}: {row['title']} ({', '.join(row['phases'])}, by {row['by'].replace('_', ' ')})"


def combined_table(board: Mapping[str, Any]) -> Table:
    """Rank, team, the place in each phase, and what the places make together."""
    table = Table(title=board["title"])
    for heading in ("rank", "team", *board["phases"], board["by"].replace("_", " ")):
        table.add_column(heading, justify="left" if heading == "team" else "right")
    for row in board["rows"]:
        places = ["–" if place is None else str(place) for place in row["places"]]
        table.add_row(str(row["rank"]), row["team"], *places, f"{row['value']:g}")
    return table


@leaderboard.command("import")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@phase_option
@layout_option
@click.option("--source", required=True, help="Where the table was published: a web address, shown beside the row.")
@click.option("--name", default="", help="The algorithm's name; the file's or folder's when not given.")
@pass_session
def import_table(session: Session, path: Path, phase: str, layout: str, source: str, name: str) -> None:
    """Take published per-case scores onto a leaderboard as finished rows, marked as imported.

    PATH is one CSV, a folder with the CSVs of one algorithm, or a folder of such folders.
    """
    with session.connect() as connection:
        for title, files in tables_at(path, name=name).items():
            texts = {file.name: file.read_text("utf-8-sig") for file in files}
            request = {"name": title, "source_url": source, "layout": layout, "files": texts}
            answer = connection.post(f"{phase_path(phase)}/leaderboard/imports", request)
            click.echo(f"#{answer['number']} {title}: {answer['cases']} cases")
        if answer["caution"]:
            click.echo(f"Note: {answer['caution']}", err=True)


def tables_at(path: Path, *, name: str) -> dict[str, list[Path]]:
    """Algorithm → its CSV files."""
    if path.is_file():
        return {name or path.stem: [path]}
    folders = [path, *sorted(child for child in path.iterdir() if child.is_dir())]
    found = {folder.name: sorted(folder.glob("*.csv")) for folder in folders}
    tables = {title: files for title, files in found.items() if files}
    if not tables:
        raise ClientError(f"{path} holds no table", expected="CSV files, or one folder with CSV files per algorithm")
    if name and len(tables) > 1:
        raise ClientError(
            f"--name fits one algorithm, and {path} holds {len(tables)}",
            what_to_do="name the folders, or import them one by one",
        )
    return {name: next(iter(tables.values()))} if name else tables


@leaderboard.command("export")
@phase_option
@layout_option
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="A new folder.")
@pass_session
def export_tables(session: Session, phase: str, layout: str, output: Path) -> None:
    """Write every row's scores case by case, one folder per row, in the columns of FLARE, KiTS or Touchstone."""
    with session.connect() as connection:
        content = connection.get_bytes(f"{phase_path(phase)}/leaderboard/export?layout={layout}")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            target = (output / name).resolve()
            if not target.is_relative_to(output.resolve()):
                raise ClientError("The server sent a file for elsewhere", found=name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
            click.echo(f"  {name}")


@leaderboard.command("codabench")
@phase_option
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="A file for the JSON.")
@pass_session
def export_codabench(session: Session, phase: str, output: Path) -> None:
    """Write the ranking as CodaBench writes its results: the scores of each submission by task and column."""
    with session.connect() as connection:
        document = connection.get(f"{phase_path(phase)}/leaderboard")
        while len(document["entries"]) < document["count"] and (more := _entries_after(connection, document, phase)):
            document["entries"] += more
    board = Leaderboard.from_json(document)
    output.write_text(json.dumps(codabench_results(board), indent=1) + "\n", "utf-8")
    click.echo(f"{len(board.entries)} submissions to {output}")


def codabench_results(board: Leaderboard) -> dict[str, dict[str, dict[str, str]]]:
    """`{board: {"team-submission": {"task-column": value}}}`, values as text. A value that is not there has no key."""
    rows = {}
    for entry in board.entries:
        values = {"score": entry.score, **{metric.name: entry.means.get(metric.name) for metric in board.metrics}}
        rows[f"{entry.team}-{entry.submission_id}"] = {
            f"{board.phase}-{name}": repr(value) for name, value in values.items() if value is not None
        }
    return {board.phase: rows}
