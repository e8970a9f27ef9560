"""Webhooks from the command line: of a team, or of the organizers of a challenge."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from assay.client.participating import json_option, print_rows
from assay.client.session import Session, pass_session

Command = TypeVar("Command", bound=Callable[..., Any])


def owner_options(command: Command) -> Command:
    """`--team` or `--challenge`: whose webhooks are meant."""
    team = click.option("--team", default="", help="Of this team, which you lead: the name in its address.")
    challenge = click.option("--challenge", default="", help="Of the organizers of this challenge.")
    return team(challenge(command))


def hooks_at(*, team: str, challenge: str) -> str:
    """The address of somebody's webhooks in the API."""
    if bool(team) == bool(challenge):
        raise click.UsageError("Say whose webhooks: either --team NAME or --challenge NAME.")
    return f"teams/{team}/hooks" if team else f"challenges/{challenge}/hooks"


@click.group()
def webhook() -> None:
    """Tell a program of yours what happens."""


@webhook.command("list")
@owner_options
@json_option
@pass_session
def list_hooks(session: Session, *, team: str, challenge: str, as_json: bool) -> None:
    """List the webhooks."""
    at = hooks_at(team=team, challenge=challenge)
    with session.connect() as connection:
        rows = connection.get(at)
    print_rows(rows, line=hook_line, nothing="There is none.", as_json=as_json)


@webhook.command("add")
@click.argument("address")
@owner_options
@pass_session
def add_hook(session: Session, address: str, *, team: str, challenge: str) -> None:
    """Send what happens to ADDRESS. The secret that signs is printed this once. A `ping` is sent at once."""
    at = hooks_at(team=team, challenge=challenge)
    with session.connect() as connection:
        made = connection.post(at, {"url": address})
    click.echo(f"{made['id']}  {made['url']}")
    click.echo(f"Its secret, shown this once: {made['secret']}")


@webhook.command("log")
@click.argument("webhook_id")
@owner_options
@json_option
@pass_session
def list_deliveries(session: Session, webhook_id: str, *, team: str, challenge: str, as_json: bool) -> None:
    """List what was sent to WEBHOOK_ID and what it answered, the newest first."""
    at = hooks_at(team=team, challenge=challenge)
    with session.connect() as connection:
        rows = connection.get(f"{at}/{webhook_id}/deliveries")
    print_rows(rows, line=delivery_line, nothing="Nothing was sent yet.", as_json=as_json)


@webhook.command("test")
@click.argument("webhook_id")
@owner_options
@pass_session
def test_hook(session: Session, webhook_id: str, *, team: str, challenge: str) -> None:
    """Send WEBHOOK_ID its `ping` again. `assay webhook log` says what came of it."""
    at = f"{hooks_at(team=team, challenge=challenge)}/{webhook_id}/deliveries"
    with session.connect() as connection:
        ping = next((row["id"] for row in connection.get(at) if row["event"] == "ping"), None)
        if ping is None:
            raise click.ClickException("Its ping is too old to be sent again. Replay another delivery, or add it anew.")
        click.echo(delivery_line(connection.post(f"{at}/{ping}/replay")))


@webhook.command("replay")
@click.argument("webhook_id")
@click.argument("delivery_id")
@owner_options
@pass_session
def replay_delivery(session: Session, webhook_id: str, delivery_id: str, *, team: str, challenge: str) -> None:
    """Send DELIVERY_ID of WEBHOOK_ID again, with the same content under a new number. It switches the webhook on again."""
    at = hooks_at(team=team, challenge=challenge)
    with session.connect() as connection:
        click.echo(delivery_line(connection.post(f"{at}/{webhook_id}/deliveries/{delivery_id}/replay")))


@webhook.command("remove")
@click.argument("webhook_id")
@owner_options
@pass_session
def remove_hook(session: Session, webhook_id: str, *, team: str, challenge: str) -> None:
    """End WEBHOOK_ID, with its log."""
    at = hooks_at(team=team, challenge=challenge)
    with session.connect() as connection:
        connection.delete(f"{at}/{webhook_id}")
    click.echo("Nothing is sent there any more.")


def hook_line(row: Mapping[str, Any]) -> str:
    """One webhook: its number, where it goes, and whether it was switched off."""
    off = "  switched off: too much did not arrive" if row["disabled_at"] else ""
    return f"{row['id']}  {row['url']}{off}"


def delivery_line(row: Mapping[str, Any]) -> str:
    """One delivery: its number, its event, and how it stands. `at` is missing where no time is told."""
    moment = f"  {row['at'][:16].replace('T', ' ')} UTC" if row["at"] else ""
    answer = f" ({row['status_code'] or row['error']})" if row["status_code"] or row["error"] else ""
    state = row["state"].replace("_", " ")
    again = f", again of {row['replay_of']}" if row["replay_of"] else ""
    return f"{row['id']}  {row['event']}: {state}{answer}{again}{moment}"
