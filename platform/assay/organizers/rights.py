"""The operators' page about rights: which drafts are published, and whose a pool of nodes is."""

from collections.abc import Callable, Mapping
from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone

from assay.accounts.errors import AssayError, InvalidError
from assay.accounts.models import User
from assay.challenges.access import require_staff
from assay.challenges.pools import owned_pools, set_pool_owners
from assay.challenges.publication import waiting_publications
from assay.evaluations import pushing
from assay.runs.nodes import served_pools

Act = Callable[[QueryDict, User, datetime], str]


def rights(request: HttpRequest) -> HttpResponse:
    """Decide, and see what was decided."""
    user = require_staff(person=request.user)
    if request.method == "POST":
        act = ACTS.get(request.POST.get("act", ""))
        if act is None:
            raise InvalidError("There is no such act.", expected=", ".join(ACTS), what_to_do="Use the buttons.")
        try:
            messages.success(request, act(request.POST, user, timezone.now()))
        except AssayError as error:
            told = [error.message, error.found and f"Found: {error.found}.", error.what_to_do]
            messages.error(request, " ".join(part for part in told if part))
        return redirect("organizers:rights")
    pools = list(owned_pools())
    open_pools = [name for name in served_pools() if name not in {pool.name for pool in pools}]
    page = {"waiting": list(waiting_publications()), "pools": pools, "open_pools": open_pools}
    return render(request, "organizers/rights.html", page)


def publish(form: QueryDict, user: User, now: datetime) -> str:
    """Agree to a publication."""
    slug = form.get("challenge", "")
    pushing.decide_publication(slug=slug, approves=True, reason=form.get("reason", ""), by=user, now=now)
    return f"{slug} is public."


def refuse(form: QueryDict, user: User, now: datetime) -> str:
    """Refuse a publication."""
    slug = form.get("challenge", "")
    pushing.decide_publication(slug=slug, approves=False, reason=form.get("reason", ""), by=user, now=now)
    return f"{slug} stays a draft. Its organizers read your reason."


def set_pool(form: QueryDict, user: User, now: datetime) -> str:
    """Say whose a pool is."""
    name = form.get("pool", "")
    pool = set_pool_owners(
        name=name,
        people=names_in(form.get("people", "")),
        challenges=names_in(form.get("challenges", "")),
        note=form.get("note", ""),
        by=user,
        now=now,
    )
    return f"The pool {name} belongs to those you named." if pool else f"The pool {name} is everybody's."


def names_in(text: str) -> list[str]:
    """Names between commas or blanks."""
    return text.replace(",", " ").split()


ACTS: Mapping[str, Act] = {"publish": publish, "refuse": refuse, "pool": set_pool}
