"""Tasks with last days: the page of the desk, the file, and what the overview says of them. Who can be reached how."""

from datetime import UTC, datetime

import pytest
import yaml
from django.urls import reverse

from assay.accounts.errors import AssayError
from assay.challenges.editing import fingerprint
from assay.challenges.models import Challenge
from assay.challenges.services import push_challenge
from assay.challenges.tasks import tasks_of
from assay.challenges.writing import current_file
from assay.organizers.consoles import needs_of
from desk_forms import read_form
from markup import markup

TASKS = "/c/brains/manage/tasks/"


def press(client, **form) -> int:
    """What a button of the page sends."""
    page = client.get(TASKS).content.decode()
    made_from = read_form(page + '<button name="save">')["made_from"]
    return client.post(TASKS, {"made_from": made_from, **form}).status_code


def in_file(scene) -> list:
    scene.challenge.refresh_from_db()
    return yaml.safe_load(current_file(scene.challenge)).get("tasks") or []


def test_each_button_changes_one_line_of_the_file(scene, client):
    client.force_login(scene.olga)
    assert press(client, title="Ask the ethics board", due="2027-01-02") == 302
    assert press(client, title="Call Ada") == 302
    assert press(client, done=0) == 302
    first = {"title": "Ask the ethics board", "due": "2027-01-02"}
    assert in_file(scene) == [{**first, "is_done": True}, {"title": "Call Ada"}]
    assert press(client, again=0) == 302
    assert press(client, remove=1) == 302
    assert in_file(scene) == [{**first, "is_done": False}]
    assert press(client, remove=0) == 302
    assert in_file(scene) == []


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"title": " "}, 400),
        ({"title": "x", "due": "tomorrow"}, 400),
        ({"title": "x", "due": "2026-02-30"}, 400),
        ({"done": "7"}, 404),
        ({"remove": "x"}, 404),
    ],
)
def test_nonsense_is_refused_and_stays_in_the_form(scene, client, form, status):
    client.force_login(scene.olga)
    answer = client.post(TASKS, form | {"made_from": fingerprint(current_file(scene.challenge))})
    assert answer.status_code == status
    assert form.get("due", "") in markup(answer)
    assert in_file(scene) == []


def test_of_two_who_change_tasks_at_once_one_is_told(scene, client):
    client.force_login(scene.olga)
    Challenge.objects.filter(pk=scene.challenge.pk).update(title="Changed meanwhile")
    answer = client.post(TASKS, {"made_from": "0" * 32, "title": "Call Ada"})
    assert "was changed while you edited" in markup(answer)
    assert "Call Ada" in markup(answer)


def test_the_usual_tasks_are_added_once(scene, client):
    client.force_login(scene.olga)
    assert press(client, usual=1) == 302
    found = in_file(scene)
    assert len(found) == 10
    assert all(said["due"] for said in found)
    press(client, usual=1)
    assert in_file(scene) == found


def test_open_ones_come_first_and_late_ones_need_somebody(scene, client):
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    scene.challenge.tasks = [
        {"title": "no day"},
        {"title": "done late", "due": "2026-01-01", "is_done": True},
        {"title": "next month", "due": "2026-12-24"},
        {"title": "today", "due": "2026-11-20"},
        {"title": "yesterday", "due": "2026-11-19"},
    ]
    found = tasks_of(scene.challenge, now=noon)
    assert [task.title for task in found] == ["yesterday", "today", "next month", "no day", "done late"]
    assert [(task.is_overdue, task.is_soon) for task in found[:3]] == [(True, False), (False, True), (False, False)]
    needs = [need.text for need in needs_of(scene.challenge, now=noon)]
    assert needs == ["overdue since 19 Nov 2026: yesterday", "due on 20 Nov 2026: today"]


def test_a_day_ends_in_the_challenges_zone(scene):
    scene.challenge.timezone, scene.challenge.tasks = "AoE", [{"title": "x", "due": "2026-11-19"}]
    (task,) = tasks_of(scene.challenge, now=datetime(2026, 11, 20, 11, tzinfo=UTC))
    assert not task.is_overdue


def test_tasks_are_for_organizers_alone(scene, client):
    for person, status in ((scene.pia, 403), (scene.otto, 403), (scene.olga, 200)):
        client.force_login(person)
        assert client.get(TASKS).status_code == status


def push(scene, now, **texts) -> None:
    document = yaml.safe_load(current_file(scene.challenge)) | texts
    push_challenge(user=scene.olga, slug="brains", source=yaml.safe_dump(document), is_dry_run=False, now=now)
    scene.challenge.refresh_from_db()


@pytest.mark.parametrize(
    ("contact", "link"),
    [
        ("olga@example.org", "mailto:olga@example.org"),
        ("https://example.org/ask?a=b", "https://example.org/ask?a=b"),
        ("⟨an address somebody reads⟩", ""),
    ],
)
def test_a_contact_is_a_mail_address_or_leads_to_a_page(scene, now, client, contact, link):
    push(scene, now, contact=contact)
    assert scene.challenge.contact_link == link
    assert (f'href="{link}"' in client.get("/c/brains/").content.decode().replace("&amp;", "&")) == bool(link)


@pytest.mark.parametrize(
    "contact", ["Olga", "http://example.org", "javascript:alert(1)", "a@b", "https://", "a b@example.org"]
)
def test_another_contact_is_refused_at_its_line(scene, now, contact):
    with pytest.raises(AssayError, match="how people reach you") as refused:
        push(scene, now, contact=contact)
    assert refused.value.found == contact
    assert "https://" in refused.value.expected
    assert refused.value.line


def test_a_contact_from_before_stays_until_it_is_changed(scene, now, client):
    Challenge.objects.filter(pk=scene.challenge.pk).update(contact="Olga, room 7")
    scene.challenge.refresh_from_db()
    push(scene, now, summary="Changed")
    assert scene.challenge.contact == "Olga, room 7"
    assert "Olga, room 7" in markup(client.get(reverse("portal:challenge", args=["brains"])))
    client.force_login(scene.olga)
    assert client.get("/c/brains/manage/texts/").status_code == 200
