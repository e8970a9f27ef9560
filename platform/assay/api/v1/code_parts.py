"""Code parts: the base images and wheel houses that organizers provide for submissions of code."""

from django.http import HttpRequest
from django.utils import timezone
from ninja import Router, Status

from assay.api.auth import person_of
from assay.api.transactions import TAKES_LONG
from assay.api.v1 import schemas
from assay.challenges.access import get_organized_challenge
from assay.submissions.access import get_upload
from assay.submissions.code_parts import code_parts_of
from assay.submissions.models import CodePart
from assay.workflow.workers.building import take_code_part

router = Router()


@router.get("/{slug}/code-parts", response=list[schemas.CodePartOut])
def list_code_parts(request: HttpRequest, slug: str) -> list[CodePart]:
    """The challenge's base images and wheel houses, newest first."""
    challenge, _ = get_organized_challenge(person=person_of(request), slug=slug)
    return code_parts_of(challenge)


@router.post("/{slug}/code-parts", response={201: schemas.CodePartOut})
def push(request: HttpRequest, slug: str, body: schemas.CodePartIn) -> Status[CodePart]:
    """Take in an upload. The answer's `identity` is what a protocol writes as `resources: {code_base: …}` or `{code_wheels: …}`."""
    challenge, user = get_organized_challenge(person=person_of(request), slug=slug)
    upload = get_upload(person=user, upload_id=body.upload_id)
    request.META[TAKES_LONG] = True
    kind = CodePart.Kind(body.kind)
    return Status(201, take_code_part(challenge=challenge, user=user, kind=kind, upload=upload, now=timezone.now()))
