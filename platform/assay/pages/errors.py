"""Refusals as pages: what happened, whose side it is on, what to do, and an id to quote when it is ours."""

import logging
import uuid
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from django.contrib import messages
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from assay.accounts.errors import (
    AssayError,
    ConflictError,
    LimitReachedError,
    MailNotSentError,
    NotAllowedError,
    NotFoundError,
    NotSignedInError,
    ProviderNotReachedError,
    Text,
)
from assay.pages.typed import back_to_its_form, faults_of, keep, note, noted, texts_of

log = logging.getLogger(__name__)

STATUS = {
    NotFoundError: 404,
    NotAllowedError: 403,
    ConflictError: 409,
    LimitReachedError: 429,
    MailNotSentError: 503,
    ProviderNotReachedError: 503,
}
WHOSE: dict[str, Text] = {
    "participant": "",
    "organizer": _("This is for the organizers to mend."),
    "platform": _("This is our fault, not yours."),
}
ENDED = _("You were signed out, so nothing was sent. What you had typed is here again: send it once more.")
OLDER = _(
    "This form was older than your sign-in, so nothing was changed. What you had typed is here again: send it once more."
)
REASONS_OF_OUR_PAGES = "CSRF token"
"""How Django's reasons begin where a form of ours came with an old secret. The others name a foreign site or a missing cookie."""


def page_status(error: AssayError) -> int:
    """The HTTP status of a page that refuses."""
    return next((code for kind, code in STATUS.items() if isinstance(error, kind)), 400)


def error_words(error: AssayError) -> str:
    """A refusal in a sentence: what is wrong, what was found and expected, what to do."""
    parts = (error.message, facts_of(error), error.what_to_do)
    return " ".join(part for part in parts if part).strip()


def facts_of(error: AssayError) -> str:
    """What was found and what was expected, as sentences."""
    parts = []
    if error.found:
        parts.append(gettext("Found: %(found)s.") % {"found": error.found})
    if error.expected:
        parts.append(gettext("Expected: %(expected)s.") % {"expected": error.expected})
    return " ".join(parts)


def refuse(request: HttpRequest, error: AssayError, *, also: Mapping[str, str] | None = None) -> int:
    """Have a refusal stand at its field, with what was typed. `also`: see `note`. Answers the status for who gets no page of ours."""
    note(request, [(error.field, error_words(error))], also=also)
    return page_status(error)


def refuse_form(request: HttpRequest, form: BaseForm | None) -> int:
    """Have everything that is wrong with a form stand at its fields in the page that answers. Answers the page's status."""
    if form is not None and form.errors:
        note(request, faults_of(form))
        return 400
    return 400 if noted(request) else 200


class RefusalsAsPages:
    """Turns an `AssayError` that leaves a page's view into a page. The API has its own translation."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Django calls this for what a view raised. None leaves it to others."""
        if isinstance(exception, NotSignedInError):
            return _to_sign_in(request)
        if not isinstance(exception, AssayError):
            return None
        words = error_words(exception)
        if request.method == "POST" and (back := back_to_its_form(request, words=words, at=exception.field)):
            return back
        return error_page(
            request,
            status=page_status(exception),
            heading=exception.message,
            message=facts_of(exception),
            what_to_do=exception.what_to_do,
            whose=WHOSE[exception.fault],
            typed={name: text for name, text in texts_of(request) if text.strip()},
        )


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    """To the page that signs in, and then on. What was sent after a session had ended comes back in its form."""
    wanted = request.get_full_path()
    if request.method == "POST" and (page := keep(request, words=ENDED)):
        messages.info(request, _("You are signed out. What you typed comes back when you have signed in."))
        wanted = page
    return HttpResponseRedirect(f"{reverse('portal:sign-in')}?{urlencode({'next': wanted})}")


def error_page(
    request: HttpRequest,
    *,
    status: int,
    heading: Text,
    message: Text = "",
    what_to_do: Text = "",
    whose: Text = "",
    error_id: str = "",
    back: str = "",
    typed: Mapping[str, str] | None = None,
) -> HttpResponse:
    """The one page for everything that went wrong. `back` is where a form is found again, `typed` what stood in it."""
    words: dict[str, object] = {
        "heading": heading,
        "message": message,
        "what_to_do": what_to_do,
        "whose": whose,
        "error_id": error_id,
        "back": back,
        "typed": typed or {},
    }
    return render(request, "pages/error.html", words, status=status)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's signature
    """No such address."""
    return error_page(
        request, status=404, heading=_("There is no such page."), what_to_do=_("Look at the list of challenges.")
    )


def stale_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that does not belong to this session: it was open while somebody signed in or out, or the browser keeps no cookies.

    What was typed stands in its form again, unless the form came from another site.
    """
    is_ours = reason.startswith(REASONS_OF_OUR_PAGES)
    if (
        is_ours and "Origin" in request.headers and (back := back_to_its_form(request, words=OLDER))
    ):  # Django has compared it
        return back
    typed = {name: text for name, text in (texts_of(request) if is_ours else ()) if text.strip()}
    return error_page(
        request,
        status=403,
        heading=_("This form is older than your sign-in, so nothing was changed."),
        message=_("It was open while you signed in or out in another tab, or your browser keeps no cookies."),
        what_to_do=_("Open the page again and send the form once more."),
        back=request.path if typed else "",
        typed=typed,
    )


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's signature
    """Django and django-allauth refuse: an account without any way to show who is there changes nothing of itself."""
    return error_page(
        request,
        status=403,
        heading=_("You may not do this."),
        what_to_do=_(
            "If this is about your account and you have no password yet, let the page for a forgotten password send you a link. "
            "Set a password with it, then come back."
        ),
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's signature
    """A request that Django does not take, such as a form with too many fields."""
    return error_page(
        request,
        status=400,
        heading=_("This request cannot be read."),
        what_to_do=_("Go back, reload the page and try again."),
    )


def too_many(request: HttpRequest) -> HttpResponse:
    """django-allauth calls this where one of its limits is reached."""
    return error_page(
        request,
        status=429,
        heading=_("Too many requests in a short time."),
        what_to_do=_("Wait a few minutes, then try again."),
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """A bug of ours. The id finds it in the log."""
    error_id = uuid.uuid4().hex[:8]
    log.error("page.failed", extra={"error_id": error_id, "path": request.path})
    return error_page(
        request, status=500, heading=_("Something broke here."), whose=WHOSE["platform"], error_id=error_id
    )
