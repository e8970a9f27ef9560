"""Pages that Django's test client has made, shown by a browser whose network is this repository. No server runs, so nothing waits."""

import mimetypes
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from playwright.sync_api import Page as Tab
from playwright.sync_api import Route

import assay.pages
from chromium import running_chromium
from every_page import every_page

STATIC = Path(assay.pages.__file__).parent / "static"
ORIGIN = "http://assay.example"


_ANSWERS: dict[str, dict[str, str]] = {}


def answers(client, *, language: str) -> dict[str, str]:
    """The HTML of every page, by its name. Made once per process: a page does not depend on the test that looks at it."""
    if language not in _ANSWERS:
        _ANSWERS[language] = _made_answers(client, language)
    return dict(_ANSWERS[language])


def _made_answers(client, language: str) -> dict[str, str]:
    found = {}
    for name, page in every_page().items():
        client.logout()
        if page.person is not None:
            client.force_login(page.person)
        answer = client.get(page.address, headers={"Accept-Language": language})
        assert answer.status_code == page.status, name
        found[name] = answer.content.decode()
    return found


def shown(pages: dict[str, str], *, width: int) -> Iterator[tuple[str, Tab]]:
    """Each page by its name, in a tab whose network is this repository. While the browser runs, Django refuses the database."""

    def serve(route: Route) -> None:
        """The page and static files; nothing else is there, and what polls hears that nothing changed."""
        path = unquote(urlsplit(route.request.url).path)
        file = STATIC / path.removeprefix("/static/")
        if path.startswith("/static/") and file.is_file():
            route.fulfill(body=file.read_bytes(), content_type=mimetypes.guess_type(file.name)[0] or "text/plain")
        elif path.removeprefix("/") in pages:
            route.fulfill(body=pages[path.removeprefix("/")], content_type="text/html; charset=utf-8")
        else:
            route.fulfill(status=204)

    with running_chromium() as browser:
        # without motion: else a changed scheme fades in, and colours are read in between
        tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme="light", reduced_motion="reduce")
        tab.route("**/*", serve)
        for name in pages:
            tab.goto(f"{ORIGIN}/{quote(name)}")
            yield name, tab
