"""Before participants come: the rules of a phase tried on answers whose worth is known, and a baseline that really ran."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from assay.accounts.errors import AssayError
from assay.accounts.models import User
from assay.challenges.access import get_organized_phase
from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluations.models import SelfTest
from assay.evaluations.self_tests import newest_self_tests
from assay.organizers.archives import uploaded_archive
from assay.organizers.views import frame
from assay.pages.errors import refuse
from assay.submissions.services import Entry, purpose_of
from assay.workflow import flow
from assay.workflow.flow.self_testing import ask_self_test

WORDS: dict[str, tuple[str | Promise, str | Promise]] = {
    "reference": (_("The reference itself"), _("every metric has its best value")),
    "empty": (_("An empty answer"), _("no structure that is there gets the best value")),
    "shifted": (_("The reference, moved"), _("no metric is better, and one of them is worse")),
    "missing": (_("No answer"), _("no structure that is there gets the best value")),
}
WAITS = 202
"""The status while a self-test runs: the page asks again by itself."""


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One answer of a self-test, as the page shows it."""

    title: str | Promise
    expected: str | Promise
    values: tuple[float | None, ...]
    troubles: tuple[str, ...]
    notes: tuple[str, ...]


def trial(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """The self-test and the baselines of a phase, and what starts them."""
    phase, user = get_organized_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    page, refused = frame(phase.challenge, tab="overview", phase=phase), 0
    if request.method == "POST":
        try:
            _act(request, phase=phase, user=user)
        except AssayError as error:
            refused = refuse(request, error)
        else:
            return redirect("organizers:trial", slug, phase_slug)
    found = newest_self_tests([phase]).get(phase.pk)
    page.update(test=found, **trial_table(found))
    page["baselines"] = list(phase.submissions.filter(is_baseline=True).order_by("-number"))
    page["purpose"] = purpose_of(phase)
    page["has_own_metrics"] = bool(phase.protocol and rules_of(phase.protocol).evaluation)
    status = refused or (WAITS if found and not found.finished_at else 200)
    return render(request, "organizers/trial.html", page, status=status)


def _act(request: HttpRequest, *, phase: Phase, user: User) -> None:
    now = timezone.now()
    if "baseline" not in request.POST:
        ask_self_test(phase=phase, user=user, now=now)
        return
    upload = uploaded_archive(request, purpose=purpose_of(phase), expected="an archive as participants send it")
    entry = Entry(
        user=user,
        phase=phase,
        team=None,
        upload=upload,
        name=request.POST.get("name", ""),
        is_baseline=True,
        allows_duplicate=True,
    )
    submission = flow.submit(entry, now=now)
    messages.success(
        request,
        gettext("%(submission)s is on its way. It is scored and shown, and never ranked.") % {"submission": submission},
    )


def trial_table(found: SelfTest | None) -> dict[str, Any]:
    """The rows of a finished self-test, and the metrics that are their columns."""
    trials = found.report.get("trials", []) if found else []
    metrics = list(trials[0]["means"]) if trials else []
    rows = [
        TrialRow(
            title=WORDS[found_trial["name"]][0],
            expected=WORDS[found_trial["name"]][1],
            values=tuple(found_trial["means"][name] for name in metrics),
            troubles=tuple(found_trial["troubles"]),
            notes=tuple(found_trial["notes"]),
        )
        for found_trial in trials
    ]
    return {"trials": rows, "metrics": metrics, "tried_on": ", ".join(found.report.get("cases", [])) if found else ""}
