"""The board of hospitals: means over hospitals, the worst one, heterogeneity, ranks over common hospitals, wins, and its page."""

import json
import math

import pytest
from django.urls import reverse
from django.utils import timezone

import factories
from assay.evaluation_sites.boards import SiteCell, SiteRow, Weighting, common_sites, duels, fill_rows, heterogeneity
from assay.evaluation_sites.models import Site, SiteDataset, SiteEvaluation
from assay.evaluation_sites.selectors import site_board
from markup import markup


def row(number: int, **sites: float | SiteCell) -> SiteRow:
    cells = {site: value if isinstance(value, SiteCell) else SiteCell(mean=value) for site, value in sites.items()}
    return SiteRow(submission_id=None, number=number, team=f"t{number}", name="", cells=cells)


def test_every_site_counts_the_same_and_rows_that_miss_a_common_site_are_not_ranked():
    rows = [row(1, a=0.9, b=0.5), row(2, a=0.8, b=0.8), row(3, a=0.99)]
    assert fill_rows(rows, sites=["a", "b"], is_higher_better=True) == ["a", "b"]
    assert [(r.mean, r.worst, r.worst_site, r.rank) for r in rows] == [
        (0.7, 0.5, "b", 2), (0.8, 0.8, "a", 1), (0.99, 0.99, "a", None)
    ]  # fmt: skip


def test_a_site_that_never_comes_takes_nobodys_rank():
    rows = [row(1, a=0.9), row(2, a=0.8), row(3, a=0.7, slow=0.1)]
    assert fill_rows(rows, sites=["a", "never", "slow"], is_higher_better=True) == ["a"]
    assert [r.rank for r in rows] == [1, 2, 3]
    assert rows[2].mean == 0.7, "compared over the common sites only"


def test_a_recalled_result_counts_nowhere():
    rows = [row(1, a=0.9, b=SiteCell(is_recalled=True, because="labels")), row(2, a=0.8, b=0.8)]
    fill_rows(rows, sites=["a", "b"], is_higher_better=True)
    assert (rows[0].mean, rows[0].rank, rows[1].rank) == (0.9, None, 1)


def test_by_cases_a_large_site_counts_more():
    rows = [row(1, a=SiteCell(mean=0.9, n=90), b=SiteCell(mean=0.5, n=10))]
    fill_rows(rows, sites=["a", "b"], is_higher_better=True, weighting=Weighting.CASES)
    assert math.isclose(rows[0].mean, 0.86)
    fill_rows(rows, sites=["a", "b"], is_higher_better=True)
    assert math.isclose(rows[0].mean, 0.7)


def test_lower_is_better_where_the_metric_says_so():
    rows = [row(1, a=1.0, b=9.0), row(2, a=3.0, b=3.0)]
    fill_rows(rows, sites=["a", "b"], is_higher_better=False)
    assert [(r.worst, r.best, r.rank) for r in rows] == [(9.0, 1.0, 2), (3.0, 3.0, 1)]


def test_a_difference_below_the_rounding_is_a_tie():
    rows = [row(1, a=0.8001), row(2, a=0.8003), row(3, a=0.7)]
    fill_rows(rows, sites=["a"], is_higher_better=True)
    assert [r.rank for r in rows] == [1, 1, 3]


def test_heterogeneity_by_hand():
    """Two sites of 25 cases, spread 0.1: weights 2500, means 0.9 and 0.8: Q = 2 · 2500 · 0.05² = 12.5, I² = 11.5 / 12.5."""
    cells = [SiteCell(mean=0.9, sd=0.1, n=25), SiteCell(mean=0.8, sd=0.1, n=25)]
    assert math.isclose(heterogeneity(cells), 0.92)
    assert heterogeneity([cells[0], cells[0]]) == 0.0
    assert heterogeneity(cells[:1]) is None
    assert heterogeneity([cells[0], SiteCell(mean=0.8, sd=0.0, n=25)]) is None


