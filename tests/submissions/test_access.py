"""Who may see which submission, its log, its uploads. And under which names its cases appear."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser

import factories
from assay.accounts.errors import NotAllowedError, NotFoundError, NotSignedInError
from assay.submissions import access
from assay.submissions.models import AlgorithmImage, Submission
from assay.submissions.selectors import case_aliases, eligibility_of, newest_of, stepper, submission_list

NOBODY = AnonymousUser()


@pytest.fixture
def submission(scene) -> Submission:
    return factories.submission(phase=scene.phase, team=scene.team)


def test_a_submission_exists_for_its_team_its_organizers_and_operators(scene, submission):
    for person in (scene.pia, scene.olga, scene.stan):
        assert access.get_submission(person=person, submission_id=submission.pk) == submission
    for person in (scene.otto, NOBODY):
        with pytest.raises(NotFoundError):
            access.get_submission(person=person, submission_id=submission.pk)


def test_the_organizer_of_another_challenge_is_an_outsider(scene, submission):
    stranger = factories.user()
    factories.challenge(organizer=stranger)
    with pytest.raises(NotFoundError):
        access.get_submission(person=stranger, submission_id=submission.pk)


def test_deciding_over_a_submission_is_for_organizers(scene, submission):
    assert access.get_organized_submission(person=scene.olga, submission_id=submission.pk) == (submission, scene.olga)
    with pytest.raises(NotAllowedError):
        access.get_organized_submission(person=scene.pia, submission_id=submission.pk)
    with pytest.raises(NotFoundError):
        access.get_organized_submission(person=scene.otto, submission_id=submission.pk)


def test_a_team_reads_its_log_on_public_cases_only(scene, submission):
    assert access.may_see_log(person=scene.olga, submission=submission)
    assert not access.may_see_log(person=scene.pia, submission=submission)
    submission.testset.is_public = True
    assert access.may_see_log(person=scene.pia, submission=submission)


def test_nobody_competes_for_a_team_they_did_not_join_with(scene):
    assert access.competing_team(person=scene.pia, phase=scene.phase) == scene.team
    assert access.competing_team(person=scene.pia, phase=scene.phase, team_slug=scene.team.slug) == scene.team
    assert access.competing_team(person=scene.otto, phase=scene.phase) is None
    other = factories.team(name="Other", members=[scene.pia])
    for person in (scene.pia, scene.otto):
        with pytest.raises(NotAllowedError):
            access.competing_team(person=person, phase=scene.phase, team_slug=other.slug)


def test_an_upload_is_its_owners_alone(scene):
    upload = factories.upload(user=scene.pia)
    assert access.get_upload(person=scene.pia, upload_id=upload.pk) == upload
    with pytest.raises(NotFoundError):
        access.get_upload(person=scene.stan, upload_id=upload.pk)
    with pytest.raises(NotSignedInError):
        access.get_upload(person=NOBODY, upload_id=upload.pk)


def test_hidden_cases_have_numbers_for_names(submission):
    assert case_aliases(submission=submission, is_insider=False) == {"a": "case 1", "b": "case 2"}
    assert case_aliases(submission=submission, is_insider=True) == {"a": "a", "b": "b"}
    submission.testset.is_public = True
    assert case_aliases(submission=submission, is_insider=False) == {"a": "a", "b": "b"}


def test_the_list_can_be_narrowed(scene, submission):
    factories.submission(
        phase=factories.phase(challenge=scene.challenge, slug="other", testset=submission.testset),
        team=scene.team,
        status="done",
    )
    foreign = factories.team(members=[scene.otto])
    factories.submission(phase=scene.phase, team=foreign)

    def count(**filters) -> int:
        return submission_list(person=scene.olga, **filters).count()

    assert count() == 3
    assert count(challenge="brains", phase="other") == 1
    assert count(status="done") == 1
    assert count(challenge="kidneys") == 0
    assert count(is_mine=True) == 0
    assert submission_list(person=scene.pia, is_mine=True).count() == 2


def test_a_list_is_paged_by_its_rows_so_that_new_ones_move_nothing(scene, submission):
    """Two of the four were handed in at the same moment."""
    for minutes in (3, 2, 2):
        moment = factories.NOW - timedelta(minutes=minutes)
        factories.submission(phase=scene.phase, team=scene.team, created_at=moment)
    rows = submission_list(person=scene.pia, is_mine=True)

    first, older = newest_of(rows, length=2)
    assert [row.number for row in first] == [1, 4]
    factories.submission(phase=scene.phase, team=scene.team, created_at=factories.NOW + timedelta(minutes=1))
    second, oldest = newest_of(rows, length=2, before=older)
    assert ([row.number for row in second], oldest) == ([3, 2], None)
    foreign = factories.submission(phase=scene.phase, team=factories.team(members=[scene.otto]))
    assert newest_of(rows, length=1, before=foreign.pk)[0][0].number == 5


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("pending", "not accepted you yet"),
        ("rejected", "not accepted you: no ethics vote"),
        ("banned", "excluded from this challenge: no ethics vote"),
    ],
)
def test_a_membership_that_is_not_accepted_says_why_not(scene, now, status, says):
    scene.challenge.memberships.filter(user=scene.pia).update(status=status, reason="no ethics vote")
    answer = eligibility_of(person=scene.pia, phase=scene.phase, now=now)
    assert not answer.can_submit
    assert says in answer.text


def test_nobody_and_an_organizer_without_a_team_are_told_what_is_missing(scene, now):
    assert eligibility_of(person=NOBODY, phase=scene.phase, now=now).text == "no: you are not signed in"
    assert (
        eligibility_of(person=scene.olga, phase=scene.phase, now=now).text == "no: you have not joined this challenge"
    )
    assert eligibility_of(person=scene.pia, phase=scene.phase, now=now).text == "yes"


@pytest.mark.parametrize(
    ("status", "image_status", "has_started", "states"),
    [
        ("received", "checking", False, "current ahead ahead ahead ahead ahead"),
        ("running", "accepted", True, "done done done current ahead ahead"),
        ("done", "accepted", True, "done done done done done done"),
        ("failed", "rejected", False, "done failed ahead ahead ahead ahead"),
        ("cancelled", "accepted", False, "done done failed ahead ahead ahead"),
        ("failed", "accepted", True, "done done done failed ahead ahead"),
    ],
)
def test_the_stepper_says_where_it_is_and_where_it_ended(scene, submission, status, image_status, has_started, states):
    submission.status = status
    submission.image.status = AlgorithmImage.Status(image_status)
    assert [step.state for step in stepper(submission, has_started=has_started)] == states.split()


def test_a_reference_that_cannot_be_used_shows_as_failed_scoring(scene, submission):
    submission.status, submission.verdict = "failed", "reference_invalid"
    submission.finished_at = submission.created_at + timedelta(hours=1)
    steps = stepper(submission, has_started=True)
    assert [step.state for step in steps] == ["done", "done", "done", "done", "failed", "ahead"]
    assert [step.at for step in steps] == [submission.created_at, None, None, None, submission.finished_at, None]


def test_predictions_are_neither_queued_nor_run(scene):
    upload = factories.complete_upload(user=scene.pia, purpose="predictions")
    submission = factories.submission(phase=scene.phase, team=scene.team, predictions=upload, status="scoring")
    steps = [(step.name, step.state) for step in stepper(submission, has_started=False)]
    assert steps == [("Received", "done"), ("Verified", "done"), ("Scoring", "current"), ("Ranked", "ahead")]


@pytest.mark.parametrize("scope", ["phase", "challenge"])
def test_what_is_archived_takes_no_submissions(scene, now, scope):
    if scope == "phase":
        scene.phase.is_archived = True
    else:
        scene.phase.challenge.status = "archived"
    answer = eligibility_of(person=scene.pia, phase=scene.phase, now=now)
    assert (answer.can_submit, answer.text) == (False, "no: the phase is archived")
