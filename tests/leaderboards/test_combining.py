"""Combined boards: places by hand, what each viewer sees, and what a file may name."""

import pytest
import yaml
from django.urls import reverse

import factories
from assay.accounts.errors import AssayError, ConflictError
from assay.challenges.models import Challenge, Phase
from assay.challenges.removal import remove_phase, rename_phase
from assay.challenges.services import push_challenge
from assay.challenges.writing import current_file
from assay.leaderboards.combining import combine, places_of
from markup import markup


def test_a_teams_place_is_that_of_its_best_submission():
    assert places_of([("A", 1), ("B", 2), ("A", 3), ("C", 4), ("D", 4)]) == {"A": 1, "B": 2, "C": 3, "D": 3}


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        # A: 1, 1, behind the last of two: 3.  B: 2, 2, 1.  C: 3, -, 2, where - is behind the last of two: 3
        ("mean_rank", [(1, "A", 5 / 3), (1, "B", 5 / 3), (3, "C", 8 / 3)]),
        ("median_rank", [(1, "A", 1), (2, "B", 2), (3, "C", 3)]),
    ],
)
def test_places_are_put_together(by, expected):
    rows = combine([{"A": 1, "B": 2, "C": 3}, {"A": 1, "B": 2}, {"B": 1, "C": 2}], by=by)
    assert [(row.rank, row.team, pytest.approx(row.value)) for row in rows] == expected
    assert rows[2].places == (3, None, 2)


@pytest.fixture
def both(scene) -> Phase:
    """A second phase, in which the order is the other way round, and a board over both."""
    second = factories.phase(
        challenge=scene.challenge,
        slug="second",
        title="Second",
        protocol=scene.phase.protocol,
        testset=scene.phase.chosen_testset.testset,
    )
    teams = [factories.team(name=name, members=[factories.user()]) for name in ("Ada", "Bob", "Cleo")]
    for phase, order in ((scene.phase, teams), (second, teams[1::-1])):
        for rank, team in enumerate(order, start=1):
            factories.entry(phase=phase, rank=rank, team=team)
    board = {"slug": "all", "title": "Overall", "phases": ["final", "second"], "by": "mean_rank"}
    Challenge.objects.filter(pk=scene.challenge.pk).update(combined=[board])
    scene.challenge.refresh_from_db()
    return second


def test_everybody_reads_the_board_and_its_file(scene, both, client):
    address = reverse("portal:combined", args=["brains", "all"])
    assert "Overall" in markup(client.get(reverse("portal:challenge", args=["brains"])))
    rows = client.get(f"{address}?format=csv").content.decode().splitlines()
    assert rows == ["rank,team,final,second,mean_rank", "1,Ada,1,2,1.5", "1,Bob,2,1,1.5", "3,Cleo,3,,3.0"]
    assert "Cleo" in markup(client.get(address))
    assert client.get(reverse("portal:combined", args=["brains", "other"])).status_code == 404


@pytest.mark.parametrize(
    ("change", "says"), [({"is_embargoed": True}, "to themselves"), ({"is_anonymous": True}, "hides who")]
)
def test_one_phase_that_is_not_shown_hides_the_board(scene, both, client, change, says):
    Phase.objects.filter(pk=both.pk).update(**change)
    address = reverse("portal:combined", args=["brains", "all"])
    client.force_login(scene.pia)
    page = markup(client.get(address))
    assert says in page
    assert "Cleo" not in page
    assert client.get(f"{address}?format=json").json() == []
    client.force_login(scene.olga)
    assert "Cleo" in markup(client.get(address))


def test_a_board_follows_a_phase_that_is_renamed_and_keeps_one_from_being_removed(scene, both, now):
    third = factories.phase(challenge=scene.challenge, slug="third", title="Third", protocol=scene.phase.protocol)
    Challenge.objects.update(combined=[{**scene.challenge.combined[0], "phases": ["final", "third"]}])
    rename_phase(phase=third, slug="renamed", user=scene.olga, now=now)
    scene.challenge.refresh_from_db()
    assert scene.challenge.combined[0]["phases"] == ["final", "renamed"]
    assert yaml.safe_load(current_file(scene.challenge))["combined"][0]["phases"] == ["final", "renamed"]
    with pytest.raises(ConflictError, match="part of a combined board"):
        remove_phase(phase=third, confirm="renamed", user=scene.olga, now=now)


@pytest.mark.parametrize(
    ("combined", "says"),
    [
        ([{"slug": "all", "phases": ["main", "nowhere"]}], "names a phase that is not there"),
        ([{"slug": "all", "phases": ["main"]}], "about several phases"),
        ([{"slug": "all", "phases": ["main", "two"], "by": "luck"}], "not one of the choices"),
        ([{"slug": "all", "phases": ["main", "two"]}, {"slug": "all", "phases": ["main", "two"]}], "have one slug"),
        ([{"slug": "all", "phases": ["main", "two"], "colour": "red"}], "not known here"),
        ([{"slug": "A l l", "phases": ["main", "two"]}], "appears in addresses"),
        ([{"slug": f"s{number}", "phases": ["main", "two"]} for number in range(11)], "too many"),
        ("main", "is a list"),
    ],
)
def test_a_board_that_cannot_be_is_refused_at_its_line(scene, now, combined, says):
    phase = {"opens_at": "2026-01-01", "closes_at": "2026-02-01"}
    document = {"slug": "lungs", "title": "Lungs", "protocol": factories.PROTOCOL}
    document |= {"phases": [{"slug": "main"} | phase, {"slug": "two"} | phase], "combined": combined}
    with pytest.raises(AssayError, match=says) as refused:
        push_challenge(
            user=scene.olga, slug="lungs", source=yaml.safe_dump(document, sort_keys=False), is_dry_run=True, now=now
        )
    assert refused.value.line > 1
