"""The desk in the browser: forms over the one challenge file, checked by its one reader."""

import re
from html import unescape
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

import factories
import testset_folders as folders
from assay import organizers, pages, portal
from assay.accounts.models import AuditEvent
from assay.challenges import services
from assay.challenges.models import Challenge
from assay.challenges.pools import set_pool_owners
from assay.challenges.writing import current_file
from assay.leaderboards.models import Leaderboard
from assay.runs.nodes import enrol_node
from assay.submissions.models import Upload
from desk_forms import form_of, read_form
from markup import markup

SOURCE = f"""\
# Our challenge; ask Olga before you touch the limits.
slug: lungs
title: Lungs   # both of them
timezone: Europe/Berlin
description: |
  Two lines

  of <words>.
protocol: {factories.PROTOCOL_TEXT}
phases:
  - slug: warm-up      # small
    opens_at: 2026-01-01
    closes_at: 2026-11-28
  - {{slug: final, opens_at: 2026-12-01, closes_at: 2027-01-01, submission_limit: 3}}
"""


@pytest.fixture
def lungs(scene, now, client) -> Challenge:
    _, challenge = services.push_challenge(user=scene.olga, slug="lungs", source=SOURCE, is_dry_run=False, now=now)
    client.force_login(scene.olga)
    return challenge


def in_browser(client, url: str, data: dict) -> str:
    """The page that a browser shows in the end: it says where the form came from, and follows."""
    answer = client.post(url, data, headers={"Referer": f"http://testserver{url}"}, follow=True)
    assert answer.redirect_chain, "Back and Reload would send it again"
    return unescape(answer.content.decode())


def texts() -> str:
    return reverse("organizers:texts", args=["lungs"])


def phase_url(slug="final") -> str:
    return reverse("organizers:phase-edit", args=["lungs", slug])


@pytest.mark.parametrize("url", [texts, phase_url, lambda: phase_url("warm-up")])
def test_an_untouched_form_changes_nothing(lungs, client, url):
    events = AuditEvent.objects.count()
    answer = client.post(url(), form_of(client, url()) | {"save": "1"})
    assert answer.status_code == 302
    lungs.refresh_from_db()
    assert current_file(lungs) == SOURCE
    assert AuditEvent.objects.count() == events


def test_a_save_writes_the_file_and_keeps_its_comments(lungs, client):
    data = form_of(client, phase_url()) | {
        "title": "Grand final", "closes_at": "2027-02-01 18:00", "submission_limit": "", "leaderboard_shows": "chosen",
        "divisions": "open, closed", "release_after": ["boards", "reports"], "is_paused": "yes", "requires_phase": "warm-up",
        "save": "1",
    }  # fmt: skip
    assert client.post(phase_url(), data).status_code == 302
    final = lungs.phases.get(slug="final")
    assert (final.title, final.submission_limit, final.divisions) == ("Grand final", None, ["open", "closed"])
    assert (final.closes_at.isoformat(), final.is_paused) == ("2027-02-01T17:00:00+00:00", True)
    assert (final.release_after, final.requires_phase) == (["boards", "reports"], "warm-up")
    lungs.refresh_from_db()
    text = current_file(lungs)
    assert "ask Olga before you touch" in text
    assert "title: Lungs   # both of them" in text
    assert Leaderboard.objects.filter(phase=final).exists()  # it is asked to be ranked by the new rules
    assert client.post(phase_url(), form_of(client, phase_url()) | {"save": "1"}).status_code == 302
    lungs.refresh_from_db()
    assert current_file(lungs) == text


def test_texts_are_edited_as_markdown(lungs, client):
    data = form_of(client, texts())
    assert data["description"] == "Two lines\r\n\r\nof <words>."
    data |= {
        "description": "# Lungs\r\n\r\nWith *words*.",
        "organizers": "olga, otto",
        "requires_approval": "yes",
        "save": "1",
    }
    assert client.post(texts(), data).status_code == 302
    lungs.refresh_from_db()
    assert lungs.description == "# Lungs\n\nWith *words*."
    assert "<em>words</em>" in lungs.description_html
    assert (lungs.requires_approval, services.organizer_names(lungs)) == (True, ["olga", "otto"])
    assert "description: |-\n  # Lungs\n" in current_file(lungs)


