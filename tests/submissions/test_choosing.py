"""What a team decides about its submissions, who may go on to the next phase, and what comes after closing."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

import factories
from assay.accounts.errors import ConflictError, InvalidError
from assay.submissions.choosing import choose_submission, take_up_again, withdraw
from assay.submissions.models import Submission
from assay.submissions.selectors import eligibility_of
from assay.submissions.services import Entry, create_submission


@pytest.fixture
def choosing(scene):
    scene.phase.leaderboard_shows = "chosen"
    scene.phase.save()
    return scene


def done(scene, **fields) -> Submission:
    return factories.submission(phase=scene.phase, team=scene.team, user=scene.pia, status="done", **fields)


def submit(scene, *, now, started=None, **fields) -> Submission:
    upload = factories.complete_upload(user=scene.pia, created_at=started or now)
    entry = Entry(user=scene.pia, phase=scene.phase, team=scene.team, upload=upload, name="Threshold", **fields)
    return create_submission(entry, now=now)


def test_one_submission_stands_for_a_team_at_a_time(choosing, now):
    first, second = done(choosing), done(choosing)
    assert choose_submission(submission=first, user=choosing.pia, now=now)
    assert choose_submission(submission=second, user=choosing.pia, now=now)
    assert not choose_submission(submission=second, user=choosing.pia, now=now)
    assert list(Submission.objects.filter(is_chosen=True)) == [second]
    with pytest.raises(IntegrityError), transaction.atomic():
        Submission.objects.filter(pk=first.pk).update(is_chosen=True)


def test_a_withdrawn_submission_stands_for_nobody_until_it_is_taken_up_again(choosing, now):
    found = done(choosing)
    choose_submission(submission=found, user=choosing.pia, now=now)
    assert withdraw(submission=found, user=choosing.pia, now=now)
    assert not withdraw(submission=found, user=choosing.pia, now=now)
    found.refresh_from_db()
    assert (found.is_withdrawn, found.is_chosen, found.is_charged) == (True, False, True)
    with pytest.raises(ConflictError, match="cannot stand"):
        choose_submission(submission=found, user=choosing.pia, now=now)
    assert take_up_again(submission=found, user=choosing.pia, now=now)
    assert choose_submission(submission=found, user=choosing.pia, now=now)


def test_after_closing_nothing_is_chosen_or_withdrawn(choosing, now):
    found = done(choosing)
    for act in (choose_submission, withdraw, take_up_again):
        with pytest.raises(ConflictError, match="what counts is fixed"):
            act(submission=found, user=choosing.pia, now=choosing.phase.closes_at)


def test_a_phase_that_ranks_the_best_leaves_no_choice(scene, now):
    with pytest.raises(ConflictError, match="do not choose"):
        choose_submission(submission=done(scene), user=scene.pia, now=now)


@pytest.fixture
def gated(scene):
    """Pia's phase comes after another one, of the same challenge."""
    before = factories.phase(
        challenge=scene.challenge, slug="before", title="Before", testset=scene.phase.chosen_testset.testset
    )
    scene.phase.requires = before
    scene.phase.save()
    return before


def may(scene, now) -> str:
    return eligibility_of(person=scene.pia, phase=scene.phase, now=now).text


def test_a_scored_submission_opens_the_next_phase(scene, now, gated):
    assert may(scene, now) == "no: your team has no scored submission in Before"
    with pytest.raises(ConflictError, match="no scored submission in Before"):
        submit(scene, now=now)
    found = factories.submission(phase=gated, team=scene.team, user=scene.pia, status="failed")
    assert may(scene, now).startswith("no:")
    Submission.objects.filter(pk=found.pk).update(status="done")
    assert may(scene, now).startswith("yes")
    for flag in ("is_disqualified", "is_withdrawn"):
        Submission.objects.filter(pk=found.pk).update(**{flag: True})
        assert may(scene, now).startswith("no:")
        Submission.objects.filter(pk=found.pk).update(**{flag: False})
    assert submit(scene, now=now).number == 1


def test_a_rank_counts_once_the_phase_before_is_over(scene, now, gated):
    scene.phase.requires_rank = 2
    scene.phase.save()
    entry = factories.entry(phase=gated, rank=2, team=scene.team)
    assert may(scene, now) == "no: who goes on is settled when Before is over"
    gated.opens_at, gated.closes_at = now - timedelta(days=9), now - timedelta(days=1)
    gated.save()
    assert may(scene, now).startswith("yes")
    entry.rank = 3
    entry.save()
    assert may(scene, now) == "no: your team is not among the best 2 of Before"


def test_late_submissions_are_taken_while_the_phase_says_so(scene, now):
    scene.phase.late_until = scene.phase.closes_at + timedelta(days=3)
    scene.phase.concurrent_limit = 9
    scene.phase.save()
    closing = scene.phase.closes_at
    assert not submit(scene, now=closing - timedelta(seconds=1)).is_late
    began_in_time = submit(scene, now=closing + timedelta(minutes=5), started=closing - timedelta(minutes=5))
    assert not began_in_time.is_late
    assert submit(scene, now=closing + timedelta(minutes=5)).is_late
    assert submit(scene, now=closing + timedelta(hours=2), started=closing - timedelta(minutes=5)).is_late
    with pytest.raises(ConflictError, match="The phase closed at"):
        submit(scene, now=scene.phase.late_until)


def test_a_division_is_named_once_and_remembered(scene, now):
    scene.phase.divisions, scene.phase.concurrent_limit = ["open", "closed"], 9
    scene.phase.save()
    for wrong in ("", "other"):
        with pytest.raises(InvalidError, match="in which division"):
            submit(scene, now=now, division=wrong)
    assert submit(scene, now=now, division="closed").division == "closed"
    assert submit(scene, now=now).division == "closed"
    assert submit(scene, now=now, division="open").division == "open"


def test_a_division_nobody_has_is_refused(scene, now):
    with pytest.raises(InvalidError, match="no divisions"):
        submit(scene, now=now, division="open")
