"""What participants do from the command line: join, submit, watch, read the board, take part as a team."""

import csv
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from assay.client.display import submissions_table
from assay.client.errors import ClientError
from assay.client.http import Connection
from assay.client.naming import submission_id
from assay.client.records import Submission
from assay.client.session import Session, pass_session, phase_path, split_phase
from assay.client.site_papers import log_words, release_words
from assay.client.submitting import MODEL_FOLDER, HandedIn, hand_in
from assay.client.watching import choose_reporter, wait_until_finished
from assay.signatures import SignatureInvalid, check_signature
from containers.log_text import readable
from evaluator.spreadsheets import harmless_row

PASSWORD_VARIABLE = "ASSAY_REGISTRY_PASSWORD"  # noqa: S105 - a name
phase_option = click.option("--phase", required=True, metavar="CHALLENGE/PHASE", help="Such as mni-brain-tissue/open.")
json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


def print_rows(
    rows: Sequence[Mapping[str, Any]], *, line: Callable[[Mapping[str, Any]], str], nothing: str, as_json: bool
) -> None:
    """What a command of a list prints: JSON where `--json` asks for it, else a line each, or `nothing` where there is none."""
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        click.echo(line(row))
    if not rows:
        click.echo(nothing)


@click.command()
@click.argument("challenge")
@click.option("--team", default="", help="Take part with this team; alone when not given.")
@click.option("--answer", "answers", multiple=True, help="Answer a question of the organizers, in their order.")
@click.option("--accept-rules", type=int, default=0, metavar="VERSION", help="Accept this version of the rules.")
@pass_session
def join(session: Session, challenge: str, team: str, answers: tuple[str, ...], accept_rules: int) -> None:
    """Take part in CHALLENGE."""
    request = {"answers": list(answers), "rules_version": accept_rules} | ({"team": team} if team else {})
    with session.connect() as connection:
        membership = connection.post(f"challenges/{challenge}/join", request)
    click.echo(joined_words(membership, challenge=challenge))


def joined_words(membership: Mapping[str, Any], *, challenge: str) -> str:
    """What joining came to. Not everybody who asks may submit: some wait, and organizers compete in no challenge of theirs."""
    if membership["role"] == "organizer" and not membership["team"]:
        return (
            f"You organize {challenge} and have no team in it, so you cannot submit. "
            f"To submit as well, name a team of yours: assay join {challenge} --team TEAM"
        )
    texts = {
        "pending": f"You asked to take part in {challenge}. The organizers have to approve it before you can submit.",
        "rejected": f"The organizers of {challenge} did not approve that you take part.",
        "banned": f"The organizers of {challenge} have excluded you.",
    }
    return texts.get(membership["status"], f"You take part in {challenge}.")


@click.command()
@click.argument("image", default="")
@phase_option
@click.option(
    "--code",
    type=click.Path(exists=True, dir_okay=False),
    help="A zip of code in place of IMAGE, where the phase takes code. It holds predict.py or metadata, and requirements.txt.",
)
@click.option("--name", required=True, help="The algorithm's name on the leaderboard.")
@click.option("--description", default="")
@click.option("--link", default="", help="Repository or paper.")
@click.option("--team", default="", help="The team to submit as, when you are in several.")
@click.option("--division", default="", help="The division you compete in, where the phase has some.")
@click.option(
    "--model",
    help="A tar of weights that is kept apart from the image, or sha256:… of one. Its files lie in the model folder, read-only.",
)
@click.option("--model-folder", default=MODEL_FOLDER, show_default=True, help="Where the algorithm finds the model.")
@click.option("--command", default="", help="What is started in the image, where the phase takes a command.")
@click.option("--registry-user", default="", help="Your name in the registry of a docker:// image that is not public.")
@click.option("--allow-duplicate", is_flag=True, help="Submit even what your team has submitted before.")
@click.option("--wait", is_flag=True, help="Stay until it has finished; the exit code says how.")
@click.option("--progress", type=click.Choice(["auto", "bar", "json", "none"]), default="auto", show_default=True)
@pass_session
def submit(
    session: Session,
    /,
    *,
    image: str,
    phase: str,
    code: str | None,
    name: str,
    description: str,
    link: str,
    team: str,
    division: str,
    model: str | None,
    model_folder: str,
    command: str,
    registry_user: str,
    allow_duplicate: bool,
    wait: bool,
    progress: str,
) -> None:
    """Submit IMAGE: an archive (docker save or OCI, plain, .gz or .zst) or the name of a local Docker image.

    An interrupted upload goes on where it stopped when the same command is given again. What your team has handed in before is
    not sent again. `assay kept` lists it, and sha256:… names it without the file. docker://REGISTRY/NAME:TAG is fetched by the server.
    """
    if bool(image) == bool(code):
        raise click.UsageError("Name one thing to submit: IMAGE, or --code code.zip")
    given = HandedIn(
        image=image,
        code=code or "",
        phase=phase,
        name=name,
        description=description,
        link=link,
        team=team,
        division=division,
        model=model or "",
        model_folder=model_folder,
        command=command,
        registry_login=registry_login(registry_user),
        allow_duplicate=allow_duplicate,
    )
    with session.connect() as connection, choose_reporter(progress) as reporter:
        submission = hand_in(given, connection=connection, reporter=reporter, wait=wait)
    if progress != "json":
        click.echo(f"#{submission.number} {submission.name}: {submission.status}: {submission.outcome}")
        click.echo(submission.url or submission.id)
    if submission.status in ("failed", "cancelled"):
        raise SystemExit(1)


