"""The comparison page: chosen on the leaderboard, read with eyes or a screen reader, on a telephone, and as a file."""

import csv
import io

import numpy as np
import pytest
from django.urls import reverse

import factories
import people
from assay.evaluations.models import CaseScores
from markup import markup

pytestmark = pytest.mark.django_db
LABELS = ("core", "rim")


@pytest.fixture
def cast():
    return people.scene()


@pytest.fixture
def phase(cast):
    names = [f"case_{number:02}" for number in range(24)]
    testset = factories.testset(challenge=cast.challenge, name="many", case_ids=names)
    phase = factories.phase(challenge=cast.challenge, slug="many", testset=testset, published_at=factories.NOW)
    random = np.random.default_rng(4)
    hard = random.normal(0, 0.08, len(names))
    for rank, level in enumerate((0.85, 0.84, 0.7), start=1):
        values = np.clip(level + hard[:, None] + random.normal(0, 0.03, (len(names), 2)), 0, 1)
        metrics = {
            "dice": {
                "mean": float(values.mean()),
                "per_label": {label: {"mean": float(values[:, at].mean())} for at, label in enumerate(LABELS)},
            }
        }
        entry = factories.entry(phase=phase, rank=rank, metrics=metrics, seconds_per_case=10.0 * rank)
        CaseScores.objects.bulk_create(
            CaseScores(
                evaluation=entry.evaluation,
                case=case,
                scores=[[label, "dice", float(values[row, at]), ""] for at, label in enumerate(LABELS)],
            )
            for row, case in enumerate(testset.cases.order_by("position"))
        )
    return phase


def address(name, cast, phase, query=""):
    return reverse(f"portal:{name}", args=[cast.challenge.slug, phase.slug]) + query


def test_the_leaderboard_offers_to_compare_its_rows(client, cast, phase):
    page = markup(client.get(address("leaderboard", cast, phase)))
    assert page.count('form="compare" name="s"') == 3
    assert 'aria-label="Compare Algorithm of' in page
    assert f'action="{address("compare", cast, phase)}"' in page


def test_three_rows_stand_side_by_side(client, cast, phase):
    page = markup(client.get(address("compare", cast, phase, "?s=1&s=2&s=3")))
    assert page.count("<circle") == 2 * 3 * 24 + 2 * 3, "against each other, and their differences; structures"
    assert page.count('class="mean"') == 3
    assert page.count('class="limit"') == 6
    assert "C − A" in page
    assert "A is better" in page
    assert "not separable" in page
    assert page.count('class="scatter"') == 2 * 3
    assert 'aria-label="Bland–Altman plot of C minus A"' in page
    assert page.index('<th scope="row">core</th>') < page.index('<th scope="row">rim</th>')  # the protocol's order
    assert 'role="img" aria-label="B against A, case by case"' in page


def test_every_case_is_a_line_of_the_file(client, cast, phase):
    answer = client.get(address("compare", cast, phase, "?s=1&s=3&format=csv"))
    header, *rows = csv.reader(io.StringIO(answer.content.decode()))
    assert header[:2] == ["metric", "case"]
    assert len(rows) == 24
    assert float(rows[0][2]) > float(rows[0][3])


@pytest.mark.parametrize("query", ["", "?s=1", "?s=1&s=99", "?s=x&s=-1", "?s=1&s=2&s=3&s=4"])
def test_without_two_or_three_rows_there_is_a_list_to_choose_from(client, cast, phase, query):
    if query.endswith("s=4"):
        factories.entry(phase=phase, rank=4)
    answer = client.get(address("compare", cast, phase, query))
    assert answer.status_code == 200
    page = markup(answer)
    assert "Choose two or three rows." in page
    assert 'name="s" value="1"' in page
    assert 'class="scatter"' not in page


def test_closed_cases_are_not_compared_one_by_one_but_for_organizers(client, cast, phase):
    phase.protocol = factories.protocol(
        challenge=cast.challenge, document={**factories.PROTOCOL, "release": "aggregate"}
    )
    phase.save()
    client.force_login(cast.pia)
    page = markup(client.get(address("compare", cast, phase, "?s=1&s=2")))
    assert "keeps single cases to itself" in page
    assert "case_01" not in page
    assert 'class="scatter"' not in page
    assert client.get(address("compare", cast, phase, "?s=1&s=2&format=csv")).content.decode().count("\n") == 1
    client.force_login(cast.olga)
    assert "case_01" in markup(client.get(address("compare", cast, phase, "?s=1&s=2")))


def test_an_embargoed_board_has_no_rows_to_compare(client, cast, phase):
    phase.is_embargoed, phase.published_at = True, None
    phase.save()
    client.force_login(cast.pia)
    page = markup(client.get(address("compare", cast, phase, "?s=1&s=2")))
    assert "Algorithm of" not in page


@pytest.mark.parametrize("count", [2, 3])
def test_the_page_asks_a_constant_number_of_questions(client, cast, phase, count, django_assert_max_num_queries):
    query = "?" + "&".join(f"s={number}" for number in range(1, count + 1))
    with django_assert_max_num_queries(12):  # two of them open and end the transaction
        client.get(address("compare", cast, phase, query))
