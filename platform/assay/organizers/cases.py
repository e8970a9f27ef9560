"""One case of one submission to look at: input, reference and prediction, for organizers only.

Files leave through this door and no other: it asks who is asking, names the case by its row, and streams from storage.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.http import require_GET

from assay.accounts.errors import NotFoundError
from assay.challenges.protocols import rules_of
from assay.evaluations.models import CaseScores
from assay.evaluations.selectors import active_evaluation
from assay.organizers.views import frame
from assay.pages import svg
from assay.runs.models import CaseRun
from assay.submissions.access import get_reviewed_submission
from assay.submissions.models import Submission
from assay.testsets.models import Case
from assay.testsets.storage import local_path, open_file, scratch_folder
from evaluator.errors import EvaluatorError
from evaluator.metrics import Direction
from evaluator.protocol import MetricSpec
from evaluator.volumes import ADDED, CANONICAL_SUFFIX, CONFUSED, MISSED, write_error_map

OKABE_ITO = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


ERRORS: tuple[tuple[int, str | Promise, tuple[int, int, int]], ...] = (
    (MISSED, gettext_lazy("missed: only the reference has something here"), (213, 94, 0)),
    (ADDED, gettext_lazy("added: only the prediction has something here"), (86, 180, 233)),
    (CONFUSED, gettext_lazy("confused: another structure than the reference has"), (240, 228, 66)),
)
LAYERS: dict[str, str | Promise] = {
    "reference": gettext_lazy("Reference"),
    "prediction": gettext_lazy("Prediction"),
    "errors": gettext_lazy("Errors"),
}
"""What is laid over the input, in the order it is drawn."""


@require_GET
def case_page(request: HttpRequest, slug: str, submission_id: UUID, case_id: str) -> HttpResponse:
    """The case's volumes over each other, its scores beside them, and the way to the cases that went worse and better."""
    submission, _ = get_reviewed_submission(person=request.user, submission_id=submission_id)
    case = _case(submission, case_id)
    files = files_of(submission, case)
    drawn = {kind: volumes_of(found)[-1:] for kind, found in files.items()}
    volumes: list[dict[str, Any]] = [
        {"url": _url(slug, submission, case, "input", file), "labels": None, "colormap": "gray"}
        for file in volumes_of(files["input"])[:1]
    ]
    for kind in LAYERS:
        for url in _layer_urls(slug, submission, case, kind=kind, drawn=drawn):
            colours = ERROR_COLOURS if kind == "errors" else _colours(submission)
            opacity = 0.6 if kind == "prediction" else 0.0
            volumes.append({"url": url, "labels": colours, "opacity": opacity, "layer": kind})
    page = frame(submission.challenge, tab="submissions", submission=submission, case=case, viewer={"volumes": volumes})
    page["layers"] = [
        (kind, words, kind == "prediction")
        for kind, words in LAYERS.items()
        if any(v.get("layer") == kind for v in volumes)
    ]
    page["files"] = [
        {"kind": kind, "name": name_of(file), "url": _url(slug, submission, case, kind, file)}
        for kind, found in files.items()
        for file in found
    ]
    page["colours"] = [
        {"name": label.name, "swatch": _swatch(_rgb(i))} for i, label in enumerate(rules_of(submission.protocol).labels)
    ]
    page["error_colours"] = [
        {"name": words, "swatch": _swatch("#{:02x}{:02x}{:02x}".format(*rgb))} for _v, words, rgb in ERRORS
    ]
    page.update(_scores(submission, case))
    return render(request, "organizers/case.html", page)


def _layer_urls(
    slug: str, submission: Submission, case: Case, *, kind: str, drawn: Mapping[str, Sequence[dict[str, Any]]]
) -> list[str]:
    """Where a layer comes from. Errors are worked out from the other two, where there are both."""
    if kind != "errors":
        return [_url(slug, submission, case, kind, file) for file in drawn[kind]]
    if not (drawn["reference"] and drawn["prediction"]):
        return []
    return [reverse("organizers:case-errors", args=[slug, submission.pk, case.case_id])]


