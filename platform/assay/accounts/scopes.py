"""What a token may do. Each scope stands for itself: `organize` without `read` can push a challenge and read nothing.

A token made before there were scopes has none, and may do what its owner may. A token without `operate` is nobody's operator: to
everything behind it, its owner is a person without an operator's rights.
"""

from collections.abc import Collection

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from assay.accounts.errors import InvalidError, NotAllowedError

READ, SUBMIT, ORGANIZE, OPERATE = "read", "submit", "organize", "operate"
SCOPES = {
    READ: gettext_lazy("read what you may read"),
    SUBMIT: gettext_lazy("take part: join, upload, submit, teams"),
    ORGANIZE: gettext_lazy("organize your challenges"),
    OPERATE: gettext_lazy("operate this installation, as far as you may"),
}
READING = frozenset({"GET", "HEAD", "OPTIONS"})
OF_PARTICIPANTS = frozenset({"join", "accept", "submissions", "objections", "sign", "withdraw"})
"""Last words of addresses below a challenge where participants change something."""
OF_TEAMS = frozenset({"cancel", "choose", "withdraw", "restore"})
"""Last words of addresses below one submission where its team changes something."""


def scope_needed(*, method: str, path: str) -> str:
    """What a request to the API needs. `path` begins behind `/api/v1/`."""
    if method in READING:
        return READ
    first, *rest = path.strip("/").split("/")
    last = rest[-1] if rest else ""
    if first in ("operations", "nodes"):
        return OPERATE
    if first == "challenges":
        return SUBMIT if last in OF_PARTICIPANTS else ORGANIZE
    if first == "submissions":
        return SUBMIT if last in OF_TEAMS and len(rest) > 1 else ORGANIZE
    return SUBMIT


def checked_scopes(scopes: Collection[str]) -> list[str]:
    """The scopes in our order. Raises InvalidError for one that does not exist."""
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise InvalidError(
            _("There is no such scope."), found=", ".join(unknown)[:200], expected=", ".join(SCOPES), field="scopes"
        )
    return [scope for scope in SCOPES if scope in scopes]


def check_scope(scopes: Collection[str], *, method: str, path: str) -> None:
    """Raises NotAllowedError where a token may not do this."""
    needed = scope_needed(method=method, path=path)
    if scopes and needed not in scopes:
        raise NotAllowedError(
            _("This token may not do this."),
            code="scope_missing",
            found=", ".join(scopes),
            expected=needed,
            what_to_do=_("Make a token with this scope on the page of your account."),
        )
