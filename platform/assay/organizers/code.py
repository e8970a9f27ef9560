"""What code is built from: base images and wheel houses that were pushed, which phases use them, and a way to push one."""

from dataclasses import dataclass

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from assay.accounts.errors import AssayError
from assay.challenges.access import get_organized_challenge
from assay.challenges.models import Challenge
from assay.challenges.protocols import rules_of
from assay.organizers.archives import uploaded_archive
from assay.organizers.views import frame
from assay.pages.errors import refuse
from assay.submissions.code_parts import PURPOSE_OF, code_parts_of
from assay.submissions.models import CodePart
from assay.workflow.workers.building import take_code_part

EXPECTED = {CodePart.Kind.BASE: "what `docker save` wrote", CodePart.Kind.WHEELS: "a zip of wheels"}
KEYS = {CodePart.Kind.BASE: "code_base", CodePart.Kind.WHEELS: "code_wheels"}


@dataclass(frozen=True, kw_only=True)
class PartRow:
    """One part, what a protocol writes to use it, and the titles of the phases that do."""

    part: CodePart
    key: str
    phases: tuple[str, ...]
    packages: tuple[str, ...]


@transaction.non_atomic_requests  # an archive is checked for minutes. The service has a transaction of its own
def code_parts(request: HttpRequest, slug: str) -> HttpResponse:
    """List them, and take one in."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    page, status = frame(challenge, tab="code"), 200
    if request.method == "POST":
        kind = CodePart.Kind.WHEELS if request.POST.get("kind") == CodePart.Kind.WHEELS else CodePart.Kind.BASE
        try:
            upload = uploaded_archive(request, purpose=PURPOSE_OF[kind], expected=EXPECTED[kind])
            request.META["assay.takes_long"] = True  # see config/deadlines.py
            take_code_part(challenge=challenge, user=user, kind=kind, upload=upload, now=timezone.now())
        except AssayError as error:
            status = refuse(request, error)
        else:
            return redirect("organizers:code-parts", slug)
    users = phases_by_part(challenge)
    page["parts"] = [row_of(part, users) for part in code_parts_of(challenge)]
    return render(request, "organizers/code.html", page, status=status)


def row_of(part: CodePart, users: dict[str, list[str]]) -> PartRow:
    """As the page shows it."""
    wheels = part.report.get("wheels", {}) if part.kind == CodePart.Kind.WHEELS else {}
    return PartRow(
        part=part,
        key=KEYS[CodePart.Kind(part.kind)],
        phases=tuple(users.get(part.identity, ())),
        packages=tuple(f"{project} {', '.join(versions)}" for project, versions in sorted(wheels.items())),
    )


def phases_by_part(challenge: Challenge) -> dict[str, list[str]]:
    """Identity → titles of the phases whose protocol names it."""
    found: dict[str, list[str]] = {}
    for phase in challenge.phases.select_related("protocol"):
        resources = rules_of(phase.protocol).resources
        for identity in filter(None, (resources.code_base, resources.code_wheels)):
            found.setdefault(identity, []).append(phase.title)
    return found
