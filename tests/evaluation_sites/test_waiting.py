"""A site waits at the server for work: it hears of new work soon, costs one question per look, and never takes all threads."""

from itertools import pairwise

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import factories
from assay.client.errors import RefusedError
from assay.evaluation_sites import waiting
from assay.node.site_commands import WAIT_SECONDS, next_order


def wait(hospital, *, pause, agent="one"):
    site = hospital.site
    return waiting.wait_for_work(
        site=site,
        dataset=site.datasets.get(),
        agent=agent,
        skip=(),
        seconds=waiting.LONGEST_SECONDS,
        now=timezone.now,
        pause=pause,
    )


def test_work_that_comes_while_a_site_waits_is_handed_out_at_the_next_look(hospital, scene):
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            factories.submission(phase=scene.phase, team=scene.team, status="done")

    assert wait(hospital, pause=pause).status == "running"
    assert len(pauses) == 2
    assert wait(hospital, pause=pauses.append, agent="another") is None
    assert sum(pauses[2:]) >= waiting.LONGEST_SECONDS


def test_a_look_costs_one_question(hospital):
    counts = []

    def pause(seconds):
        counts.append(len(asked.captured_queries))

    with CaptureQueriesContext(connection) as asked:
        wait(hospital, pause=pause)
    assert {later - earlier for earlier, later in pairwise(counts[1:])} == {1}


def test_a_full_room_says_when_to_come_again(hospital, client):
    for _ in range(waiting.MOST_WAITING):
        waiting.room.acquire()
    try:
        token = hospital.home.joined().token
        body = {"root_sha256": hospital.registration().root_sha256, "wait_seconds": 25}
        headers = {"Authorization": f"Bearer {token}"}
        answer = client.post("/api/v1/site/claim", body, content_type="application/json", headers=headers)
        with pytest.raises(waiting.RoomIsFull):
            wait(hospital, pause=lambda seconds: None)
    finally:
        for _ in range(waiting.MOST_WAITING):
            waiting.room.release()
    assert (answer.status_code, answer["Retry-After"]) == (204, str(waiting.COME_AGAIN_SECONDS))
    for _ in range(2 * waiting.MOST_WAITING):
        assert wait(hospital, pause=lambda seconds: None) is None, "who has waited gives the place back"


def test_nobody_waits_for_longer_than_proxies_allow(hospital):
    body = {"root_sha256": hospital.registration().root_sha256, "wait_seconds": waiting.LONGEST_SECONDS + 1}
    with pytest.raises(RefusedError):
        hospital.connection().post("site/claim", body)
    assert waiting.LONGEST_SECONDS < 60
    assert WAIT_SECONDS == waiting.LONGEST_SECONDS


class Agent:
    """Answers as a server would: after so many seconds, with this."""

    def __init__(self, *answers):
        self.answers, self.asked, self.time = list(answers), [], 0.0

    def claim(self, registration, *, skip, wait_seconds):
        self.asked.append(wait_seconds)
        took, order = self.answers.pop(0)
        self.time += took
        return order


def ask(agent, *, skip=(), stays=True):
    return next_order(agent, registration=None, skip=skip, stays=stays, clock=lambda: agent.time)


def test_the_agent_asks_again_at_once_after_it_waited_and_rests_after_an_early_answer():
    agent = Agent((25, None), (25, None), (3, "order"))
    assert ask(agent) == "order"
    assert agent.asked == [WAIT_SECONDS] * 3
    assert ask(Agent((0.1, None))) is None, "the server has no room: the agent rests, and asks later"


def test_an_agent_that_put_something_off_or_does_not_stay_never_waits():
    for agent, words in ((Agent((0, None)), {"skip": ("x",)}), (Agent((0, None)), {"stays": False})):
        assert ask(agent, **words) is None
        assert agent.asked == [0]
