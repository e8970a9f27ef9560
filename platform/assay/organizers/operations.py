"""The operators' page: is anything wrong, and which button mends it."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from assay.challenges.access import require_staff
from assay.runs.selectors import operations_facts
from assay.workflow import flow


def operations(request: HttpRequest) -> HttpResponse:
    """Queue, nodes, what is stuck and why, failures of the last day."""
    user = require_staff(person=request.user)
    if request.method == "POST":
        flow.change_node(
            name=request.POST.get("node", ""), action=request.POST.get("action", ""), by=user, now=timezone.now()
        )
        return redirect("organizers:operations")
    facts = operations_facts(now=timezone.now())
    page = {"facts": facts, "origin": request.build_absolute_uri("/").rstrip("/")}
    return render(request, "organizers/operations.html", page)
