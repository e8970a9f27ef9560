"""`assay protocol`: list, show, check and compare protocols, and write label maps in the values of another one."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from evaluator.errors import EvaluatorError, ProtocolError
from evaluator.protocol import Protocol, load_named_protocol, load_protocol, named_protocols, read_protocol
from evaluator.protocol.diff import diff_documents
from evaluator.protocol.modes import Mode
from evaluator.protocol.source import SCHEMA_PATH
from evaluator.scoring.gains import gains_of_leaving_out
from evaluator.scoring.relabelling import relabel_folder, value_map


@click.group()
def protocol() -> None:
    """Look at scoring protocols."""


@protocol.command("list")
def list_protocols() -> None:
    """The protocols that come with the evaluator. Those marked @published have a second mode."""
    for name in named_protocols():
        found = load_named_protocol(name)
        mark = "@published" if any(defect.settings for defect in found.defects) else ""
        click.echo(f"{click.style(f'{name:20}', bold=True)} {click.style(f'{mark:11}', fg='yellow')} {found.title}")


@protocol.command("schema")
def print_schema() -> None:
    """The JSON schema of protocol documents, for editors and other tools."""
    click.echo(SCHEMA_PATH.read_text(encoding="utf-8"), nl=False)


@protocol.command()
@click.argument("name")
def show(name: str) -> None:
    """A protocol in its normal form, every default written out. NAME@published is what the organizers' code does."""
    import yaml  # only this command writes YAML

    found = _read_or_explain(name)
    for line in _heading(found):
        click.echo(f"# {line}".rstrip())
    click.echo(yaml.safe_dump(found.document, sort_keys=False, allow_unicode=True, width=120), nl=False)


def _heading(found: Protocol) -> Iterator[str]:
    """What a person should know before reading on: the hash, the mode, the defects, and what leaving a case out gains."""
    yield f"sha256 {found.sha256}"
    is_published = found.mode is Mode.PUBLISHED
    yield f"mode {found.mode}: {'what the code does, defects included' if is_published else 'the rules as they are meant'}"
    if found.defects:
        yield "defects of the published code" + ("" if is_published else f", not in force (see {found.name}@published)")
    for defect in found.defects:
        yield f"  {defect.id}: {defect.what} [{defect.source}]"
        if defect.example:
            yield f"    {defect.example}"
    if gains := gains_of_leaving_out(found):
        yield f"leaving out the worthless one of two cases, the other perfect: {'; '.join(map(str, gains))}"
    for fact in found.document["unconfirmed"]:
        yield f"not confirmed by the organizers: {fact}"


@protocol.command()
@click.argument("name")
def validate(name: str) -> None:
    """Check a protocol, in both modes where it has two. The exit status says whether it can be used."""
    for found in _modes_of(_read_or_explain(name)):
        click.echo(
            f"{found.full_name}: {len(found.labels)} labels, {len(found.metrics)} metrics, sha256 {found.sha256}"
        )


@protocol.command()
@click.argument("first")
@click.argument("second")
def diff(first: str, second: str) -> None:
    """What differs between two protocols, setting by setting. Exit status 1 when anything does."""
    changes = diff_documents(_read_or_explain(first).document, _read_or_explain(second).document)
    for change in changes:
        click.secho(change, fg={"-": "red", "+": "green"}.get(change[0], "yellow"))
    sys.exit(1 if changes else 0)


def _modes_of(found: Protocol) -> Iterator[Protocol]:
    yield found
    if any(defect.settings for defect in found.defects):
        yield _explained(lambda: load_protocol(found.document, mode=Mode.PUBLISHED))


@protocol.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--from", "source", required=True, help="The protocol whose values the label maps have.")
@click.option("--to", "target", required=True, help="The protocol whose values they shall have.")
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="A folder.")
def relabel(folder: Path, source: str, target: str, output: Path) -> None:
    """Write the label maps of FOLDER in another protocol's values, by the names of the structures."""
    old, new = _read_or_explain(source), _read_or_explain(target)
    try:
        values = value_map(old, new)
        written = relabel_folder(folder, values=values, destination=output)
    except EvaluatorError as problem:
        raise click.ClickException(str(problem)) from problem
    absent = [label.name for label in new.labels if not set(label.values) <= set(values.values())]
    click.echo(f"{len(values)} structures in {len(written)} files")
    if absent:
        click.echo(f"{old.name} has no value for: {', '.join(absent)}", err=True)


def _read_or_explain(name: str) -> Protocol:
    return _explained(lambda: read_protocol(name), source=Path(name))


def _explained(read: Callable[[], Protocol], *, source: Path | None = None) -> Protocol:
    try:
        return read()
    except ProtocolError as problem:
        raise click.ClickException(str(problem) + _excerpt(source, problem)) from problem
    except OSError as problem:
        raise click.ClickException(f"{source}: {problem.strerror}") from problem
    except EvaluatorError as problem:
        raise click.ClickException(str(problem)) from problem


def _excerpt(source: Path | None, problem: ProtocolError) -> str:
    """The line that is wrong, with a mark below its column. Nothing where there is no line."""
    if source is None or not problem.line or not source.is_file():
        return ""
    line = source.read_text(encoding="utf-8").splitlines()[problem.line - 1]
    number = f"{problem.line:>5} | "
    return f"\n\n{number}{line}\n{' ' * (len(number) + problem.column - 1)}^"
