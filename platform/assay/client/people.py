"""Notices and invitations from the command line: what you were told, and how people come into a challenge."""

import json
from collections.abc import Mapping
from typing import Any

import click

from assay.client.participating import json_option, print_rows
from assay.client.session import Session, pass_session

TIMES = ("now", "digest", "never")


@click.group(invoke_without_command=True)
@click.option("--all", "shows_all", is_flag=True, help="Also those that you have read.")
@json_option
@pass_session
@click.pass_context
def notices(context: click.Context, /, session: Session, *, shows_all: bool, as_json: bool) -> None:
    """Read what you were told, and choose what you hear of."""
    if context.invoked_subcommand is not None:
        return
    with session.connect() as connection:
        answer = connection.get("notices")
    rows = [row for row in answer["notices"] if shows_all or not row["is_read"]]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        click.echo(notice_line(row))
    if not rows:
        click.echo("There is nothing." if shows_all else "There is nothing that you have not read.")
    elif answer["older"] is not None:
        click.echo("Older ones are on the website.")


def notice_line(row: Mapping[str, Any]) -> str:
    """One notice. `at` is missing where only the page that it leads to may say when."""
    mark = " " if row["is_read"] else "*"
    moment = f"{row['at'][:16].replace('T', ' ')} UTC  " if row["at"] else ""
    return f"{mark} {moment}{row['subject']}\n    {row['text']}"


@notices.command("read")
@pass_session
def read_notices(session: Session) -> None:
    """Count all of them as read."""
    with session.connect() as connection:
        connection.post("notices/read")
    click.echo("All of them count as read.")


@notices.command("choices")
@json_option
@pass_session
def list_choices(session: Session, *, as_json: bool) -> None:
    """Say which kinds are on the website, and when each is mailed."""
    with session.connect() as connection:
        rows = connection.get("notices/choices")
    click.echo(json.dumps(rows, indent=2) if as_json else choices_table(rows))


@notices.command("choose")
@click.argument("kind")
@click.option("--mail", "by_mail", type=click.Choice(TIMES), help="When it is mailed; `digest` is once a day.")
@click.option("--website/--no-website", "is_shown", default=None, help="Whether it stands on the page of notices.")
@pass_session
def choose(session: Session, kind: str, *, by_mail: str | None, is_shown: bool | None) -> None:
    """Choose how you hear of KIND, one of `assay notices choices`."""
    if by_mail is None and is_shown is None:
        raise click.UsageError("Say what to change: --mail, --website or --no-website.")
    with session.connect() as connection:
        rows = {row["kind"]: row for row in connection.get("notices/choices")}
        if kind not in rows:
            raise click.UsageError(f"There is no kind {kind!r}. Found: {', '.join(rows)}.")
        wish = dict(rows[kind])
        wish |= {} if by_mail is None else {"by_mail": by_mail}
        wish |= {} if is_shown is None else {"is_shown": is_shown}
        click.echo(choices_table(connection.put("notices/choices", [wish])))


def choices_table(rows: list[dict[str, Any]]) -> str:
    """One line per kind."""
    lines = [f"{'kind':<14}{'website':<9}mail"]
    return "\n".join(
        [*lines, *(f"{row['kind']:<14}{'yes' if row['is_shown'] else 'no':<9}{row['by_mail']}" for row in rows)]
    )


@click.group()
def invite() -> None:
    """Invite people to a challenge, or open an invitation."""


@invite.command("send")
@click.argument("challenge")
@click.argument("addresses", nargs=-1, required=True)
@pass_session
def send_invites(session: Session, challenge: str, addresses: tuple[str, ...]) -> None:
    """Mail each of ADDRESSES an invitation to CHALLENGE that works once."""
    with session.connect() as connection:
        rows = connection.post(f"challenges/{challenge}/invites", {"addresses": list(addresses)})
    for row in rows:
        click.echo(invite_line(row))


@invite.command("link")
@click.argument("challenge")
@click.option(
    "--people", "uses", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many may use it."
)
@click.option("--days", type=click.IntRange(1, 365), default=30, show_default=True, help="How long it works.")
@pass_session
def make_link(session: Session, challenge: str, *, uses: int, days: int) -> None:
    """Print a link that invites people to CHALLENGE. It is shown this once."""
    with session.connect() as connection:
        (row,) = connection.post(f"challenges/{challenge}/invites", {"uses": uses, "days": days})
    click.echo(row["link"])


@invite.command("list")
@click.argument("challenge")
@json_option
@pass_session
def list_invites(session: Session, challenge: str, *, as_json: bool) -> None:
    """List the invitations to CHALLENGE, the newest first, and who has used them."""
    with session.connect() as connection:
        rows = connection.get(f"challenges/{challenge}/invites")
    print_rows(rows, line=invite_line, nothing="Nobody was invited.", as_json=as_json)


@invite.command("end")
@click.argument("challenge")
@click.argument("number", type=int)
@pass_session
def end_invite(session: Session, challenge: str, number: int) -> None:
    """Let invitation NUMBER be used no more. Who has used it stays."""
    with session.connect() as connection:
        connection.delete(f"challenges/{challenge}/invites/{number}")
    click.echo(f"Invitation {number} works no more.")


@invite.command("open")
@click.argument("link")
@pass_session
def open_invite(session: Session, link: str) -> None:
    """Open the invitation behind LINK, so that you can see its challenge and join it."""
    token = link.rstrip("/").rpartition("/")[2]
    with session.connect() as connection:
        answer = connection.post("invites/open", {"token": token})
    click.echo(f"You are invited to {answer['title']}. Join it: assay join {answer['challenge']}")


def invite_line(row: Mapping[str, Any]) -> str:
    """One invitation: its number, whom it is for, what is left of it, and who has used it."""
    whom = row["email"] or "a link"
    left = f"{row['uses_left']} left until {row['expires_at'][:10]}" if row["uses_left"] else "used up or ended"
    used = f", used by {', '.join(row['used_by'])}" if row["used_by"] else ""
    return f"{row['id']:>6}  {whom}: {left}{used}"
