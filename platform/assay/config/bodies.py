"""How large a form may be, before any of it is read.

Django writes the files of a form to the disk while it looks for the form's token, so also for somebody unknown and at any page. Here a form
is refused by its length first: a few pages take files of people who are signed in, as long as there is space, and no other page does.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from assay.accounts.errors import AssayError, OutOfSpaceError, TooLargeError
from assay.api.errors import envelope, status_of
from assay.pages.errors import error_page
from assay.submissions.space import refuse_without_space

API = "/api/"
MULTIPART = "multipart/form-data"
TAKE_FILES = frozenset({"portal:submit", "organizers:testsets", "organizers:metric-images"})
"""Pages that take an archive with their form, from browsers without JavaScript."""


class BoundedForms:
    """Answers in place of the view where a form with files is too large. Stands before whatever reads the form."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, _view: Any, _args: Any, _kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        """Django calls this between finding the view and calling it."""
        if request.content_type != MULTIPART:
            return None
        try:
            refuse_large_form(request)
        except AssayError as refusal:
            if request.path.startswith(API):
                return JsonResponse(envelope(refusal), status=status_of(refusal))
            status = (
                HTTPStatus.INSUFFICIENT_STORAGE
                if isinstance(refusal, OutOfSpaceError)
                else HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            )
            return error_page(request, status=status, heading=refusal.message, what_to_do=refusal.what_to_do)
        return None


def refuse_large_form(request: HttpRequest) -> None:
    """Raise TooLargeError or OutOfSpaceError by the length that was announced. No more than that is ever read."""
    length = announced_bytes(request)
    if length <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        return
    page = request.resolver_match.view_name if request.resolver_match else ""
    takes_files = page in TAKE_FILES and request.user.is_authenticated
    most = settings.UPLOAD_MAX_BYTES if takes_files else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if length > most:
        raise TooLargeError(
            _("The form is too large."),
            found=f"{length} bytes",
            expected=f"at most {most} bytes",
            what_to_do=_("Send a smaller file, or use the command line."),
        )
    refuse_without_space(wanted_bytes=length, now=timezone.now())


def announced_bytes(request: HttpRequest) -> int:
    """The length of the body; 0 where it is not said, for then Django reads none."""
    said = request.META.get("CONTENT_LENGTH") or "0"
    return int(said) if said.isascii() and said.isdecimal() and len(said) <= 20 else 0