@pytest.mark.parametrize(
    ("name", "typed", "says"),
    [
        ("closes_at", "soon", "is a time. Found: soon. Expected: a day such as"),
        ("submission_limit", "three", "is a whole number. Found: three. Expected: 0 to"),
        ("opens_at", "2028-01-01", "closes before it opens"),
        ("divisions", "open", "ranked apart"),
        ("public_percent", "100", "Expected: 1 to 99"),
        ("requires_rank", "3", "is a rank in the phase before"),
    ],
)
def test_what_is_wrong_stands_at_its_field_and_nothing_typed_is_lost(lungs, client, name, typed, says):
    answer = client.post(phase_url(), form_of(client, phase_url()) | {"title": "Kept", name: typed, "save": "1"})
    assert answer.status_code == 400
    page = unescape(answer.content.decode())
    assert says in " ".join(page.split())
    assert 'role="alert"' in page
    data = read_form(page)
    assert (data["title"], data[name]) == ("Kept", typed)
    if name != "opens_at":  # that one is about two fields
        assert re.search(rf'name="{name}"[^>]*aria-invalid="true" aria-describedby="fault-\d+"', page)
    assert lungs.phases.get(slug="final").title == "Final"


@pytest.mark.parametrize("by", ["a browser", "a program"])
def test_of_two_who_edit_at_once_one_is_told_and_neither_overwrites(lungs, client, by):
    mine = form_of(client, phase_url())
    theirs = form_of(client, phase_url())
    client.post(phase_url(), theirs | {"title": "Theirs", "submission_limit": "5", "save": "1"})
    sent = mine | {"title": "Mine", "review_days": "7", "save": "1"}
    if by == "a browser":
        page = in_browser(client, phase_url(), sent)
    else:
        answer = client.post(phase_url(), sent)
        page = unescape(answer.content.decode())
        assert answer.status_code == 400
    assert "changed while you edited" in page
    assert "It is now: Theirs" in " ".join(page.split())
    final = lungs.phases.get(slug="final")
    assert (final.title, final.submission_limit, final.review_days) == ("Theirs", 5, None)
    again = read_form(page)
    assert (again["title"], again["review_days"], again["submission_limit"]) == ("Mine", "7", "5")
    assert client.post(phase_url(), again | {"save": "1"}).status_code == 302
    final.refresh_from_db()
    assert (final.title, final.submission_limit, final.review_days) == ("Mine", 5, 7)


def test_the_file_as_text_is_not_overwritten_either(lungs, client):
    url = reverse("organizers:document", args=["lungs"])
    page = client.get(url).content.decode()
    made_from = re.search(r'name="made_from" value="(\w+)"', page)[1]
    client.post(phase_url(), form_of(client, phase_url()) | {"title": "Theirs", "save": "1"})
    mine = SOURCE.replace("title: Lungs ", "title: Wings ")
    for page in (
        in_browser(client, url, {"source": mine, "made_from": made_from, "apply": "1"}),
        markup(client.get(url)),
    ):
        assert "changed while you edited" in page
        assert "title: Wings" in page
    lungs.refresh_from_db()
    assert lungs.title == "Lungs"


def test_a_check_changes_nothing_and_says_the_plan(lungs, client):
    page = in_browser(client, phase_url(), form_of(client, phase_url()) | {"title": "Grand final", "check": "1"})
    for shown in (page, unescape(client.get(phase_url()).content.decode())):  # at once, and loaded again
        assert "phases.final.title: Final → Grand final" in shown
        assert read_form(shown)["title"] == "Grand final"
    assert lungs.phases.get(slug="final").title == "Final"


def test_a_phase_is_added_and_can_be_edited_at_once(lungs, client):
    url = reverse("organizers:phase-new", args=["lungs"])
    data = form_of(client, url) | {
        "slug": "extra",
        "title": "Extra",
        "opens_at": "2027-02-01",
        "closes_at": "2027-03-01",
        "save": "1",
    }
    assert client.post(url, data | {"slug": "final"}).status_code == 400
    answer = client.post(url, data)
    assert answer.url == phase_url("extra")
    assert client.get(answer.url).status_code == 200
    assert [phase.slug for phase in lungs.phases.order_by("position")] == ["warm-up", "final", "extra"]


def test_only_organizers_come_to_the_desk(lungs, client, scene):
    Challenge.objects.update(status="published")
    client.force_login(scene.pia)
    for url in (texts(), phase_url(), reverse("organizers:phase-new", args=["lungs"])):
        assert client.get(url).status_code == 403
        assert client.post(url, {"title": "x", "save": "1"}).status_code == 403
    lungs.refresh_from_db()
    assert lungs.title == "Lungs"


@pytest.fixture
def rules_url(lungs) -> str:
    return reverse("organizers:rules", args=["lungs", "final"])


def test_untouched_rules_change_nothing(lungs, client, rules_url):
    assert client.post(rules_url, form_of(client, rules_url) | {"save": "1"}).status_code == 302
    lungs.refresh_from_db()
    assert current_file(lungs) == SOURCE


