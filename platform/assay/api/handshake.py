"""The server's side of the version handshake (`assay/handshake.py`): says who we are, and refuses programs that are too old.

Programs that send no header are of the first version where only nodes and site agents ask, or where the client of that version
says its name. Anybody else (browsers, curl, somebody's script) is served: `/api/v1` is all they need to know.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _

from assay.accounts.errors import AssayError, InvalidError, UpgradeNeededError
from assay.api.errors import envelope, status_of
from assay.handshake import CLIENT_HEADER, SERVER_HEADER, Peer, installed_version, server_header, why_client_is_refused

API = "/api/"
DOORS_OF_PROGRAMS = {"/api/v1/node/": "node", "/api/v1/site/": "site"}
FIRST_USER_AGENT = "assay-client"
"""How the command of the first version names itself."""


class Handshake:
    """Middleware: every answer below `/api/` carries our header, and a program that is too old gets nothing else."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(API):
            return self.get_response(request)
        refusal = refusal_for(request)
        answer = self.get_response(request) if refusal is None else refuse(refusal)
        answer[SERVER_HEADER] = server_header()
        return answer


def refuse(refusal: AssayError) -> HttpResponse:
    """The refusal in the API's envelope."""
    return JsonResponse(envelope(refusal), status=status_of(refusal))


def refusal_for(request: HttpRequest) -> AssayError | None:
    """Why this program is not served, if it is not."""
    try:
        client = client_of(request)
    except ValueError as error:
        return InvalidError(
            _("The header %(client_header)s cannot be read.") % {"client_header": CLIENT_HEADER},
            found=str(error),
            expected=_("such as `node/0.1.0; api=2`, or no such header"),
            what_to_do=_("Send it as the program does that you use, or leave it out."),
        )
    sentence = why_client_is_refused(client) if client else ""
    if not sentence:
        return None
    return UpgradeNeededError(
        sentence, what_to_do=_("Install Assay %(version)s there.") % {"version": installed_version()}
    )


def client_of(request: HttpRequest) -> Peer | None:
    """Which program of ours asks; None where it is none. Raises ValueError where the header is malformed."""
    header = request.headers.get(CLIENT_HEADER)
    if header is not None:
        return Peer.parse(header)
    name = next((name for door, name in DOORS_OF_PROGRAMS.items() if request.path_info.startswith(door)), "")
    if not name and request.headers.get("User-Agent") == FIRST_USER_AGENT:
        name = "cli"
    return Peer(name=name) if name else None
