"""The commands of a site's life on its machine: join, doctor, status, confirm, rotate-key, leave, uninstall."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path

import click

from assay.client.errors import ClientError, RefusedError
from assay.client.http import Connection
from assay.node.engine_option import engine_option
from assay.node.joining import SYSTEMD, UNITS
from assay.node.site_doctor import ask_server, judge_server
from assay.node.site_home import SiteHome, SiteSettings, usual_site_folder
from assay.node.site_joining import join as join_with_code
from assay.node.site_joining import leave as say_goodbye
from assay.node.site_joining import rotate_key as change_key
from containers.engines.choice import EngineChoice
from containers.machine import Level, examine, report
from containers.sandbox import sweep

SERVICE = "assay-site"
IS_ROOT = os.geteuid() == 0
folder_option = click.option(
    "--folder",
    envvar="ASSAY_SITE_FOLDER",
    type=click.Path(path_type=Path),
    default=usual_site_folder(is_root=IS_ROOT),
    show_default=True,
    help="What the site keeps: its key, drafts, scratch space.",
)


@click.command()
@click.argument("code")
@click.option("--url", envvar="ASSAY_URL", required=True, help="The server, such as https://assay.example.org.")
@folder_option
@click.option("--no-service", is_flag=True, help="Install no systemd service.")
@engine_option
def join(*, code: str, url: str, folder: Path, no_service: bool, engine: EngineChoice) -> None:
    """Join a challenge as a site, with the CODE that its organizers gave you. It works once.

    The machine is examined first. The private key is made here and never leaves this machine. Then an organizer asks you for six
    words: read them by telephone. Nothing can be evaluated before the organizer has typed them in.
    """
    home = SiteHome(folder)
    refuse_second_site(home)
    found = judge_server(ask_server(url=url))
    click.echo(report(found))
    if any(finding.level is Level.FAIL for finding in found):
        raise click.ClickException("The server cannot be reached from here. The code has not been used.")
    with Connection(url=url, program="site") as connection:
        settings = join_with_code(home, code=code, connection=connection)
    click.echo(f"\nThis machine is {settings.title} ({settings.name}) for {settings.challenge}/{settings.phase}.")
    click.echo(f"Key and token are in {home.folder}, readable by you alone.\n")
    show_words(home)
    if not no_service:
        click.echo(service_words(home, engine=engine))
    if sys.stdin.isatty() and click.confirm(
        "\nDid an organizer say by telephone that these words were accepted?", default=False
    ):
        home.confirm()


def refuse_second_site(home: SiteHome) -> None:
    """A folder is of one site. Joining in it again would lose the token of the first. Raises ClientError."""
    try:
        settings = home.settings
    except ClientError:
        return  # it cannot be read: joining again is the way out
    if settings is None:
        return
    with open_connection(settings) as connection:
        try:
            connection.get("site/about")
        except RefusedError as refusal:
            if refusal.status == 401:  # revoked: joining again is the way out
                return
            raise
    raise ClientError(
        "This machine is a site already. The code has not been used",
        found=f"{settings.name} for {settings.challenge}/{settings.phase} in {home.folder}",
        expected="a folder of no site",
        what_to_do="assay site leave first, or name another folder: ASSAY_SITE_FOLDER=/other assay site join …",
    )


def show_words(home: SiteHome) -> None:
    """The six words, and what to do with them."""
    click.echo(f"  {home.words()}\n")
    click.echo("Read these six words to an organizer of the challenge by telephone. They type them in. If their page")
    click.echo("refuses the words, somebody stands between you and the server: stop, and tell your IT department.")


def service_words(
    home: SiteHome, *, engine: EngineChoice, call: Callable[[Sequence[str]], object] | None = None
) -> str:
    """Install the service where that is possible. Else say what to do by hand."""
    text = unit_text(folder=home.folder, engine=engine)
    if IS_ROOT and SYSTEMD.exists():
        run = call or partial(subprocess.run, check=True)
        (UNITS / f"{SERVICE}.service").write_text(text, encoding="utf-8")
        run(["systemctl", "daemon-reload"])
        run(["systemctl", "enable", "--now", SERVICE])
        return f"The service runs, and waits for the approval: journalctl -u {SERVICE} -f"
    why = "You are not root" if SYSTEMD.exists() else "There is no systemd here"
    return f"{why}, so no service was installed. This would be {UNITS / SERVICE}.service:\n\n{text}"


def unit_text(*, folder: Path, engine: EngineChoice, python: str = sys.executable) -> str:
    """The systemd unit for this installation."""
    template = files("assay.node").joinpath("assay-site.service").read_text(encoding="utf-8")
    text = template.replace("@FOLDER@", str(folder)).replace("@PYTHON@", python)
    if program := os.environ.get("ASSAY_PROGRAM"):  # one file, as `make agent` builds it
        text = text.replace("-m assay.node ", f"{program} ")
    variables = {
        "ASSAY_ENGINE": engine.kind.value,
        "ASSAY_ENGINE_SOCKET": engine.socket,
        "ASSAY_ENGINE_FOLDER": engine.folder,
        "ASSAY_ENGINE_OPTIONS": engine.options,
    }
    lines = "".join(f'Environment="{name}={value}"\n' for name, value in variables.items() if value)
    return text.replace("[Service]\n", f"[Service]\n{lines}")


@click.command()
@click.option("--url", envvar="ASSAY_URL", default="", help="The server; the one that was joined when left out.")
@folder_option
@engine_option
def doctor(*, url: str, folder: Path, engine: EngineChoice) -> None:
    """Say what stands between this machine and a run: name, firewall, proxy, certificate, clock, token, engine, GPU, disk."""
    home = SiteHome.at(folder)
    settings = home.settings
    address = url or (settings.url if settings else "")
    if not address:
        raise click.UsageError("Which server? Give --url https://…, or join first.")
    same = settings is not None and settings.url == address.rstrip("/")
    answer = ask_server(url=address, token=settings.token if settings and same else "")
    findings = judge_server(answer)
    findings += examine(choice=engine, scratch=_existing(home.folder))
    click.echo(report(findings))
    sys.exit(any(finding.level is Level.FAIL for finding in findings))


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.is_dir())


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@folder_option
def status(*, folder: Path, as_json: bool) -> None:
    """Say whom this site works for, whether it is approved, its six words, and what waits for a decision."""
    home = SiteHome.at(folder)
    settings = home.joined()
    with open_connection(settings) as connection:
        approval = _approval(connection)
    waiting = sorted(path.stem for path in (home.folder / settings.name / "releases").glob("*.json"))
    facts = {
        "name": settings.name,
        "title": settings.title,
        "challenge": settings.challenge,
        "phase": settings.phase,
        "url": settings.url,
        "approval": approval,
        "words": home.words(),
        "is_confirmed_here": settings.is_confirmed,
        "drafts": waiting,
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(f"{settings.title} ({settings.name}) for {settings.challenge}/{settings.phase} at {settings.url}")
    click.echo(f"server:  {approval}")
    click.echo(f"words:   {home.words()}")
    click.echo(f"here:    {'confirmed' if settings.is_confirmed else 'not confirmed yet: assay site confirm'}")
    click.echo(f"drafts:  {len(waiting)} wait for a decision" + (": assay site release" if waiting else ""))


def _approval(connection: Connection) -> str:
    try:
        about = connection.get("site/about")
    except RefusedError as refusal:
        if refusal.status == 401:
            return "does not know this site any more: revoked, left, or joined again elsewhere"
        raise
    return "waits for an organizer to type in the six words" if about["is_waiting"] else "approved"


@click.command()
@folder_option
def confirm(*, folder: Path) -> None:
    """Say that an organizer heard the six words and their page accepted them. Nothing is run before that."""
    home = SiteHome.at(folder)
    with open_connection(home.joined()) as connection:
        if connection.get("site/about")["is_waiting"]:
            show_words(home)
            raise click.ClickException("No organizer has typed the words in yet.")
    home.confirm()
    click.echo("confirmed")


@click.command(name="rotate-key")
@folder_option
def rotate_key(*, folder: Path) -> None:
    """Replace the site's private key by a new one. The old key signs the change."""
    home = SiteHome.at(folder)
    with open_connection(home.joined()) as connection:
        words = change_key(home, connection=connection)
    click.echo(f"The key is changed. The six words are now:  {words}")


