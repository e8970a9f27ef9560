"""The operators' page: what there is, what was done, and buttons that do what they say."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

import factories
from assay.runs.models import Node
from assay.runs.nodes import enrol_node, find_node
from markup import markup

PAGE = reverse("organizers:operations")
INVENTORY = {
    "engine": "podman 4.3.1",
    "gpus": [{"name": "A100"}],
    "cached_images": ["sha256:a", "sha256:b"],
    "disk_free_bytes": 300 * 2**30,
}


@pytest.fixture
def as_stan(client, scene):
    client.force_login(scene.stan)
    return client


@pytest.fixture
def token(scene) -> str:
    """Of a node that was heard of just now."""
    node, token = enrol_node(name="gpu-1", pool="a100", slots=2, by=scene.stan, now=timezone.now())
    Node.objects.filter(pk=node.pk).update(last_seen_at=timezone.now(), inventory=INVENTORY)
    return token


def test_a_node_shows_what_it_has(as_stan, token):
    page = markup(as_stan.get(PAGE))
    assert "podman 4.3.1, A100, 2 images, 300" in page
    assert "silent" not in page
    Node.objects.update(status="draining")
    assert "silent" not in markup(as_stan.get(PAGE)), "a node that drains is heard all the same"
    Node.objects.update(last_seen_at=timezone.now() - timedelta(hours=1))
    assert "silent" in markup(as_stan.get(PAGE))


@pytest.mark.parametrize(
    ("action", "status"),
    [("drain", "draining"), ("quarantine", "quarantined"), ("remove", "removed"), ("activate", "active")],
)
def test_each_button_changes_the_node_and_is_written_down_with_its_reason(as_stan, token, action, status):
    Node.objects.update(status="draining" if action == "activate" else "active")
    assert as_stan.post(PAGE, {"node": "gpu-1", "action": action, "reason": "new disk"}).status_code == 302
    assert Node.objects.get().status == status
    assert (find_node(token) is None) == (action == "remove"), "only removing voids the token"
    page = markup(as_stan.get(PAGE))
    assert f"node.{status}" in page
    assert "reason: new disk" in page
    assert ("gpu-1</th>" in page) == (action != "remove")


def test_an_action_there_is_not_is_said_and_nothing_changes(as_stan, token):
    answer = as_stan.post(PAGE, {"node": "gpu-1", "action": "explode"})
    assert answer.status_code == 400
    assert Node.objects.get().status == "active"


def test_olga_may_press_no_button(client, scene, token):
    client.force_login(scene.olga)
    assert client.post(PAGE, {"node": "gpu-1", "action": "drain"}).status_code == 403
    assert Node.objects.get().status == "active"


def test_without_nodes_the_page_says_how_to_get_one(as_stan):
    assert "assay node join http://testserver --token" in markup(as_stan.get(PAGE))


def test_what_people_did_is_there_and_what_assay_did_by_itself_is_not(as_stan, token, scene):
    page = markup(as_stan.get(PAGE))
    assert "node.enrolled" in page
    enrol_node(name="gpu-2", pool="other", slots=1, by=None, now=timezone.now())
    assert markup(as_stan.get(PAGE)).count("node.enrolled") == 1


def test_the_page_asks_as_often_for_many_nodes_as_for_one(as_stan, token, scene, django_assert_max_num_queries):
    as_stan.get(PAGE)
    for number in range(20):
        enrol_node(name=f"more-{number}", pool="a100", slots=1, by=scene.stan, now=timezone.now())
    with django_assert_max_num_queries(26):
        as_stan.get(PAGE)


@pytest.fixture
def stuck(scene):
    """A submission that nobody has checked for an hour."""
    long_ago = timezone.now() - timedelta(hours=1)
    return factories.submission(phase=scene.phase, team=scene.team, status_changed_at=long_ago)


def test_a_stuck_line_has_its_buttons_and_a_second_press_changes_nothing(as_stan, stuck):
    page = markup(as_stan.get(PAGE))
    assert "Operations: look here" in page
    assert f"brains {stuck}</a> is received" in page
    assert ">Cancel and refund</button>" in page
    press = {"kind": "check", "key": str(stuck.pk), "name": "cancel"}
    assert "Done: cancel and refund." in markup(as_stan.post(PAGE, press, follow=True))
    stuck.refresh_from_db()
    assert (stuck.status, stuck.is_charged) == ("cancelled", False)
    page = markup(as_stan.post(PAGE, press, follow=True))
    assert "It was not as you saw it any more" in page
    assert page.count("submission.cancel_requested") == 1


def test_who_is_no_operator_presses_nothing_on_a_stuck_line(client, scene, stuck):
    for person in (scene.olga, scene.pia, scene.otto):
        client.force_login(person)
        answer = client.post(PAGE, {"kind": "check", "key": str(stuck.pk), "name": "cancel"})
        assert answer.status_code == 403
    stuck.refresh_from_db()
    assert stuck.status == "received"


def test_the_list_of_what_is_stuck_takes_as_many_queries_for_many_as_for_one(
    as_stan, scene, stuck, django_assert_max_num_queries
):
    as_stan.get(PAGE)
    for _ in range(15):
        factories.submission(phase=scene.phase, team=scene.team, status_changed_at=stuck.status_changed_at)
    with django_assert_max_num_queries(26):
        assert markup(as_stan.get(PAGE)).count("is received") == 16
