"""The pictures of the documentation are those that `make screenshots` takes, and all of them are used."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "docs"
NAMED = re.compile(r"!\[(?P<words>[^\]]*)\]\((?:\.\./)+screenshots/(?P<name>[\w-]+)\.png\)")
MOST_BYTES = 2_000_000


@pytest.fixture
def pictures(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "site"))
    from screenshots import PICTURES

    return PICTURES


def named_in_pages() -> dict[str, list[str]]:
    """Picture → what its pages say to those who do not see it."""
    found: dict[str, list[str]] = {}
    for page in DOCS.rglob("*.md"):
        for match in NAMED.finditer(page.read_text()):
            found.setdefault(match["name"], []).append(match["words"])
    return found


def test_each_picture_that_a_page_names_is_taken_by_the_program_and_each_taken_one_is_named(pictures):
    names = [picture.name for picture in pictures]
    assert len(names) > 10
    assert len(set(names)) == len(names)
    assert set(named_in_pages()) == set(names)
    assert {path.stem for path in (DOCS / "screenshots").iterdir()} == set(names)


def test_each_picture_says_in_words_what_it_shows():
    assert [name for name, words in named_in_pages().items() if min(map(len, words)) < 20] == []


def test_the_pictures_are_small_and_as_large_as_the_program_takes_them(pictures):
    files = {picture.name: DOCS / "screenshots" / f"{picture.name}.png" for picture in pictures}
    assert sum(path.stat().st_size for path in files.values()) < MOST_BYTES
    for picture in pictures:
        with Image.open(files[picture.name]) as image:
            assert image.size == (1100, picture.height), picture.name


def test_without_a_filled_installation_the_program_says_how_to_fill_one(tmp_path):
    command = [sys.executable, str(DOCS / "site" / "screenshots.py"), "--home", str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=DOCS.parent)
    assert finished.returncode == 1
    assert "make demo ARGS=--exit" in finished.stderr
