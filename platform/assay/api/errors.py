"""The border where refusals become answers: one envelope, one table, and nothing left untranslated.

    {"error": {"code", "message", "found", "expected", "what_to_do", "whose_fault", …}}

`code` is for programs and never changes its meaning. The rest is for people.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, Throttled, ValidationError

from assay.accounts.errors import (
    AssayError,
    ConflictError,
    InvalidError,
    LimitReachedError,
    MailNotSentError,
    NotAllowedError,
    NotFoundError,
    NotSignedInError,
    OutOfSpaceError,
    ProviderNotReachedError,
    TooLargeError,
    UpgradeNeededError,
)
from assay.api.transactions import undo_writes
from assay.leases import LeaseLost
from assay.submissions.uploads import ChecksumMismatchError, UploadLockedError

logger = logging.getLogger("assay.api")

STATUSES: Mapping[type[AssayError], int] = {
    ChecksumMismatchError: 460,  # tus 1.0's own
    UploadLockedError: 423,
    NotFoundError: 404,
    NotSignedInError: 401,
    NotAllowedError: 403,
    InvalidError: 422,
    ConflictError: 409,
    LimitReachedError: 429,
    TooLargeError: 413,
    UpgradeNeededError: 426,
    OutOfSpaceError: 507,
    MailNotSentError: 503,
    ProviderNotReachedError: 503,
    AssayError: 400,
}
"""Most special first: the first class an error is an instance of decides."""


def our_fault() -> AssayError:
    """What we say of a bug of ours, in the language of the request."""
    return AssayError(
        _("Something went wrong on our side; it was noted."),
        code="internal",
        what_to_do=_("Try again later."),
        fault="platform",
    )


def status_of(error: AssayError) -> int:
    """The HTTP status of a refusal."""
    return next(status for kind, status in STATUSES.items() if isinstance(error, kind))


def envelope(error: AssayError) -> dict[str, Any]:
    """The answer's body."""
    fields: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "found": error.found,
        "expected": error.expected,
        "what_to_do": error.what_to_do,
        "whose_fault": error.fault,
    }
    if isinstance(error, InvalidError) and error.line is not None:
        fields |= {"line": error.line, "column": error.column}
    if isinstance(error, LimitReachedError) and error.retry_at is not None:
        fields["retry_at"] = error.retry_at.isoformat()
    return {"error": fields}


@csrf_exempt  # nothing is done here, so a program that posts to a wrong address is told about the address
def no_such_address(request: HttpRequest) -> HttpResponse:
    """For whatever stands below `/api/` and is no operation: programs do not read pages."""
    refusal = NotFoundError(
        _("There is no such operation."), found=request.path[:200], what_to_do=_("See /api/v1/docs.")
    )
    return JsonResponse(envelope(refusal), status=status_of(refusal))


def translate_errors(api: NinjaAPI) -> None:
    """Teach the API every error that can reach the border. A class that is not listed is a bug of ours and says so."""

    def answer(request: HttpRequest, error: Any) -> HttpResponse:
        refusal = error if isinstance(error, AssayError) else refusal_of(error)
        undo_writes(request, refusal)
        response = api.create_response(request, envelope(refusal), status=status_of(refusal))
        if isinstance(error, Throttled) and error.wait:
            response["Retry-After"] = str(math.ceil(error.wait))
        return response

    def fail(request: HttpRequest, error: Any) -> HttpResponse:
        logger.error("api.failed", exc_info=error, extra={"path": request.path, "method": request.method})
        undo_writes(request, our_fault())
        return api.create_response(request, envelope(our_fault()), status=500)

    for kind in (AssayError, LeaseLost, Throttled, ValidationError, AuthenticationError, HttpError, Http404):
        api.add_exception_handler(kind, answer)
    api.add_exception_handler(Exception, fail)


def refusal_of(error: Exception) -> AssayError:
    """A refusal of the framework in our own words."""
    if isinstance(error, ValidationError):
        named = [
            f"{'.'.join(str(part) for part in item['loc'][1:] or item['loc'])}: {item['msg']}" for item in error.errors
        ]
        return InvalidError(
            _("The request is not as expected."), found="; ".join(named), what_to_do=_("See /api/v1/docs.")
        )
    if isinstance(error, AuthenticationError):
        return NotSignedInError(
            _("You are not signed in."),
            what_to_do=_("Sign in, or send `Authorization: Bearer assay_…` (`assay login` makes a token)."),
        )
    if isinstance(error, Throttled):
        return LimitReachedError(_("Too many requests in a short time."), expected=_("a request after some seconds"))
    if isinstance(error, LeaseLost):
        return ConflictError(
            str(error),
            code=error.code,
            expected=_("the fence of the newest claim"),
            what_to_do=_("Stop the work, discard its result, and claim again."),
            fault="platform",
        )
    if isinstance(error, Http404):
        return NotFoundError(_("There is nothing here."))
    if isinstance(error.__cause__, AssayError):  # the framework wraps what its parser raises
        return error.__cause__
    if isinstance(error, HttpError) and error.status_code == 403 and "CSRF" in error.message:
        return NotAllowedError(
            _("This page is older than your sign-in, so nothing was changed."),
            code="stale_page",
            what_to_do=_("Reload the page and try again."),
        )
    if isinstance(error, HttpError) and error.status_code == 403:
        return NotAllowedError(error.message)
    return InvalidError(str(error))