def registry_login(user: str) -> tuple[str, str] | None:
    """Name and password for a registry. The password comes from the environment or is asked for, so that no shell keeps it."""
    if not user:
        return None
    password: str = os.environ.get(PASSWORD_VARIABLE) or click.prompt(f"Password or token of {user}", hide_input=True)
    return user, password


@click.command()
@phase_option
@json_option
@pass_session
def kept(session: Session, phase: str, as_json: bool) -> None:
    """List the images and models that your team has handed in before. Submit them as sha256:…"""
    with session.connect() as connection:
        rows = connection.get(f"{phase_path(phase)}/kept")
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        algorithms = ", ".join(row["submissions"])
        click.echo(f"{row['kind']} {row['version']}  sha256:{row['sha256']}  {row['filename']}  {algorithms}")
    if not rows:
        click.echo("Nothing yet.")


@click.command()
@click.argument("submission", required=False)
@click.option("--phase", default="", metavar="CHALLENGE/PHASE", help="Only this phase.")
@click.option("--all", "everybody", is_flag=True, help="Everybody's, as far as you may see them.")
@click.option("--wait", is_flag=True, help="Stay until SUBMISSION has finished.")
@json_option
@pass_session
def status(session: Session, submission: str | None, phase: str, everybody: bool, wait: bool, as_json: bool) -> None:
    """Say where SUBMISSION stands, or list yours."""
    with session.connect() as connection:
        if submission:
            submission = submission_id(submission, connection=connection)
            with choose_reporter("auto" if wait else "none") as reporter:
                if wait:
                    wait_until_finished(connection=connection, submission_id=submission, reporter=reporter)
            rows = [connection.get(f"submissions/{submission}")]
        else:
            rows = _list_submissions(connection=connection, phase=phase, everybody=everybody)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        Console().print(submissions_table([Submission.from_json(row) for row in rows]))


def _list_submissions(*, connection: Connection, phase: str, everybody: bool) -> list[dict[str, Any]]:
    challenge_slug, phase_slug = split_phase(phase) if phase else (None, None)
    mine = None if everybody else "true"
    answer = connection.get("submissions", challenge=challenge_slug, phase=phase_slug, mine=mine)
    rows: list[dict[str, Any]] = answer["items"] if isinstance(answer, dict) else answer
    return rows


@click.command()
@click.argument("submissions", nargs=-1, required=True)
@pass_session
def cancel(session: Session, submissions: tuple[str, ...]) -> None:
    """Cancel SUBMISSIONS and stop their containers."""
    with session.connect() as connection:
        chosen = list(dict.fromkeys(submission_id(text, connection=connection) for text in submissions))
        stopped = connection.post("submissions/cancel", {"submission_ids": chosen})["cancelled"]
    click.echo(f"{len(stopped)} of {len(chosen)} cancelled; the others had ended.")


@click.command()
@click.argument("submission")
@pass_session
def logs(session: Session, submission: str) -> None:
    """Print what SUBMISSION's containers wrote: organizers always, participants on public cases."""
    with session.connect() as connection:
        text = connection.get_bytes(f"submissions/{submission_id(submission, connection=connection)}/logs")
    click.echo(readable(text), nl=False)  # no terminal obeys a stranger's log, behind a pager or a pipe either


