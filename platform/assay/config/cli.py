"""The server's commands of `assay`: `serve` and its parts, `admin`, `backup`, `manage`.

Settings are read when they are first looked at, so `--data-dir` only has to come before that.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import click
import django
from django.core.management import call_command, execute_from_command_line
from django.db import OperationalError, connection

from assay.config import backup as backups
from assay.config import env, parts, rights
from assay.config import serve as serving

data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    callback=lambda _, __, path: choose_folder(path),
    expose_value=False,
    is_eager=True,
    help="Where this installation writes; ASSAY_VAR, else `var` of a checkout, else ~/.local/share/assay.",
)


def choose_folder(path: Path | None) -> None:
    """Take the folder as the installation's, and see that it can be written."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "assay.config.settings")
    if path is not None:
        env.put(ASSAY_VAR=str(path.absolute()))
    folder = env.state_folder()
    try:
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"{folder} cannot be made ({error.strerror}). {OTHER_FOLDER}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise click.ClickException(f"{folder} cannot be written by this user. {OTHER_FOLDER}")


OTHER_FOLDER = "Name a folder of yours with --data-dir or ASSAY_VAR."


@click.group(invoke_without_command=True)
@data_dir
@click.option("--host", default="", help="Address to listen on; ASSAY_BIND, or 127.0.0.1.")
@click.option("--port", default=0, help="ASSAY_PORT, or 8000, or a free one.")
@click.option("--ready-file", type=click.Path(path_type=Path), help="Written with the address once everything runs.")
@click.option("--empty", "is_empty", is_flag=True, help="Begin with an empty embedded database: its rows are deleted.")
@click.pass_context
def serve(context: click.Context, *, host: str, port: int, ready_file: Path | None, is_empty: bool) -> None:
    """Run a whole Assay on this machine, or one part of it.

    Without a command: database and broker (unless DATABASE_URL and BROKER_URL name others), web server, workers and one node,
    until Ctrl-C. The commands run one part each, for systemd units and containers.
    """
    if context.invoked_subcommand is None:
        serving.serve(host=host, port=port, ready_file=ready_file, is_empty=is_empty)


@serve.command()
def prepare() -> None:
    """Bring the database and the static files up to date. Make the first administrator ASSAY_ADMIN_NAME, if that is set."""
    database_answers()
    call_command("migrate", interactive=False)
    call_command("collectstatic", interactive=False, verbosity=0)
    first_administrator()


@serve.command()
@click.option("--host", default="", help="Address to listen on; ASSAY_BIND, or 127.0.0.1.")
@click.option("--port", default=0, help="ASSAY_PORT, or 8000.")
def web(*, host: str, port: int) -> None:
    """The web server alone."""
    address = host or env.text(name="ASSAY_BIND", default="127.0.0.1")
    become(parts.web_command(f"{address}:{port or env.number(name='ASSAY_PORT', default=serving.USUAL_PORT)}"))


@serve.command()
@click.option("--beat", is_flag=True, help="With the clock; otherwise `assay serve beat` has to run somewhere.")
def workflow(*, beat: bool) -> None:
    """The worker that checks and looks after everything, alone."""
    options = [*parts.WORKFLOW_OPTIONS, *(["--beat"] if beat else [])]
    become(parts.worker_command(name="workflow", queues="workflow", options=options))


@serve.command()
def ranking() -> None:
    """The worker that ranks and writes reports, alone."""
    become(parts.worker_command(name="ranking", queues="ranking", options=list(parts.RANKING_OPTIONS)))


@serve.command()
def scoring() -> None:
    """The worker that scores, alone. It reads the references."""
    become(parts.worker_command(name="scoring", queues="prompts,scoring", options=parts.scoring_options()))


@serve.command()
def beat() -> None:
    """The clock alone."""
    become(parts.beat_command())


