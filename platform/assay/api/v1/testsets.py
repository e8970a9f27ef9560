"""Test sets: organizers push and look. Nobody else sees more than what a phase says about its hidden cases."""

from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from ninja import Router, Status

from assay.api.auth import EVERYBODY, person_of
from assay.api.transactions import TAKES_LONG
from assay.api.v1 import schemas
from assay.challenges.access import get_challenge, get_organized_challenge
from assay.submissions.access import get_upload
from assay.submissions.models import Upload
from assay.submissions.testset_pushing import push_testset
from assay.submissions.uploads import require_complete
from assay.testsets.agreements import note_download, still_holds
from assay.testsets.export import archive_bytes, members_of, stream_archive
from assay.testsets.models import TestSet
from assay.testsets.selectors import get_public_testset, testsets_of

router = Router()


@router.get("/{slug}/testsets", response=list[schemas.TestSetOut])
def list_testsets(request: HttpRequest, slug: str) -> list[dict[str, Any]]:
    """Every version of every test set, with what ingestion found."""
    challenge, _ = get_organized_challenge(person=person_of(request), slug=slug)
    return [document(testset) for testset in testsets_of(challenge=challenge)]


@router.post("/{slug}/testsets", response={201: schemas.TestSetOut})
def push(request: HttpRequest, slug: str, body: schemas.TestSetIn) -> Status[dict[str, Any]]:
    """Make a new version from an uploaded tar or zip: every file is read, checked against its image and written again."""
    challenge, user = get_organized_challenge(person=person_of(request), slug=slug)
    upload = get_upload(person=user, upload_id=body.upload_id)
    require_complete(upload, purpose=Upload.Purpose.TESTSET)
    request.META[TAKES_LONG] = True
    testset = push_testset(
        challenge=challenge,
        user=user,
        upload=upload,
        name=body.name,
        is_public=body.is_public,
        phase_slugs=body.phases,
        now=timezone.now(),
        accepts_identifying=body.accepts_identifying,
    )
    return Status(201, document(testsets_of(challenge=challenge).get(pk=testset.pk)))


@router.get(
    "/{slug}/testsets/{name}/{version}/archive",
    auth=EVERYBODY,
    response={200: None},
    openapi_extra=schemas.file_of("application/x-tar"),
)
def download(request: HttpRequest, slug: str, name: str, version: int) -> StreamingHttpResponse:
    """A public test set, references included, as the tar that `assay testset push` takes. Hidden ones never leave.

    Where an agreement belongs to it, it has to be signed before. Every download is noted. One that runs while the agreement ends is cut.
    """
    person = person_of(request)
    challenge = get_challenge(person=person, slug=slug)
    testset = get_public_testset(challenge=challenge, name=name, version=version)
    note_download(testset=testset, person=person, now=timezone.now())
    members = members_of(testset)
    headers = {
        "Content-Length": str(archive_bytes(members)),
        "Content-Disposition": f'attachment; filename="{challenge.slug}-{name}-v{version}.tar"',
    }
    pieces = stream_archive(members, may_go_on=still_holds(testset=testset, person=person))
    return StreamingHttpResponse(pieces, content_type="application/x-tar", headers=headers)


def document(testset: TestSet) -> dict[str, Any]:
    """A test set as its organizers see it. Rows come from `testsets_of`."""
    names = ("name", "version", "is_public", "sha256", "notice", "report", "created_at", "frozen_at", "case_count")
    return {
        **{name: getattr(testset, name) for name in names},
        "phases": sorted(chosen.phase.slug for chosen in testset.phases.all()),
    }
