"""Every protocol that ships, through the platform: its references are taken in, predictions are handed in, and the board is right."""

import io
import json
import zipfile

import pytest
from django.utils import timezone

import hosting
from assay.leaderboards.models import LeaderboardEntry
from assay.leaderboards.services import rebuild_leaderboard
from assay.workflow.workers.checking import check_submission
from assay.workflow.workers.scoring import score_evaluation
from evaluator.protocol import Protocol, load_named_protocol, load_protocol, named_protocols

MASKS = {
    "protocol": 1,
    "name": "mask-per-structure",
    "labels": {"left lung": {"tolerance_mm": 1}, "right lung": {"tolerance_mm": 1}},
    "outputs": [{"name": "masks", "kind": "mask_per_structure", "file": "{case}/{structure}.nii.gz"}],
    "metrics": [{"name": "dice"}, {"name": "nsd"}],
}


@pytest.fixture(params=[*named_protocols(), MASKS["name"]])
def protocol(request) -> Protocol:
    return load_protocol(MASKS) if request.param == MASKS["name"] else load_named_protocol(request.param)


def test_a_perfect_answer_comes_before_a_poorer_one(scene, protocol, tmp_path):
    case_ids = [f"c{number}" for number in range(hosting.cases_needed(protocol))]
    folder = hosting.reference_folder(protocol, tmp_path / "references", case_ids)
    phase = hosting.hosted(scene=scene, protocol=protocol, folder=folder, now=timezone.now())
    for name, share in (("poorer", 1 / 3), ("perfect", 1.0)):
        content = hosting.predictions_zip(protocol, tmp_path / name, case_ids, share=share)
        submission = hosting.handed_in(phase, scene=scene, name=name, content=content)
        check_submission(submission_id=submission.pk, clock=timezone.now)
        submission.refresh_from_db()
        assert (submission.status, submission.verdict, submission.verdict_text) == ("scoring", "ok", "")
        assert score_evaluation(evaluation_id=submission.evaluations.get().pk, worker="test", clock=timezone.now)
    rebuild_leaderboard(phase_id=phase.pk, now=timezone.now())
    board = LeaderboardEntry.objects.filter(phase=phase).order_by("rank")
    assert [(entry.submission.name, entry.rank, entry.failed_cases) for entry in board] == [
        ("perfect", 1, 0),
        ("poorer", 2, 0),
    ]


BOXES = {
    "protocol": 1,
    "name": "boxes-in-json",
    "labels": {"lesion": {}, "cyst": {}},
    "outputs": [{"name": "boxes", "kind": "table", "file": "lesions.json", "cells": "boxes_3d"}],
    "metrics": [{"name": "finding_precision"}, {"name": "froc"}],
}


def document(*boxes: tuple[str, float, float]) -> str:
    """A grand-challenge document: a name, where it begins, how sure."""
    corners = {at: [[at, 0, 0], [at + 5, 5, 0], [at, 5, 5]] for _, at, _ in boxes}
    made = [{"name": name, "corners": corners[at], "probability": sure} for name, at, sure in boxes]
    return json.dumps({"type": "Multiple 2D bounding boxes", "boxes": made, "version": {"major": 1, "minor": 0}})


def test_boxes_in_json_are_handed_in_case_by_case(scene, tmp_path):
    folder = tmp_path / "references"
    folder.mkdir()
    (folder / "r.csv").write_text("case,lesion,cyst\nc0,0 0 0 5 5 5,20 0 0 25 5 5\nc1,,\n")
    (folder / "manifest.csv").write_text("case_id,reference\nc0,r.csv\nc1,r.csv\n")
    protocol = load_protocol(BOXES)
    assert protocol.archive_files("c0") == {"boxes": "c0/lesions.json"}
    phase = hosting.hosted(scene=scene, protocol=protocol, folder=folder, now=timezone.now())
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("c0/lesions.json", document(("lesion", 0, 0.9), ("cyst", 20, 0.4)))
        archive.writestr("c1/lesions.json", document(("cyst", 40, 0.8)))
    submission = hosting.handed_in(phase, scene=scene, name="boxes", content=content.getvalue())
    check_submission(submission_id=submission.pk, clock=timezone.now)
    evaluation = submission.evaluations.get()
    assert score_evaluation(evaluation_id=evaluation.pk, worker="test", clock=timezone.now)
    evaluation.refresh_from_db()
    found = evaluation.aggregates["finding_precision"]["per_label"]
    assert {label: cell["mean"] for label, cell in found.items()} == {"lesion": 1.0, "cyst": 0.5}
