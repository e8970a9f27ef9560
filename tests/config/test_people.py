"""The scene most tests are played on is what it says."""

import factories
from assay.submissions.models import Submission


def test_the_scene_has_one_open_phase_with_hidden_cases(scene, now):
    assert scene.phase.opens_at < now < scene.phase.closes_at
    assert scene.phase.chosen_testset.testset.cases.count() == 2


def test_a_submission_needs_no_more_than_a_phase_and_a_team(scene):
    submission = factories.submission(phase=scene.phase, team=scene.team)
    assert submission.status == Submission.Status.RECEIVED
    assert submission.number == 1
