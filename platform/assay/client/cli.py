"""The `assay` command: signing in, and the one group that collects every room's commands.

Rooms bring their commands through the entry-point group `assay.commands`; a room is imported when its command is used or
listed, so `assay submit` never loads the evaluator.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

import click

from assay.client import leaderboards, nodes, organizing, participating
from assay.client.credentials import Credentials, config_path, write_credentials
from assay.client.errors import ClientError, RefusedError
from assay.client.http import Connection
from assay.client.session import Session, pass_session

TOKEN_DAYS = 90
WHAT_IS_MISSING = "in a checkout run `make setup`; where a wheel is installed: pip install 'FILE.whl[server]'"
Function = TypeVar("Function", bound=Callable[..., Any])


class Shown(click.ClickException):
    """A `ClientError` as click shows it: every line it has, no traceback."""

    def __init__(self, error: ClientError) -> None:
        first, *rest = error.lines()
        super().__init__("\n".join([first, *(f"  {line}" for line in rest)]))


class Rooms(click.Group):
    """Our own commands and those of the other rooms."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command there is."""
        return sorted({*super().list_commands(ctx), *_room_commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Ours, else the room's."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        entry = _room_commands().get(cmd_name)
        return None if entry is None else _load(entry)

    def invoke(self, ctx: click.Context) -> Any:
        """Run, and show what the person can act on instead of a traceback."""
        try:
            return super().invoke(ctx)
        except ClientError as error:
            raise Shown(error) from error


def _room_commands() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="assay.commands")}


def _load(entry: EntryPoint) -> click.Command:
    """The room's command, or one that says why it is not there: a broken room must not take the others down."""
    try:
        command: click.Command = entry.load()
    except (ImportError, AttributeError) as error:
        reason = str(error)

        @click.command(
            entry.name, help=f"Not available here: {reason}", context_settings={"ignore_unknown_options": True}
        )
        @click.argument("arguments", nargs=-1)
        def unavailable(arguments: tuple[str, ...]) -> None:  # noqa: ARG001 - takes whatever the real one would
            raise ClientError(f"`assay {entry.name}` is not available here", found=reason, what_to_do=WHAT_IS_MISSING)

        return unavailable
    return command


@click.group(cls=Rooms, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar="ASSAY_URL", default="", help="The server; ASSAY_URL; else the one `assay login` chose.")
@click.option(
    "--token", envvar="ASSAY_TOKEN", default="", help="The API token; ASSAY_TOKEN; else the one of `assay login`."
)
@click.version_option(package_name="assay")
@click.pass_context
def main(ctx: click.Context, url: str, token: str) -> None:
    """Take part in, organize and run medical-image challenges."""
    ctx.obj = Session(url=url, token=token, path=config_path())


def _password_option(*, confirm: bool) -> Callable[[Function], Function]:
    return click.option("--password", envvar="ASSAY_PASSWORD", prompt=True, hide_input=True, confirmation_prompt=confirm,
                        help="Asked for when not given; ASSAY_PASSWORD keeps it off the command line.")  # fmt: skip


@main.command()
@click.argument("server", required=False)
@click.option("--username", prompt=True)
@_password_option(confirm=False)
@click.option("--days", default=TOKEN_DAYS, show_default=True, help="How long the token is good for.")
@pass_session
def login(session: Session, server: str | None, username: str, password: str, days: int) -> None:
    """Sign in to SERVER and keep a token for it in ~/.config/assay/config.json."""
    _sign_in(session=session, url=server or session.address(), username=username, password=password, days=days)


@main.command()
@click.argument("server", required=False)
@click.option("--username", prompt=True)
@click.option("--email", prompt=True)
@click.option("--display-name", default="", help="What others see; the user name when empty.")
@_password_option(confirm=True)
@pass_session
def signup(session: Session, server: str | None, username: str, email: str, display_name: str, password: str) -> None:
    """Make an account on SERVER and sign in."""
    url = server or session.address()
    with Connection(url=url) as connection:
        account = {"username": username, "email": email, "password": password, "display_name": display_name or username}
        connection.post("users", account)
    _sign_in(session=session, url=url, username=username, password=password, days=TOKEN_DAYS)


def _sign_in(*, session: Session, url: str, username: str, password: str, days: int) -> None:
    url = url if "://" in url else f"https://{url}"
    with Connection(url=url) as connection:
        request = {"username": username, "password": password, "name": f"assay on {_host()}", "days": days}
        try:
            answer = connection.post("tokens", request)
        except RefusedError as refusal:
            if refusal.code != "code_needed":
                raise
            code = click.prompt("Code of your second factor", err=True)
            answer = connection.post("tokens", request | {"code": code})
    credentials = Credentials(url=url.rstrip("/"), token=answer["token"], username=username)
    write_credentials(path=session.path, credentials=credentials)
    click.echo(f"Signed in to {credentials.url} as {username} until {answer['expires_at'][:10]}.")


def _host() -> str:
    return Path("/etc/hostname").read_text().strip() if Path("/etc/hostname").exists() else "this computer"


@main.command()
@pass_session
def logout(session: Session) -> None:
    """Forget the token on this computer."""
    session.path.unlink(missing_ok=True)
    click.echo("Signed out. The token itself stays valid until it expires or is deleted in your account.")


@main.command()
@pass_session
def whoami(session: Session) -> None:
    """Say which server we talk to, and as whom."""
    with session.connect() as connection:
        me = connection.get("me")
        click.echo(f"{me['username']} on {connection.url}")


for command in (*participating.COMMANDS, *organizing.COMMANDS, *leaderboards.COMMANDS, *nodes.COMMANDS):
    main.add_command(command)
