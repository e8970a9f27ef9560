"""A reference that cannot be used is the organizers' to mend: nobody else is charged or kept waiting."""

import pytest
from django.utils import timezone

import hosting
from assay.evaluations.models import CaseScores
from assay.organizers.consoles import needs_of, phases_of, readiness
from assay.testsets import storage
from assay.workflow import flow
from assay.workflow.workers import scoring
from evaluator.protocol import load_named_protocol


@pytest.fixture
def broken(stage):
    """The reference of case b was no volume when it was taken in: an earlier version did not look."""
    put_reference(stage, b"no volume")
    return stage


def put_reference(stage, content: bytes) -> None:
    """A reference of case b, recorded as it is."""
    case = stage.scene.phase.chosen_testset.testset.cases.get(case_id="b")
    path = storage.local_path(case.references[0]["key"])
    path.write_bytes(content)
    case.references[0]["sha256"] = storage.hash_file(path)
    case.save()


def test_the_organizers_are_told_which_case_and_the_team_is_not_charged(broken):
    submission = broken.submit()
    broken.play()
    submission.refresh_from_db()
    assert (submission.status, submission.verdict, submission.fault) == ("failed", "reference_invalid", "organizer")
    assert not submission.is_charged
    assert "organizers" in submission.verdict_text
    assert "case" not in submission.verdict_text, "participants learn nothing of a hidden case"
    evaluation = submission.evaluations.get()
    assert (evaluation.status, evaluation.attempt) == ("failed", 1)
    needs = [need.text for need in needs_of(broken.scene.challenge, now=timezone.now())]
    assert len(needs) == 1
    assert "case b: the reference cannot be used" in needs[0]


def test_scoring_again_keeps_the_scores_that_stand(broken, tmp_path):
    case = broken.scene.phase.chosen_testset.testset.cases.get(case_id="b")
    put_reference(broken, storage.local_path(case.inputs[0]["key"]).read_bytes())
    submission = broken.submit()
    broken.play()
    put_reference(broken, b"no volume")
    flow.rejudge(submission_ids=[submission.pk], by=broken.scene.olga, now=timezone.now())
    broken.score()
    submission.refresh_from_db()
    assert (submission.status, submission.verdict) == ("done", "ok")
    assert [row.status for row in submission.evaluations.order_by("number")] == ["done", "failed"]
    assert CaseScores.objects.filter(evaluation=submission.evaluations.get(number=1)).count() == 2


def test_the_console_says_what_a_test_set_lacks_for_its_protocol(scene, tmp_path):
    protocol = load_named_protocol("feta24-segmentation")
    folder = hosting.reference_folder(protocol, tmp_path / "brains", ["s1", "s2"])
    scene.phase.delete()
    hosting.hosted(scene=scene, protocol=protocol, folder=folder, now=timezone.now())
    phases = phases_of(scene.challenge, now=timezone.now())
    (check,) = [check for check in readiness(scene.challenge, phases) if "protocol asks for" in check.text]
    assert not check.ok
    assert check.cure == (
        "Own: no input t2w (cases s1, s2). Own: no attribute Pathology, which algorithms are told (cases s1, s2). "
        "Own: no attribute Gestational age, which algorithms are told (cases s1, s2)."
    )


def test_a_case_that_takes_longer_than_any_may_is_the_organizers_to_mend(stage, monkeypatch):
    def endless(**_):
        while True:
            sum(range(1000))

    monkeypatch.setattr(scoring, "CASE_SECONDS", 0.05)
    monkeypatch.setattr(scoring, "score_case", endless)
    submission = stage.submit()
    stage.play()
    submission.refresh_from_db()
    assert (submission.verdict, submission.fault, submission.is_charged) == ("metrics_failed", "organizer", False)
    evaluation = submission.evaluations.get()
    assert "took more than 0.05 seconds of processor time; expected less" in evaluation.error


def test_a_case_that_needs_more_memory_than_any_may_is_the_organizers_to_mend(stage, settings, monkeypatch):
    settings.SCORING_MEMORY_BYTES = 256 * 2**20
    monkeypatch.setattr(scoring, "score_case", lambda **_: bytearray(2**30))
    submission = stage.submit()
    stage.play()
    submission.refresh_from_db()
    assert (submission.verdict, submission.fault, submission.is_charged) == ("metrics_failed", "organizer", False)
    assert "needs more than 256 MiB of memory; expected less" in submission.evaluations.get().error
    assert len(bytearray(2**29)) == 2**29, "the limit is gone with the case"
