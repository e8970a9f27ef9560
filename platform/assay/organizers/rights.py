"""The operators' page about rights: which drafts are published, whose a pool of nodes is, who uses most."""

from collections.abc import Callable, Mapping
from datetime import datetime

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext

from assay.accounts.errors import InvalidError
from assay.accounts.models import User
from assay.accounts.numbers import whole_number
from assay.challenges.access import require_staff
from assay.challenges.pools import owned_pools, set_pool_owners
from assay.challenges.publication import waiting_publications
from assay.evaluations import pushing
from assay.runs.nodes import served_pools
from assay.submissions.use import OF_PEOPLE, largest_challenges, largest_users, set_challenge_limit, set_person_limits

Act = Callable[[QueryDict, User, datetime], str]


def rights(request: HttpRequest) -> HttpResponse:
    """Decide, and see what was decided."""
    user = require_staff(person=request.user)
    if request.method == "POST":
        act = ACTS.get(request.POST.get("act", ""))
        if act is None:
            raise InvalidError(
                gettext("There is no such act."), expected=", ".join(ACTS), what_to_do=gettext("Use the buttons.")
            )
        messages.success(request, act(request.POST, user, timezone.now()))
        return redirect("organizers:rights")
    pools = list(owned_pools())
    open_pools = [name for name in served_pools() if name not in {pool.name for pool in pools}]
    now = timezone.now()
    largest = {"people": largest_users(now=now), "computing": largest_challenges(now=now)}
    page = largest | {"period_days": settings.QUOTA_PERIOD_DAYS, "limit_names": list(OF_PEOPLE)}
    page |= {"waiting": list(waiting_publications()), "pools": pools, "open_pools": open_pools}
    return render(request, "organizers/rights.html", page)


def publish(form: QueryDict, user: User, now: datetime) -> str:
    """Agree to a publication."""
    slug = form.get("challenge", "")
    pushing.decide_publication(slug=slug, approves=True, reason=form.get("reason", ""), by=user, now=now)
    return gettext("%(challenge)s is public.") % {"challenge": slug}


def refuse(form: QueryDict, user: User, now: datetime) -> str:
    """Refuse a publication."""
    slug = form.get("challenge", "")
    pushing.decide_publication(slug=slug, approves=False, reason=form.get("reason", ""), by=user, now=now)
    return gettext("%(challenge)s stays a draft. Its organizers read your reason.") % {"challenge": slug}


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
    said = (
        gettext("The pool %(pool)s belongs to those you named.")
        if pool
        else gettext("The pool %(pool)s is everybody's.")
    )
    return said % {"pool": name}


def limit_person(form: QueryDict, user: User, now: datetime) -> str:
    """Set what is filled in; `default` takes a limit back to the installation's."""
    limits = {name: limit_in(form.get(name, ""), field=name) for name in OF_PEOPLE if form.get(name, "").strip()}
    person = set_person_limits(username=form.get("person", "").strip(), limits=limits, by=user, now=now)
    return gettext("%(person)s has new limits.") % {"person": person.username}


def limit_challenge(form: QueryDict, user: User, now: datetime) -> str:
    """Set the hours of a challenge."""
    slug = form.get("challenge", "").strip()
    set_challenge_limit(slug=slug, run_hours=limit_in(form.get("run_hours", ""), field="run_hours"), by=user, now=now)
    return gettext("%(challenge)s has a new limit.") % {"challenge": slug}


def limit_in(text: str, *, field: str) -> int | None:
    """A limit as it was typed. Raises InvalidError."""
    if text.strip() == "default":
        return None
    number = whole_number(text.strip())
    if number is None:
        raise InvalidError(gettext("A limit is a whole number, or `default`."), found=repr(text[:80]), field=field)
    return number


def names_in(text: str) -> list[str]:
    """Names between commas or blanks."""
    return text.replace(",", " ").split()


ACTS: Mapping[str, Act] = {
    "publish": publish,
    "refuse": refuse,
    "pool": set_pool,
    "person": limit_person,
    "challenge": limit_challenge,
}
