"""What a stolen node's token can and cannot do at the node's door."""

import json

import pytest
from django.db.models import JSONField, Value
from django.test import Client
from django.utils import timezone

from assay.api.v1.node import THROTTLE
from assay.api.v1.site import THROTTLE as SITE_THROTTLE
from assay.evaluation_sites.models import Site
from assay.evaluation_sites.services import enrol_site
from assay.organizers.telemetry import usage_charts
from assay.runs.models import CaseRun, Node, Share
from assay.runs.nodes import enrol_node
from assay.runs.selectors import case_progress, queue_facts
from containers.spec import Usage
from containers.usage.telemetry import Meter

CURVE = {"seconds": [0.0, 0.1], "values": [1, 2.5]}


def call(stage, method: str, address: str, body=None):
    return Client().generic(
        method,
        f"/api/v1/node{address}",
        json.dumps(body) if body is not None else b"x",
        content_type="application/json",
        headers={"Authorization": f"Bearer {stage.token}"},
    )


@pytest.fixture
def order(stage):
    stage.submit()
    stage.check()
    return stage.api().claim(slots=1, cached_images=[])


def record(stage, order, usage):
    said = {"case_run_id": str(order.case_run_id), "fence": order.fence, "verdict": "out_of_memory", "usage": usage}
    return call(stage, "POST", "/record", said)


@pytest.mark.parametrize(
    "usage",
    [
        {"wall_seconds": 1e300},
        {"wall_seconds": -1},
        {"wall_seconds": "3"},
        {"wall_seconds": True},
        {"peak_memory_bytes": 2**60},
        {"peak_memory_bytes": 1.5},
        {"is_valid": 1},
        {"memory_curve": {"seconds": [1, 2], "values": [1]}},
        {"memory_curve": {"seconds": ["a"], "values": [1]}},
        {"memory_curve": {"seconds": [1] * 1001, "values": [1] * 1001}},
        {"memory_curve": [1, 2]},
        {"failed_cases": {"0": ["ok"]}},
        {"failed_cases": ["0"]},
        {"store": "x" * 100},
    ],
)
def test_a_usage_with_a_wrong_type_or_an_impossible_figure_is_refused_and_changes_nothing(stage, order, usage):
    shares = list(Share.objects.values())
    answer = record(stage, order, usage)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")
    assert next(iter(usage)) in answer.json()["error"]["found"]
    case_run = CaseRun.objects.get(id=order.case_run_id)
    assert (case_run.status, case_run.usage, list(Share.objects.values())) == ("running", Usage(), shares)


def test_an_honest_usage_is_stored_as_sent_and_what_is_not_known_is_left_out(stage, order):
    usage = {"wall_seconds": 1.5, "peak_memory_bytes": 10, "memory_curve": CURVE, "is_valid": True, "store": "xfs"}
    assert record(stage, order, {**usage, "page": "<script>"}).status_code == 200
    assert CaseRun.objects.get(id=order.case_run_id).usage == Usage.from_json(usage)


def test_a_node_cannot_charge_a_team_for_longer_than_it_held_the_lease(stage, order):
    before = Share.objects.get().finish
    expected = CaseRun.objects.get(id=order.case_run_id).expected_seconds
    assert record(stage, order, {"wall_seconds": 9_000_000}).status_code == 200
    opened = expected  # the next case of the submission, which is queued once the first has ended
    assert Share.objects.get().finish <= before + 60 + opened


def test_only_outputs_that_the_order_names_are_taken(stage, order):
    place = f"/case-runs/{order.case_run_id}/outputs"
    answer = call(stage, "PUT", f"{place}/anything?fence={order.fence}")
    assert (answer.status_code, answer.json()["error"]["found"]) == (422, "anything")
    assert CaseRun.objects.get(id=order.case_run_id).outputs == []
    assert call(stage, "PUT", f"{place}/segmentation?fence={order.fence}").status_code == 200


def test_a_node_never_holds_more_leases_than_slots(stage, order):
    stage.submit()
    stage.check()
    assert call(stage, "POST", "/claim", {}).status_code == 204
    assert CaseRun.objects.filter(status="running").count() == 1
    Node.objects.filter(pk=stage.node.pk).update(slots=2)
    assert call(stage, "POST", "/claim", {}).status_code == 200
    assert call(stage, "POST", "/claim", {}).status_code == 204


