"""What operators do about nodes from the command line: enrol, list, drain, quarantine, take back, remove."""

import json

import click
from rich.console import Console
from rich.table import Table

from assay.client.participating import json_option
from assay.client.session import Session, pass_session

reason_option = click.option("--reason", default="", help="Shown to operators, and to those who wait.")


@click.group()
def nodes() -> None:
    """The machines that run submissions: who they are, and which of them take work."""


@nodes.command("list")
@json_option
@pass_session
def list_nodes(session: Session, as_json: bool) -> None:
    """Every node, with what it last said about itself."""
    with session.connect() as connection:
        found = connection.get("nodes")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    table = Table()
    for heading in ("node", "pool", "status", "slots", "last seen", "Assay", "engine", "GPUs", "images", "disk free"):
        table.add_column(heading)
    for node in found:
        inventory = node["inventory"]
        free_bytes = inventory.get("disk_free_bytes")
        table.add_row(
            node["name"],
            node["pool"],
            f"{node['status']} {node['reason']}".strip(),
            str(node["slots"]),
            node["last_seen_at"] or "never",
            str(inventory.get("assay", "")),
            str(inventory.get("engine", "")),
            ", ".join(str(gpu.get("name", "")) for gpu in inventory.get("gpus", [])),
            str(len(inventory.get("cached_images", []))),
            "" if free_bytes is None else f"{free_bytes / 2**30:.0f} GiB",
        )
    Console().print(table)


@nodes.command()
@click.argument("name")
@click.option("--pool", default="default", show_default=True)
@click.option("--slots", default=1, show_default=True, help="Cases at once.")
@pass_session
def enrol(session: Session, name: str, pool: str, slots: int) -> None:
    """Let a machine join POOL as NAME, and print its token, once. A known name gets a new token. The old one is void."""
    with session.connect() as connection:
        answer = connection.post("nodes", {"name": name, "pool": pool, "slots": slots})
    click.echo(f"On that machine, as root:  assay node join {session.address()} --token {answer['token']}")


@nodes.command()
@click.argument("node")
@click.argument("hourly_cost", type=click.FloatRange(min=0))
@pass_session
def cost(session: Session, node: str, hourly_cost: float) -> None:
    """Say what an hour of NODE costs, in your own currency."""
    with session.connect() as connection:
        answer = connection.post(f"nodes/{node}/cost", {"hourly_cost": hourly_cost})
    click.echo(f"{answer['name']} costs {answer['hourly_cost']} an hour")


@nodes.command()
@json_option
@pass_session
def costs(session: Session, as_json: bool) -> None:
    """What the nodes with a known cost have spent on each phase."""
    with session.connect() as connection:
        found = connection.get("nodes/costs")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    table = Table()
    for heading in ("node", "phase", "case runs", "hours", "cost"):
        table.add_column(heading)
    for row in found:
        phase = f"{row['challenge']}/{row['phase']}"
        table.add_row(row["node"], phase, str(row["case_runs"]), f"{row['hours']:.2f}", str(row["cost"]))
    Console().print(table)


def _change(status: str, name: str, help_text: str) -> None:
    @nodes.command(name, help=help_text)
    @click.argument("node")
    @reason_option
    @pass_session
    def change(session: Session, node: str, reason: str) -> None:
        with session.connect() as connection:
            answer = connection.post(f"nodes/{node}/status", {"status": status, "reason": reason})
        click.echo(f"{answer['name']} is {answer['status']}")


_change("draining", "drain", "Take no new work; what runs may end.")
_change("quarantined", "quarantine", "Take no new work: something is wrong with the machine.")
_change("active", "activate", "Take work again.")
_change("removed", "remove", "Gone for good: its token is void, and what it runs passes on when its lease ends.")
