"""What a browser makes of pages: patterns of fields, printing, copying, the tab's title, a live update that ends."""

import pytest
from django.urls import reverse
from playwright.sync_api import expect

import factories
import people
from assay.runs.models import CaseRun, Run
from chromium import needs_chromium
from shown_pages import answers, shown

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.xdist_group("pages"),
    needs_chromium,
]
PAPER = 1032
"""The width of A4 on its side without its margins, in CSS pixels."""
PRINTED = (
    "portal:leaderboard", "portal:leaderboard by site", "portal:hospitals", "portal:compare", "portal:submission done",
    "organizers:submissions", "organizers:people", "organizers:operations",
)  # fmt: skip
PATTERNS = """() => [...document.querySelectorAll("[pattern]")].map((field) => {
  try { new RegExp(field.pattern, "v"); return ""; } catch (error) { return `${field.name}: ${error.message}`; }
})"""
CUT = """() => [...document.querySelectorAll("main .scroll")].filter((box) => box.scrollWidth > box.clientWidth + 1)
  .map((box) => `${box.getAttribute("aria-label")}: ${box.scrollWidth} > ${box.clientWidth}`)"""
EMPTY = """() => [...document.querySelectorAll("main .columns")].map((row) => {
  const taken = [...row.children].reduce((sum, column) => sum + (column.innerText.trim() ? column.clientWidth : 0), 0);
  return taken / row.clientWidth;
}).filter((part) => part < .9)"""
"""Rows of columns that leave more than a tenth of their width empty: what stands in them is the part of the width that has words."""
MORPHED = """() => {
  const fold = document.querySelector("details.confirm[open]"), next = fold.cloneNode(true);
  next.removeAttribute("open");
  next.querySelector("p").textContent = "another";
  Idiomorph.morph(fold, next.outerHTML);
  return [fold.open, fold.textContent.includes("another")];
}"""
NOTE_COPIES = """() => {
  window.copied = [];
  document.addEventListener("copy", () => window.copied.push(document.activeElement.value));
}"""


def test_every_pattern_is_understood_and_nothing_is_cut_or_left_empty_on_a_wide_window(client):
    patterns, cut, empty = {}, {}, {}
    for name, tab in shown(answers(client, language="en"), width=1280):
        patterns[name], boxes = tab.evaluate(PATTERNS), tab.evaluate(CUT)
        if boxes:
            cut[name] = boxes
        if parts := tab.evaluate(EMPTY):
            empty[name] = parts
    assert sum(map(len, patterns.values())) > 4
    assert {name: found for name, found in patterns.items() if any(found)} == {}
    assert (cut, empty) == ({}, {})


def test_a_live_update_leaves_open_what_the_reader_has_unfolded(pages):
    html = {name: text for name, text in pages.items() if name == "organizers"}
    for _name, tab in shown(html, width=1280):
        tab.locator("details.confirm > summary").filter(has_text="Cancel").click()
        assert tab.evaluate(MORPHED) == [True, True]


def test_no_table_is_cut_on_paper(client):
    cut, html = {}, answers(client, language="en")
    for name, tab in shown({name: html[name] for name in PRINTED}, width=PAPER):
        tab.emulate_media(media="print")
        if boxes := tab.evaluate(CUT):
            cut[name] = boxes
    assert cut == {}


@pytest.fixture
def pages(client):
    """A submission that runs, and what the next live update of its page brings: it is done."""
    scene = people.scene()
    submission = factories.submission(phase=scene.phase, team=scene.team, status="running", name="nnU-Net")
    run = Run.objects.create(
        submission=submission, number=1, status="running", pool="default", created_at=factories.NOW
    )
    for position, case in enumerate(submission.testset.cases.all()):
        CaseRun.objects.create(run=run, case=case, position=position, status="running", verdict="")
    client.force_login(scene.olga)  # an organizer sees how many cases are done
    page = reverse("organizers:submission", args=["brains", submission.pk])
    before = client.get(page).content.decode()
    client.force_login(scene.pia)
    team_page = client.get(reverse("portal:submission", args=[submission.pk])).content.decode()
    run.case_runs.update(status="done", verdict="ok")
    type(submission).objects.filter(pk=submission.pk).update(status="done", verdict="ok", finished_at=factories.NOW)
    address = reverse("portal:submission-live", args=[submission.pk])
    after = client.get(address).content.decode()
    return {"page": team_page, "organizers": before, address.removeprefix("/"): after}


def test_the_tab_says_what_has_become_of_a_submission(pages):
    for name, tab in shown(pages, width=1280):
        if name == "page":
            assert tab.title().startswith("◑ #")
            expect(tab.locator("#live .chip").first).to_contain_text("done")
            assert tab.title().startswith("✓ #")


def test_what_is_done_has_no_bar_any_more(pages):
    progress = {}
    for name, tab in shown(pages, width=1280):
        progress[name] = tab.locator("#live progress").count()
    assert progress["organizers"] == 1
    assert [count for name, count in progress.items() if name.startswith("s/")] == [0]


def test_copying_works_twice_in_a_row_and_after_a_live_update(pages):
    """The page comes without TLS here, as in many hospitals: such a page has no `navigator.clipboard`."""
    for name, tab in shown(pages, width=1280):
        if name != "page":
            continue
        tab.evaluate(NOTE_COPIES)
        button = tab.locator("[data-copy]")
        text = button.get_attribute("data-copy")
        expect(tab.locator("#live .chip").first).to_contain_text("done")
        expect(button).to_be_visible()
        button.click()
        expect(button).to_have_text("Copied")
        button.click()
        expect(button).to_have_text("Copy")
        assert tab.evaluate("window.copied") == [text, text]
        assert tab.evaluate("window.isSecureContext") is False
