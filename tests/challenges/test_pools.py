"""Whose a pool of nodes is: who may name it, what a refusal says, and what happens when the right is taken away."""

import pytest
from django.urls import reverse

import factories
from assay.accounts.errors import ConflictError, InvalidError, NotAllowedError
from assay.accounts.models import AuditEvent
from assay.challenges.models import Membership, Pool
from assay.challenges.pools import may_use, set_pool_owners
from assay.evaluations import pushing
from assay.runs.nodes import enrol_node
from assay.submissions.selectors import eligibility_of
from markup import markup

SOURCE = f"""
slug: lungs
title: Lungs
organizers: [{{organizers}}]
protocol: {factories.PROTOCOL_TEXT.replace("{", "{{").replace("}", "}}")}
phases:
  - {{{{slug: final, opens_at: 2026-01-01, closes_at: 2199-01-01, pool: {{pool}}}}}}
"""


@pytest.fixture
def own(scene, now):
    def own(name="a100", *, people=(), challenges=(), note="machines of the lab"):
        return set_pool_owners(name=name, people=people, challenges=challenges, note=note, by=scene.stan, now=now)

    return own


@pytest.fixture
def push(scene, now):
    def push(pool="a100", *, user=None, organizers="olga", is_dry_run=False):
        source = SOURCE.format(pool=pool, organizers=organizers)
        pushed = {"slug": "lungs", "source": source, "is_dry_run": is_dry_run, "now": now}
        return pushing.push_challenge(user=user or scene.olga, **pushed)[1]

    return push


@pytest.mark.parametrize("is_dry_run", [True, False])
def test_a_pool_of_others_is_refused_with_the_pools_that_are_allowed(own, push, scene, now, is_dry_run):
    for name in ("a100", "cheap", "mine"):
        enrol_node(name=f"node-{name}", pool=name, slots=1, by=None, now=now)
    own(people=["otto"])
    own("mine", people=["olga"])
    with pytest.raises(NotAllowedError) as refusal:
        push(is_dry_run=is_dry_run)
    assert refusal.value.code == "pool_not_allowed"
    assert refusal.value.found == "pool: a100 (machines of the lab)"
    assert refusal.value.expected == "one of cheap, default, mine"
    assert push("mine").phases.get().pool == "mine"


def test_a_pool_without_owners_is_everybodys(push):
    assert push("a100").phases.get().pool == "a100"


def test_a_challenge_may_be_named_as_well_as_a_person(own, push):
    push("default")
    own(challenges=["lungs"])
    assert push().phases.get().pool == "a100"


def test_listing_the_owner_as_an_organizer_does_not_give_their_machines(own, push, scene):
    own(people=["stan"])
    with pytest.raises(NotAllowedError):
        push(organizers="olga, stan")
    assert push(user=scene.stan, organizers="olga, stan").phases.get().pool == "a100"
    assert push(organizers="olga, stan").phases.get().pool == "a100"  # the owner has named it, the others go on with it


def test_who_lost_the_right_gets_no_new_submissions_and_cannot_push_it_again(own, scene, push, now):
    scene.phase.pool = "a100"
    scene.phase.save()
    own(people=["olga"])
    assert eligibility_of(person=scene.pia, phase=scene.phase, now=now).can_submit
    own(people=["otto"])
    found = eligibility_of(person=scene.pia, phase=scene.phase, now=now)
    assert found.failing.text == "the phase names machines that it may not use any more"
    own()
    assert eligibility_of(person=scene.pia, phase=scene.phase, now=now).can_submit


def test_only_accepted_organizers_bring_their_pools(own, scene):
    own(people=["olga"])
    assert may_use("a100", challenge=scene.challenge)
    scene.challenge.memberships.filter(user=scene.olga).update(role=Membership.Role.PARTICIPANT)
    assert not may_use("a100", challenge=scene.challenge)


def test_predictions_need_no_machines(own, scene, now):
    scene.phase.pool, scene.phase.kind = "a100", "predictions"
    scene.phase.save()
    own(people=["otto"])
    assert eligibility_of(person=scene.pia, phase=scene.phase, now=now).can_submit


def test_the_pool_that_phases_use_by_default_stays_everybodys(own):
    with pytest.raises(ConflictError, match="everybody's"):
        own("default", people=["olga"])


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"people": ["olga", "nobody"]}, "nobody"),
        ({"challenges": ["livers"]}, "livers"),
        ({"name": "A 100"}, "'A 100'"),
    ],
)
def test_owners_and_names_are_checked_and_nothing_is_kept(own, scene, values, found):
    with pytest.raises(InvalidError) as refusal:
        own(**{"people": ["olga"]} | values)
    assert refusal.value.found == found
    assert not Pool.objects.exists()


def test_operators_set_owners_on_their_page_and_it_is_written_down(scene, client):
    client.force_login(scene.stan)
    url = reverse("organizers:rights")
    form = {"act": "pool", "pool": "a100", "people": "olga, otto", "challenges": "brains", "note": "the lab's"}
    assert "The pool a100 belongs to those you named." in markup(client.post(url, form, follow=True))
    event = AuditEvent.objects.get(verb="pool.owners_set")
    assert (event.actor, event.details) == (scene.stan, {"people": "olga, otto", "challenges": "brains"})
    assert "olga otto" in markup(client.get(url))
    assert "everybody&#x27;s" in markup(client.post(url, {"act": "pool", "pool": "a100"}, follow=True))
    assert not Pool.objects.exists()
