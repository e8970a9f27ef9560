"""What organizers do from the command line: push a challenge and its test sets, open and publish phases."""

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from assay.client.bundles import bundle_source, pack_folder
from assay.client.participating import json_option
from assay.client.session import Session, pass_session, phase_path
from assay.client.submitting import send_file
from assay.client.watching import choose_reporter


@click.group()
def challenge() -> None:
    """Push, publish and list challenges."""


@challenge.command("new")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--from", "protocol_name", required=True, help="One of `assay protocol list`, or a protocol file.")
@click.option("--slug", default="", help="The challenge's name in addresses; the folder's when not given.")
@click.option("--title", default="", help="The protocol's when not given.")
def new_challenge(folder: Path, protocol_name: str, slug: str, title: str) -> None:
    """Write an organizer's bundle into FOLDER: challenge file, pages, starter kit."""
    from assay.client import scaffolding  # the evaluator, which no other command here needs

    today = datetime.now(tz=UTC).date()
    bundle = scaffolding.plan_bundle(protocol_name, slug=slug or folder.resolve().name, title=title, today=today)
    for path in scaffolding.write_bundle(bundle, folder=folder):
        click.echo(f"  {path}")
    click.echo(
        f"Read {folder / 'README.md'} first. `assay challenge push {folder} --dry-run` checks the challenge file."
    )


@challenge.command("push")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--slug", default="", help="Which challenge; the one the file names when not given.")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@pass_session
def push_challenge(session: Session, path: Path, slug: str, dry_run: bool) -> None:
    """Create or update the challenge that PATH describes: a challenge file, or the folder of a bundle."""
    source = bundle_source(path) if path.is_dir() else path.read_text("utf-8")
    with session.connect() as connection:
        answer = connection.put(f"challenges/{slug or slug_in(source)}", {"source": source, "dry_run": dry_run})
    for change in answer["changes"]:
        click.echo(f"  {change['text']}")
    if not answer["changes"]:
        click.echo("Nothing would change." if dry_run else "Nothing changed.")
    else:
        click.echo("Nothing was changed: this was a dry run." if dry_run else "Done.")
    for line in leak_lines(answer.get("leaks", [])):  # a server older than this command says nothing of it
        click.echo(line)


def leak_lines(leaks: list[dict[str, Any]]) -> list[str]:
    """What the phases can give away, as a push shows it."""
    lines = ["", "What results can give away of hidden cases:"] if leaks else []
    for leak in leaks:
        lines.append(f"  {leak['phase']} (release: {leak['release']}): {leak['text']}")
        lines += [f"    {leak['advice']}"] if leak["advice"] else []
    return lines


@challenge.command("check")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--slug", default="", help="Which challenge; the one the file names when not given.")
@click.pass_context
def check_challenge(context: click.Context, path: Path, slug: str) -> None:
    """Say what pushing PATH would change, where it is wrong, and what its phases can give away. Changes nothing."""
    context.invoke(push_challenge, path=path, slug=slug, dry_run=True)


@challenge.command("pull")
@click.argument("slug")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of the terminal.")
@pass_session
def pull_challenge(session: Session, slug: str, output: Path | None) -> None:
    """Write the challenge file of SLUG as it stands now, comments included. Pushed as it is, it changes nothing."""
    with session.connect() as connection:
        source = connection.get(f"challenges/{slug}/file")["source"]
    if output is None:
        click.echo(source, nl=False)
    else:
        output.write_text(source, "utf-8")


def slug_in(source: str) -> str:
    """The top-level `slug` of a challenge file. The server reads the rest and says where it is wrong."""
    for line in source.splitlines():
        if line.startswith("slug:"):
            return line.removeprefix("slug:").partition("#")[0].strip().strip("\"'")
    raise click.UsageError("The file has no line `slug: …` at its top level; write one, or give --slug.")


PLACEHOLDER = "⟨"
"""How `assay challenge new` marks what an organizer has to write."""


@challenge.command("publish")
@click.argument("slug")
@pass_session
def publish_challenge(session: Session, slug: str) -> None:
    """Let everybody see the challenge. On some servers an operator has to agree first."""
    with session.connect() as connection:
        source = str(connection.get(f"challenges/{slug}/file")["source"])
        answer = connection.post(f"challenges/{slug}/publish")
    for number, line in enumerate(source.splitlines(), start=1):
        if PLACEHOLDER in line:
            click.echo(f"Still to be written, line {number}: {line.strip()}", err=True)
    publication = answer.get("publication")
    if publication and publication["state"] == "waiting":
        click.echo(f"{slug} is not public yet: an operator of this server has to agree. They have been asked.")
    else:
        click.echo(f"{slug} is public.")


@challenge.command("list")
@json_option
@pass_session
def list_challenges(session: Session, as_json: bool) -> None:
    """List the challenges you may see."""
    with session.connect() as connection:
        answer = connection.get("challenges")
    rows = answer["items"] if isinstance(answer, dict) else answer
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['slug']}: {row['title']} ({row['status']})")