@click.command()
@click.option("--reason", default="", help="The organizers read this.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@folder_option
def leave(*, reason: str, yes: bool, folder: Path) -> None:
    """Leave the challenge: the token becomes void, and key and token are removed here. Released results stay on the board."""
    home = SiteHome.at(folder)
    settings = home.joined()
    if not yes:
        click.confirm(f"Leave {settings.challenge}/{settings.phase}? Joining again needs a new code.", abort=True)
    try:
        with open_connection(settings) as connection:
            say_goodbye(home, reason=reason, connection=connection)
    except RefusedError as refusal:
        if refusal.status != 401:
            raise
        home.forget()
    click.echo("left")


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--keep-records", is_flag=True, help="Keep drafts and copies of what was released.")
@folder_option
def uninstall(*, yes: bool, keep_records: bool, folder: Path) -> None:
    """Remove the service and the site's folder. Your data folder is not touched. `assay site leave` comes first."""
    home = SiteHome(folder)
    if home.settings is not None:
        raise ClientError(
            "This machine still is a site, so its token would stay valid",
            what_to_do="assay site leave, then uninstall again",
        )
    if not yes:
        click.confirm(f"Remove {home.folder} and the service?", abort=True)
    removed = remove_service(call=partial(subprocess.run, check=True)) if IS_ROOT else False
    for scratch in home.folder.glob("*/scratch"):
        sweep(scratch)
    if keep_records:
        for scratch in home.folder.glob("*/scratch"):
            shutil.rmtree(scratch)
    elif home.folder.exists():
        shutil.rmtree(home.folder)
    click.echo(
        f"{'service and ' if removed else ''}folder removed. The program itself: remove the folder it was installed in."
    )


def remove_service(*, call: Callable[[Sequence[str]], object], units: Path = UNITS) -> bool:
    """Stop the service and remove its unit. Returns whether there was one."""
    unit = units / f"{SERVICE}.service"
    if not unit.exists():
        return False
    if SYSTEMD.exists():
        call(["systemctl", "disable", "--now", SERVICE])
    unit.unlink()
    if SYSTEMD.exists():
        call(["systemctl", "daemon-reload"])
    return True


def open_connection(settings: SiteSettings) -> Connection:
    """A connection as this site."""
    return Connection(url=settings.url, token=settings.token, program="site")


COMMANDS = (join, doctor, status, confirm, rotate_key, leave, uninstall)
