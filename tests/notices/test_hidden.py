"""Nothing hidden leaves by a mail, a webhook or a feed: who gets them, and what a sentence may carry."""

import json
import re
from datetime import timedelta

import pytest

import factories
from assay.challenges.announcements import announce
from assay.challenges.models import Membership
from assay.challenges.services import decide_memberships
from assay.challenges.teams import leave_team
from assay.challenges.telling import tell_deadlines
from assay.notices.models import Delivery, Notice, OutgoingMail
from assay.notices.webhooks import make_hook
from assay.notices.words import SENTENCES
from assay.submissions.telling import tell_ending

pytestmark = pytest.mark.django_db
MAY_CARRY = {
    "challenge", "phase", "team", "other", "person", "number", "name", "verdict", "reason", "title", "text", "closes", "data",
}  # fmt: skip
"""What a sentence may hold. `verdict` is one of a closed list. `reason`, `title` and `text` are the organizers' own words, and `data` is
the name of a set that they let people download."""
FEEDS = ("/challenges.atom", "/c/brains/news.atom")


def facts_in(words: str) -> set[str]:
    return set(re.findall(r"%\((\w+)\)s", words))


def test_no_sentence_carries_a_score_a_rank_a_case_or_a_time():
    carried = {event: facts_in(str(said.subject)) | facts_in(str(said.text)) for event, said in SENTENCES.items()}
    assert len(carried) > 15
    assert {event: found - MAY_CARRY for event, found in carried.items() if found - MAY_CARRY} == {}


@pytest.fixture
def ended(scene):
    return factories.submission(phase=scene.phase, team=scene.team, user=scene.pia, status="done", verdict="ok")


def test_a_webhook_carries_what_the_mail_carries_and_addresses(scene, ended, now):
    hook, _ = make_hook(url="https://example.org/x", by=scene.pia, team=scene.team, now=now)
    ended.run_seconds = 99.5
    tell_ending(submission_id=ended.pk, now=now)
    payload = hook.deliveries.get(event="submission_done").payload
    assert set(payload) == {"challenge", "phase", "team", "submission", "number", "name", "status", "address"}


@pytest.mark.parametrize("status", ["pending", "rejected", "banned"])
def test_who_does_not_take_part_hears_nothing_of_a_private_challenge(scene, now, status, client):
    scene.challenge.is_private = True
    scene.challenge.save()
    scene.phase.closes_at = now + timedelta(hours=20)
    scene.phase.opens_at = now - timedelta(days=1)
    scene.phase.save()
    factories.membership(challenge=scene.challenge, user=scene.otto, status=status, team=None)
    announce(challenge=scene.challenge, title="Secret", text="Only for us.", by=scene.olga, now=now)
    tell_deadlines(now=now)
    assert {notice.person for notice in Notice.objects.all()} == {scene.pia, scene.olga}
    assert not OutgoingMail.objects.filter(address=scene.otto.email).exists()
    client.force_login(scene.otto)
    seen = b"".join(client.get(feed).content for feed in FEEDS).decode()
    assert ("Secret" in seen, "Brains" in seen) == (False, False)
    assert client.get("/c/brains/news.atom").status_code == 404


def test_the_same_feeds_show_a_public_challenge(scene, now, client):
    """The yes beside the no."""
    announce(challenge=scene.challenge, title="For all", text="Everybody may read it.", by=scene.olga, now=now)
    seen = b"".join(client.get(feed).content for feed in FEEDS).decode()
    assert ("For all" in seen, "Brains" in seen) == (True, True)


def test_a_draft_is_in_no_feed(scene, client):
    factories.challenge(slug="hidden-draft", status="draft", organizer=scene.olga)
    assert "idden-draft" not in client.get("/challenges.atom").content.decode().lower()
    assert client.get("/c/hidden-draft/news.atom").status_code == 404


def test_who_left_the_team_or_was_excluded_hears_no_more(scene, ended, now):
    mia = factories.user(username="mia", email="mia@example.org")
    scene.team.members.add(mia, through_defaults={"joined_at": now})
    factories.membership(challenge=scene.challenge, user=mia, team=scene.team)
    tell_ending(submission_id=ended.pk, now=now)
    assert OutgoingMail.objects.filter(address=mia.email).count() == 1
    leave_team(team=scene.team, user=mia, now=now)
    OutgoingMail.objects.all().delete()
    tell_ending(submission_id=ended.pk, now=now + timedelta(seconds=1))
    assert {row.address for row in OutgoingMail.objects.all()} == {scene.pia.email}
    membership = scene.challenge.memberships.get(user=mia)
    decide_memberships(memberships=[membership], status=Membership.Status.BANNED, reason="x", user=scene.olga, now=now)
    OutgoingMail.objects.all().delete()
    announce(challenge=scene.challenge, title="News", text="For all who take part.", by=scene.olga, now=now)
    assert {row.address for row in OutgoingMail.objects.all()} == {scene.pia.email, scene.olga.email}


def test_a_webhook_of_organizers_hears_nothing_of_other_challenges(scene, ended, now):
    other = factories.challenge(slug="other", organizer=scene.otto)
    make_hook(url="https://example.org/x", by=scene.otto, challenge_slug=other.slug, now=now)
    make_hook(url="https://example.org/y", by=scene.olga, challenge_slug="brains", now=now)
    tell_ending(submission_id=ended.pk, now=now)
    told = Delivery.objects.exclude(event="ping")
    assert {row.hook.challenge_slug for row in told} == {"brains"}
    assert "other" not in json.dumps([row.payload for row in told])
