"""`assay import SOURCE FOLDER`."""

from datetime import UTC, datetime
from pathlib import Path

import click

from assay.client.errors import ClientError
from assay.client.importing.draft import NOTES, Kind, as_json, write_draft
from assay.client.importing.formats import FORMATS, read_source
from assay.client.importing.options import Options

MARKS = {Kind.TAKEN: "taken   ", Kind.CHANGED: "changed ", Kind.MISSING: "missing "}
HELP = "Formats: " + "; ".join(f"{item.name}: {item.what}" for item in FORMATS) + "."


@click.command("import", epilog=HELP)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option(
    "--as",
    "format_name",
    type=click.Choice(["auto", *(item.name for item in FORMATS)]),
    default="auto",
    show_default=True,
)
@click.option("--protocol", default="", help="Score by this protocol: one of `assay protocol list`, or a file.")
@click.option("--slug", default="", help="The challenge's name in addresses.")
@click.option("--title", default="")
@click.option("--cases", type=click.Choice(["auto", "test", "training"]), default="auto", show_default=True,
              help="nnU-Net: which cases become the hidden test set.")  # fmt: skip
@click.option(
    "--modality", "modalities", multiple=True, help="BIDS: a suffix that is an input, such as T1w; may be repeated."
)
@click.option("--pipeline", default="", help="BIDS: the folder below derivatives/ that holds the references.")
@click.option("--dry-run", is_flag=True, help="Only say what would be taken.")
@click.option("--json", "is_json", is_flag=True, help="Answer in JSON.")
def import_bundle(
    source: Path,
    folder: Path | None,
    format_name: str,
    protocol: str,
    slug: str,
    title: str,
    cases: str,
    modalities: tuple[str, ...],
    pipeline: str,
    dry_run: bool,
    is_json: bool,
) -> None:
    """Make a challenge bundle in FOLDER out of what another platform or data set gives at SOURCE."""
    if folder is None and not dry_run:
        raise ClientError("There is no folder to write to", expected="assay import SOURCE FOLDER, or --dry-run")
    options = Options(slug=slug, title=title, protocol=protocol, cases=cases, modalities=modalities, pipeline=pipeline)
    with read_source(source, format_name=format_name, options=options) as draft:
        if folder is not None and not dry_run:
            write_draft(draft, folder=folder, now=datetime.now(tz=UTC))
    if is_json:
        click.echo(as_json(draft))
        return
    click.echo(f"{draft.format}: {draft.title} ({draft.slug})")
    for note in draft.notes:
        click.echo(f"  {MARKS[note.kind]} {note.source}: {note.text}")
    if dry_run or folder is None:
        click.echo("Nothing was written.")
    else:
        click.echo(
            f"Written to {folder}. Read {folder / NOTES} first; `assay challenge push {folder} --dry-run` checks it."
        )
