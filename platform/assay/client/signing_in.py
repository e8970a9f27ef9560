"""Signing in and out, and making an account: the commands that write and forget what `credentials.py` keeps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from assay.client.credentials import Credentials, write_credentials
from assay.client.errors import RefusedError
from assay.client.http import Connection
from assay.client.session import Session, pass_session

TOKEN_DAYS = 90
Function = TypeVar("Function", bound=Callable[..., Any])


def _password_option(*, confirm: bool) -> Callable[[Function], Function]:
    return click.option("--password", envvar="ASSAY_PASSWORD", prompt=True, hide_input=True, confirmation_prompt=confirm,
                        help="Asked for when not given; ASSAY_PASSWORD keeps it off the command line.")  # fmt: skip


@click.command()
@click.argument("server", required=False)
@click.option("--username", prompt="User name")
@_password_option(confirm=False)
@click.option("--days", default=TOKEN_DAYS, show_default=True, help="How long the token is good for.")
@pass_session
def login(session: Session, server: str | None, username: str, password: str, days: int) -> None:
    """Sign in to SERVER and keep a token for it in ~/.config/assay/config.json."""
    _sign_in(session=session, url=server or session.address(), username=username, password=password, days=days)


@click.command()
@click.argument("server", required=False)
@click.option("--username", prompt="User name")
@click.option("--email", prompt="E-mail")
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


@click.command()
@pass_session
def logout(session: Session) -> None:
    """Forget the token on this computer."""
    session.path.unlink(missing_ok=True)
    click.echo("Signed out. The token itself stays valid until it expires or is deleted in your account.")


@click.command()
@pass_session
def whoami(session: Session) -> None:
    """Say which server we talk to, and as whom."""
    with session.connect() as connection:
        me = connection.get("me")
        click.echo(f"{me['username']} on {connection.url}")


NEARLY_FULL = 0.8
"""From this share of a limit on, `assay quota` says when it frees up."""


@click.command()
@pass_session
def quota(session: Session) -> None:
    """Say how much you use of what you may: challenges, disk, computing."""
    with session.connect() as connection:
        for use in connection.get("me/use"):
            click.echo(f"{use['title']}: {use['used'] or 'not counted'} of {use['allowed']}")
            if use["share"] is not None and use["share"] >= NEARLY_FULL and use["frees"]:
                click.echo(f"  {use['frees']}")
