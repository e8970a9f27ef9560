"""The review page in a browser: from the printed address to a case's pictures and back to a decision, on wide, narrow and dark windows."""

import threading

import numpy as np
import pytest
from playwright.sync_api import expect

from assay.node.review_page import ReviewServer, Waiting
from assay.node.review_sheet import sheet_of
from assay.node.review_slices import CaseFiles, CaseSlices
from browsing import PATIENCE, colours_in, keep_pictures
from chromium import needs_chromium, picture_of, running_chromium
from evaluator.volumes import Grid, Volume, write_canonical
from waits import until

pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_chromium]
KEY = "6d3f0c52-0000-4000-8000-000000000001"
METRICS = {"dice": {"mean": 0.8512, "sd": 0.0701, "n": 12}, "hd95": {"mean": 4.2, "sd": 1.1, "n": 12}}
EVERY_PICTURE_IS_THERE = "[...document.images].every((image) => image.complete && image.naturalWidth > 0)"
SHAPE, SPACING = (80, 96, 40), (1.5, 1.5, 3.0)


class Desk:
    """One result of twelve cases. The pictures are those of a phantom."""

    title = "St Mary: what waits to leave"
    reviewers = 1

    def __init__(self, folder) -> None:
        self.decided = []
        x, y, z = np.meshgrid(*(np.linspace(-1, 1, length) for length in SHAPE), indexing="ij")
        body, organ = x**2 + y**2 + (z / 1.2) ** 2 < 0.8, (x - 0.3) ** 2 + y**2 + z**2 < 0.1
        noise = np.random.default_rng(1).normal(0, 20, SHAPE)
        self._scan = self._write(folder / "scan.nii.gz", (300 * body + 200 * organ + noise).astype(np.int16))
        self._reference = self._write(folder / "reference.nii.gz", organ.astype(np.uint8))
        self._answer = self._write(folder / "answer.nii.gz", np.roll(organ, 5, axis=1).astype(np.uint8))

    def _write(self, path, array):
        affine = np.diag([*SPACING, 1.0]).tolist()
        grid = Grid.from_json({"shape": SHAPE, "spacing_mm": SPACING, "affine": affine})
        write_canonical(Volume(array=array, grid=grid), path)
        return path

    def waiting(self):
        return [Waiting(key=KEY, submission="#3", case_count=12, failed=1, is_held=False)]

    def sheet(self, key):
        cases = [
            {"case": f"anon-{n:03d}", "verdict": "ok" if n else "timeout", "reason": "", "scores": scores(n)}
            for n in range(12)
        ]
        leaves = {"metrics": METRICS, "failures": {"timeout": None}, "submission": "#3", "data_root": "5f0c" * 16}
        sheet = sheet_of(leaves, withheld=("dice.sex.F",), cases=cases, last=None, releases_before=2)
        return ("#3", sheet) if key == KEY else None

    def slices(self, key, *, place, input_name):
        predictions = {"segmentation.nii.gz": self._answer} if place else {}
        files = CaseFiles(
            case_id=f"anon-{place:03d}",
            inputs={"ct": self._scan},
            references={"reference": self._reference},
            predictions=predictions,
            is_last=place == 11,
        )
        return CaseSlices(files, input_name=input_name)

    def decide(self, key, *, action, reason, by=""):
        self.decided.append((key, action, reason))
        return "Submission #3 is rejected. The organizers were told why."


def scores(number):
    return [["liver", "dice", 0.9 - number / 100, ""], ["liver", "hd95", 3.0 + number / 10, ""]] if number else []


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture
def server(desk):
    made = ReviewServer(desk=desk)
    thread = threading.Thread(target=made.serve)
    thread.start()
    yield made
    made.stop()
    thread.join()


@pytest.fixture
def page(server):
    with running_chromium() as browser:
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.set_default_timeout(PATIENCE)
        opened.goto(server.address)
        yield opened


def looks_right(page, *, name, folder):
    """Nothing runs over the edge of a telephone's window, and every picture is there."""
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1280, "height": 900})
    until(lambda: page.evaluate(EVERY_PICTURE_IS_THERE))
    if folder:
        keep_pictures(page, folder=folder, name=name)


def test_a_reviewer_looks_at_a_case_and_decides(page, desk, server, request):
    folder = request.config.getoption("--pictures", default=None)
    said = []
    page.on("console", lambda message: said.append(message.text))
    expect(page).to_have_url(f"http://127.0.0.1:{server.port}/")
    looks_right(page, name="review-list", folder=folder)
    page.get_by_role("link", name="Submission #3").click()
    expect(page.get_by_text("Exactly this would leave")).to_be_visible()
    looks_right(page, name="review-draft", folder=folder)
    page.get_by_role("link", name="anon-001").click()
    expect(page.get_by_role("img")).to_have_count(3)
    looks_right(page, name="review-case", folder=folder)
    pictures = [picture_of(page.get_by_role("img").nth(number)) for number in range(3)]
    assert min(map(colours_in, pictures)) > 50
    assert len(set(pictures)) == 3
    first = page.get_by_text("Slice", exact=False).first.inner_text()
    page.get_by_role("link", name="one on").click()
    expect(page.get_by_text("Slice", exact=False).first).not_to_have_text(first)
    page.get_by_role("link", name="coronal").click()
    expect(page.get_by_text("of 96")).to_be_visible()
    page.get_by_label("Go to slice").fill("8")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_text("Slice 8 of 96")).to_be_visible()
    page.get_by_role("link", name="The result").click()
    page.get_by_role("link", name="anon-000").click()
    expect(page.get_by_text("There is no prediction of this case.")).to_be_visible()
    looks_right(page, name="review-failed-case", folder=folder)
    page.get_by_role("link", name="The result").click()
    page.get_by_label("Reason").fill("motion artefacts")
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_role("status")).to_contain_text("is rejected")
    assert desk.decided == [(KEY, "reject", "motion artefacts")]
    assert said == [], "the page's own policy refused something"
