"""What organizers mean to do, and until when: `tasks` of `challenge.yaml`. The page of the desk changes them one at a time.

A task is about people and papers, which no program can look at. What a program can look at is the list of what has to be ready.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError, NotFoundError
from assay.challenges.editing import appended, edited, removed
from assay.challenges.models import Challenge
from assay.challenges.zones import zone_of

SOON = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task with where it stands. `number` is its place in the file."""

    number: int
    title: str
    due: date | None
    is_done: bool
    is_overdue: bool
    is_soon: bool


def tasks_of(challenge: Challenge, *, now: datetime) -> list[Task]:
    """What is open first, by its last day. What has none stands behind what has one. No query."""
    today = now.astimezone(zone_of(challenge.timezone) or UTC).date()
    found = [_task(number, said, today=today) for number, said in enumerate(challenge.tasks)]
    return sorted(found, key=lambda task: (task.is_done, task.due is None, task.due or today, task.number))


def _task(number: int, said: Mapping[str, Any], *, today: date) -> Task:
    due = date.fromisoformat(said["due"]) if said.get("due") else None
    is_done = bool(said.get("is_done"))
    return Task(
        number=number,
        title=said["title"],
        due=due,
        is_done=is_done,
        is_overdue=not is_done and due is not None and due < today,
        is_soon=not is_done and due is not None and today <= due <= today + SOON,
    )


def usual_tasks(*, opens_at: datetime, closes_at: datetime) -> list[dict[str, Any]]:
    """What most challenges have to do, with days counted from the first opening and the last closing."""
    opens, closes = opens_at.date(), closes_at.date()
    planned = [
        (opens - timedelta(days=90), _("Agree with the owners of the data on a licence and on ethics")),
        (opens - timedelta(days=60), _("Decide on metrics, empty masks and the ranking, and write the rules")),
        (opens - timedelta(days=45), _("Ask two experts to check the references of ten cases")),
        (opens - timedelta(days=30), _("Add the test sets, and run the self-test of every phase")),
        (opens - timedelta(days=21), _("Enter a baseline, and set the budgets from what it took")),
        (opens - timedelta(days=14), _("Let a colleague submit from the starter kit, without help")),
        (opens - timedelta(days=7), _("Announce the challenge")),
        (closes + timedelta(days=7), _("Look at the best submissions before the results are released")),
        (closes + timedelta(days=30), _("Write to the winners, and ask for descriptions of their algorithms")),
        (closes + timedelta(days=180), _("Send the paper to its authors")),
    ]
    return [{"title": title, "due": day.isoformat()} for day, title in planned]


def with_task(source: str, *, title: str, due: str) -> str:
    """The file with one more task."""
    said = {"title": title.strip(), "due": due.strip()}
    if not said["title"]:
        raise InvalidError(_("A task needs a title."), expected=_("what is to be done"), field="title")
    return appended(source, ("tasks",), {key: value for key, value in said.items() if value})


def with_tasks(source: str, *, tasks: Sequence[Mapping[str, Any]], challenge: Challenge) -> str:
    """The file with those of these tasks that it has not yet."""
    known = {said["title"] for said in challenge.tasks}
    for said in tasks:
        if said["title"] not in known:
            source = appended(source, ("tasks",), said)
    return source


def with_done(source: str, *, number: int, is_done: bool, challenge: Challenge) -> str:
    """The file with a task done, or to be done again."""
    _refuse_missing(challenge, number)
    return edited(source, {("tasks", number, "is_done"): is_done})


def without_task(source: str, *, number: int, challenge: Challenge) -> str:
    """The file without a task."""
    _refuse_missing(challenge, number)
    return edited(source, {("tasks",): None}) if len(challenge.tasks) == 1 else removed(source, ("tasks", number))


def _refuse_missing(challenge: Challenge, number: int) -> None:
    if not 0 <= number < len(challenge.tasks):
        raise NotFoundError(_("There is no such task."), what_to_do=_("Look at the list again."))
