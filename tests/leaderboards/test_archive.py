"""Everything of a challenge in one zip."""

import csv
import io
import json
import zipfile

import pytest
from django.urls import reverse

import factories
from assay.accounts.models import AuditEvent
from assay.challenges.discussion import open_topic
from assay.challenges.models import Challenge
from assay.evaluations.models import CaseScores, Evaluation
from assay.leaderboards.models import LeaderboardEntry, Snapshot
from assay.leaderboards.services import take_snapshot

ADDRESS = reverse("organizers:export", args=["brains"])


@pytest.fixture
def filled(scene, now):
    """One ranked submission with a score and a receipt, a page, a topic."""
    Challenge.objects.filter(pk=scene.challenge.pk).update(
        pages=[{"slug": "faq", "title": "FAQ", "text": "Why?"}], pages_html={"faq": "<p>Why?</p>"}
    )
    entry = factories.entry(phase=scene.phase, team=scene.team, rank=1, metrics={"dice": {"mean": 0.5}})
    Evaluation.objects.filter(pk=entry.evaluation.pk).update(receipt={"receipt": 1})
    case = scene.phase.chosen_testset.testset.cases.first()
    CaseScores.objects.create(evaluation=entry.evaluation, case=case, scores=[["core", "dice", 0.5, ""]])
    take_snapshot(phase=scene.phase, cause=Snapshot.Cause.values[0], now=now)
    open_topic(challenge=scene.challenge, title="Spacing?", text="In mm?", by=scene.pia, now=now)
    scene.pia.display_name = "=cmd|' /C calc'!A0"
    scene.pia.save()
    return case.case_id


def archive_of(client) -> zipfile.ZipFile:
    answer = client.post(ADDRESS)
    assert answer.status_code == 200
    return zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))


def table(archive: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(archive.read(name).decode())))


def test_the_zip_holds_everything(filled, scene, client):
    client.force_login(scene.olga)
    archive = archive_of(client)
    assert archive.testzip() is None
    names = set(archive.namelist())
    assert {"README.txt", "challenge.yaml", "pages/page-faq.md", "protocols/v1.json", "audit.csv"} <= names
    assert {name.split("/")[0] for name in names} >= {"receipts", "snapshots", "scores", "leaderboards"}
    (score,) = table(archive, "scores/final.csv")
    assert (score["case"], score["label"], score["metric"], score["value"]) == (filled, "core", "dice", "0.5")
    (row,) = table(archive, "leaderboards/final.csv")
    assert (row["rank"], row["dice"]) == ("1.0", "0.5")
    assert [row["phase"] for row in table(archive, "submissions.csv")] == ["final"]
    (snapshot,) = (name for name in names if name.startswith("snapshots/"))
    assert {"public_key", "signature"} <= set(json.loads(archive.read(snapshot)))
    assert json.loads(archive.read("discussion.json"))[0]["posts"][0]["text"] == "In mm?"
    assert AuditEvent.objects.filter(verb="challenge.exported").count() == 1


def test_no_address_and_no_formula_is_in_it(filled, scene, client):
    client.force_login(scene.olga)
    archive = archive_of(client)
    for name in archive.namelist():
        assert scene.pia.email.encode() not in archive.read(name), name
    people = table(archive, "people.csv")
    assert next(row["name"] for row in people if row["user_name"] == "pia").startswith("'=cmd")


@pytest.mark.parametrize(("name", "status"), [("pia", 403), ("otto", 403), (None, 302)])
def test_it_is_for_organizers(filled, scene, client, name, status):
    if name:
        client.force_login(getattr(scene, name))
    assert client.get(ADDRESS).status_code == status
    assert client.post(ADDRESS).status_code == status


def test_the_price_does_not_grow_with_submissions(filled, scene, client, django_assert_max_num_queries):
    client.force_login(scene.olga)
    for _ in range(20):
        factories.entry(phase=scene.phase, rank=None)
    assert LeaderboardEntry.objects.count() > 20
    with django_assert_max_num_queries(60):
        archive_of(client)
