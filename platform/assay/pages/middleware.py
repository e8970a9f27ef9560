"""What holds for every page: where scripts, styles and images come from, and which operators may go on."""

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _

from assay.accounts.models import User
from assay.accounts.second_factor import is_missing

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'; style-src 'self' 'unsafe-inline'"  # charts position things with style attributes
)


class ContentSecurityPolicy:
    """Adds the policy to each HTML answer that has none of its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Referrer-Policy", "same-origin")
        return response


OPEN_WITHOUT = ("/account/", "/login/", "/logout/", "/theme/", "/language/", "/static/", "/password/")
"""Where an operator without a second factor may go: to set one up, or to leave."""
WHY = _("Operators need a second factor. Set it up before you go on.")


class SecondFactorOfOperators:
    """Sends operators who have no second factor to the page that sets one up, where the installation asks for one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        is_open = request.path.startswith(OPEN_WITHOUT) and not request.path.startswith("/account/tokens/")
        makes_token = request.path == "/account/" and request.method == "POST"
        if is_open and not makes_token:
            return self.get_response(request)
        user = request.user
        if not isinstance(user, User) or not is_missing(user):
            return self.get_response(request)
        if request.path.startswith("/api/"):
            refusal = {"code": "second_factor_needed", "message": str(WHY), "whose_fault": "participant"}
            return JsonResponse({"error": refusal}, status=403)
        messages.warning(request, WHY)
        return redirect("mfa_index")
