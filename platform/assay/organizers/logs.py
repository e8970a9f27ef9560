"""Containers' logs for organizers: untrusted bytes, capped, with everything but text made visible."""

from collections.abc import Iterable
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.views.decorators.http import require_GET

from assay.accounts.errors import NotFoundError
from assay.runs.selectors import CaseRow, case_progress
from assay.submissions.access import get_reviewed_submission
from assay.testsets.storage import has_file, open_file
from containers.log_text import readable
from containers.verdicts import Verdict

TAIL_BYTES = 64 * 2**10


def with_logs(rows: Iterable[CaseRow]) -> list[CaseRow]:
    """The case runs that have a log. Those that went wrong come first."""
    return sorted((row for row in rows if row.log_key), key=lambda row: row.verdict == Verdict.OK)


@require_GET
def log(
    request: HttpRequest,
    slug: str,  # noqa: ARG001 - the slug is part of the address
    submission_id: UUID,
    case_run_id: UUID,
) -> HttpResponse:
    """The tail of one case run's log, as plain text."""
    submission, _ = get_reviewed_submission(person=request.user, submission_id=submission_id)
    key = next((row.log_key for row in case_progress(submission.pk) if row.case_run_id == case_run_id), "")
    if not key or not has_file(key):
        raise NotFoundError(gettext("There is no log of this case run: it wrote none, or its time to be kept is over."))
    return HttpResponse(_tail(key), content_type="text/plain; charset=utf-8")


def _tail(key: str) -> str:
    with open_file(key) as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL_BYTES))
        return readable(file.read())
