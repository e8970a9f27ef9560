"""Another name in addresses, and removing: what it means stands there first, and the present name has to be typed."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext

from assay.accounts.errors import AssayError
from assay.challenges import removal
from assay.challenges.access import get_organized_challenge, get_organized_phase
from assay.organizers.views import frame
from assay.pages.errors import refuse


def move_challenge(request: HttpRequest, slug: str) -> HttpResponse:
    """Rename or remove a challenge."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    page = frame(challenge, tab="overview", title=challenge.title, name=challenge.slug)
    status = 200
    if request.method == "POST":
        try:
            if request.POST.get("action") == "remove":
                confirm = request.POST.get("confirm", "")
                removal.remove_challenge(challenge=challenge, confirm=confirm, user=user, now=timezone.now())
                messages.success(request, gettext("Removed for good."))
                return redirect("organizers:new")
            new = request.POST.get("slug", "").strip()
            removal.rename_challenge(challenge=challenge, slug=new, user=user, now=timezone.now())
        except AssayError as error:
            challenge.refresh_from_db()
            status = refuse(request, error)
        else:
            messages.success(request, gettext("The address is another one now."))
            return redirect("organizers:overview", challenge.slug)
    page["renaming"] = removal.meaning_of_renaming()
    page["removing"] = removal.meaning_of_removing_challenge(challenge)
    page["is_kept"] = challenge.submissions.exists()
    return render(request, "organizers/moving.html", page, status=status)


def move_phase(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """Rename or remove a phase."""
    phase, user = get_organized_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    page = frame(phase.challenge, tab="overview", title=phase.title, name=phase.slug, phase=phase)
    status = 200
    if request.method == "POST":
        try:
            if request.POST.get("action") == "remove":
                removal.remove_phase(
                    phase=phase, confirm=request.POST.get("confirm", ""), user=user, now=timezone.now()
                )
                messages.success(request, gettext("Removed for good."))
                return redirect("organizers:overview", slug)
            new = request.POST.get("slug", "").strip()
            removal.rename_phase(phase=phase, slug=new, user=user, now=timezone.now())
        except AssayError as error:
            status = refuse(request, error)
        else:
            messages.success(request, gettext("The address is another one now."))
            return redirect("organizers:phase-edit", slug, phase.slug)
    page["renaming"] = removal.meaning_of_renaming()
    page["removing"] = removal.meaning_of_removing_phase(phase)
    page["is_kept"] = phase.submissions.exists()
    return render(request, "organizers/moving.html", page, status=status)