def test_the_interval_of_a_site_by_hand():
    low, high = SiteCell(mean=0.9, sd=0.1, n=25).interval
    assert (round(low, 4), round(high, 4)) == (0.8608, 0.9392)
    assert SiteCell(mean=0.9, n=5).interval is None


def test_wins_ties_and_losses_over_the_sites_that_both_have():
    rows = [row(1, a=0.9, b=0.5, c=0.7), row(2, a=0.8, b=0.6, c=0.7, d=0.1)]
    matrix = duels(rows, sites=["a", "b", "c", "d"], is_higher_better=True)
    assert matrix[0][0] is None
    assert (matrix[0][1].wins, matrix[0][1].ties, matrix[0][1].losses) == (1, 1, 1)
    assert (matrix[1][0].wins, matrix[1][0].losses) == (matrix[0][1].losses, matrix[0][1].wins)


def test_no_row_no_common_site():
    assert common_sites([], sites=["a"]) == []
    assert fill_rows([row(1)], sites=["a"], is_higher_better=True) == []


@pytest.fixture
def released(scene):
    """Writes what sites released: `{site: {submission number: mean}}`. A text in place of a mean is a recall with that reason."""

    def write(table, *, roots=None):
        numbers = sorted({number for values in table.values() for number in values})
        submissions = {
            number: factories.submission(phase=scene.phase, team=scene.team, status="done") for number in numbers
        }
        for name, values in table.items():
            site = Site.objects.create(
                phase=scene.phase, name=name, title=name.title(), token_hash=name, created_at=factories.NOW
            )
            root = (roots or {}).get(name, factories.digest(name))
            data = SiteDataset.objects.create(site=site, root_sha256=root, case_count=25, registered_at=factories.NOW)
            for number, value in values.items():
                is_recall = isinstance(value, str)
                groups = {"f": {"mean": 0.5, "n": 12}, "m": {"mean": 0.6, "n": 13}}
                SiteEvaluation.objects.create(
                    site=site, submission=submissions[number], dataset=data, created_at=factories.NOW,
                    status="recalled" if is_recall else "released",
                    reason=value if is_recall else "",
                    release=None
                    if is_recall
                    else {
                        "case_count": 25, "failures": {"timeout": None, "out_of_memory": 6},
                        "metrics": {"dice": {"mean": value, "n": 25, "sd": 0.1, "per_site": groups}},
                    },
                )  # fmt: skip

    return write


def page_of(client, **query) -> str:
    return markup(client.get(reverse("portal:hospitals", args=["brains", "final"]), query))


def test_the_page_says_how_many_hospitals_came_who_was_worst_and_what_was_recalled(client, released, scene):
    released({"north": {1: 0.9, 2: 0.8}, "south": {1: 0.7, 2: "wrong labels"}, "west": {}})
    page = page_of(client)
    assert "2 of 3 hospitals have released results" in page
    assert "provisional" in page
    assert "wrong labels" in page
    assert "1 to 4 cases" in page
    assert "6 cases" in page
    assert "0.800" in page
    assert "0.861 – 0.939" in page
    board = markup(client.get(reverse("portal:leaderboard", args=["brains", "final"])))
    assert reverse("portal:hospitals", args=["brains", "final"]) in board


def test_groups_stand_beside_each_other_per_hospital(client, released, scene):
    protocol = factories.protocol(challenge=scene.challenge, document={**factories.PROTOCOL, "breakdowns": ["site"]})
    scene.phase.protocol = protocol
    scene.phase.save()
    released({"north": {1: 0.9}})
    page = page_of(client, by="site")
    assert "North: f" in page
    assert "North: m" in page


@pytest.mark.parametrize(
    "query", [{}, {"metric": "none"}, {"weighting": "cases"}, {"weighting": "x"}, {"by": "x"}, {"format": "csv"}]
)
def test_nothing_that_is_asked_breaks_the_page(client, released, query):
    released({"north": {1: 0.9}})
    answer = client.get(reverse("portal:hospitals", args=["brains", "final"]), query)
    assert answer.status_code == 200


