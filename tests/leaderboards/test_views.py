"""A board by site: ranks, intervals and counts of that view, and nothing of so few cases that they would tell of single ones."""

import pytest
from django.urls import reverse

import factories
from assay.evaluations.models import CaseScores, Evaluation
from assay.leaderboards import scores
from assay.leaderboards.order import Wanted
from assay.leaderboards.selectors import leaderboard
from assay.leaderboards.services import ask_for_rebuild, rebuild_leaderboard
from assay.testsets.models import Case

pytestmark = pytest.mark.django_db
RULES = {
    **factories.PROTOCOL,
    "breakdowns": ["site"],
    "ranking": {"metrics": ["dice"], "missing": {"any": 0}, "scheme": {"type": "value", "metrics": ["dice"]}},
}
CASES = [f"c{number}" for number in range(15)]


@pytest.fixture
def phase(scene):
    """Eleven cases of site A, four of site B, where the ranking turns round; and three teams."""
    scores.forget_scores()
    testset = factories.testset(challenge=scene.challenge, name="sites", case_ids=CASES)
    for row in Case.objects.filter(testset=testset):
        row.attributes = {"site": "A" if row.position < 11 else "B"}
        row.save()
    version = factories.protocol(challenge=scene.challenge, document=RULES)
    phase = factories.phase(challenge=scene.challenge, slug="sites", testset=testset, protocol=version)
    for at_a, at_b in ((0.9, 0.2), (0.8, 0.4), (0.7, 0.6)):
        submission = factories.submission(phase=phase, team=factories.team(members=[factories.user()]), status="done")
        metrics = {"dice": {"mean": at_a, "per_site": {"A": {"mean": at_a, "n": 11}, "B": {"mean": at_b, "n": 4}}}}
        evaluation = Evaluation.objects.create(
            submission=submission, number=1, protocol=version, testset=testset, status="done", is_active=True,
            created_at=factories.NOW, aggregates=metrics,
        )  # fmt: skip
        for case in testset.cases.all():
            value = (at_a if case.position < 11 else at_b) + case.position / 1000
            CaseScores.objects.create(
                evaluation=evaluation, case=case, scores=[[label, "dice", value, ""] for label in ("core", "rim")]
            )
    ask_for_rebuild(phase_id=phase.pk, now=factories.NOW)
    assert rebuild_leaderboard(phase_id=phase.pk, now=factories.NOW)
    return phase


def ranks(phase, view, *, is_organizer) -> list[tuple]:
    board = leaderboard(phase, is_organizer=is_organizer, now=factories.NOW, wanted=Wanted(view=view))
    return [(row.number, row.rank) for row in board.entries]


def test_a_view_has_ranks_of_its_own(phase):
    assert ranks(phase, "pooled", is_organizer=False) == [(1, 1), (2, 2), (3, 3)]
    assert ranks(phase, "site:A", is_organizer=False) == [(1, 1), (2, 2), (3, 3)]
    assert ranks(phase, "site:B", is_organizer=True) == [(3, 1), (2, 2), (1, 3)]
    board = leaderboard(phase, is_organizer=True, now=factories.NOW, wanted=Wanted(view="site:B"))
    views = board.entries[0].statistics["views"]["site:B"]
    assert (views["n"], views["rank"]) == (4, 1)
    assert views["interval"][0] == 1


def test_a_view_of_few_cases_tells_a_stranger_nothing(phase, client, scene):
    for row in leaderboard(phase, is_organizer=False, now=factories.NOW).entries:
        assert set(row.metrics["dice"]["per_site"]) == {"A"}
        assert set(row.statistics["views"]) == {"site:A"}
    assert ranks(phase, "site:B", is_organizer=False) == ranks(phase, "pooled", is_organizer=False)
    here = [phase.challenge.slug, phase.slug]
    answer = client.get(f"/api/v1/challenges/{here[0]}/phases/{here[1]}/leaderboard").json()
    assert "B" not in answer["entries"][0]["metrics"]["dice"]["per_site"]
    page = client.get(reverse("portal:leaderboard", args=here) + "?view=site:B").content.decode()
    assert "withheld" in page
    assert "Rank over all cases" in page
    client.force_login(scene.olga)
    page = client.get(reverse("portal:leaderboard", args=here) + "?view=site:B").content.decode()
    assert "Rank in site B" in page


def test_the_score_that_ranks_stands_on_the_board(phase, client):
    page = client.get(reverse("portal:leaderboard", args=[phase.challenge.slug, phase.slug])).content.decode()
    assert "Ranking score" in page
    board = leaderboard(phase, is_organizer=False, now=factories.NOW)
    assert all(row.score is not None for row in board.entries)
