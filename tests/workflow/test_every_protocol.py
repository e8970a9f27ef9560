"""Every protocol that ships, through the platform: its references are taken in, predictions are handed in, and the board is right."""

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
