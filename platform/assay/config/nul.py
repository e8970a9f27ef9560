"""No NUL character passes in an address or a form: PostgreSQL stores none, and asking it about one is an error.

Bodies in JSON are read by `api/parsing.py`, which refuses NUL itself.
"""

from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from assay.api.errors import envelope, status_of
from assay.pages.errors import error_page

API = "/api/"
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class RefuseNul:
    """Answers in place of the view where an address or a form holds the character."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, _view: Any, _args: Any, kwargs: dict[str, Any]) -> HttpResponse | None:
        """Django calls this between finding the view and calling it."""
        if not any("\0" in text for text in texts_of(request, kwargs)):
            return None
        refusal = InvalidError(
            _("The request holds a NUL character."),
            found=_("a NUL character in the address or in a form"),
            expected=_("text without NUL characters"),
            what_to_do=_("Remove the character (%00 in an address) and send the request again."),
        )
        if request.path.startswith(API):
            return JsonResponse(envelope(refusal), status=status_of(refusal))
        return error_page(request, status=400, heading=refusal.message, what_to_do=refusal.what_to_do)


def texts_of(request: HttpRequest, kwargs: dict[str, Any]) -> Iterable[str]:
    """Every text of the address and, where a page's form was sent, of the form."""
    yield from (value for value in kwargs.values() if isinstance(value, str))
    sent = [request.GET]
    if not request.path.startswith(API) and request.content_type in FORMS:
        sent.append(request.POST)
    for fields in sent:
        for name, values in fields.lists():
            yield name
            yield from (value for value in values if isinstance(value, str))
