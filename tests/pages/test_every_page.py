"""What holds for every kind of page: no serious fault that axe finds, nothing wider than a telephone, German where it is asked for.

The pages are made by Django's test client, and a browser shows what it answered: no server runs, so nothing waits.
"""

from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from babel.messages.pofile import read_po
from django.conf import settings
from django.urls import get_resolver
from playwright.sync_api import Page as Tab

from assay.portal import account_urls
from chromium import needs_chromium
from every_page import every_page
from shown_pages import answers, shown

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("pages")]
NOT_SHOWN = {
    "portal:docs": "Sphinx makes these pages",
    "portal:docs-page": "Sphinx makes these pages",
    "portal:mails": "for development only",
    "portal:picture": "a picture",
    "portal:theme": "a switch",
    "portal:language": "a switch",
    "portal:sign-out": "takes a POST",
    "portal:revoke-token": "takes a POST",
    "portal:news-feed": "an Atom feed",
    "portal:challenges-feed": "an Atom feed",
    "portal:open-notice": "leads to another page",
    "portal:invite": "takes a POST",
    "portal:accept-rules": "takes a POST",
    "portal:sign-agreement": "takes a POST",
    "portal:withdraw-agreement": "takes a POST",
    "portal:change-team": "takes a POST",
    "portal:merge": "takes a POST",
    "portal:end-session": "takes a POST",
    "portal:export-account": "takes a POST",
    "portal:provider-begin": "takes a POST",
    "portal:provider-connect": "takes a POST",
    "portal:provider-end": "takes a POST",
    "portal:provider-return": "leads to another page",
    "portal:provider-newcomer": "only for somebody who comes from a provider: tests/journeys/test_people.py",
    "portal:join": "takes a POST",
    "portal:cancel": "takes a POST",
    "portal:decide": "takes a POST",
    "portal:object": "takes a POST",
    "portal:carry": "takes a POST",
    "portal:submission-live": "a part of a page",
    "account_login": "portal:sign-in",
    "account_signup": "portal:sign-up",
    "account_logout": "takes a POST",
    "account_set_password": "asks who is there first: tests/accounts/test_hostile_newcomers.py",
    "mfa_authenticate": "only between password and code: tests/accounts/test_second_factor.py",
    "mfa_reauthenticate": "only with a second factor: tests/accounts/test_second_factor.py",
    "mfa_activate_totp": "asks who is there first: tests/accounts/test_second_factor.py",
    "mfa_deactivate_totp": "only with a second factor: tests/accounts/test_second_factor.py",
    "mfa_view_recovery_codes": "only with a second factor: tests/accounts/test_second_factor.py",
    "mfa_generate_recovery_codes": "only with a second factor: tests/accounts/test_second_factor.py",
    "mfa_download_recovery_codes": "a file",
    "organizers:publish-challenge": "takes a POST",
    "organizers:phase-action": "takes a POST",
    "organizers:case-file": "a file",
    "organizers:case-errors": "a file",
    "organizers:log": "a text file",
}
WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
CULPRITS = """() => [...document.querySelectorAll("main *, header *, footer *")]
  .filter((node) => node.getBoundingClientRect().right > innerWidth + 1 && !node.closest(".scroll, pre, .chart, textarea"))
  .slice(0, 3).map((node) => node.outerHTML.slice(0, 120))"""
BOARDS = ("portal:leaderboard", "portal:leaderboard by site", "portal:combined", "portal:hospitals")
OWNERLESS = """() => [...document.querySelectorAll("main .scroll tbody tr")].filter((row) => {
  const box = row.closest(".scroll"), first = row.cells[0];
  box.scrollLeft = box.scrollWidth;
  scrollTo(0, first.getBoundingClientRect().top + scrollY - 300);
  const {left, right, top, height} = first.getBoundingClientRect(), edge = box.getBoundingClientRect().left;
  const onTop = document.elementFromPoint((left + right) / 2, top + height / 2);
  const isSlim = right - edge <= innerWidth / 2 || box.scrollWidth === box.clientWidth;
  const isWhole = left >= edge && first.scrollWidth <= first.clientWidth + 1;
  return !isSlim || !isWhole || !first.contains(onTop) || !/\\p{L}{3}/u.test(first.innerText);
}).map((row) => row.innerText)"""
"""Rows of boards whose name is not in sight once their table is scrolled to its right end, or takes more than half of the window."""


def test_every_address_of_a_page_is_among_the_kinds():
    named = {f"{room}:{pattern.name}" for room, resolver in _rooms().items() for pattern in resolver if pattern.name}
    named |= {pattern.name for pattern in account_urls.urlpatterns}
    listed = {name.split(" ")[0] for name in every_page()}
    assert named - listed - set(NOT_SHOWN) == set()


def _rooms() -> dict[str, list]:
    namespaces = get_resolver().namespace_dict
    return {room: namespaces[room][1].url_patterns for room in ("portal", "organizers")}


AXE = "async (rules) => (await axe.run(document, {resultTypes: ['violations'], ...rules})).violations"
RULES = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}  # only colours differ


@needs_chromium
@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "de"])
def test_axe_finds_nothing_serious_and_a_telephone_is_wide_enough(client, language):
    """One visit of each page for both questions. Axe reads the English pages: the German ones differ in their words only."""
    faults, wide, ownerless = [], {}, {}
    for name, tab in shown(answers(client, language=language), width=1280):
        if language == "en":
            faults += [f"{name}, {fault}" for fault in serious_faults(tab)]
        tab.set_viewport_size({"width": 360, "height": 800})
        if (pixels := tab.evaluate(WIDER)) > 0:
            wide[name] = (pixels, tab.evaluate(CULPRITS))
        if name in BOARDS and (rows := tab.evaluate(OWNERLESS)):
            ownerless[name] = rows
        tab.set_viewport_size({"width": 1280, "height": 800})
    assert (faults, wide, ownerless) == ([], {}, {})


def serious_faults(tab: Tab) -> Iterator[str]:
    """What axe finds in the light scheme, and colours that are hard to read in the dark one."""
    tab.add_script_tag(path=AXE_FILE_PATH)
    for scheme, rules in RULES.items():
        tab.emulate_media(color_scheme=scheme)
        for fault in tab.evaluate(AXE, rules):
            if fault["impact"] in ("serious", "critical"):
                yield from (f"{scheme}: {fault['id']}: {node['html'][:160]}" for node in fault["nodes"])
    tab.emulate_media(color_scheme="light")


class Sentences(HTMLParser):
    """The texts of a page and of its attributes, as a person reads or hears them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_data(self, data: str) -> None:
        self.found.add(" ".join(data.split()))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {value for name, value in attrs if name in ("aria-label", "title", "placeholder") and value}


def test_a_german_page_says_nothing_in_english_that_is_translated(client):
    with (settings.LOCALE_PATHS[0] / "de" / "LC_MESSAGES" / "django.po").open("rb") as file:
        english = {
            message.id
            for message in read_po(file)
            if message.id and isinstance(message.id, str) and message.string not in ("", message.id)
        } - {"Final", "hidden", "published"}  # titles and names of the data's own
    left = {}
    for name, html in answers(client, language="de").items():
        assert '<html lang="de"' in html, name
        reader = Sentences()
        reader.feed(html)
        if found := reader.found & english:
            left[name] = found
    assert left == {}
