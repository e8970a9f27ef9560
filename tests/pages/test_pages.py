"""Pages that organizers write, the look of a challenge, and people who edit or review."""

import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from PIL import Image

import factories
from assay.challenges import services
from assay.challenges.models import Challenge, Membership
from assay.challenges.writing import current_file
from desk_forms import form_of, read_form
from markup import markup

SOURCE = f"""\
# Our challenge; ask Olga before you touch the limits.
slug: lungs
title: Lungs
protocol: {factories.PROTOCOL_TEXT}
phases:
  - {{slug: final, opens_at: 2026-01-01, closes_at: 2027-01-01}}
"""
EDITED = {"title": "Questions", "slug": "faq", "text": "## Why?\r\n\r\nBecause.\r\n\r\n![Us](picture:us)", "save": "1"}


@pytest.fixture
def lungs(scene, now, client) -> Challenge:
    _, challenge = services.push_challenge(user=scene.olga, slug="lungs", source=SOURCE, is_dry_run=False, now=now)
    client.force_login(scene.olga)
    return challenge


def address(name: str, *more: str) -> str:
    return reverse(f"organizers:{name}", args=["lungs", *more])


def png() -> SimpleUploadedFile:
    out = io.BytesIO()
    Image.new("RGB", (30, 10), "navy").save(out, "PNG")
    return SimpleUploadedFile("us.png", out.getvalue(), content_type="text/html")


def test_a_page_is_written_changed_and_removed(lungs, client):
    new = form_of(client, address("page-new")) | EDITED
    assert client.post(address("page-new"), new).status_code == 302
    lungs.refresh_from_db()
    text = current_file(lungs)
    assert "ask Olga before you touch" in text
    assert 'pages:\n  - slug: "faq"\n    title: "Questions"\n    text: |-\n      ## Why?\n' in text
    shown = client.get(reverse("portal:page", args=["lungs", "faq"])).content.decode()
    assert "<h2>Why?</h2>" in shown
    assert 'src="/c/lungs/pictures/us/"' in shown
    untouched = form_of(client, address("page", "faq")) | {"save": "1"}
    assert client.post(address("page", "faq"), untouched).status_code == 302
    lungs.refresh_from_db()
    assert current_file(lungs) == text
    changed = untouched | {"text": "Short.", "title": "FAQ"}
    assert client.post(address("page", "faq"), changed).status_code == 302
    lungs.refresh_from_db()
    assert [(page["title"], page["text"]) for page in lungs.pages] == [("FAQ", "Short.")]
    second = form_of(client, address("page-new")) | EDITED | {"slug": "data"}
    assert client.post(address("page-new"), second).status_code == 302
    for name, left in (("faq", ["data"]), ("data", [])):
        made_from = client.get(address("pages")).context["made_from"]
        assert client.post(address("pages"), {"remove-page": name, "made_from": made_from}).status_code == 302
        lungs.refresh_from_db()
        assert [page["slug"] for page in lungs.pages] == left


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"slug": "F A Q"}, "appears in addresses"),
        ({"title": ""}, "`title` is a text"),
        ({"text": "x" * 40_000}, "too long"),
    ],
)
def test_what_is_wrong_with_a_page_stands_at_its_field(lungs, client, typed, says):
    answer = client.post(address("page-new"), form_of(client, address("page-new")) | EDITED | typed)
    assert answer.status_code == 400
    assert says in markup(answer)
    assert read_form(answer.content.decode())["slug"] == typed.get("slug", "faq")


def test_two_pages_have_two_names(lungs, client):
    for status in (302, 400):
        new = form_of(client, address("page-new")) | EDITED
        assert client.post(address("page-new"), new).status_code == status


def test_the_look_is_chosen_by_click(lungs, client):
    assert client.post(address("pages"), {"name": "us", "picture": png()}).status_code == 302
    data = form_of(client, address("texts")) | {
        "logo": "us", "banner": "us", "sponsors": "Ministry | https://example.org | us\r\nNobody", "save": "1",
    }  # fmt: skip
    assert client.post(address("texts"), data).status_code == 302
    lungs.refresh_from_db()
    assert lungs.sponsors == [{"name": "Ministry", "url": "https://example.org", "picture": "us"}, {"name": "Nobody"}]
    page = client.get(reverse("portal:challenge", args=["lungs"])).content.decode()
    assert page.count('src="/c/lungs/pictures/us/"') == 3
    assert 'class="timeline"' in page
    refused = client.post(
        address("texts"), form_of(client, address("texts")) | {"sponsors": "X | javascript:x", "save": "1"}
    )
    assert "leads to a page of the web" in markup(refused)
    assert client.post(address("pages"), {"remove-picture": "us"}).status_code == 302
    assert not lungs.pictures.exists()