@challenge.command("hints")
@click.argument("slug")
@pass_session
def show_hints(session: Session, slug: str) -> None:
    """Say which teams of SLUG have something in common that one team would have. Hints are no proof."""
    with session.connect() as connection:
        hints = connection.get(f"challenges/{slug}/hints")
    for hint in hints:
        click.echo(f"{' and '.join(hint['teams'])}: {hint['reason']} {', '.join(hint['submissions'])}".rstrip())
    if not hints:
        click.echo("No hints.")


@click.group()
def testset() -> None:
    """Push test sets: hidden cases and public ones."""


@testset.command("push")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--challenge", "slug", required=True)
@click.option("--name", required=True, help="Such as hidden; pushing a name again makes a new version.")
@click.option("--public", "is_public", is_flag=True, help="Anyone may download these cases, references included.")
@click.option("--phase", "phases", multiple=True, help="Use it in this phase of the challenge; may be repeated.")
@click.option(
    "--accept-identifying", is_flag=True, help="Names, dates and numbers in headers are pseudonyms: do not refuse them."
)
@pass_session
def push_testset(
    session: Session,
    folder: Path,
    slug: str,
    name: str,
    is_public: bool,
    phases: tuple[str, ...],
    accept_identifying: bool,
) -> None:
    """Push FOLDER: a manifest.csv (case_id, input:<name>, reference, attributes) and the files it names."""
    with (
        tempfile.TemporaryDirectory(prefix="assay-testset-") as scratch,
        session.connect() as connection,
        choose_reporter("auto") as reporter,
    ):
        archive = Path(scratch) / f"{name}.tar"
        pack_folder(folder=folder, archive=archive)
        upload_id = send_file(archive, purpose="testset", connection=connection, reporter=reporter)
        request = {"name": name, "upload_id": upload_id, "is_public": is_public, "phases": list(phases)}
        request |= {"accepts_identifying": True} if accept_identifying else {}  # an older server does not know it
        answer = connection.post(f"challenges/{slug}/testsets", request)
    click.echo(
        f"{slug}/{name} version {answer['version']}: {answer['case_count']} cases, sha256 {answer['sha256'][:12]}…"
    )


@click.group("metric-image")
def metric_image() -> None:
    """Bring metrics of your own as a container image."""


@metric_image.command("push")
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--challenge", "slug", required=True)
@pass_session
def push_metric_image(session: Session, archive: Path, slug: str) -> None:
    """Push ARCHIVE, what `docker save` wrote of an image that fulfils grand-challenge's evaluation contract."""
    with session.connect() as connection, choose_reporter("auto") as reporter:
        upload_id = send_file(archive, purpose="image", connection=connection, reporter=reporter)
        answer = connection.post(f"challenges/{slug}/metric-images", {"upload_id": upload_id})
    click.echo(f"Write this into the protocol:\nevaluation: {{image: {answer['image_id']}}}")


@click.group()
def code() -> None:
    """Push what submissions of code are built from: a base image, and wheels."""


@code.command("push-base")
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--challenge", "slug", required=True)
@pass_session
def push_base(session: Session, archive: Path, slug: str) -> None:
    """Push ARCHIVE, what `docker save` wrote of an image with python3 and pip."""
    identity = _push_code_part(session, archive, slug=slug, kind="base", purpose="image")
    click.echo(f"Write this into the protocol:\nresources: {{code_base: {identity}}}")


@code.command("push-wheels")
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--challenge", "slug", required=True)
@pass_session
def push_wheels(session: Session, archive: Path, slug: str) -> None:
    """Push ARCHIVE, a zip of wheels. `pip download --only-binary=:all: -d wheels PACKAGE …` fetches them."""
    identity = _push_code_part(session, archive, slug=slug, kind="wheels", purpose="wheels")
    click.echo(f"Write this into the protocol:\nresources: {{code_wheels: {identity}}}")


def _push_code_part(session: Session, archive: Path, *, slug: str, kind: str, purpose: str) -> str:
    with session.connect() as connection, choose_reporter("auto") as reporter:
        upload_id = send_file(archive, purpose=purpose, connection=connection, reporter=reporter)
        answer = connection.post(f"challenges/{slug}/code-parts", {"kind": kind, "upload_id": upload_id})
    return str(answer["identity"])


@click.group()
def phase() -> None:
    """Open, close and publish a phase."""


def _phase_command(action: str, words: str) -> click.Command:
    @click.command(action, help=words)
    @click.argument("named", metavar="CHALLENGE/PHASE", default="")
    @click.option("--phase", "also_named", default="", help="The same, as other commands take it.")
    @pass_session
    def command(session: Session, named: str, also_named: str) -> None:
        if bool(named) == bool(also_named):
            raise click.UsageError(f"Name one phase: assay phase {action} CHALLENGE/PHASE")
        phase = named or also_named
        with session.connect() as connection:
            connection.post(f"{phase_path(phase)}/{action}")
        click.echo(f"{phase}: {action} done.")

    return command


for _action, _words in (
    ("publish", "Let participants see results from now on."),
    ("embargo", "Hide results from participants again."),
    ("pause", "Take no submissions for now."),
    ("resume", "Take submissions again."),
):
    phase.add_command(_phase_command(_action, _words))