def test_one_set_of_data_under_two_names_counts_once(released, scene):
    released({"north": {1: 0.9}, "twin": {1: 0.1}}, roots={"north": "a" * 64, "twin": "a" * 64})
    board = site_board(scene.phase)
    assert [(column.name, column.same_data_as) for column in board.columns] == [("north", ""), ("twin", "North")]
    assert board.rows[0].mean == 0.9


def test_while_results_are_hidden_only_organizers_see_the_page(client, released, scene):
    released({"north": {1: 0.9}})
    scene.phase.is_embargoed = True
    scene.phase.save()
    assert "0.900" not in page_of(client)
    client.force_login(scene.olga)
    assert "0.900" in page_of(client)


@pytest.mark.parametrize("mode", ["verdict_only", "ladder"])
def test_the_rules_about_results_of_the_phase_hold_for_hospitals_too(mode, client, released, scene):
    document = {**factories.PROTOCOL, "release": {"mode": mode}}
    scene.phase.protocol = factories.protocol(challenge=scene.challenge, document=document)
    scene.phase.save()
    released({"north": {1: 0.9}})
    assert "0.900" not in page_of(client)
    assert client.get("/api/v1/challenges/brains/phases/final/sites/board").json()["is_visible"] is False
    now = timezone.now()
    scene.phase.release_after, scene.phase.closes_at, scene.phase.released_at = ["boards"], now, now
    scene.phase.save()
    assert "0.900" in page_of(client)


def test_participants_read_hospitals_as_coarse_and_as_anonymous_as_the_phase_is(client, released, scene):
    document = {**factories.PROTOCOL, "release": {"mode": "aggregate", "rounding": 1}}
    scene.phase.protocol = factories.protocol(challenge=scene.challenge, document=document)
    scene.phase.is_anonymous = True
    scene.phase.save()
    released({"north": {1: 0.876}})
    entry = client.get("/api/v1/challenges/brains/phases/final/sites/board").json()["entries"][0]
    assert (entry["team"], entry["sites"]) == ("Team 1", {"north": {"dice": 0.9}})
    client.force_login(scene.olga)
    entry = client.get("/api/v1/challenges/brains/phases/final/sites/board").json()["entries"][0]
    assert entry["team"] != "Team 1"
    assert entry["sites"] == {"north": {"dice": 0.876}}


def test_the_first_versions_releases_and_empty_ones_break_nothing(client, released, scene):
    released({"north": {1: 0.9}})
    for release in ({}, {"dice": {"mean": 0.5, "n": 40}}, {"metrics": {"dice": None}}):
        SiteEvaluation.objects.update(release=release)
        assert client.get(reverse("portal:hospitals", args=["brains", "final"])).status_code == 200


def test_the_api_has_the_same_board(client, released):
    released({"north": {1: 0.9, 2: 0.8}, "south": {1: 0.7, 2: "wrong labels"}})
    board = client.get("/api/v1/challenges/brains/phases/final/sites/board").json()
    assert board["is_provisional"]
    assert board["entries"][0]["sites"] == {"north": {"dice": 0.9}, "south": {"dice": 0.7}}
    assert board["entries"][1]["cells"]["south"]["because"] == "wrong labels"
    assert board["duels"][0][1] == {"wins": 1, "ties": 0, "losses": 0}
    assert "recalled" in json.dumps(board)


def test_the_page_asks_the_same_number_of_questions_for_few_and_many(client, released, django_assert_max_num_queries):
    released({"north": {1: 0.9}})
    with django_assert_max_num_queries(16):
        page_of(client)
    released({f"h{number}": {1: 0.9, 2: 0.8, 3: 0.7} for number in range(8)})
    with django_assert_max_num_queries(16):
        page_of(client)