def become(command: list[str]) -> NoReturn:
    """Replace this process, so that signals reach the part itself."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    os.execv(command[0], command)  # noqa: S606  a program of our own, without a shell


@click.group()
@data_dir
def admin() -> None:
    """Administrators, and what they decide: who may publish, whose a pool of nodes is."""


@admin.command()
@click.argument("name")
@click.option("--email", required=True, help="Where the administrator is reached.")
@click.password_option(envvar="ASSAY_ADMIN_PASSWORD", help="Asked for; or ASSAY_ADMIN_PASSWORD.")
def create(*, name: str, email: str, password: str) -> None:
    """Make a new administrator NAME."""
    database_answers()
    from assay.accounts.errors import AssayError
    from assay.accounts.services import create_administrator

    try:
        create_administrator(username=name, email=email, password=password, now=datetime.now(tz=UTC))
    except AssayError as error:
        raise click.ClickException(f"{error.message} {error.what_to_do}".strip()) from error
    click.echo(f"{name} is an administrator and can sign in.")


@admin.command()
@click.argument("name")
def promote(*, name: str) -> None:
    """Make NAME, who has an account, an administrator."""
    database_answers()
    from assay.accounts.errors import AssayError
    from assay.accounts.services import promote_to_administrator

    try:
        promote_to_administrator(username=name, now=datetime.now(tz=UTC))
    except AssayError as error:
        raise click.ClickException(f"{error.message} {error.what_to_do}".strip()) from error
    click.echo(f"{name} is an administrator.")


@admin.command()
@click.argument("name")
def demote(*, name: str) -> None:
    """Make NAME nothing special any more. The last administrator stays one."""
    click.echo(f"{_operated('set_staff', name, is_staff=False)} is no administrator.")


@admin.command()
@click.argument("name")
def close(*, name: str) -> None:
    """Close the account NAME: nobody signs in with it, its sessions end, and nothing of it is deleted."""
    click.echo(f"{_operated('set_open', name, is_open=False)} cannot sign in.")


@admin.command(name="open")
@click.argument("name")
def reopen(*, name: str) -> None:
    """Open the account NAME again."""
    click.echo(f"{_operated('set_open', name, is_open=True)} can sign in.")


@admin.command(name="password-link")
@click.argument("name")
def password_link(*, name: str) -> None:
    """Print a link with which NAME sets a new password, once."""
    click.echo(_operated("password_link", name))


def _operated(act: str, name: str, **options: bool) -> object:
    """What a function of `accounts.operating` answers, with its refusal as a sentence."""
    database_answers()
    from assay.accounts import operating
    from assay.accounts.errors import AssayError

    try:
        return getattr(operating, act)(username=name, by=None, now=datetime.now(tz=UTC), **options)
    except AssayError as error:
        raise click.ClickException(f"{error.message} {error.what_to_do}".strip()) from error


@admin.command(name="node")
@click.argument("name")
@click.option("--pool", default="default", show_default=True, help="Which submissions it runs.")
@click.option("--slots", type=click.IntRange(min=1), default=1, show_default=True, help="Cases at once.")
def enrol(*, name: str, pool: str, slots: int) -> None:
    """Enrol the machine NAME as a node and print its token, once."""
    database_answers()
    from assay.runs.nodes import enrol_node

    _, token = enrol_node(name=name, pool=pool, slots=slots, by=None, now=datetime.now(tz=UTC))
    click.echo(token)


def first_administrator() -> None:
    """Make the one that the environment names, unless there is one. Say how, where it names none."""
    from assay.accounts.services import create_administrator, has_administrator

    if has_administrator():
        return
    name, password = env.text(name="ASSAY_ADMIN_NAME"), env.text(name="ASSAY_ADMIN_PASSWORD")
    if not (name and password):
        click.echo("There is no administrator yet. To make one: assay admin create NAME --email ADDRESS")
        return
    email = env.text(name="ASSAY_ADMIN_EMAIL")
    create_administrator(username=name, email=email, password=password, now=datetime.now(tz=UTC))
    click.echo(f"{name} is an administrator. Change the password after the first sign-in.")


def database_answers() -> None:
    """Load Django. Raises click.ClickException when the database does not answer."""
    try:
        django.setup()
        connection.ensure_connection()
    except env.EnvironmentValueError as error:
        raise click.ClickException(str(error)) from error
    except OperationalError as error:
        raise click.ClickException(
            f"The database does not answer: {str(error).strip()}\n"
            "Start Assay first (`assay serve`), or set DATABASE_URL to the server's address."
        ) from error


for _command in rights.rights_commands(database_answers):
    admin.add_command(_command)


@click.group()
@data_dir
def backup() -> None:
    """Copy everything that an installation cannot make again, and put it back."""


@backup.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--keep", type=click.IntRange(min=1), help="Make FOLDER/DATE-TIME, and keep only so many of them.")
def make(*, folder: Path, keep: int | None) -> None:
    """Write a backup into FOLDER, which must not exist yet (with --keep: below FOLDER)."""
    database_answers()
    with backup_problems():
        made = backups.make(folder) if keep is None else backups.make_next(folder, keep=keep, now=datetime.now(tz=UTC))
    click.echo(f"The backup is in {made}.")


@backup.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def restore(*, folder: Path) -> None:
    """Put the backup in FOLDER back: the database is replaced, and brought up to date with this version."""
    database_answers()
    with backup_problems():
        backups.restore(folder)
    click.echo(f"The backup in {folder} is in place.")


@contextmanager
def backup_problems() -> Iterator[None]:
    """Say what went wrong without a traceback."""
    try:
        yield
    except backups.BackupError as error:
        raise click.ClickException(str(error)) from error


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def manage(*, arguments: tuple[str, ...]) -> None:
    """Django's own commands for this server, such as `assay manage check --deploy`."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "assay.config.settings")
    execute_from_command_line(["assay manage", *arguments])
