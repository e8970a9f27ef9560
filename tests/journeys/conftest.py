"""An installation for a whole file of journeys, and a browser for journeys whose pages come from this process."""

import shutil
import socket

import pytest
from aiosmtpd.controller import Controller
from django.core.management import call_command
from django.db import connections
from playwright.sync_api import Page, expect

import installation
from assay.accounts.addresses import note_verified
from assay.accounts.models import User
from browsing import PASSWORD, PATIENCE, Inbox, keep_pictures, other_sessions, sign_in, sign_up
from chromium import running_chromium
from waits import until


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where one is served whose submissions are compiled here."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here: the journey's image is compiled")
    folder = tmp_path_factory.mktemp("installation")
    folder.chmod(0o711)
    with installation.running_installation(folder=folder) as url:
        yield url


@pytest.fixture
def inbox(settings, live_server):
    """A real SMTP server that keeps what comes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    handler = Inbox()
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
    settings.PUBLIC_URL = live_server.url
    yield handler
    controller.stop()


@pytest.fixture
def browser(transactional_db, monkeypatch):
    """Chromium beside Django's own server."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Playwright runs an event loop in this thread
    call_command("createcachetable", verbosity=0)
    expect.set_options(timeout=PATIENCE)
    with running_chromium(draws_volumes=True) as running:
        yield running
        connections.close_all()  # Django keeps another connection for code under an event loop
    until(lambda: not other_sessions())  # threads of the server: the database is emptied next


@pytest.fixture
def open_as(browser, live_server):
    """A page of somebody's own browser, signed in where they have an account, else as they are after they have signed up."""

    def open_page(name: str, inbox: Inbox | None = None) -> Page:
        context = browser.new_context(base_url=live_server.url, viewport={"width": 1280, "height": 900})
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        person = User.objects.filter(username=name).first()
        if person is None:
            sign_up(page, name, inbox)
        else:
            person.set_password(PASSWORD)
            person.save()
            note_verified(person)
            sign_in(page, name, PASSWORD)
        expect(page.get_by_role("link", name="Notices")).to_be_visible()
        return page

    return open_page


@pytest.fixture
def look(request):
    """Keep pictures of a page under a name, where they are asked for."""
    folder = request.config.getoption("--pictures")

    def keep(page: Page, name: str) -> None:
        if folder:
            keep_pictures(page, folder=folder, name=name)

    return keep