def test_what_is_no_picture_is_said_on_the_page(lungs, client):
    svg = SimpleUploadedFile("x.png", b"<svg onload=alert(1)>", content_type="image/png")
    answer = client.post(address("pages"), {"name": "us", "picture": svg})
    assert answer.status_code == 400
    assert "no picture that we read" in markup(answer)


@pytest.fixture
def helpers(lungs, client, scene):
    editor, reviewer = factories.user(username="edda"), factories.user(username="rita")
    data = form_of(client, address("texts")) | {"editors": "edda", "reviewers": "rita", "save": "1"}
    assert client.post(address("texts"), data).status_code == 302
    return editor, reviewer


OF_EDITORS = ("texts", "pages", "page-new", "news")
OF_REVIEWERS = ("submissions",)
OF_ORGANIZERS = ("overview", "document", "testsets", "people", "messages", "audit", "phase-new", "hooks", "sites")


def test_each_part_opens_its_pages_and_no_others(helpers, lungs, client):
    for person, mine in zip(helpers, (OF_EDITORS, OF_REVIEWERS), strict=True):
        client.force_login(person)
        for name in (*OF_EDITORS, *OF_REVIEWERS, *OF_ORGANIZERS):
            expected = 200 if name in mine else 403
            assert client.get(address(name)).status_code == expected, (person, name)
        assert client.get(reverse("portal:challenge", args=["lungs"])).status_code == 200  # a draft


def test_a_reviewer_looks_and_acts_on_nothing(helpers, lungs, client, scene, now):
    phase = factories.with_testset(lungs.phases.get(slug="final"))
    row = factories.submission(phase=phase, team=scene.team)
    client.force_login(helpers[1])
    page = reverse("organizers:submission", args=["lungs", row.pk])
    assert client.get(page).status_code == 200
    assert "Disqualify" not in client.get(page).content.decode()
    for where, form in (
        (page, {"action": "disqualify", "reason": "x"}),
        (address("submissions"), {"action": "hide", "chosen": str(row.pk), "confirmed": "1"}),
        (address("after", "final"), {"action": "release"}),
    ):
        assert client.post(where, form).status_code == 403
    assert client.get(address("after", "final")).status_code == 200
    row.refresh_from_db()
    assert not row.is_disqualified


def test_an_editor_changes_words_and_nothing_that_counts(helpers, lungs, client, scene, now):
    client.force_login(helpers[0])
    data = form_of(client, address("texts"))
    assert "organizers" not in data
    assert (
        client.post(address("texts"), data | {"summary": "Breathe.", "organizers": "edda", "save": "1"}).status_code
        == 302
    )
    lungs.refresh_from_db()
    assert (lungs.summary, services.organizer_names(lungs)) == ("Breathe.", ["olga"])
    for wanted in ("organizers: [olga, otto]\n", "requires_approval: true\n", "rules: Mine.\n"):
        source = current_file(lungs) + wanted
        with pytest.raises(services.NotAllowedError, match="texts and pictures only"):
            services.push_challenge(user=helpers[0], slug="lungs", source=source, is_dry_run=False, now=now)


def test_who_is_named_no_longer_may_no_longer(helpers, lungs, client, scene):
    client.force_login(scene.olga)
    data = form_of(client, address("texts")) | {"editors": "", "reviewers": "edda", "save": "1"}
    assert client.post(address("texts"), data).status_code == 302
    rows = lungs.memberships.exclude(role=Membership.Role.ORGANIZER).values_list("user__username", "role")
    assert list(rows) == [("edda", "reviewer")]


def test_who_takes_part_does_not_review(lungs, client, scene):
    factories.membership(challenge=lungs, user=scene.pia, team=scene.team)
    data = form_of(client, address("texts")) | {"reviewers": "pia", "save": "1"}
    assert "Who takes part does not edit or review" in markup(client.post(address("texts"), data))
    twice = form_of(client, address("texts")) | {"reviewers": "otto", "editors": "otto", "save": "1"}
    assert "named for two parts" in markup(client.post(address("texts"), twice))
