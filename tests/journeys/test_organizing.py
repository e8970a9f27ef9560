"""An organizer without a shell: from nothing to final results of two phases, and the same images again next year.

Everything Olga does is a click, once. What was clicked in the first phase is called by name in the second, and what participants do is shown
by click for Ada alone: each page costs seconds. Boards are read as everybody's table (`?format=json`). Pages come from Django's own
server in this process, the workers' part is called by name, and the engine is scripted: what each image answers stands in `ANSWERS`. Time
passes as organizers make it pass: they move a date. A week of review passes by making what was released a week older.
"""

import re
import zipfile
from datetime import timedelta
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone
from matplotlib.image import imsave
from playwright.sync_api import Page, expect

import factories
import image_archives
import installation
from assay.accounts.models import Team, User
from assay.challenges.models import Challenge, Phase
from assay.challenges.teams import team_of_organizers
from assay.runs.nodes import enrol_node
from assay.submissions.models import AlgorithmImage, Submission
from assay.workflow.flow.self_testing import ask_self_test
from assay.workflow.workers import reaper
from browsing import IN_PROCESS, colours_in, confirm
from chromium import picture_of
from containers.engines.fake import FakeCall, FakeEnding
from stage import Stage

pytestmark = IN_PROCESS
CHALLENGE = "/c/lungs/"
DESK = f"{CHALLENGE}manage/"


def shifted(labels: np.ndarray) -> np.ndarray:
    """One voxel too far along the first axis: much of it is wrong, and nowhere by more than 1.5 mm."""
    return np.roll(labels, 1, axis=0)


def specked(labels: np.ndarray) -> np.ndarray:
    """Right, and besides a few single voxels far away: hardly any volume, much surface."""
    answer = labels.copy()
    answer[15, 1:15:2, 11] = 1
    answer[13, 1:15:2, 11] = 2
    return answer


ANSWERS = {"Ada": specked, "Bob": shifted, "Olga": np.zeros_like}
"""What the images of a person's team answer. Cleo's crash."""


def answer(call: FakeCall) -> FakeEnding:
    """The algorithm of whoever entered this image."""
    image = AlgorithmImage.objects.filter(image_id=call.image_id).select_related("team").latest("created_at")
    name = image.submissions.latest("created_at").submitted_by.display_name
    if name not in ANSWERS:
        return FakeEnding(exit_code=3)
    scan = nib.load(call.input_dir / "image.nii.gz")
    labels = np.asarray(scan.dataobj).astype(np.uint8)
    nib.save(nib.Nifti1Image(ANSWERS[name](labels), scan.affine), call.output_dir / "segmentation.nii.gz")
    return FakeEnding()


@pytest.fixture
def stage(browser, settings, tmp_path) -> Stage:
    """A node, and the hand that moves what workers do."""
    settings.HEARTBEAT_SECONDS, settings.LEASE_SECONDS = 3600, 7200
    operator = User.objects.create_superuser("stan", "stan@example.org", "x")
    node, token = enrol_node(name="node-1", pool="default", slots=1, by=operator, now=timezone.now())
    return Stage(folder=tmp_path, node=node, token=token, script=answer)


def zipped_cases(folder: Path, *, first: int, cases: int = 4) -> Path:
    """A test set as somebody packs it by hand: each scan is its own reference."""
    folder.mkdir()
    lines = ["case_id,input:image,reference,site"]
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(first, first + cases):
            name = f"case{number}.nii.gz"
            nib.save(nib.Nifti1Image(installation.label_map(number), np.diag([1.5, 1.5, 3, 1])), folder / name)
            archive.write(folder / name, name)
            lines.append(f"case{number},{name},{name},{'AB'[number % 2]}")
        archive.writestr("manifest.csv", "\n".join(lines) + "\n")
    return target


def image_of(name: str, folder: Path) -> Path:
    """A `docker save` that differs from everybody else's."""
    layer = image_archives.tar_of(
        image_archives.folder("app"),
        image_archives.entry("app/run.sh", image_archives.PAYLOAD + f"# {name}\n".encode()),
        image_archives.entry("bin/sh", b"\x7fELF"),
    )
    return image_archives.docker_save(folder / f"{name}.tar", layer)


