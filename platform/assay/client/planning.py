"""What organizers plan from the command line: tasks with last days, what phases would take, and the files of submissions."""

import json
from collections.abc import Mapping
from typing import Any

import click

from assay.client.naming import submission_id
from assay.client.organizing import challenge
from assay.client.participating import json_option, print_rows
from assay.client.session import Session, pass_session


@challenge.command("tasks")
@click.argument("slug")
@click.option("--add", default="", metavar="TITLE", help="Add a task.")
@click.option("--due", default="", metavar="DAY", help="Its last day, such as 2027-03-01.")
@click.option("--usual", is_flag=True, help="Add what most challenges have to do, with days counted from the phases.")
@click.option("--done", type=int, metavar="NUMBER", help="Mark a task as done.")
@click.option("--again", type=int, metavar="NUMBER", help="Mark it as not done.")
@click.option("--remove", type=int, metavar="NUMBER", help="Remove it.")
@json_option
@pass_session
def tasks(
    session: Session,
    slug: str,
    *,
    add: str,
    due: str,
    usual: bool,
    done: int | None,
    again: int | None,
    remove: int | None,
    as_json: bool,
) -> None:
    """List what is to be done for SLUG and until when, or change one of it. Each change is a line of the challenge file."""
    acts: list[dict[str, Any]] = [{"act": "add", "title": add, "due": due}] if add else []
    acts += [{"act": "usual"}] if usual else []
    numbers = {"done": done, "again": again, "remove": remove}
    acts += [{"act": act, "number": number} for act, number in numbers.items() if number is not None]
    if len(acts) > 1 or (due and not add):
        raise click.UsageError("Change one thing at a time. --due belongs to --add.")
    at = f"challenges/{slug}/tasks"
    with session.connect() as connection:
        answer = connection.get(at)
        for act in acts:
            answer = connection.post(at, {**act, "made_from": answer["made_from"]})
    print_rows(answer["tasks"], line=task_line, nothing="Nothing is to be done.", as_json=as_json)


def task_line(row: Mapping[str, Any]) -> str:
    """A task in a list, with the number that names it."""
    mark = "x" if row["is_done"] else "!" if row["is_overdue"] else " "
    return f"{row['number']:>3} [{mark}] {row['due'] or '          '}  {row['title']}"


@challenge.command("estimate")
@click.argument("slug")
@click.option("--teams", type=click.IntRange(min=0), default=20, show_default=True)
@click.option("--each", type=click.IntRange(min=0), default=5, show_default=True, help="Submissions of a team.")
@click.option("--minutes", type=click.FloatRange(min=0), default=2.0, show_default=True, help="Of one case on a node.")
@click.option("--price", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Of one hour on a node.")
@json_option
@pass_session
def estimate(
    session: Session, slug: str, *, teams: int, each: int, minutes: float, price: float, as_json: bool
) -> None:
    """Say how many hours on nodes each phase of SLUG would take, and what they would cost."""
    with session.connect() as connection:
        rows = connection.get(
            f"challenges/{slug}/estimate", teams=teams, each=each, minutes=str(minutes), price_per_hour=str(price)
        )
    print_rows(rows, line=estimate_line, nothing="No phase has a test set.", as_json=as_json)


def estimate_line(row: Mapping[str, Any]) -> str:
    """A phase with what it would take."""
    price = f", {row['price']:.2f} to pay" if row["price"] else ""
    return (
        f"{row['phase']}: {row['cases']} cases, {row['hours']:.1f} hours on nodes ({row['gpu_hours']:.1f} GPU hours), "
        f"at most {row['longest_hours']:.1f}{price}"
    )


@click.group()
def files() -> None:
    """Have images, predictions and logs of submissions deleted."""


@files.command("ask")
@click.argument("submission")
@pass_session
def ask(session: Session, submission: str) -> None:
    """Ask the organizers to delete the files of SUBMISSION, which is your team's. They decide."""
    with session.connect() as connection:
        connection.post(f"submissions/{submission_id(submission, connection=connection)}/ask-deletion")
    click.echo("Asked. The organizers decide, and the submission's page says when the files are gone.")


@files.command("delete")
@click.argument("submissions", nargs=-1, required=True)
@click.option("--reason", default="", help="Kept in the history of the challenge.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_session
def delete(session: Session, submissions: tuple[str, ...], *, reason: str, yes: bool, as_json: bool) -> None:
    """Delete images, predictions and logs of SUBMISSIONS, as their organizer. Scores, ranks and receipts stay."""
    if not yes:
        click.confirm("They are gone for good, and cannot be scored again. Delete them?", abort=True)
    with session.connect() as connection:
        chosen = list(dict.fromkeys(submission_id(text, connection=connection) for text in submissions))
        answer = connection.post("submissions/delete-files", {"submission_ids": chosen, "reason": reason})
    if as_json:
        click.echo(json.dumps(answer))
        return
    left = len(chosen) - answer["deleted"]
    click.echo(f"Deleted the files of {answer['deleted']}." + (f" {left} have not ended yet." if left else ""))
