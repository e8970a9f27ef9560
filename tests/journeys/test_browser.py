"""Two people and a browser: Olga makes a challenge in the console, Pia submits an image and sees her row on the leaderboard."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import installation
from browsing import colours_in, confirm
from chromium import needs_chromium, picture_of, running_chromium
from waits import HANGS_AFTER_SECONDS

pytestmark = [
    pytest.mark.browser, pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("installation"), needs_chromium,
]  # fmt: skip
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def browser():
    with running_chromium(draws_volumes=True) as running:
        yield running


@pytest.fixture
def open_page(browser, address):
    contexts = []

    def open_as(name: str) -> Page:
        expect.set_options(timeout=HANGS_AFTER_SECONDS * 1000)
        context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 900})
        context.set_default_timeout(HANGS_AFTER_SECONDS * 1000)
        contexts.append(context)
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.faults = faults
        page.goto("/signup/")
        page.get_by_label("User name").fill(name)
        page.get_by_label("Name others see").fill(name.title())
        page.get_by_label("E-mail").fill(f"{name}@example.org")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("main").get_by_role("button", name="Sign up").click()
        expect(page.get_by_role("link", name=name.title())).to_be_visible()
        return page

    yield open_as
    for context in contexts:
        context.close()


def make_challenge(olga: Page, folder: Path) -> None:
    olga.goto("/organize/")
    olga.get_by_text("Push a challenge file").click()
    olga.get_by_label("challenge.yaml").fill(installation.CHALLENGE)
    olga.get_by_role("button", name="Check").click()
    expect(olga.get_by_text("Applying will change")).to_be_visible()
    olga.get_by_role("button", name="Apply").click()
    expect(olga.get_by_role("heading", level=1)).to_contain_text("Manage Copy the scan")
    olga.get_by_role("link", name="Test sets").click()
    archive = installation.tar_folder(installation.write_testset(folder / "cases"))
    olga.get_by_label("Name", exact=True).fill("hidden")
    olga.get_by_label("Archive").set_input_files(archive)
    olga.get_by_role("button", name="Add and check").click()
    expect(olga.get_by_text("hidden version 1")).to_be_visible()
    olga.get_by_role("link", name="Overview").click()
    olga.get_by_role("button", name="Self-test and baseline").click()
    olga.get_by_role("button", name="Run the self-test").click()
    expect(olga.get_by_role("heading", name="Self-test passed")).to_be_visible()
    olga.get_by_role("link", name="Overview").click()
    olga.locator("details.confirm > summary", has_text="Publish").first.click()
    olga.get_by_label("type copycat").fill("copycat")  # without a baseline
    olga.get_by_role("button", name="Publish the challenge").click()
    if olga.locator("summary", has_text="End the embargo").is_visible():
        confirm(olga, "End the embargo", "Publish the results")
    expect(olga.get_by_text("shown to everyone")).to_be_visible()


def test_from_an_empty_installation_to_a_row_on_the_leaderboard(open_page, tmp_path):
    olga = open_page("olga")
    make_challenge(olga, tmp_path)

    pia = open_page("pia")
    pia.goto("/c/copycat/")
    pia.get_by_role("button", name="Join this challenge").click()
    pia.get_by_role("button", name="Submit to Main phase").or_(
        pia.get_by_role("link", name="Submit to Main phase")
    ).click()
    pia.get_by_label("Algorithm name").fill("Copier")
    pia.locator("#id_archive").set_input_files(installation.copying_image(tmp_path))
    pia.get_by_role("main").get_by_role("button", name="Submit", exact=True).click()
    expect(pia.get_by_role("heading", name="#1 Copier")).to_be_visible()
    expect(pia.get_by_text("3 of 3 cases done")).to_be_visible()
    expect(pia.locator("#live .chip").first).to_contain_text("done")
    expect(pia.get_by_role("row", name="All structures")).to_contain_text("1.000")

    pia.goto("/c/copycat/p/main/leaderboard/")
    row = pia.get_by_role("row", name="Pia")
    expect(row).to_contain_text("Copier")
    expect(row).to_contain_text("1.000")
    expect(row).to_contain_text("you")
    assert pia.faults == []
    assert olga.faults == []

    olga.goto("/c/copycat/manage/p/main/rejudge/")
    olga.get_by_role("button", name="Score again").click()
    expect(olga.get_by_text("1 submission is being scored again")).to_be_visible()
    activate = olga.locator("summary", has_text="Use the new scores")
    while not activate.count():  # a worker scores; pytest's own time-out ends a hang
        olga.wait_for_timeout(300)
        olga.goto("/c/copycat/manage/p/main/rejudge/")
    expect(olga.get_by_text("No rank would change")).to_be_visible()
    confirm(olga, "Use the new scores", "Let the new scores count")
    expect(olga.get_by_text("1 evaluation is ranking now")).to_be_visible()

    olga.goto("/c/copycat/manage/submissions/")
    olga.get_by_role("link", name="#1 Copier").click()
    olga.get_by_role("link", name="case0").click()
    olga.get_by_role("button", name="Show the volumes").click()
    olga.locator("canvas[data-ready]").wait_for()
    assert colours_in(picture_of(olga.locator("#viewer"))) > 3, "the viewer shows nothing"
    olga.go_back()
    olga.get_by_label("Reason, shown to everybody below the ranking").fill("it only copies")
    olga.get_by_role("button", name="Disqualify").click()
    expect(olga.get_by_text("it only copies").first).to_be_visible()
    board_page = "/c/copycat/p/main/leaderboard/"
    pia.goto(board_page)
    while pia.get_by_role(
        "row", name="Pia"
    ).count():  # the ranking is rebuilt by a worker; pytest's own time-out ends a hang
        pia.wait_for_timeout(200)
        pia.goto(board_page)
    expect(pia.get_by_role("main")).to_contain_text("Nobody is on this leaderboard")