def test_metrics_tolerance_limits_and_ranking_are_chosen_and_stand_in_the_file(lungs, client, rules_url):
    data = form_of(client, rules_url) | {
        "metrics": ["dice", "nsd", "hd95"], "tolerance:rim": "2.5", "memory_mb": "1024", "release": "aggregate",
        "ranking": "rank_per_case", "save": "1",
    }  # fmt: skip
    answer = client.post(rules_url, data)
    assert answer.status_code == 302, answer.content.decode()
    document = lungs.phases.get(slug="final").protocol.document
    assert [metric["name"] for metric in document["metrics"]] == ["dice", "nsd", "hd95"]
    assert {label["name"]: label["tolerance_mm"] for label in document["labels"]} == {"core": 1, "rim": 2.5}
    assert (document["resources"]["memory_mb"], document["release"]["mode"]) == (1024, "aggregate")
    assert document["ranking"]["scheme"] == {"type": "mean_of_ranks", "rank_at": ["case"]}
    lungs.refresh_from_db()
    assert "ask Olga" in current_file(lungs)
    assert client.post(rules_url, form_of(client, rules_url) | {"save": "1"}).status_code == 302


def test_the_preview_ranks_made_up_scores_by_what_is_ticked_and_saves_nothing(lungs, client, rules_url):
    looks = set()
    for ranking in ("value", "mean_of_ranks", "significance"):
        data = form_of(client, rules_url) | {"metrics": ["dice", "hd95"], "ranking": ranking, "preview": "1"}
        answer = client.post(rules_url, data)
        assert answer.status_code == 200
        page = answer.content.decode()
        assert page.count("<tr>") == 6
        assert "<html" not in page
        looks.add(page)
    assert len(looks) == 3
    lungs.refresh_from_db()
    assert current_file(lungs) == SOURCE


@pytest.mark.parametrize(
    ("name", "typed"), [("tolerance:rim", "wide"), ("memory_mb", "much"), ("tolerance:core", "-1")]
)
def test_a_rule_that_cannot_be_stands_at_its_field(lungs, client, rules_url, name, typed):
    answer = client.post(rules_url, form_of(client, rules_url) | {name: typed, "save": "1"})
    page = unescape(answer.content.decode())
    assert answer.status_code == 400
    assert re.search(rf'name="{name}"[^>]*aria-invalid="true" aria-describedby="fault-\d+"', page)
    assert read_form(page)[name] == typed
    lungs.refresh_from_db()
    assert current_file(lungs) == SOURCE


@pytest.mark.parametrize("preset", ["feta", "msd"])
def test_a_published_ranking_is_chosen_by_name(lungs, client, rules_url, preset):
    metrics = ["dice", "hd95", "volume_similarity"] if preset == "feta" else ["dice", "nsd"]
    data = form_of(client, rules_url) | {"metrics": metrics, "ranking": f"preset:{preset}", "save": "1"}
    answer = client.post(rules_url, data)
    assert answer.status_code == 302, unescape(answer.content.decode())
    lungs.refresh_from_db()
    assert f'ranking: {{"preset": "{preset}"}}' in current_file(lungs)


def testsets() -> str:
    return reverse("organizers:testsets", args=["lungs"])


def testset_form(content: bytes, **typed: str) -> dict:
    file = SimpleUploadedFile("cases.zip", content)
    return {"name": "hidden", "phase": "final", "archive": file, **typed}


def add_testset(client, content: bytes, **typed: str):
    return client.post(testsets(), testset_form(content, **typed))


def test_a_zip_in_the_browser_is_checked_case_by_case(lungs, client, tmp_path):
    answer = add_testset(client, folders.zipped(folders.good_folder(tmp_path / "cases"), within="cases/"))
    assert answer.status_code == 302
    testset = lungs.testsets.get()
    assert (testset.name, testset.phases.get().phase.slug) == ("hidden", "final")
    page = unescape(client.get(testsets()).content.decode())
    assert "2 cases were checked and added." in page
    assert "Spacing along z in mm: 2 to 2 in 2 cases" in page
    assert "Volume of label 1 in ml: 0.012 to 0.012 in 2 cases" in page


def test_a_case_that_is_also_training_data_is_told(lungs, client, tmp_path):
    add_testset(client, folders.zipped(folders.good_folder(tmp_path / "one")), name="training", phase="", is_public="1")
    more = folders.good_folder(tmp_path / "two", case_ids=("X01",))
    add_testset(client, folders.zipped(more))
    assert "X01: the same image as A01 of training v1" in client.get(testsets()).content.decode()


