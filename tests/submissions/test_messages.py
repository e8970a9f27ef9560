"""Messages to some of those who take part: who gets them, and that nobody gets one that was not shown."""

from datetime import timedelta

import pytest
from django.urls import reverse

import factories
from assay.accounts.errors import ConflictError, InvalidError, LimitReachedError
from assay.notices.models import Notice
from assay.submissions import messages
from assay.submissions.messages import audience_of, audiences, send_message
from assay.submissions.models import Message, Submission
from markup import markup


@pytest.fixture
def crowd(scene):
    """Pia's team failed and then succeeded; Delta failed; Echo has done nothing; Xaver was rejected."""
    people = {}
    for name, status in (("delta", "accepted"), ("echo", "accepted"), ("xaver", "rejected")):
        people[name] = factories.user(username=name)
        team = factories.team(name=name.title(), members=[people[name]])
        factories.membership(challenge=scene.challenge, user=people[name], team=team, status=status)
    factories.submission(phase=scene.phase, team=scene.team, status="failed")
    factories.submission(phase=scene.phase, team=scene.team, status="done")
    delta = people["delta"].teams.get()
    factories.submission(phase=scene.phase, team=delta, status="failed")
    return people


def names(scene, key: str) -> list[str]:
    return sorted(person.username for person in audience_of(scene.challenge, key).people)


@pytest.mark.parametrize(
    ("key", "people"),
    [
        ("all", ["delta", "echo", "pia"]),
        ("phase:final:submitted", ["delta", "pia"]),
        ("phase:final:failed", ["delta"]),
        ("phase:final:idle", ["echo"]),
        ("phase:final:unfinished", []),
        ("team:echo", ["echo"]),
        ("team:xaver", []),
    ],
)
def test_an_audience_is_who_it_says(scene, crowd, key, people):
    assert names(scene, key) == people
    assert key in dict(audiences(scene.challenge))


@pytest.mark.parametrize("key", ["", "phase:other:failed", "phase:final:nonsense", "team:nobody", "everybody"])
def test_an_audience_that_is_none_is_refused(scene, key):
    with pytest.raises(InvalidError):
        audience_of(scene.challenge, key)


def test_organizers_baselines_are_no_participants(scene, crowd):
    Submission.objects.filter(team__slug="delta").update(is_baseline=True)
    assert names(scene, "phase:final:failed") == []


def send(scene, now, **changes) -> Message:
    values = {"key": "phase:final:failed", "title": "Try again", "text": "The *reader* was mended.", "expected": 1}
    return send_message(challenge=scene.challenge, by=scene.olga, now=now, **values | changes)


def test_a_message_is_a_notice_to_each_and_stays_in_the_log(scene, crowd, now):
    message = send(scene, now)
    assert (message.people, message.audience_words) == (1, "Final: teams whose last submission failed")
    assert "<em>reader</em>" in message.text_html
    (notice,) = Notice.objects.filter(key=f"message:{message.pk}")
    assert (notice.person.username, notice.facts["title"]) == ("delta", "Try again")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"expected": 3}, ConflictError),
        ({"expected": None}, ConflictError),
        ({"key": "phase:final:unfinished", "expected": 0}, ConflictError),
        ({"title": " "}, InvalidError),
        ({"text": "x" * 9000}, InvalidError),
    ],
)
def test_nothing_goes_out_that_was_not_shown(scene, crowd, now, changes, error):
    with pytest.raises(error):
        send(scene, now, **changes)
    assert not Message.objects.exists()
    assert not Notice.objects.filter(key__startswith="message:").exists()


def test_a_day_has_an_end(scene, crowd, now, monkeypatch):
    monkeypatch.setattr(messages, "MOST_PER_DAY", 2)
    send(scene, now)
    send(scene, now)
    with pytest.raises(LimitReachedError):
        send(scene, now)
    assert send(scene, now + timedelta(days=2)).people == 1


def test_the_page_shows_it_before_it_goes(scene, crowd, client):
    client.force_login(scene.olga)
    url = reverse("organizers:messages", args=["brains"])
    typed = {"audience": "phase:final:failed", "title": "Try again", "text": "The *reader* was <b>mended</b>."}
    looked = client.post(url, {**typed, "look": "1"}, headers={"Referer": f"http://testserver{url}"})
    assert looked.status_code == 302
    for _visit in range(2):  # Reload shows it again, and sends nothing
        page = markup(client.get(url))
        assert "Goes to 1 person." in page
        assert "<em>reader</em> was &lt;b&gt;mended" in page
    assert not Message.objects.exists()
    factories.submission(phase=scene.phase, team=scene.team, status="failed")
    late = client.post(url, {**typed, "send": "1", "expected": "1"})
    assert (late.status_code, "Found: 2" in markup(late)) == (409, True)
    assert "Try again" in markup(late)
    assert client.post(url, {**typed, "send": "1", "expected": "2"}).status_code == 302
    assert "teams whose last submission failed" in markup(client.get(url))
    client.force_login(scene.pia)
    assert client.get(url).status_code == 403
