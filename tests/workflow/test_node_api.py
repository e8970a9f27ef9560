"""The door of a node: what it opens, for whom, and for how long."""

import json

import pytest
from django.test import Client
from django.utils import timezone

from assay.leases import LeaseLost
from assay.node.http import NodeApiProblem
from assay.runs.models import CaseRun, Node
from assay.runs.nodes import enrol_node, set_node_status
from assay.testsets import storage
from assay.workflow import flow
from wire import send_through


def call(method: str, address: str, body=None, *, token: str = "", **headers):
    extra = {"HTTP_AUTHORIZATION": f"Bearer {token}"} if token else {}
    data = json.dumps(body) if body is not None else ""
    return Client().generic(method, f"/api/v1/node{address}", data, content_type="application/json", **extra, **headers)


@pytest.fixture
def order(stage):
    stage.submit()
    stage.check()
    return stage.api().claim(slots=1, cached_images=[])


@pytest.mark.parametrize("address", ["/claim", "/heartbeat", "/record", "/release", "/register"])
@pytest.mark.parametrize("token", ["", "assaynode_wrong", "assay_x"])
def test_nobody_gets_in_without_a_nodes_token(db, address, token):
    assert call("POST", address, {}, token=token).status_code == 401


def test_a_node_asks_which_phases_need_what_it_lacks(stage):
    assert call("GET", "/unserved").status_code == 401
    phase = stage.scene.phase
    phase.needs = ["cpus=4000"]
    phase.save()
    stage.node.inventory = {"cpu_count": 2}
    stage.node.save()
    [lacking] = stage.api().unserved()
    assert (lacking.phase, lacking.needs) == (f"{phase.challenge.slug}/{phase.slug}", "4000 processors")


def test_a_persons_token_is_no_nodes_and_a_nodes_is_no_persons(stage):
    answer = Client().get("/api/v1/me", headers={"Authorization": f"Bearer {stage.token}"})
    assert answer.status_code == 401


def test_a_removed_nodes_token_is_worth_nothing(stage):
    set_node_status(node=stage.node, status=Node.Status.REMOVED, reason="sold", by=stage.scene.stan, now=timezone.now())
    assert call("POST", "/claim", {}, token=stage.token).status_code == 401


@pytest.mark.parametrize("status", [Node.Status.DRAINING, Node.Status.QUARANTINED])
def test_a_node_out_of_service_finishes_what_it_has_and_gets_nothing_new(stage, order, status):
    set_node_status(node=stage.node, status=status, reason="maintenance", by=stage.scene.stan, now=timezone.now())
    assert not stage.api().heartbeat(order).is_cancelled
    stage.submit()
    stage.check()
    assert stage.api().claim(slots=1, cached_images=[]) is None


def test_a_node_sees_the_inputs_of_its_case_and_never_a_reference(stage, order):
    keys = json.dumps(call("POST", "/claim", {}, token=stage.token).content.decode())
    assert "reference" not in keys
    assert len(order.inputs) == 1
    assert [output.spec.name for output in order.outputs] == ["segmentation"]


def test_a_files_address_dies_with_the_lease(stage, order):
    address = order.inputs[0].url.removeprefix("/api/v1/node")
    answer = call("GET", address)
    assert answer.status_code == 200
    assert len(b"".join(answer.streaming_content)) == order.inputs[0].bytes
    flow.release(
        case_run_id=order.case_run_id, fence=order.fence, reason="x", now=timezone.now(), actor_label="t", counts=False
    )
    assert call("GET", address).status_code == 404


def test_a_files_address_cannot_be_bent(order):
    address = order.inputs[0].url.removeprefix("/api/v1/node")
    assert call("GET", address[:-2] + "xx").status_code == 404
    assert call("GET", "/files/../../etc/passwd").status_code == 404


@pytest.mark.parametrize(
    ("wanted", "status", "length"), [("bytes=0-3", 206, 4), ("bytes=5-", 206, None), ("bytes=99999999-", 416, 0)]
)
def test_a_broken_download_goes_on_from_where_it_stopped(order, wanted, status, length):
    address = order.inputs[0].url.removeprefix("/api/v1/node")
    answer = call("GET", address, HTTP_RANGE=wanted)
    assert answer.status_code == status
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    assert len(content) == (length if length is not None else order.inputs[0].bytes - 5)


def test_an_output_that_was_never_sent_cannot_be_recorded(stage, order):
    said = {"verdict": "ok", "outputs": [{"name": "segmentation", "sha256": "0" * 64, "bytes": 3}]}
    with pytest.raises(NodeApiProblem, match="not what was stored"):
        stage.api().record(order, said)
    assert CaseRun.objects.get(id=order.case_run_id).status == "running"


def test_an_output_larger_than_the_limit_is_refused_and_not_kept(stage, order, tmp_path):
    stage.change_resources(output_mb=1)
    type(CaseRun.objects.get(id=order.case_run_id).run.submission).objects.update(limits={"output_mb": 1})
    large = tmp_path / "large"
    large.write_bytes(bytes(2 * 2**20))
    with pytest.raises(NodeApiProblem):
        stage.api().put_output(order, name="segmentation", path=large)
    assert CaseRun.objects.get(id=order.case_run_id).outputs == []


def test_attempts_never_overwrite_each_others_files(stage, order, tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"first")
    stage.api().put_output(order, name="segmentation", path=file)
    first = CaseRun.objects.get(id=order.case_run_id).outputs[0]["key"]
    stage.api().release(order, reason="node_api", counts=False)
    again = stage.api().claim(slots=1, cached_images=[])
    file.write_bytes(b"second")
    stage.api().put_output(again, name="segmentation", path=file)
    second = CaseRun.objects.get(id=order.case_run_id).outputs[0]["key"]
    assert first != second
    assert storage.local_path(first).read_bytes() == b"first"


def test_one_node_cannot_write_under_anothers_lease(stage, order):
    _, token = enrol_node(name="other", pool="default", slots=1, by=None, now=timezone.now())
    stranger = type(stage.api())(
        url="http://testserver", token=token, transport=send_through(Client()), sleep=lambda _: None
    )
    for write in (
        lambda: stranger.heartbeat(order),
        lambda: stranger.put_log(order, log=b"x"),
        lambda: stranger.record(order, {"verdict": "ok"}),
        lambda: stranger.release(order, reason="x", counts=True),
    ):
        with pytest.raises(LeaseLost):
            write()


def test_what_cannot_be_read_is_named(stage):
    answer = call("POST", "/record", {"verdict": "splendid"}, token=stage.token)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"]