def minutes_from_now(minutes: float) -> str:
    """A moment as the desk's forms take it."""
    return f"{timezone.now() + timedelta(minutes=minutes):%Y-%m-%d %H:%M}"


def save(olga: Page) -> None:
    olga.get_by_role("button", name="Save", exact=True).click()
    expect(olga.get_by_text(re.compile(r"Saved: \d+ change"))).to_be_visible()


def change_phase(olga: Page, phase: str, **values: str) -> None:
    """Edit a phase by click. Keys are the words of its fields, with underscores."""
    olga.goto(f"{DESK}p/{phase}/edit/")
    for label, value in values.items():
        field = olga.get_by_label(label.replace("_", " "), exact=True)
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    save(olga)


def add_testset(olga: Page, archive: Path, *, name: str, phase: str) -> None:
    olga.goto(f"{DESK}testsets/")
    olga.get_by_label("Name", exact=True).fill(name)
    form = olga.locator("form[data-purpose=testset]")
    form.get_by_label("Use it in").select_option(phase)
    olga.get_by_label("Archive").set_input_files(archive)
    olga.get_by_role("button", name="Add and check").click()
    expect(olga.get_by_text(f"{name} version 1")).to_be_visible()


def participant(name: str) -> Team:
    """Somebody with an account who takes part: how that is clicked is in `test_people.py`."""
    person = factories.user(username=name, display_name=name.title())
    return factories.team(name=name, members=[person])


def stand_in(phase: str, team: Team, *, name: str) -> Submission:
    """A submission as `enter` leaves one, without its clicks."""
    row = Phase.objects.get(challenge__slug="lungs", slug=phase)
    return factories.submission(phase=row, team=team, name=name, created_at=timezone.now())


def begin(olga: Page, look) -> None:
    """A challenge of nothing but answers in a form, and its texts."""
    olga.goto("/organize/")
    olga.get_by_text("Start from a form").click()
    olga.get_by_label("Title").fill("Lungs")
    olga.get_by_label("Short name in addresses").fill("lungs")
    olga.get_by_label("Labels").fill("core = 1, 1\nrim = 2, 1")
    look(olga, "organize-01-form")
    olga.get_by_role("button", name="Make the challenge file").click()
    olga.get_by_role("button", name="Check").click()
    expect(olga.get_by_text("Applying will change")).to_be_visible()
    olga.get_by_role("button", name="Apply").click()
    expect(olga.get_by_role("heading", level=1)).to_contain_text("Manage Lungs")
    look(olga, "organize-02-overview")
    olga.get_by_role("link", name="Texts", exact=True).click()
    olga.get_by_label("Summary").fill("Both lobes, in one breath.")
    olga.get_by_label("Description").fill("# Why\n\nBecause **lungs**.")
    olga.get_by_label("Rules").fill("One team per person.")
    olga.get_by_label("Contact").fill("olga@example.org")
    olga.get_by_label("Time zone").fill("Mars")
    olga.get_by_role("button", name="Save", exact=True).click()
    expect(olga.get_by_text("Found: Mars")).to_be_visible()  # at its field, and nothing typed is lost
    expect(olga.get_by_label("Rules")).to_have_value("One team per person.")
    look(olga, "organize-03-wrong-zone")
    olga.get_by_label("Time zone").fill("UTC")
    save(olga)


def plan_two_phases(olga: Page, look) -> None:
    """The first gates the second, and the best carry over."""
    change_phase(olga, "main", Title="Preliminary", Submissions_per_team_and_window="2")
    olga.goto(f"{DESK}phases/new/")
    olga.get_by_label("Short name in addresses").fill("final")
    olga.get_by_label("Title").fill("Final")
    olga.get_by_label("Opens").fill(minutes_from_now(-30 * 24 * 60))
    olga.get_by_label("Closes").fill(minutes_from_now(60 * 24 * 60))
    olga.get_by_role("button", name="Save", exact=True).click()
    expect(olga.get_by_role("heading", name="Final", exact=True)).to_be_visible()
    olga.get_by_label("Comes after", exact=True).select_option("main")
    olga.get_by_label("Entered of the phase before").select_option("best")
    olga.get_by_label("Days in which teams may object").fill("7")
    olga.get_by_label("Under embargo").check()
    olga.get_by_label("the leaderboard", exact=True).check()
    olga.get_by_label("single cases").check()
    olga.get_by_role("button", name="Check").click()
    expect(olga.get_by_text("Saving will change")).to_be_visible()
    look(olga, "organize-04-final-phase")
    save(olga)


