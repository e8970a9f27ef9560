"""Everything a node and an organizer are told about a submission, read by a client that was made from the description."""

from django.test import Client
from django.utils import timezone

from assay.accounts.tokens import issue_token
from assay.leaderboards.models import Snapshot
from assay.leaderboards.services import take_snapshot
from wire import send_through

PHASE = "/api/v1/challenges/brains/phases/final"


def test_from_the_claim_to_the_snapshot_nothing_is_lost(reading, stage):
    submission = stage.submit()
    stage.play()
    _, token = issue_token(user=stage.scene.olga, name="test", days=1, now=timezone.now())
    olga = Client(headers={"Authorization": f"Bearer {token}"})
    asked = olga.post(f"{PHASE}/rejudge").json()["evaluations"]
    assert asked == [str(submission.evaluations.latest("number").pk)]
    assert olga.get(f"{PHASE}/rejudgement").json() == {"waiting": 0, "unfinished": 1, "moves": before(submission)}
    stage.score()
    assert olga.post(f"{PHASE}/rejudgement/activate").json() == {"activated": 1}
    stage.rank()
    assert olga.get(f"{PHASE}/leaderboard").json()["entries"][0]["rank"] == 1
    assert olga.get(f"/api/v1/submissions/{submission.pk}/receipt").json()["number"] == submission.number
    kept = take_snapshot(phase=stage.scene.phase, cause=Snapshot.Cause.RESULTS_FINAL, now=timezone.now())
    assert olga.get(f"{PHASE}/leaderboard/history/{kept.pk}").json()["phase"] == "brains/final"
    assert set(olga.get("/api/v1/keys").json()) == {"ed25519"}
    assert {
        "node_claim", "node_put_output", "node_record", "rejudging_rejudge", "rejudging_show",
        "rejudging_activate", "leaderboards_show", "leaderboards_snapshot", "submissions_receipt", "nodes_public_keys",
    } <= reading.read  # fmt: skip


def before(submission):
    """Where the only submission stands, and would stand while nothing is scored again."""
    entry = submission.entries.get()
    return [
        {
            "submission_id": str(submission.pk),
            "number": submission.number,
            "team": submission.team.name,
            "name": submission.name,
            "rank_before": entry.rank,
            "rank_after": entry.rank,
            "score_before": entry.score,
            "score_after": entry.score,
        }
    ]


def test_a_node_of_strangers_claims_keeps_and_hands_back(reading, stage):
    """A whole lease in calls of the generated package: typed bodies in, typed documents out."""
    stage.submit()
    stage.check()
    node = reading.connection(token=stage.token, transport=send_through(Client()))
    models = reading.module("models")
    known = reading.module("api.node.node_register").sync(client=node, body=models.Hello(slots=1))
    assert (known.name, known.pool, known.lease_seconds) == ("node-1", "default", 7200)
    order = reading.module("api.node.node_claim").sync(client=node, body=models.Claim(slots=1))
    assert order.spec.limits.memory_bytes > 0
    assert [output.path for output in order.spec.outputs]
    held = models.HeldCaseRun(case_run_id=order.case_run_id, fence=order.fence)
    beat = reading.module("api.node.node_heartbeat").sync(client=node, body=held)
    assert (beat.cancel, beat.lease_seconds) == (False, 7200)
    content = reading.module("api.node.node_get_file").sync_detailed(
        order.inputs[0].url.rpartition("/")[2], client=node
    )
    assert len(content.content) == order.inputs[0].bytes_
    log = {"data": b"hello", "content_type": "text/plain", "headers": {"Authorization": f"Bearer {stage.token}"}}
    assert Client().put(f"/api/v1/node/case-runs/{order.case_run_id}/log?fence={order.fence}", **log).json() == {
        "bytes": 5
    }
    back = models.ReleasedCaseRun(case_run_id=order.case_run_id, fence=order.fence, counts=False)
    assert reading.module("api.node.node_release").sync(client=node, body=back).status == "queued"
    assert {"node_register", "node_claim", "node_heartbeat", "node_put_log", "node_release"} <= reading.read