def test_a_refused_test_set_keeps_what_was_typed_and_what_was_sent(lungs, client, tmp_path):
    folder = folders.good_folder(tmp_path / "cases", case_ids=("A01",))
    folders.write_dicom_series(folders.image(), folder / "images/scan", tags={"0010|0010": "Doe^Jane"})
    (folder / "manifest.csv").write_text("case_id,input:t1,reference\nA01,images/scan,labels/A01.nii.gz\n")
    page = in_browser(client, testsets(), testset_form(folders.zipped(folder)))
    assert "A01: PatientName" in page
    assert 'name="accepts_identifying"' in page
    assert 'value="hidden"' in page
    upload = Upload.objects.get()
    assert f'value="{upload.pk}"' in page
    again = {"name": "hidden", "phase": "final", "upload_id": str(upload.pk), "accepts_identifying": "1"}
    assert client.post(testsets(), again).status_code == 302
    assert lungs.testsets.get().phases.get().phase.slug == "final"


def test_a_folder_on_the_server_is_chosen_in_the_browser(lungs, client, settings, tmp_path):
    settings.TESTSET_FOLDER = str(tmp_path)
    folders.good_folder(tmp_path / "lungs/cases")
    assert '<option value="cases"' in client.get(testsets()).content.decode()
    assert client.post(testsets(), {"name": "hidden", "server_folder": "cases"}).status_code == 302
    assert lungs.testsets.get().cases.count() == 2
    answer = client.post(testsets(), {"name": "hidden", "server_folder": "../livers"})
    assert "no such folder" in answer.content.decode()
    assert (tmp_path / "lungs/cases/manifest.csv").exists()


@pytest.mark.parametrize(
    "typed", [{}, {"name": "Ä b"}, {"choose": "x", "phase": "final"}, {"choose": "1", "phase": "x"}]
)
def test_a_form_that_says_too_little_is_answered_at_the_form(lungs, client, typed):
    answer = client.post(testsets(), {"name": "hidden", **typed})
    assert answer.status_code in (400, 404)
    assert not lungs.testsets.exists()


def test_machines_are_chosen_by_what_they_are(lungs, client, scene, now):
    for name, pool, gpus in (
        ("a", "big", [{"name": "NVIDIA H200"}, {"name": "NVIDIA H200"}]),
        ("b", "big", ["NVIDIA H200"]),
        ("c", "theirs", [{"name": "NVIDIA L4"}]),
        ("d", "odd", "nonsense"),
    ):
        node, _ = enrol_node(name=name, pool=pool, slots=1, by=scene.stan, now=now)
        node.inventory = {"gpus": gpus}
        node.save()
    set_pool_owners(name="theirs", people=["otto"], challenges=[], note="", by=scene.stan, now=now)
    page = markup(client.get(phase_url()))
    assert "big: 2 nodes, 3 × NVIDIA H200" in page
    assert "odd: 1 node, no GPU" in page
    assert "default: no machine yet" in page
    assert "theirs" not in page
    data = form_of(client, phase_url())
    assert data["pool"] == "default"
    assert client.post(phase_url(), data | {"pool": "big", "save": "1"}).status_code == 302
    assert lungs.phases.get(slug="final").pool == "big"


def test_no_page_joins_the_parts_of_a_refusal_by_itself():
    """`pages.errors.error_words` says what is wrong, what was found and expected, and what to do: everywhere alike."""
    joined = re.compile(r"join\([^\n]*error\.message")
    rooms = [Path(room.__file__).parent for room in (organizers, pages, portal)]
    files = [file for room in rooms for file in room.rglob("*.py")]
    assert len(files) > 50
    assert [file.name for file in files if joined.search(file.read_text())] == []


def test_a_stored_file_that_cannot_be_read_any_more_is_mended_in_the_browser(lungs, client):
    """An older version took the zone. The forms show the file with what is wrong at its line, comments kept, and it is applied there."""
    Challenge.objects.filter(pk=lungs.pk).update(
        source=SOURCE.replace("Europe/Berlin", "Mars/Base"), timezone="Mars/Base"
    )
    for url in (texts(), phase_url(), reverse("organizers:rules", args=["lungs", "final"])):
        answer = client.get(url)
        page = markup(answer)
        assert (answer.status_code, "<mark>4 timezone: Mars/Base</mark>" in page) == (200, True), url
        assert "# Our challenge; ask Olga before you touch the limits." in page
        assert "Mend the line below" in page
    mended = answer.context["source"].replace("Mars/Base", "Europe/Paris")
    form = {"source": mended, "made_from": answer.context["made_from"], "apply": "1"}
    assert client.post(reverse("organizers:document", args=["lungs"]), form).status_code == 302
    lungs.refresh_from_db()
    assert (lungs.timezone, lungs.source) == ("Europe/Paris", mended)
    assert 'name="timezone"' in markup(client.get(texts()))