def choose_rules(olga: Page, look) -> None:
    """Metrics and ranking by click. The sample table follows."""
    olga.goto(f"{DESK}p/main/rules/")
    before = olga.locator("#preview").inner_text()
    olga.get_by_role("checkbox", name="HD95", exact=True).check()
    expect(olga.locator("#preview")).not_to_have_text(before)
    olga.get_by_label("Ranked").select_option("value")
    expect(olga.locator("#preview")).not_to_contain_text("take the mean of the ranks")
    look(olga, "organize-05-rules")
    save(olga)


def rehearse(olga: Page, stage: Stage, look, *, phase: str) -> None:
    """The self-test and a baseline. Both stand on the list of what has to be ready."""
    olga.goto(f"{DESK}p/{phase}/trial/")
    olga.get_by_role("button", name="Run the self-test").click()
    expect(olga.get_by_text("A scoring worker is at it")).to_be_visible()
    stage.self_test()
    olga.reload()
    expect(olga.get_by_role("heading", name="Self-test passed")).to_be_visible()
    olga.get_by_label("Algorithm name").fill("Nothing")
    olga.get_by_label("Archive of the image").set_input_files(image_of(f"olga-{phase}", stage.folder))
    olga.get_by_role("button", name="Enter the baseline").click()
    expect(olga.get_by_role("link", name="Nothing")).to_be_visible()
    stage.play()
    olga.reload()
    look(olga, "organize-06-rehearsed")


def rehearse_by_name(stage: Stage, *, phase: str) -> None:
    """What `rehearse` clicks."""
    row, olga = Phase.objects.get(challenge__slug="lungs", slug=phase), User.objects.get(username="olga")
    ask_self_test(phase=row, user=olga, now=timezone.now())
    stage.self_test()
    team = team_of_organizers(row.challenge, now=timezone.now())
    factories.submission(phase=row, team=team, user=olga, name="Nothing", is_baseline=True)
    stage.play()


def publish(olga: Page, look) -> None:
    olga.goto(DESK)
    look(olga, "organize-07-ready")
    confirm(olga, "Publish", "Publish the challenge")
    expect(olga.get_by_role("heading", level=1)).to_contain_text("published")


def enter(page: Page, name: str, folder: Path) -> None:
    """Join, and submit an image."""
    page.goto(CHALLENGE)
    page.get_by_role("button", name="Join this challenge").click()
    page.goto(f"{CHALLENGE}p/main/submit/")
    page.get_by_label("Algorithm name").fill(f"{name} net")
    page.locator("#id_archive").set_input_files(image_of(name, folder))
    page.get_by_role("main").get_by_role("button", name="Submit", exact=True).click()
    expect(page.get_by_role("heading", name=f"{name} net")).to_be_visible()


def write_to_those_who_failed(olga: Page, cleo: Page, look) -> None:
    olga.goto(f"{DESK}messages/")
    olga.get_by_label("To", exact=True).select_option(label="Preliminary: teams whose last submission failed")
    olga.get_by_label("Title").fill("Your image crashed")
    olga.get_by_label("Text (Markdown)").fill("Look at *exit code 3*.")
    olga.get_by_role("button", name="Preview").click()
    expect(olga.get_by_text("Goes to 1 person.")).to_be_visible()
    look(olga, "organize-08-message")
    olga.get_by_role("button", name="Send to 1 person").click()
    expect(olga.get_by_role("heading", name="Your image crashed")).to_be_visible()
    cleo.goto("/notices/")
    expect(cleo.get_by_role("main")).to_contain_text("Your image crashed")


def ranks_on(name: str, phase: str) -> list[str]:
    """Teams with a rank, best first, as this person reads the board."""
    client = Client()
    client.force_login(User.objects.get(username=name))
    rows = client.get(f"{CHALLENGE}p/{phase}/leaderboard/?format=json").json()
    return [row["team"].title() for row in rows if row["rank"] is not None]


