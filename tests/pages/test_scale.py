"""Lists and leaderboards ask the database as often for many submissions as for few."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

import factories
from assay.leaderboards.models import LeaderboardEntry
from assay.organizers.consoles import phases_of
from benchmarks.crowd import pages_of, seed


def queries_of(crowd, *, who, address) -> int:
    client = Client()
    if who != "nobody":
        client.force_login(getattr(crowd, who))
    assert client.get(address).status_code == 200  # what a process looks up once
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


@pytest.fixture
def crowds(db):
    """The same kind of challenge twice, the second four times as large."""
    return seed(submissions=60, cases=3, teams=4), seed(submissions=240, cases=12, teams=16)


def test_the_crowd_is_as_large_as_it_says(crowds):
    small, large = crowds
    for crowd, total, cases in ((small, 60, 3), (large, 240, 12)):
        submissions = crowd.phase.submissions
        assert submissions.count() == total
        assert submissions.values("team").distinct().count() == total // 15
        newest = submissions.get(number=total)
        assert newest.runs.get().case_runs.count() == newest.evaluations.get().case_scores.count() == cases
        assert LeaderboardEntry.objects.get(submission=newest).rank == total


def test_the_console_counts_submissions_and_cases_apart(crowds):
    for crowd, total, cases in zip(crowds, (60, 240), (3, 12), strict=True):
        (row,) = phases_of(crowd.challenge, now=factories.NOW)
        assert (row.submission_total, row.case_total) == (total, cases)


def test_no_page_asks_more_often_when_there_is_more_to_show(crowds):
    small, large = (
        {(what, who): queries_of(crowd, who=who, address=address) for what, who, address in pages_of(crowd)}
        for crowd in crowds
    )
    assert len(small) == len(pages_of(crowds[0])) > 20
    assert large == small
    assert max(small.values()) < 35
