"""The first publication of a challenge, where operators have to agree."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.urls import reverse

import factories
import people
from assay.accounts.errors import ConflictError, InvalidError
from assay.accounts.models import AuditEvent
from assay.challenges.models import Challenge, PublicationRequest
from assay.challenges.publication import decide_publication, last_request, publish_challenge, waiting_publications
from assay.evaluations import pushing
from assay.organizers.consoles import unready
from markup import markup


@pytest.fixture
def approval(settings):
    settings.PUBLICATION_NEEDS_APPROVAL = True


@pytest.fixture
def draft(scene) -> Challenge:
    row = factories.challenge(slug="lungs", organizer=scene.olga, status=Challenge.Status.DRAFT)
    factories.phase(challenge=row, slug="final")
    return row


def verbs() -> list[str]:
    return list(AuditEvent.objects.order_by("pk").values_list("verb", flat=True))


def test_a_draft_waits_until_an_operator_agrees(approval, scene, draft, now):
    for _ in range(2):
        assert publish_challenge(challenge=draft, user=scene.olga, now=now).status == Challenge.Status.DRAFT
    (request,) = waiting_publications()
    assert (request.challenge, request.asked_by, request.state) == (draft, scene.olga, "waiting")
    decided = decide_publication(slug="lungs", approves=True, reason="", by=scene.stan, now=now)
    draft.refresh_from_db()
    assert (decided.state, draft.status) == ("approved", "published")
    assert verbs() == ["challenge.publication_asked", "challenge.publication_approved", "challenge.published"]
    assert list(waiting_publications()) == []


def test_a_refusal_has_a_reason_that_organizers_read_and_may_be_asked_again(approval, scene, draft, now, client):
    publish_challenge(challenge=draft, user=scene.olga, now=now)
    with pytest.raises(InvalidError, match="needs a reason"):
        decide_publication(slug="lungs", approves=False, reason=" ", by=scene.stan, now=now)
    decide_publication(slug="lungs", approves=False, reason="No contact address.", by=scene.stan, now=now)
    draft.refresh_from_db()
    assert (draft.status, last_request(draft).state) == ("draft", "refused")
    client.force_login(scene.olga)
    page = markup(client.get(reverse("organizers:overview", args=["lungs"])))
    assert "No contact address." in page
    assert "Ask to publish" in page
    publish_challenge(challenge=draft, user=scene.olga, now=now)
    assert last_request(draft).state == "waiting"
    assert "waits for an operator" in markup(client.get(reverse("organizers:overview", args=["lungs"])))


def test_of_two_operators_one_decides(approval, scene, draft, now):
    publish_challenge(challenge=draft, user=scene.olga, now=now)
    decide_publication(slug="lungs", approves=False, reason="Too early.", by=scene.stan, now=now)
    with pytest.raises(ConflictError, match="Nobody waits"):
        decide_publication(slug="lungs", approves=True, reason="", by=None, now=now)


def test_operators_publish_at_once_and_so_does_everybody_where_it_is_off(scene, draft, now, settings):
    settings.PUBLICATION_NEEDS_APPROVAL = True
    assert publish_challenge(challenge=draft, user=scene.stan, now=now).status == Challenge.Status.PUBLISHED
    settings.PUBLICATION_NEEDS_APPROVAL = False
    Challenge.objects.filter(pk=draft.pk).update(status=Challenge.Status.DRAFT)
    assert publish_challenge(challenge=draft, user=scene.olga, now=now).status == Challenge.Status.PUBLISHED
    assert not PublicationRequest.objects.exists()


def test_only_the_first_publication_is_asked_for(approval, scene, now):
    archived = factories.challenge(organizer=scene.olga, status=Challenge.Status.ARCHIVED)
    factories.phase(challenge=archived)
    publish_challenge(challenge=archived, user=scene.olga, now=now)
    assert not PublicationRequest.objects.exists()


def test_an_operator_does_not_publish_what_cannot_be_scored(approval, scene, draft, now, monkeypatch):
    publish_challenge(challenge=draft, user=scene.olga, now=now)
    change = pushing.Change(path="phases.final.evaluation", before=None, after="sha256:0", note="not pushed yet")
    monkeypatch.setattr(pushing, "missing_metric_images", lambda challenge: [change])
    with pytest.raises(ConflictError, match="metric image"):
        pushing.decide_publication(slug="lungs", approves=True, reason="", by=scene.stan, now=now)
    draft.refresh_from_db()
    assert (draft.status, waiting_publications().count()) == ("draft", 1)


def test_operators_decide_on_their_page(approval, scene, draft, now, client):
    publish_challenge(challenge=draft, user=scene.olga, now=now)
    client.force_login(scene.stan)
    assert "Drafts that wait to be published" in markup(client.get(reverse("organizers:operations")))
    url = reverse("organizers:rights")
    assert "Lungs" in markup(client.get(url))
    told = client.post(url, {"act": "refuse", "challenge": "lungs", "reason": ""}, follow=True)
    assert "A refusal needs a reason." in markup(told)
    client.post(url, {"act": "publish", "challenge": "lungs"})
    draft.refresh_from_db()
    assert draft.status == Challenge.Status.PUBLISHED


@pytest.mark.parametrize("name", ["olga", "pia", "otto"])
def test_nobody_else_opens_the_operators_page(name, scene, client):
    client.force_login(getattr(scene, name))
    assert client.get(reverse("organizers:rights")).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_who_asks_at_once_asks_once(settings):
    settings.PUBLICATION_NEEDS_APPROVAL = True
    scene, now = people.scene(), factories.NOW
    draft = factories.challenge(slug="lungs", organizer=scene.olga, status=Challenge.Status.DRAFT)
    factories.phase(challenge=draft)

    def ask(_: int) -> None:
        try:
            publish_challenge(challenge=draft, user=scene.olga, now=now)
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=6) as pool:
        list(pool.map(ask, range(12)))
    assert PublicationRequest.objects.count() == 1
    assert verbs() == ["challenge.publication_asked"]


def test_a_text_that_an_organizer_has_still_to_write_is_named(scene):
    """`assay challenge new` marks it with ⟨ ⟩."""
    scene.challenge.contact = "⟨an address somebody reads⟩"
    (words,) = [text for text in unready(scene.challenge, now=factories.NOW) if "⟨ ⟩" in text]
    assert words == "nothing in ⟨ ⟩ is left to write (Left: contact.)"
    scene.challenge.contact = "olga@example.org"
    assert not [text for text in unready(scene.challenge, now=factories.NOW) if "⟨ ⟩" in text]
