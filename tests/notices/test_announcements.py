"""What organizers announce, and the deadlines that the platform tells of by itself."""

from datetime import timedelta
from xml.etree import ElementTree as ET

import pytest

import factories
from assay.accounts.errors import LimitReachedError
from assay.accounts.services import MOST_INVITES_PER_DAY, invite_to_team
from assay.challenges.announcements import MOST_PER_DAY, announce
from assay.challenges.telling import tell_deadlines
from assay.notices.models import Notice, OutgoingMail
from markup import markup

pytestmark = pytest.mark.django_db
ATOM = {"atom": "http://www.w3.org/2005/Atom"}


def test_an_announcement_reaches_everybody_who_takes_part_and_stays_on_the_pages(scene, client, now):
    client.force_login(scene.olga)
    client.post("/c/brains/manage/news/", {"title": "A week more", "text": "The **final** closes later."})
    assert set(Notice.objects.values_list("person__username", flat=True)) == {"pia", "olga"}
    assert "The **final** closes later." in OutgoingMail.objects.get(person=scene.pia).text
    client.logout()
    for page in ("/c/brains/", "/c/brains/news/"):
        assert "<strong>final</strong>" in markup(client.get(page))


def test_only_organizers_announce(scene, client):
    client.force_login(scene.pia)
    assert client.post("/c/brains/manage/news/", {"title": "x", "text": "y"}).status_code == 403
    assert not scene.challenge.announcements.exists()


def test_an_announcement_can_be_taken_off_the_pages(scene, client, now):
    row = announce(challenge=scene.challenge, title="Oops", text="wrong", by=scene.olga, now=now)
    client.force_login(scene.olga)
    client.post("/c/brains/manage/news/", {"withdraw": row.pk})
    assert "Oops" not in markup(client.get("/c/brains/news/"))
    assert client.post("/c/brains/manage/news/", {"withdraw": row.pk}).status_code == 404


def test_nobody_mails_everybody_all_day(scene, now):
    for number in range(MOST_PER_DAY):
        announce(challenge=scene.challenge, title=f"News {number}", text="x", by=scene.olga, now=now)
    with pytest.raises(LimitReachedError) as refused:
        announce(challenge=scene.challenge, title="More", text="x", by=scene.olga, now=now)
    assert refused.value.retry_at == now + timedelta(days=1)
    later = now + timedelta(days=1)
    announce(challenge=scene.challenge, title="Tomorrow", text="x", by=scene.olga, now=later)


def test_a_team_cannot_be_used_to_mail_the_world(scene, now):
    for number in range(MOST_INVITES_PER_DAY):
        invite_to_team(user=scene.pia, team=scene.team, email=f"p{number}@example.org", now=now)
    with pytest.raises(LimitReachedError):
        invite_to_team(user=scene.pia, team=scene.team, email="one@example.org", now=now)


def test_an_invitation_to_a_team_is_mailed_with_its_link(scene, client):
    client.force_login(scene.pia)
    client.post(f"/teams/{scene.team.slug}/invite/", {"email": "new@example.org"})
    text = OutgoingMail.objects.get(address="new@example.org").text
    assert "/invites/assayinvite_" in text
    assert "Pia" in text


def test_a_phase_that_closes_soon_is_told_of_twice_and_again_when_it_moves(scene, now):
    scene.phase.closes_at = now + timedelta(days=5)
    scene.phase.save()
    told = []
    for days in (0, 2.5, 3, 4.5, 4.9):
        tell_deadlines(now=now + timedelta(days=days))
        told.append(Notice.objects.filter(person=scene.pia, kind="deadline").count())
    assert told == [0, 1, 1, 2, 2]
    scene.phase.closes_at += timedelta(days=1)
    scene.phase.save()
    tell_deadlines(now=now + timedelta(days=5.5))
    assert Notice.objects.filter(person=scene.pia, kind="deadline").count() == 3
    assert not Notice.objects.filter(person=scene.otto).exists(), "he does not take part"


@pytest.mark.parametrize("change", [{"is_paused": True}, {"is_archived": True}])
def test_a_phase_that_takes_nothing_is_not_told_of(change, scene, now):
    scene.phase.closes_at = now + timedelta(hours=5)
    for name, value in change.items():
        setattr(scene.phase, name, value)
    scene.phase.save()
    tell_deadlines(now=now)
    assert not Notice.objects.exists()


def test_the_feeds_hold_what_everybody_may_see(scene, client, now, settings):
    settings.PUBLIC_URL = "https://assay.example.org"
    factories.challenge(slug="secret", organizer=scene.olga, status="draft")
    announce(challenge=scene.challenge, title="A < B", text="x", by=scene.olga, now=now)
    client.force_login(scene.olga)
    feed = ET.fromstring(client.get("/c/brains/news.atom").content)
    (entry,) = feed.findall("atom:entry", ATOM)
    assert entry.find("atom:title", ATOM).text == "A < B"
    assert entry.find("atom:link", ATOM).get("href").startswith("https://assay.example.org/c/brains/news/#n")
    listed = ET.fromstring(client.get("/challenges.atom").content)
    assert [row.find("atom:title", ATOM).text for row in listed.findall("atom:entry", ATOM)] == ["Brains"]
    assert client.get("/c/secret/news.atom").status_code == 404, "a feed is read without signing in"