def freeze(olga: Page, ada: Page, bobs: Team, stage: Stage, look) -> None:
    """From now on the board stands still for participants. What comes after is scored, and organizers see it."""
    change_phase(
        olga, "main", Closes=minutes_from_now(60), Frozen_so_many_hours_before_closing="2", Opens=minutes_from_now(-9e3)
    )
    stage.rank()
    before = ranks_on("ada", "main")
    stand_in("main", bobs, name="Bob late")
    stage.play()
    assert ranks_on("ada", "main") == before
    assert sorted(ranks_on("olga", "main")) == ["Ada", "Bob"]
    ada.goto(f"{CHALLENGE}p/main/leaderboard/")
    expect(ada.get_by_role("main")).to_contain_text("Frozen since")
    expect(ada.get_by_role("main")).not_to_contain_text("Bob late")
    look(ada, "organize-09-frozen")


def pass_on(olga: Page, stage: Stage) -> None:
    """The first phase ends. The best of each team are entered in the second by themselves."""
    change_phase(olga, "main", Closes=minutes_from_now(-1), Frozen_so_many_hours_before_closing="")
    reaper.reap(now=timezone.now())
    stage.play()
    entered = Submission.objects.filter(phase__slug="final", is_baseline=False).values_list("team__name", "status")
    assert sorted(status for _team, status in entered) == ["done", "done"]


def end_the_final(olga: Page, ada: Page, stage: Stage, look) -> None:
    """It closes, its embargo and its results are released, and teams may object for a week."""
    change_phase(olga, "final", Closes=minutes_from_now(-1))
    olga.goto(DESK)
    confirm(olga, "End the embargo", "Publish the results")
    olga.goto(f"{DESK}p/final/after/")
    confirm(olga, "Release", "Release the results")
    expect(olga.get_by_text("Review ends")).to_be_visible()
    stage.rank()
    ada.goto(f"{CHALLENGE}p/final/leaderboard/")
    expect(ada.get_by_role("main")).to_contain_text("Provisional: teams may object")


def object_and_answer(olga: Page, bob: Page, look) -> None:
    bob.goto(f"{CHALLENGE}p/final/")
    bob.get_by_label("Object for your team").fill("The surface decides for surgeons, not the volume.")
    look(bob, "organize-10-objection")
    bob.get_by_role("button", name="Object", exact=True).click()
    expect(bob.get_by_text("Your objection is with the organizers")).to_be_visible()
    olga.goto(f"{DESK}p/final/after/")
    olga.get_by_label("Your answer; the team reads it").fill("Agreed: the surface decides.")
    look(olga, "organize-11-review")
    olga.get_by_role("button", name="Uphold").click()
    expect(olga.get_by_text("Answered. Its team reads it")).to_be_visible()
    confirm(olga, "End the review", "Make the results final")  # the week is not over
    expect(olga.get_by_text("cannot be final yet")).to_be_visible()
    bob.reload()
    expect(bob.get_by_text("Agreed: the surface decides.")).to_be_visible()


def look_at_a_case(olga: Page, look) -> None:
    """Scan, reference, prediction and errors, drawn by WebGL in the processor."""
    olga.goto(f"{DESK}submissions/?phase=final")
    olga.get_by_role("link", name="ada").first.click()
    olga.get_by_role("link", name="case11").first.click()
    olga.get_by_role("button", name="Show the volumes").click()
    olga.locator("canvas[data-ready]").wait_for()
    assert colours_in(picture_of(olga.locator("#viewer"))) > 3, "the viewer shows nothing"
    look(olga, "organize-20-case")


def score_again(olga: Page, stage: Stage, look) -> None:
    """Other rules, a look at whose rank moves, and one act that lets them count."""
    olga.goto(f"{DESK}p/final/rules/")
    olga.get_by_role("checkbox", name="Dice", exact=True).uncheck()
    olga.get_by_label("Ranked").select_option("value")
    for label in ("core", "rim"):
        olga.get_by_label(f"{label}: tolerance in mm").fill("2")
    save(olga)
    olga.goto(f"{DESK}p/final/rejudge/")
    olga.get_by_role("button", name="Score again").click()
    expect(olga.get_by_text("being scored").first).to_be_visible()
    stage.score()
    olga.goto(f"{DESK}p/final/rejudge/")
    expect(olga.get_by_text("2 of 2 would change rank")).to_be_visible()
    look(olga, "organize-12-rejudge")
    confirm(olga, "Use the new scores", "Let the new scores count")
    stage.rank()
    assert ranks_on("olga", "final") == ["Bob", "Ada"]


