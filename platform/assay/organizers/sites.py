"""The organizers' page of third parties: invite one, approve its key by the six words, revoke it, see what it released."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext

from assay.accounts.errors import NotFoundError
from assay.challenges.access import get_organized_challenge, get_organized_phase
from assay.evaluation_sites.agreements import offer_agreement
from assay.evaluation_sites.joining import approve_site, find_site_of, make_code, revoke_site
from assay.organizers.consoles import site_refusals, site_rows
from assay.organizers.views import frame

CODE_JUST_MADE = "site-code"
"""Where a new site's code waits to be shown once, after the redirect."""


def sites(request: HttpRequest, slug: str) -> HttpResponse:
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
            offer_agreement(site, dataset=dataset, by=user, now=now)
            messages.success(
                request, gettext("The terms are offered. The site reads and signs them: assay site agree.")
            )
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
    return render(request, "organizers/sites.html", page)
