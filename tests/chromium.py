"""Chromium for tests: how it is started, where it is missing, and pictures of what it shows."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Error, Locator, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
FLAGS = ("--no-sandbox", "--disable-background-networking")
WITHOUT_GPU = "--disable-gpu"
WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
MOST_PICTURES = 5
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium (apt-get install chromium)")


@contextmanager
def running_chromium(*, draws_volumes: bool = False) -> Iterator[Browser]:
    """A browser without a window. `draws_volumes`: with WebGL, which the viewer of volumes needs."""
    with sync_playwright() as playwright:
        flags = [*FLAGS, *(WEBGL if draws_volumes else [WITHOUT_GPU])]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


def picture_of(shown: Page | Locator) -> bytes:
    """PNG of what is shown. Chromium gives no picture where a busy machine draws no frame in time, so it is asked again."""
    for _ in range(MOST_PICTURES - 1):
        try:
            return shown.screenshot()
        except Error as error:
            if "Unable to capture screenshot" not in error.message:
                raise
    return shown.screenshot()
