"""What is stuck, and what operators do about it: the list and the buttons of `/ops`, for scripts."""

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Router

from assay.accounts.errors import ConflictError
from assay.api.auth import person_of
from assay.api.v1 import schemas
from assay.challenges.access import require_staff
from assay.workflow.operations import operating
from assay.workflow.operations.stuck import Stuck, find_stuck

router = Router()


@router.get("/stuck", response=list[schemas.StuckOut])
def list_stuck(request: HttpRequest) -> list[Stuck]:
    """Everything that has been in one state for longer than its owner should need, with the acts that are right for it."""
    require_staff(person_of(request))
    return find_stuck(now=timezone.now())


@router.post("/stuck/act", response=list[schemas.StuckOut])
def act(request: HttpRequest, body: schemas.ActIn) -> list[Stuck]:
    """Do one act to one line of the list. Answers what is stuck then. Doing it twice is refused and harmless."""
    user, now = require_staff(person_of(request)), timezone.now()
    if not operating.act(kind=body.kind, key=body.key, name=body.act, by=user, now=now):
        raise ConflictError(
            _("It is not as it was any more; nothing was done."),
            found=f"{body.kind} {body.key}",
            what_to_do=_("Read the list again."),
        )
    return find_stuck(now=now)
