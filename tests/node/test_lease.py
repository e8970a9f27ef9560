"""What an agent does when it is told to stop, or told nothing any more."""

import threading

import httpx
import pytest

from assay.leases import LeaseLost, LeaseRenewal
from assay.node.http import Beat, NodeApi, NodeApiProblem
from assay.node.lease import LeaseGuard
from waits import HANGS_AFTER_SECONDS


class Order:
    """As much of a work order as a lease needs."""

    lease_seconds, heartbeat_seconds, container_name = 60.0, 0.001, "assay-test"
    case_run_id, fence = "4ac0", 1


class Server:
    """Answers heartbeats from a script. The last line repeats."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.asked = threading.Event()

    def heartbeat(self, order):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if len(self.answers) == 1:
            self.asked.set()
        if isinstance(answer, Exception):
            raise answer
        return answer


GOOD = Beat(is_cancelled=False, lease_seconds=60.0)


def guard_of(server: Server, clock=None) -> LeaseGuard:
    return LeaseGuard(api=server, order=Order(), clock=clock or (lambda: 0.0))


def test_a_good_answer_lets_it_run_on():
    server = Server(GOOD)
    with guard_of(server) as guard:
        assert server.asked.wait(HANGS_AFTER_SECONDS)
        assert not guard.should_stop()


def test_a_cancel_arrives_with_the_heartbeat():
    server = Server(GOOD, Beat(is_cancelled=True, lease_seconds=60.0), GOOD)
    with guard_of(server) as guard:
        assert server.asked.wait(HANGS_AFTER_SECONDS)
        assert guard.is_cancelled
        assert guard.should_stop()
        assert not guard.is_lost


def test_a_lease_that_was_given_away_stops_the_container():
    server = Server(LeaseLost("somebody else has it"))
    with guard_of(server) as guard:
        assert server.asked.wait(HANGS_AFTER_SECONDS)
    assert guard.is_lost


def test_a_server_out_of_reach_for_the_length_of_the_lease_makes_the_agent_fence_itself():
    elapsed = [0.0]
    server = Server(NodeApiProblem("connection refused"))
    with guard_of(server, clock=lambda: elapsed[0]) as guard:
        assert server.asked.wait(HANGS_AFTER_SECONDS)
        elapsed[0] = 59.0
        assert not guard.should_stop()
        elapsed[0] = 61.0
        assert guard.should_stop()
        elapsed[0] = 0.0
        assert guard.is_lost, "a lease that was lost once stays lost"


@pytest.mark.parametrize("seconds", [61.0])
def test_a_process_that_was_frozen_notices_when_it_wakes_up(seconds):
    elapsed = [0.0]
    guard = guard_of(Server(GOOD), clock=lambda: elapsed[0])
    elapsed[0] = seconds
    assert guard.should_stop()


def test_any_lease_says_once_that_it_is_lost_and_check_raises():
    lost = []
    answers = iter([60.0, OSError("the network is away"), LeaseLost("Evaluation 7 is not leased to you.")])

    def renew() -> float:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with LeaseRenewal(
        renew, lease_seconds=60.0, every=0.001, on_lost=lambda: lost.append(1), name="evaluation 7"
    ) as renewal:
        renewal._thread.join(HANGS_AFTER_SECONDS)
        with pytest.raises(LeaseLost, match="evaluation 7"):
            renewal.check()
        assert renewal.is_lost
    assert lost == [1]


def test_a_node_knows_a_lost_lease_by_its_code_and_not_by_the_status():
    """409 alone may be any conflict: only `lease_lost` means that somebody else has the case run."""
    for code, expected in (("lease_lost", LeaseLost), ("conflict", NodeApiProblem)):
        body = {"error": {"code": code, "message": "No."}}
        transport = httpx.MockTransport(lambda request, body=body: httpx.Response(409, json=body))
        api = NodeApi(url="http://assay.test", token="t", transport=transport)
        with pytest.raises(expected):
            api.heartbeat(Order())