def _scores(submission: Submission, case: Case) -> dict[str, Any]:
    """The case's scores as a table, and its neighbours when all cases are put in order, the worst first. Two queries."""
    evaluation = active_evaluation(submission)
    stored = list(evaluation.case_scores.select_related("case")) if evaluation else []
    headline = rules_of(submission.protocol).metrics[0]
    order = sorted(stored, key=lambda row: _goodness(row, headline=headline))
    place = next((at for at, row in enumerate(order) if row.case_id == case.pk), None)
    scores = order[place].scores if place is not None else []
    labels = list(dict.fromkeys(score[0] for score in scores))
    by_pair = {(score[0], score[1]): score for score in scores}
    metrics = list(dict.fromkeys(score[1] for score in scores))
    return {
        "score_metrics": metrics,
        "score_rows": [(label, [by_pair.get((label, metric)) for metric in metrics]) for label in labels],
        "place": place + 1 if place is not None else None,
        "case_count": len(order),
        "headline": headline.id,
        "worse": order[place - 1].case.case_id if place else None,
        "better": order[place + 1].case.case_id if place is not None and place + 1 < len(order) else None,
        "worst": order[0].case.case_id if order else None,
    }


def _goodness(row: CaseScores, *, headline: MetricSpec) -> tuple[float, str]:
    """How well a case went by the first metric: larger is better. Nothing known of it is worst of all."""
    values = [value for _label, metric, value, _reason in row.scores if metric == headline.id and value is not None]
    if not values:
        return -math.inf, row.case.case_id
    sign = -1 if headline.metric.direction == Direction.MIN else 1
    return sign * math.fsum(values) / len(values), row.case.case_id


@require_GET
def case_errors(request: HttpRequest, slug: str, submission_id: UUID, case_id: str) -> HttpResponse:  # noqa: ARG001  its door has read the slug
    """Where the prediction differs from the reference, worked out now."""
    submission, _ = get_reviewed_submission(person=request.user, submission_id=submission_id)
    files = files_of(submission, _case(submission, case_id))
    both = {kind: volumes_of(files[kind])[-1:] for kind in ("reference", "prediction")}
    if not all(both.values()):
        raise NotFoundError(gettext("There is nothing to compare."), found=case_id)
    with scratch_folder() as folder:
        target = folder / f"errors{CANONICAL_SUFFIX}"
        try:
            write_error_map(
                reference=local_path(both["reference"][0]["key"]),
                prediction=local_path(both["prediction"][0]["key"]),
                target=target,
            )
        except (EvaluatorError, OSError) as error:
            raise NotFoundError(gettext("There is nothing to compare."), found=str(error)[:200]) from error
        return HttpResponse(target.read_bytes(), content_type="application/gzip")


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
    submission, _ = get_reviewed_submission(person=request.user, submission_id=submission_id)
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
    labels = rules_of(submission.protocol).labels
    return _table(
        (label.values[0], label.name, OKABE_ITO[number % len(OKABE_ITO)])
        for number, label in enumerate(labels)
        if label.values
    )


def _table(rows: Iterable[tuple[int, str | Promise, tuple[int, int, int]]]) -> dict[str, list[Any]]:
    """Colours as the viewer takes them: index 0 is nothing."""
    table: dict[str, list[Any]] = {"R": [0], "G": [0], "B": [0], "A": [0], "I": [0], "labels": ["background"]}
    for value, words, rgb in rows:
        for key, channel in zip("RGB", rgb, strict=True):
            table[key].append(channel)
        table["A"].append(255)
        table["I"].append(value)
        table["labels"].append(str(words))
    return table


ERROR_COLOURS = _table((value, "", rgb) for value, _words, rgb in ERRORS)


def _swatch(rgb: str) -> SafeString:
    return svg.decoration(svg.element("rect", width=12, height=12, fill=rgb), width=12, height=12)


def _rgb(number: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*OKABE_ITO[number % len(OKABE_ITO)])
