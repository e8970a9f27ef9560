"""A browser for journeys: people who sign up and in, an inbox, and pictures of the pages they pass.

The fixtures of `tests/journeys/conftest.py` are made of these.
"""

import email
import email.policy
import io
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from django.db import connection
from django.utils import timezone
from playwright.sync_api import Page, expect

from assay.notices.delivery import send_mails
from chromium import needs_chromium

IN_PROCESS = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:No directory at"),  # static files come from the finders
    pytest.mark.django_db(transaction=True),
    needs_chromium,
]
"""Marks of a module whose pages come from Django's own server in the process of the test."""
PASSWORD = "correct horse battery"
PATIENCE = 120_000
"""Milliseconds for one step: a bound for a page that never shows what is waited for, on a machine that does a lot besides."""
OTHER_SESSIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


class Inbox:
    """The mails that arrived."""

    def __init__(self) -> None:
        self.mails: list[email.message.EmailMessage] = []

    async def handle_DATA(self, server, session, envelope) -> str:
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 kept"

    def link(self, to: str, pattern: str) -> str:
        """The path of the newest link like this in a mail to somebody."""
        send_mails(now=timezone.now())
        texts = [mail.get_content() for mail in self.mails if mail["To"] == to]
        return next(found[0] for text in reversed(texts) if (found := re.search(pattern, text)))


def sign_up(page: Page, name: str, inbox: Inbox | None) -> None:
    """Make an account, and open the link that the mail brings where addresses are verified."""
    page.goto("/signup/")
    page.get_by_label("User name").fill(name)
    page.get_by_label("Name others see").fill(name.title())
    page.get_by_label("E-mail").fill(f"{name}@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Sign up").click()
    if inbox is None:
        return
    expect(page).to_have_url(re.compile("/account/address/verify/"))
    page.goto(inbox.link(f"{name}@example.org", r"/account/address/verify/\S+"))
    page.get_by_role("main").get_by_role("button").click()
    expect(page.get_by_text("You have confirmed")).to_be_visible()
    sign_in(page, name, PASSWORD)


def sign_in(page: Page, name: str, password: str) -> None:
    page.goto("/login/")
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()


def confirm(page: Page, words: str, button: str) -> None:
    """Unfold the first `{% confirm %}` with these words, and press its button."""
    page.locator("details.confirm > summary").filter(has_text=re.compile(f"^\\s*{words}\\s*$")).first.click()
    page.get_by_role("button", name=button).first.click()


def colours_in(png: bytes) -> int:
    """How many colours a picture has, of every fourth pixel: an empty canvas has one."""
    return len(np.unique(matplotlib.image.imread(io.BytesIO(png))[::4, ::4].reshape(-1, 4), axis=0))


def other_sessions() -> int:
    """Connections to the test database beside this thread's."""
    with connection.cursor() as cursor:
        cursor.execute(OTHER_SESSIONS)
        return cursor.fetchone()[0]


def keep_pictures(page: Page, *, folder: str, name: str) -> None:
    """The page at 1280 px, at 360 px, and in dark colours."""
    for kind, width, scheme in (("wide", 1280, "light"), ("narrow", 360, "light"), ("dark", 1280, "dark")):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # no colour halfway between two
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=Path(folder) / f"{name}-{kind}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})