@click.command()
@click.argument("submission")
@click.option("--output", type=click.Path(path_type=Path), help="A file instead of the terminal.")
@pass_session
def receipt(session: Session, submission: str, output: Path | None) -> None:
    """Fetch the signed receipt of SUBMISSION; `assay verify` checks it without us."""
    with session.connect() as connection:
        document = connection.get_bytes(f"submissions/{submission_id(submission, connection=connection)}/receipt")
    if output is None:
        click.echo(document, nl=False)
    else:
        output.write_bytes(document)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", default="", help="The installation's public key; asked of the server when not given.")
@click.option(
    "--older",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A copy of the log of sites that was kept earlier: it has to be the beginning of FILE.",
)
@pass_session
def verify(session: Session, file: Path, key: str, older: Path | None) -> None:
    """Check the receipt or the snapshot of a leaderboard in FILE: who signed it, and that nothing in it was changed.

    FILE may also be what a hospital released (its copy in `releases/`), or the log of a phase's sites (`assay site log`). With --key no
    server is asked.
    """
    document = _read_receipt(file)
    if not key:
        with session.connect() as connection:
            key = connection.get("keys")["ed25519"]
            click.echo(f"Key of {connection.url}: {key}")
    if "site_log" in document:
        click.echo(log_words(document, key=key, older=_read_receipt(older) if older else None))
        return
    if "release" in document:
        click.echo(release_words(document, key=key))
        return
    kind = "snapshot" if "entries" in document else "receipt"
    try:
        check_signature(document, public_key=key)
    except SignatureInvalid as error:
        raise ClientError(f"The {kind} does not hold", found=str(error), expected=f"a signature by {key}") from error
    if kind == "snapshot":
        click.echo(f"The snapshot holds: {document['phase']} as of {document['taken_at']},")
        click.echo(f"  {len(document['entries'])} rows, protocol {document['protocol_sha256']}.")
        return
    click.echo(f"The receipt holds: #{document['number']} {document['algorithm']} of {document['team']},")
    click.echo(
        f"  {document['challenge']}/{document['phase']}, scored by evaluator {document['evaluator']['version']},"
    )
    click.echo(f"  protocol {document['protocol']['sha256']}, test set {document['testset']['sha256']}.")


def _read_receipt(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except ValueError as error:
        raise ClientError(
            f"{file} is no receipt", found=str(error), expected="the JSON `assay receipt` writes"
        ) from error
    if not isinstance(document, dict) or not {"signature", "site_log", "release"} & set(document):
        raise ClientError(f"{file} is no receipt", expected="the JSON `assay receipt` writes, with its signature")
    return document


@click.command()
@click.argument("submission")
@click.option("--format", "kind", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@pass_session
def export(session: Session, submission: str, kind: str) -> None:
    """Write the case scores of SUBMISSION, as far as its phase releases them, to standard output."""
    with session.connect() as connection:
        cases = connection.get(f"submissions/{submission_id(submission, connection=connection)}/cases")
    if kind == "json":
        click.echo(json.dumps(cases, indent=2))
        return
    if all(case["scores"] is None for case in cases):
        raise ClientError(
            "The scores of single cases are not released",
            what_to_do="see on the phase's page what it releases, and when",
        )
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(("case", "label", "metric", "value", "reason"))
    table.writerows(harmless_row((case["case"], *row)) for case in cases for row in case["scores"] or ())


@click.group()
def team() -> None:
    """Make a team, invite to it, join one."""


@team.command("create")
@click.argument("name")
@pass_session
def create_team(session: Session, name: str) -> None:
    """Make a team with you as its captain."""
    with session.connect() as connection:
        answer = connection.post("teams", {"name": name})
    click.echo(f"Team {answer['name']} ({answer['slug']}) exists.")


@team.command("invite")
@click.argument("slug")
@click.argument("email")
@pass_session
def invite(session: Session, slug: str, email: str) -> None:
    """Make a link that lets one person join your team once."""
    with session.connect() as connection:
        answer = connection.post(f"teams/{slug}/invites", {"email": email})
    click.echo(f"Give {email} this: assay team accept {answer['token']}")


@team.command("accept")
@click.argument("token")
@pass_session
def accept(session: Session, token: str) -> None:
    """Join the team that invited you."""
    with session.connect() as connection:
        answer = connection.post("invites/accept", {"token": token})
    click.echo(f"You are in team {answer['name']}.")
