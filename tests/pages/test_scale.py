"""Lists and leaderboards ask the database as often for many submissions as for few."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from assay.leaderboards.models import LeaderboardEntry
from benchmarks.crowd import pages_of, seed


def queries_of(crowd, *, who, address) -> int:
    client = Client()
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


def test_no_page_asks_more_often_when_there_is_more_to_show(crowds):
    small, large = (
        {page: queries_of(crowd, who=page[0], address=address) for page, address in named(crowd)} for crowd in crowds
    )
    assert len(small) == 11
    assert large == small
    assert max(small.values()) < 25


def named(crowd):
    """Each page under a name that both crowds share."""
    for number, (who, address) in enumerate(pages_of(crowd)):
        yield (who, number), address
