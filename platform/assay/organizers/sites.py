"""The organizers' page of third parties: invite one, approve its key by the six words, revoke it, see what it released."""

from typing import TypedDict

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext

from assay.accounts.errors import InvalidError, NotFoundError
from assay.challenges.access import get_organized_challenge, get_organized_phase
from assay.evaluation_sites.agreements import (
    LONGEST_DAYS,
    MOST_CLEAN,
    MOST_RELEASES,
    USUAL_DAYS,
    USUAL_RELEASES,
    TermOptions,
    offer_agreement,
)
from assay.evaluation_sites.bundles import make_bundle, read_paper, take_result
from assay.evaluation_sites.joining import approve_site, find_site_of, make_code, revoke_site
from assay.organizers.consoles import site_refusals, site_rows
from assay.organizers.views import frame

LONGEST_RESULT, LONGEST_NUMBER = 2**20, 9
CODE_JUST_MADE = "site-code"
"""Where a new site's code waits to be shown once, after the redirect."""


def sites(request: HttpRequest, slug: str) -> HttpResponse | StreamingHttpResponse:
    """Third parties that evaluate on their own data."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    if request.method == "POST":
        posted, now = request.POST, timezone.now()
        phase, _ = get_organized_phase(person=user, challenge_slug=slug, phase_slug=posted.get("phase", ""))
        name, action = posted.get("name", ""), posted.get("action", "invite")
        if action == "approve":
            approve_site(find_site_of(phase, name), words=posted.get("words", ""), by=user, now=now)
            messages.success(
                request, gettext("The words are right. Tell the person at the site so: the site may work now.")
            )
        elif action == "offer":
            site = find_site_of(phase, name)
            dataset = site.datasets.order_by("-registered_at").first()
            if dataset is None:
                raise NotFoundError(gettext("This site has registered no data."))
            offer_agreement(site, dataset=dataset, by=user, now=now, **_terms(posted))
            messages.success(
                request, gettext("The terms are offered. The site reads and signs them: assay site agree.")
            )
        elif action == "bundle":
            bundle = make_bundle(find_site_of(phase, name), by=user, now=now)
            disposition = f'attachment; filename="{bundle.filename}"'
            headers = {"Content-Disposition": disposition}
            return StreamingHttpResponse(bundle.pieces(), content_type="application/x-tar", headers=headers)
        elif action == "result":
            take_result(phase, name=name, paper=_paper(request), by=user, now=now)
            messages.success(request, gettext("The result is taken, as if the site had sent it."))
        elif action == "revoke":
            revoke_site(find_site_of(phase, name), reason=posted.get("reason", ""), by=user, now=now)
            messages.success(request, gettext("The site is revoked: its token is void."))
        else:
            _, text = make_code(phase=phase, name=name, title=posted.get("title", ""), by=user, now=now)
            request.session[CODE_JUST_MADE] = text
        return redirect("organizers:sites", slug)  # a reload does nothing twice
    page = frame(
        challenge, tab="sites", phases=challenge.phases.all(), origin=request.build_absolute_uri("/").rstrip("/")
    )
    page["new_code"] = request.session.pop(CODE_JUST_MADE, "")
    page["sites"], page["boards"] = site_rows(challenge)
    page["refusals"] = site_refusals(page["sites"])
    page["limits"] = {
        "days": USUAL_DAYS,
        "longest_days": LONGEST_DAYS,
        "releases": USUAL_RELEASES,
        "most_releases": MOST_RELEASES,
        "most_clean": MOST_CLEAN,
    }
    return render(request, "organizers/sites.html", page)


class Terms(TypedDict):
    """What an organizer chooses of the terms."""

    days: int
    most_releases: int
    options: TermOptions


def _terms(posted: QueryDict) -> Terms:
    teams = tuple(dict.fromkeys(posted.get("teams", "").replace(",", " ").split()))
    return {
        "days": _number(posted, "days", usual=USUAL_DAYS),
        "most_releases": _number(posted, "most_releases", usual=USUAL_RELEASES),
        "options": TermOptions(
            teams=teams,
            reviewers=_number(posted, "reviewers", usual=1),
            automatic_after=_number(posted, "automatic_after", usual=0),
        ),
    }


def _number(posted: QueryDict, name: str, *, usual: int) -> int:
    text = posted.get(name, "").strip()
    if not text:
        return usual
    if not (text.isascii() and text.isdecimal() and len(text) < LONGEST_NUMBER):
        raise InvalidError(
            gettext("These terms cannot be offered."), found=text[:20], expected=gettext("a whole number"), field=name
        )
    return int(text)


def _paper(request: HttpRequest) -> object:
    file = request.FILES.get("result")
    if file is None or not file.size or file.size > LONGEST_RESULT:
        raise InvalidError(
            gettext("This is no result of a site."),
            found=gettext("no file") if file is None else gettext("%(size)s bytes") % {"size": file.size},
            expected=gettext("the file that the site's program wrote into its folder outbox"),
            field="result",
        )
    return read_paper(file.read())
