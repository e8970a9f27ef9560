"""Who may know of what: challenges, phases, and what organizers do."""

import pytest
from django.contrib.auth.models import AnonymousUser

import factories
from assay.accounts.errors import NotAllowedError, NotFoundError, NotSignedInError
from assay.challenges import access
from assay.challenges.models import Challenge, Membership

NOBODY = AnonymousUser()


@pytest.fixture
def draft(scene) -> Challenge:
    return factories.challenge(slug="draft", organizer=scene.olga, status=Challenge.Status.DRAFT)


def test_a_draft_exists_for_its_organizers_and_operators_only(scene, draft):
    assert draft in access.visible_challenges(person=scene.olga)
    assert draft in access.visible_challenges(person=scene.stan)
    for person in (NOBODY, scene.otto, scene.pia):
        assert draft not in access.visible_challenges(person=person)
        with pytest.raises(NotFoundError, match="There is no such challenge"):
            access.get_challenge(person=person, slug="draft")


def test_a_hidden_challenge_and_none_at_all_get_the_same_answer(scene, draft):
    answers = []
    for slug in ("draft", "never-was"):
        with pytest.raises(NotFoundError) as refusal:
            access.get_challenge(person=scene.otto, slug=slug)
        answers.append((refusal.value.message, refusal.value.code, refusal.value.what_to_do))
    assert answers[0] == answers[1]


def test_everybody_knows_of_published_and_archived_challenges(scene):
    archived = factories.challenge(slug="old", status=Challenge.Status.ARCHIVED)
    assert {scene.challenge, archived} <= set(access.visible_challenges(person=NOBODY))


def test_a_phase_that_is_not_there_is_not_found(scene):
    assert access.get_phase(person=NOBODY, challenge_slug="brains", phase_slug="final") == scene.phase
    with pytest.raises(NotFoundError, match="no such phase"):
        access.get_phase(person=NOBODY, challenge_slug="brains", phase_slug="finale")


def test_who_organizes(scene):
    answers = [
        access.is_organizer(person=p, challenge=scene.challenge)
        for p in (NOBODY, scene.otto, scene.pia, scene.olga, scene.stan)
    ]
    assert answers == [False, False, False, True, True]


def test_an_organizer_who_was_excluded_organizes_no_longer(scene):
    scene.challenge.memberships.filter(user=scene.olga).update(status=Membership.Status.BANNED)
    assert not access.is_organizer(person=scene.olga, challenge=scene.challenge)


def test_organizing_is_refused_by_kind(scene):
    with pytest.raises(NotSignedInError):
        access.require_organizer(person=NOBODY, challenge=scene.challenge)
    with pytest.raises(NotAllowedError):
        access.get_organized_challenge(person=scene.pia, slug="brains")
    with pytest.raises(NotAllowedError):
        access.get_organized_phase(person=scene.otto, challenge_slug="brains", phase_slug="final")
    assert access.get_organized_challenge(person=scene.olga, slug="brains") == (scene.challenge, scene.olga)
    assert access.get_organized_phase(person=scene.stan, challenge_slug="brains", phase_slug="final") == (
        scene.phase,
        scene.stan,
    )


def test_operating_is_for_operators(scene):
    assert access.require_staff(scene.stan) == scene.stan
    with pytest.raises(NotAllowedError):
        access.require_staff(scene.olga)
    with pytest.raises(NotSignedInError):
        access.require_staff(NOBODY)


def test_nobody_takes_part_in_nothing(scene):
    assert access.membership_of(person=NOBODY, challenge=scene.challenge) is None
    assert access.membership_of(person=scene.otto, challenge=scene.challenge) is None
    assert access.membership_of(person=scene.pia, challenge=scene.challenge).team == scene.team


def test_what_somebody_organizes_at_once(scene, draft):
    assert access.organized_challenges(person=NOBODY) == set()
    assert access.organized_challenges(person=scene.pia) == set()
    assert access.organized_challenges(person=scene.olga) == {scene.challenge.pk, draft.pk}
    assert access.organized_challenges(person=scene.stan) == {scene.challenge.pk, draft.pk}