def disqualify_and_undo(olga: Page, stage: Stage, look) -> None:
    olga.goto(f"{DESK}submissions/?phase=final")
    olga.get_by_role("link", name="bob").first.click()
    olga.get_by_label("Reason, shown to everybody below the ranking").fill("too good")
    olga.get_by_role("button", name="Disqualify").click()
    expect(olga.get_by_text("too good").first).to_be_visible()
    stage.rank()
    assert ranks_on("olga", "final") == ["Ada"]
    olga.go_back()
    olga.reload()
    look(olga, "organize-13-disqualified")
    olga.get_by_role("button", name="Reinstate it").click()
    expect(olga.get_by_role("button", name="Disqualify")).to_be_visible()
    stage.rank()
    assert ranks_on("olga", "final") == ["Bob", "Ada"]


def end_the_review(olga: Page, ada: Page, look) -> None:
    """A week later every objection has its answer. Olga makes the results final, and a board without a reserve is what everybody reads."""
    week = timedelta(days=8)
    Phase.objects.filter(slug="final").update(closes_at=F("closes_at") - week, released_at=F("released_at") - week)
    olga.goto(f"{DESK}p/final/after/")
    confirm(olga, "End the review", "Make the results final")
    ada.goto(f"{CHALLENGE}p/final/leaderboard/")
    expect(ada.get_by_role("main")).to_contain_text("Final since")
    expect(ada.get_by_role("main")).not_to_contain_text("Provisional")
    look(ada, "organize-21-final")


def next_year(olga: Page, stage: Stage, cases: Path, look) -> None:
    """A new phase on new cases takes the archived images of the final in one act."""
    olga.goto(f"{DESK}phases/new/")
    olga.get_by_label("Short name in addresses").fill("next-year")
    olga.get_by_label("Title").fill("Next year")
    olga.get_by_label("Opens").fill(minutes_from_now(-5))
    olga.get_by_label("Closes").fill(minutes_from_now(60 * 24 * 365))
    olga.get_by_role("button", name="Save", exact=True).click()
    expect(olga.get_by_role("heading", name="Next year", exact=True)).to_be_visible()
    add_testset(olga, cases, name="new", phase="next-year")
    olga.goto(f"{DESK}p/next-year/after/")
    olga.get_by_label("Images of").select_option("lungs/final")
    olga.get_by_role("button", name="Look first").click()
    expect(olga.get_by_text("2 can run.")).to_be_visible()
    look(olga, "organize-14-rerun")
    olga.get_by_role("button", name="Run 2 images").click()
    expect(olga.get_by_text("2 images run again.")).to_be_visible()
    stage.play()
    assert ranks_on("olga", "next-year") == ["Bob", "Ada"]


def talk(olga: Page, ada: Page, look) -> None:
    """A topic on the challenge's board, an answer, and a page that keeps it for everybody."""
    ada.goto(f"{CHALLENGE}discussion/")
    ada.get_by_label("Title", exact=True).fill("Which surface?")
    ada.get_by_label("Text (Markdown)").fill("Is it *both* lobes?")
    ada.get_by_role("button", name="Open the topic").click()
    expect(ada.get_by_role("heading", name="Which surface?")).to_be_visible()
    olga.goto(f"{CHALLENGE}discussion/")
    olga.get_by_role("link", name="Which surface?").click()
    olga.get_by_label("Your post (Markdown)").fill("Both, see the FAQ.")
    olga.get_by_role("button", name="Write", exact=True).click()
    expect(olga.get_by_role("paragraph").filter(has_text="Both, see the FAQ.")).to_be_visible()
    look(olga, "organize-15-topic")


