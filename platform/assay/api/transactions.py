"""One request, one transaction: an answer that says no, or that could not be built, leaves nothing behind.

Django opens the transaction around each view (`ATOMIC_REQUESTS`) and rolls back when an exception leaves the view. Here none
does: `api/errors.py` turns each into an answer, and calls `undo_writes`. Operations that read a long body as it arrives, check a
whole archive or wait for work are left out, because they would hold a transaction open. They write in short transactions of their own.
So do those that take a password.
"""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, transaction
from django.http import HttpRequest
from django.urls import URLPattern
from ninja import NinjaAPI

from assay.accounts.errors import AssayError, LimitReachedError, NotSignedInError

LONG = frozenset(
    {
        "uploads/<upload_id>",
        "node/case-runs/<case_run_id>/outputs/<path:name>",
        "node/case-runs/<case_run_id>/log",
        "challenges/<slug>/testsets",
        "challenges/<slug>/metric-images",
        "site/claim",
    }
)
SIGN_IN = frozenset({"tokens"})
"""Where a password is looked at. Failures are counted in short transactions, or tries that arrive together would wait for each other."""
TAKES_LONG = "assay.takes_long"
"""Set in a request's environment: `config/deadlines.py` lets it compute for as long as it needs."""
KEPT = (NotSignedInError, LimitReachedError)
"""Refusals whose own note (a failed sign-in, a limit that was reached) stays written."""


def routes(api: NinjaAPI) -> tuple[list[Any], str, str]:
    """The API's addresses for `urlpatterns`, with some outside of the request's transaction."""
    patterns, app_name, namespace = api.urls
    outside = [p for p in patterns if isinstance(p, URLPattern) and str(p.pattern) in LONG | SIGN_IN]
    if {str(p.pattern) for p in outside} != LONG | SIGN_IN:
        raise LookupError(f"These name addresses that do not exist: {LONG | SIGN_IN}")
    for pattern in outside:
        pattern.callback = transaction.non_atomic_requests(pattern.callback)
    return patterns, app_name, namespace


def undo_writes(request: HttpRequest, refusal: AssayError) -> None:
    """Roll the request's transaction back once its answer is sent."""
    match = request.resolver_match
    has_its_own = match is not None and DEFAULT_DB_ALIAS not in getattr(match.func, "_non_atomic_requests", ())
    is_open = transaction.get_connection().in_atomic_block
    if has_its_own and is_open and not isinstance(refusal, KEPT):
        transaction.set_rollback(True)
