"""The page that says whether a test set is big enough: from a phase's scores, and before it from a pilot's table."""

import random

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

import factories
import people
from assay.challenges.protocols import rules_of
from assay.evaluations.models import CaseScores
from assay.leaderboards import size
from evaluator.ranking import parse_ranking, plan_table, read_scores
from markup import markup

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast():
    return people.scene()


@pytest.fixture
def phase(cast):
    names = [f"c{number}" for number in range(12)]
    testset = factories.testset(challenge=cast.challenge, name="twelve", case_ids=names)
    return factories.phase(challenge=cast.challenge, slug="twelve", testset=testset)


def fill(phase) -> None:
    chance = random.Random(3)
    for rank, level in enumerate((0.8, 0.7, 0.69), start=1):
        entry = factories.entry(phase=phase, rank=rank)
        for case in entry.submission.testset.cases.all():
            values = [[label, "dice", level + chance.uniform(0, 0.1), ""] for label in ("core", "rim")]
            CaseScores.objects.create(evaluation=entry.evaluation, case=case, scores=values)


def address(phase) -> str:
    return reverse("organizers:size", args=[phase.challenge.slug, phase.slug])


def pilot(text: str, name: str = "pilot.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, text.encode())


def table(lead: float = 0.03) -> str:
    chance = random.Random(5)
    rows = [
        f"{name},p{case},{label},{0.8 - lost + chance.uniform(0, 0.05):.4f}"
        for name, lost in (("ours", 0), ("theirs", lead))
        for case in range(10)
        for label in ("core", "rim")
    ]
    return "\n".join(("algorithm,case,label,dice", *rows)) + "\n"


@pytest.mark.parametrize(("person", "status"), [("olga", 200), ("stan", 200), ("pia", 403), ("otto", 403)])
def test_only_organizers_see_it(client, cast, phase, person, status):
    client.force_login(getattr(cast, person))
    assert client.get(address(phase)).status_code == status
    assert client.post(address(phase), {"pilot": pilot(table())}).status_code == status


def test_before_anything_is_scored_it_says_so_and_offers_a_pilot(client, cast, phase):
    client.force_login(cast.olga)
    page = markup(client.get(address(phase)))
    assert "No submission is scored yet." in page
    assert 'name="pilot"' in page


def test_the_scores_of_the_phase_are_planned_as_the_engine_plans_them(client, cast, phase):
    fill(phase)
    plan = size.plan_of_phase(phase).plan
    assert plan.units == 12
    assert len(plan.pairs) == 2
    client.force_login(cast.olga)
    page = markup(client.get(address(phase)))
    for pair in plan.pairs:
        assert f"{pair.better} / {pair.worse}" in page
        assert f"{pair.smallest:.3g}" in page
    assert "Big enough to name the winner" in page
    assert address(phase) in markup(client.get(reverse("organizers:overview", args=[phase.challenge.slug])))


def test_a_pilot_is_planned_by_the_rules_of_the_phase_and_kept_nowhere(client, cast, phase, tmp_path):
    client.force_login(cast.olga)
    page = markup(client.post(address(phase), {"pilot": pilot(table()), "difference": "0,01"}))
    (tmp_path / "pilot.csv").write_text(table())
    found = read_scores(tmp_path / "pilot.csv", parse_ranking(rules_of(phase.protocol).ranking))
    plan = plan_table(found.table, found.config, difference=0.01)
    assert "ours / theirs" in page
    assert f'<td class="number">{plan.pairs[0].needed}</td>' in page
    assert 'value="0,01"' in page
    assert "supposes a true difference of 0.01 in every pair" in page
    assert f"needs at most {plan.winner} (case)" in page
    assert "The test set of this phase has 12." in page
    assert "ours / theirs" not in markup(client.get(address(phase)))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({}, "No table was chosen."),
        ({"pilot": pilot("nothing", "pilot.exe")}, "This is no table of scores that can be read here."),
        ({"pilot": pilot("x" * (size.MOST_PILOT_BYTES + 1))}, "table is too large."),
        ({"pilot": pilot("algorithm,case,sharpness\na,1,2\n")}, "table cannot be used."),
        ({"pilot": pilot("algorithm,case,label,dice\na,1,core,0.5\nb,1,core,0.6\n")}, "to know a spread"),
        ({"pilot": pilot(table()), "difference": "-1"}, "The difference to find is no number above 0."),
        ({"pilot": pilot(table()), "difference": "nan"}, "The difference to find is no number above 0."),
    ],
)
def test_what_cannot_be_planned_is_said_and_nothing_breaks(client, cast, phase, form, message):
    client.force_login(cast.olga)
    answer = client.post(address(phase), form)
    assert answer.status_code == 400
    assert message in markup(answer)


def test_a_board_of_too_many_scores_points_to_the_report(client, cast, phase, monkeypatch):
    fill(phase)
    monkeypatch.setattr(size, "MOST_ROWS", 3)
    client.force_login(cast.olga)
    assert "The report of the ranking has this table, too." in markup(client.get(address(phase)))