def dress_up(olga: Page, folder: Path, look) -> None:
    """A picture, a page that shows it, and a logo."""
    drawn = np.zeros((60, 240, 3), np.uint8)
    drawn[:, :120], drawn[:, 120:] = (30, 90, 160), (220, 230, 240)
    imsave(folder / "lobes.png", drawn)
    olga.goto(f"{DESK}pages/")
    olga.get_by_label("Name", exact=True).fill("lobes")
    olga.get_by_label("Picture").set_input_files(folder / "lobes.png")
    olga.get_by_role("button", name="Add the picture").click()
    expect(olga.get_by_role("img", name="lobes")).to_be_visible()
    olga.get_by_role("button", name="Add a page").click()
    olga.get_by_label("Title").fill("FAQ")
    olga.get_by_label("Short name in addresses").fill("faq")
    olga.get_by_label("Text").fill("## Which lobes?\n\nBoth.\n\n![Both lobes](picture:lobes)")
    save(olga)
    olga.get_by_role("link", name="Pages", exact=True).click()
    look(olga, "organize-16-pages")
    olga.get_by_role("link", name="Texts", exact=True).click()
    olga.get_by_label("Logo").select_option("lobes")
    olga.get_by_label("Banner").select_option("lobes")
    olga.get_by_label("Sponsors").fill("Ministry of Lungs | https://example.org | lobes\nA friend")
    save(olga)
    olga.goto(f"{CHALLENGE}pages/faq/")
    shown = olga.get_by_role("img", name="Both lobes")
    expect(shown).to_be_visible()
    assert shown.evaluate("picture => picture.naturalWidth") == 240
    look(olga, "organize-17-page")
    olga.goto(CHALLENGE)
    look(olga, "organize-18-challenge")


def test_an_organizer_without_a_shell_runs_two_phases_and_next_years(open_as, stage, look, tmp_path):
    olga = open_as("olga")
    begin(olga, look)
    dress_up(olga, tmp_path, look)
    plan_two_phases(olga, look)
    choose_rules(olga, look)
    first = zipped_cases(tmp_path / "first", first=1)
    add_testset(olga, first, name="hidden", phase="main")
    add_testset(olga, zipped_cases(tmp_path / "second", first=11), name="secret", phase="final")
    look(olga, "organize-05-testsets")
    rehearse(olga, stage, look, phase="main")
    rehearse_by_name(stage, phase="final")
    publish(olga, look)
    teams = {name: participant(name) for name in ("ada", "bob", "cleo")}
    ada = open_as("ada")
    enter(ada, "ada", tmp_path)
    for name in ("bob", "cleo"):
        person = User.objects.get(username=name)
        factories.membership(challenge=Challenge.objects.get(slug="lungs"), user=person, team=teams[name])
        stand_in("main", teams[name], name=f"{name} net")
    stage.play()
    assert ranks_on("ada", "main") == ["Ada", "Bob"]
    talk(olga, ada, look)
    bob, cleo = open_as("bob"), open_as("cleo")
    write_to_those_who_failed(olga, cleo, look)
    freeze(olga, ada, teams["bob"], stage, look)
    pass_on(olga, stage)
    cleo.goto(f"{CHALLENGE}p/final/")
    expect(cleo.get_by_role("main")).to_contain_text("Preliminary")
    assert ranks_on("ada", "final") == []  # under embargo
    assert ranks_on("olga", "final") == ["Ada", "Bob"]
    end_the_final(olga, ada, stage, look)
    assert ranks_on("bob", "final") == ["Ada", "Bob"]
    object_and_answer(olga, bob, look)
    look_at_a_case(olga, look)
    score_again(olga, stage, look)
    disqualify_and_undo(olga, stage, look)
    assert ranks_on("cleo", "final") == ["Bob", "Ada"]  # released: everybody sees it
    end_the_review(olga, ada, look)
    next_year(olga, stage, zipped_cases(tmp_path / "third", first=21), look)
    olga.goto(f"{DESK}costs/")
    look(olga, "organize-19-costs")
    olga.goto(f"{DESK}export/")
    with olga.expect_download() as download:
        olga.get_by_role("button", name="Download the zip").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert {"challenge.yaml", "leaderboards/next-year.csv"} <= set(archive.namelist())