@pytest.mark.parametrize("slots", [-1, 0, 65, 10**20, "many"])
def test_slots_outside_the_range_are_refused(stage, slots):
    assert call(stage, "POST", "/register", {"slots": slots}).status_code == 422
    assert Node.objects.get(pk=stage.node.pk).slots == stage.node.slots


@pytest.mark.parametrize(("wanted", "granted"), [(1, 1), (3, 3), (40, 3)])
def test_a_node_has_no_more_slots_than_its_operator_allows(stage, wanted, granted):
    Node.objects.filter(pk=stage.node.pk).update(most_slots=3)
    assert call(stage, "POST", "/register", {"slots": wanted}).json()["slots"] == granted
    assert Node.objects.get(pk=stage.node.pk).slots == granted


def test_operators_say_how_many_slots_a_node_may_have(client, scene):
    client.force_login(scene.stan)
    said = {"name": "small", "slots": 8, "most_slots": 2}
    assert client.post("/api/v1/nodes", said, content_type="application/json").status_code == 201
    (row,) = [node for node in client.get("/api/v1/nodes").json() if node["name"] == "small"]
    assert (row["slots"], row["most_slots"]) == (2, 2)


def test_a_site_that_asks_too_often_is_told_to_wait(scene, settings, monkeypatch):
    local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "sites"}
    settings.CACHES = dict.fromkeys(("default", "process"), local)
    monkeypatch.setattr(SITE_THROTTLE, "num_requests", 2)
    answers = []
    for name in ("clinic", "clinic", "clinic", "other"):
        site = Site.objects.filter(name=name).first()
        if site is None:
            site, token = enrol_site(phase=scene.phase, name=name, title=name, by=scene.olga, now=timezone.now())
        headers = {"Authorization": f"Bearer {token}"}
        wish = {"root_sha256": "0" * 64}
        answer = Client().post("/api/v1/site/claim", wish, content_type="application/json", headers=headers)
        answers.append(answer.status_code)
    assert 429 not in (answers[0], answers[1], answers[3])
    assert answers[2] == 429


def test_a_node_says_a_bounded_amount_of_itself(stage):
    assert call(stage, "POST", "/register", {"inventory": {"gpus": ["x" * 300_000]}}).status_code == 422
    assert call(stage, "POST", "/claim", {"cached_images": ["x"] * 5001}).status_code == 422
    assert call(stage, "POST", "/claim", {"cached_images": ["x" * 301]}).status_code == 422


def test_a_node_that_asks_too_often_is_told_to_wait_and_others_are_not(stage, settings, monkeypatch):
    local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "nodes"}
    settings.CACHES = dict.fromkeys(("default", "process"), local)
    monkeypatch.setattr(THROTTLE, "num_requests", 2)
    answers = [call(stage, "POST", "/claim", {}).status_code for _ in range(3)]
    assert answers == [204, 204, 429]
    _, token = enrol_node(name="other", pool="default", slots=1, by=None, now=timezone.now())
    other = {"Authorization": f"Bearer {token}"}
    assert Client().post("/api/v1/node/claim", "{}", content_type="application/json", headers=other).status_code == 204


@pytest.mark.parametrize(
    "stored",
    [
        {"wall_seconds": "long", "peak_memory_bytes": [1], "failed_cases": 3, "memory_curve": 7},
        {"wall_seconds": True, "memory_curve": {"seconds": [1], "values": []}, "gpu_memory_curve": {"seconds": "abc"}},
        {"wall_seconds": 1e300, "peak_memory_bytes": -1, "failed_cases": {"0": "x"}, "cpu_curve": None},
    ],
)
def test_rows_stored_before_the_check_are_still_shown(stage, order, stored):
    CaseRun.objects.filter(id=order.case_run_id).update(usage=Value(stored, JSONField()))  # as an earlier Assay did
    submission = CaseRun.objects.get(id=order.case_run_id).run.submission
    assert usage_charts(submission) == []
    row = case_progress(submission.pk)[0]
    assert (row.seconds, row.peak_memory_bytes) == (None, None)
    assert queue_facts(submission.phase, now=timezone.now()).seconds_per_case is None
    assert CaseRun.objects.get(id=order.case_run_id).usage == Usage()


def test_what_the_runner_measures_passes_the_border():
    measured = Meter().usage(wall_seconds=1.0, startup_seconds=0.1, cpus=2)
    assert Usage.from_json(json.loads(json.dumps(measured.to_json()))) == measured
