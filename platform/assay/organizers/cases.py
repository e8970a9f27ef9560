"""One case of one submission to look at: input, reference and prediction, for organizers only.

Files leave through this door and no other: it asks who is asking, names the case by its row, and streams from storage.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.views.decorators.http import require_GET

from assay.accounts.errors import NotFoundError
from assay.challenges.protocols import rules_of
from assay.organizers.views import frame
from assay.pages import svg
from assay.runs.models import CaseRun
from assay.submissions.access import get_organized_submission
from assay.submissions.models import Submission
from assay.testsets.models import Case
from assay.testsets.storage import open_file
from evaluator.volumes import CANONICAL_SUFFIX

OKABE_ITO = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


@require_GET
def case_page(request: HttpRequest, slug: str, submission_id: UUID, case_id: str) -> HttpResponse:
    """The case's volumes over each other, and its scores."""
    submission, _ = get_organized_submission(person=request.user, submission_id=submission_id)
    case = _case(submission, case_id)
    colours = _colours(submission)
    files = files_of(submission, case)
    drawn = {"input": volumes_of(files["input"])[:1], "prediction": volumes_of(files["prediction"])[-1:]}
    volumes = [
        {"url": _url(slug, submission, case, kind, file), "labels": colours if kind != "input" else None}
        | ({"colormap": "gray"} if kind == "input" else {"opacity": 0.45})
        for kind, found in drawn.items()
        for file in found
    ]
    page = frame(submission.challenge, tab="submissions", submission=submission, case=case, viewer={"volumes": volumes})
    page["files"] = [
        {"kind": kind, "name": name_of(file), "url": _url(slug, submission, case, kind, file)}
        for kind, found in files.items()
        for file in found
    ]
    page["colours"] = [
        {"name": label.name, "swatch": _swatch(_rgb(i))} for i, label in enumerate(rules_of(submission.protocol).labels)
    ]
    return render(request, "organizers/case.html", page)


@require_GET
def case_file(
    request: HttpRequest,
    slug: str,  # noqa: ARG001 - the slug is part of the address
    submission_id: UUID,
    case_id: str,
    kind: str,
    file_name: str,
) -> FileResponse:
    """One file of the case. Nothing but our own volumes is ever shown by a browser: the rest is an organizer's, or a stranger's."""
    submission, _ = get_organized_submission(person=request.user, submission_id=submission_id)
    files = files_of(submission, _case(submission, case_id)).get(kind, [])
    found = next((file for file in files if name_of(file) == file_name), None)
    if found is None:
        raise NotFoundError(gettext("There is no such file."), found=f"{kind}/{file_name}")
    is_volume = bool(volumes_of([found]))
    return FileResponse(
        open_file(found["key"]),
        content_type="application/gzip" if is_volume else "application/octet-stream",
        as_attachment=not is_volume,
        filename=file_name.rpartition("/")[2],
    )


def name_of(file: dict[str, Any]) -> str:
    """What a stored file is called when it leaves."""
    return f"{file['name']}{''.join(Path(file['key']).suffixes)}"


def volumes_of(files: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those a viewer can draw."""
    return [file for file in files if file["key"].endswith(CANONICAL_SUFFIX)]


def files_of(submission: Submission, case: Case) -> dict[str, list[dict[str, Any]]]:
    """The case's stored files by kind. Predictions are those of the newest run, a cohort's among them."""
    is_about_case = Q(case=case) | Q(case=None)
    run = CaseRun.objects.filter(is_about_case, run__submission=submission).order_by("-run__number").first()
    outputs = run.outputs if run else []
    if run is not None and run.case_id is None:
        own = f"{case.position}/"
        outputs = [output for output in outputs if "/" not in output["name"] or output["name"].startswith(own)]
    return {"input": case.inputs, "reference": case.references, "prediction": outputs}


def _case(submission: Submission, case_id: str) -> Case:
    case = submission.testset.cases.filter(case_id=case_id).first()
    if case is None:
        raise NotFoundError(gettext("There is no such case."), found=case_id)
    return case


def _url(slug: str, submission: Submission, case: Case, kind: str, file: dict[str, Any]) -> str:
    return reverse("organizers:case-file", args=[slug, submission.pk, case.case_id, kind, name_of(file)])


def _colours(submission: Submission) -> dict[str, list[Any]]:
    """The viewer's label colours: index 0 is nothing, each single value of a label gets the label's colour."""
    table: dict[str, list[Any]] = {"R": [0], "G": [0], "B": [0], "A": [0], "I": [0], "labels": ["background"]}
    for number, label in enumerate(rules_of(submission.protocol).labels):
        for value in label.values[:1]:
            for key, channel in zip("RGB", OKABE_ITO[number % len(OKABE_ITO)], strict=True):
                table[key].append(channel)
            table["A"].append(255)
            table["I"].append(value)
            table["labels"].append(label.name)
    return table


def _swatch(rgb: str) -> SafeString:
    return svg.decoration(svg.element("rect", width=12, height=12, fill=rgb), width=12, height=12)


def _rgb(number: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*OKABE_ITO[number % len(OKABE_ITO)])
