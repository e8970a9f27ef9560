"""Cancelling many submissions in one request: all that were named, or none."""

import uuid

import factories


def test_many_are_cancelled_in_one_request_and_those_that_had_ended_are_left_out(scene, calling_as):
    queued = [factories.submission(phase=scene.phase, team=scene.team, status="received") for _ in range(2)]
    ended = factories.submission(phase=scene.phase, team=scene.team, status="done", finished_at=factories.NOW)
    ids = [str(submission.pk) for submission in (*queued, ended)]
    answer = calling_as(scene.pia)("POST", "/submissions/cancel", {"submission_ids": ids})
    assert sorted(answer.json()["cancelled"]) == sorted(ids[:2])
    assert {type(row).objects.get(pk=row.pk).status for row in queued} == {"cancelled"}


def test_one_that_is_none_of_your_business_leaves_all_as_they_were(scene, calling_as):
    mine = factories.submission(phase=scene.phase, team=scene.team, status="received")
    theirs = factories.submission(phase=scene.phase, team=factories.team(members=[scene.otto]), status="received")
    for stranger in (theirs.pk, uuid.uuid4()):
        chosen = {"submission_ids": [str(mine.pk), str(stranger)]}
        assert calling_as(scene.pia)("POST", "/submissions/cancel", chosen).status_code == 404
    mine.refresh_from_db()
    assert mine.status == "received"


def test_none_or_too_many_are_refused(scene, calling_as):
    for ids in ([], [str(uuid.uuid4())] * 1001):
        assert calling_as(scene.pia)("POST", "/submissions/cancel", {"submission_ids": ids}).status_code == 422
