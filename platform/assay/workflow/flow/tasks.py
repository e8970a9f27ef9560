"""The organizers' tasks, changed one at a time. Each change is a line of the challenge file, pushed as every edit of it is."""

from datetime import datetime

from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from assay.accounts.models import User
from assay.challenges.editing import place_of
from assay.challenges.models import Challenge
from assay.challenges.tasks import usual_tasks, with_done, with_task, with_tasks, without_task
from assay.challenges.writing import current_file
from assay.workflow.flow.pushing import push_edit

ACTS = ("add", "usual", "done", "again", "remove")


def change_tasks(
    *,
    challenge: Challenge,
    user: User,
    act: str,
    made_from: str,
    now: datetime,
    number: int = -1,
    title: str = "",
    due: str = "",
) -> None:
    """One act on the list that was shown: `made_from` is the fingerprint of its file. `number` is a task's place in the file, from 0.

    Raises InvalidError, NotFoundError for a task that is not there, and ConflictError where the file is another one by now.
    """
    source = _changed(challenge, act=act, number=number, title=title, due=due)
    try:
        push_edit(challenge=challenge, user=user, source=source, made_from=made_from, is_dry_run=False, now=now)
    except InvalidError as error:
        place = place_of(error, source)
        error.field = error.field or (str(place[-1]) if place else "")
        raise


def _changed(challenge: Challenge, *, act: str, number: int, title: str, due: str) -> str:
    """The file as it would be."""
    source = current_file(challenge)
    match act:
        case "add":
            return with_task(source, title=title, due=due)
        case "usual":
            phases = list(challenge.phases.all())
            opens, closes = min(phase.opens_at for phase in phases), max(phase.closes_at for phase in phases)
            return with_tasks(source, tasks=usual_tasks(opens_at=opens, closes_at=closes), challenge=challenge)
        case "done" | "again":
            return with_done(source, number=number, is_done=act == "done", challenge=challenge)
        case "remove":
            return without_task(source, number=number, challenge=challenge)
    raise InvalidError(_("There is no such act."), found=act[:40], expected=", ".join(ACTS))
