"""People and a browser: teams with questions and rules, a forgotten password, an invitation, a webhook, the end of an account.

Mails are read from a real SMTP server. The pages come from Django's own server in this process, so the workers' part is called by name.
`--pictures FOLDER` keeps a picture of every page that the journeys pass: at 1280 px, at 360 px, and in dark colours.
"""

import hashlib
import hmac
import json
import os
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.utils import timezone
from playwright.sync_api import Page, Route, expect

import people
from assay.accounts.models import User
from assay.challenges.protocols import rules_of
from assay.notices.webhooks import deliver
from assay.portal.facts import expected_files
from assay.submissions.models import Submission
from assay.testsets import storage
from assay.testsets.selectors import case_names
from browsing import IN_PROCESS, PASSWORD, PATIENCE, sign_in
from oidc_provider import running_provider

pytestmark = IN_PROCESS
ANOTHER = "staple of another kind"


@pytest.fixture
def scene(transactional_db):
    return people.scene()


def test_three_people_in_two_teams_answer_accept_and_are_decided_about(scene, open_as, inbox, look, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    scene.challenge.questions, scene.challenge.requires_approval = ["Which data?"], True
    scene.challenge.rules, scene.challenge.rules_version = "No external data.", 1
    scene.challenge.save()
    ada, bob, cleo = (open_as(name, inbox) for name in ("ada", "bob", "cleo"))
    ada.goto("/teams/")
    ada.get_by_role("article").filter(has_text="New team").get_by_label("Name").fill("Engines")
    ada.get_by_role("button", name="Create").click()
    ada.get_by_label("Invite by e-mail").fill("bob@example.org")
    ada.get_by_role("button", name="Send an invitation").click()
    expect(ada.get_by_text("bob@example.org").first).to_be_visible()
    look(ada, "three-1-teams")
    link = inbox.link("bob@example.org", r"/invites/\S+")
    bob.goto(link)
    expect(bob.get_by_text("Ada invites you to the team Engines.")).to_be_visible()
    look(bob, "three-2-team-invitation")
    bob.get_by_role("button", name="Join it").dblclick()
    expect(bob.get_by_role("article").filter(has_text="Engines")).to_be_visible()
    cleo.goto(link)  # it works once, and says so before anything is clicked
    expect(cleo.get_by_text("This invite was used already")).to_be_visible()
    for page, team in ((ada, "Engines"), (bob, "Engines"), (cleo, "alone")):
        page.goto("/c/brains/")
        look(page, f"three-3-join-{team}")
        page.get_by_label("Which data?").fill("my own")
        page.get_by_label("Compete as").select_option(label=team)
        page.get_by_label("I have read version 1").check()
        page.get_by_role("button", name="Join this challenge").click()
        expect(page.get_by_text("An organizer has to agree")).to_be_visible()
    look(cleo, "three-4-waits")
    olga = open_as("olga")
    olga.goto("/c/brains/manage/people/?status=pending")
    look(olga, "three-5-requests")
    for box in olga.get_by_role("checkbox").all():
        box.check()
    olga.get_by_role("button", name="Accept").click()
    expect(olga.get_by_text("Decided about 3 people.")).to_be_visible()
    ada.goto(inbox.link("ada@example.org", r"/c/brains/"))
    expect(
        ada.get_by_role("link", name="Submit to Final").or_(ada.get_by_role("button", name="Submit to Final"))
    ).to_be_visible()
    look(ada, "three-6-accepted")
    ada.goto("/notices/")
    expect(ada.get_by_role("main")).to_contain_text("Brains")
    look(ada, "three-7-notices")
    cleo.goto(inbox.link("cleo@example.org", r"/c/brains/"))
    expect(cleo.get_by_text("You compete as")).to_be_visible()
    teams = scene.challenge.memberships.filter(user__username__in=["ada", "bob", "cleo"]).values_list("team", flat=True)
    assert len(set(teams)) == 2


def test_a_forgotten_password_is_replaced_by_a_mailed_link(scene, open_as, inbox, look):
    page, elsewhere = open_as("pia"), open_as("pia")
    page.get_by_role("button", name="Sign out").click()
    page.goto("/login/")
    look(page, "forgotten-1-sign-in")
    page.get_by_role("link", name="Forgot your password?").click()
    look(page, "forgotten-2-asked")
    page.get_by_label("Email").fill("pia@example.org")
    page.get_by_role("main").get_by_role("button").click()
    expect(page).to_have_url(re.compile("/password/reset/sent/"))
    look(page, "forgotten-3-sent")
    link = inbox.link("pia@example.org", r"/password/reset/\S+")
    page.goto(link)
    look(page, "forgotten-4-new")
    fields = page.locator("input[type=password]")
    fields.nth(0).fill(ANOTHER)
    fields.nth(1).fill(ANOTHER)
    page.get_by_role("main").get_by_role("button").first.click()
    expect(page).to_have_url(re.compile("/password/reset/done/"))
    look(page, "forgotten-5-done")
    page.goto(link)  # it opens once
    look(page, "forgotten-6-used")
    expect(page.locator("input[type=password]")).to_have_count(0)
    sign_in(page, "pia", PASSWORD)
    expect(page.get_by_role("alert")).to_be_visible()
    sign_in(page, "pia", ANOTHER)
    expect(page.get_by_role("link", name="Notices")).to_be_visible()
    elsewhere.goto("/account/")  # whoever was signed in with the old password is not any more
    expect(elsewhere).to_have_url(re.compile("/login/"))


def test_somebody_new_comes_from_their_institution_and_comes_again(
    scene, open_as, look, settings, live_server, browser
):
    with running_provider() as provider:
        settings.PUBLIC_URL = live_server.url
        off = provider.settings(title="ORCID") | {"client_id": ""}
        settings.SIGN_IN_PROVIDERS = {"institution": provider.settings(), "orcid": off}
        provider.person |= {"email": "eve@example.edu", "email_verified": True, "name": "Eve Example"}
        page = browser.new_context(base_url=live_server.url).new_page()
        page.set_default_timeout(PATIENCE)
        page.goto("/login/?next=/c/brains/")
        look(page, "institution-1-sign-in")
        page.get_by_role("button", name="Sign in with Example University").click()
        expect(page.get_by_label("E-mail")).to_have_value("eve@example.edu")
        look(page, "institution-2-new")
        page.get_by_label("User name").fill("eve")
        page.get_by_role("button", name="Sign up").click()
        expect(page.get_by_role("button", name="Join this challenge")).to_be_visible()
        page.goto("/account/")
        expect(page.get_by_role("row", name="Example University")).to_contain_text("s-1")
        look(page, "institution-3-account")
        page.get_by_role("button", name="Sign out").first.click()
        expect(page.get_by_role("link", name="Sign up")).to_be_visible()
        page.goto("/login/?next=/teams/")
        page.get_by_role("button", name="Sign in with Example University").click()
        expect(page.get_by_role("heading", name="Teams", exact=True)).to_be_visible()


def test_a_private_challenge_is_joined_by_invitation(scene, open_as, inbox, look):
    scene.challenge.is_private = True
    scene.challenge.save()
    otto, olga = open_as("otto"), open_as("olga")
    assert otto.goto("/c/brains/").status == 404
    look(otto, "private-1-stranger")
    olga.goto("/c/brains/manage/people/invites/")
    olga.get_by_label("Addresses").fill("otto@example.org")
    olga.get_by_role("button", name="Send invitations").click()
    expect(olga.get_by_text("1 invitation is on its way.")).to_be_visible()
    look(olga, "private-2-invitations")
    link = inbox.link("otto@example.org", r"/join/\S+")
    otto.goto(link)
    look(otto, "private-3-invited")
    otto.get_by_role("button", name="Open it").click()
    otto.get_by_role("button", name="Join this challenge").click()
    expect(otto.get_by_text("You take part as")).to_be_visible()
    look(otto, "private-4-joined")
    stranger = open_as("stan")
    stranger.goto(link)
    expect(stranger.get_by_text("This invite was used already")).to_be_visible()
    otto.goto(link)  # the one who has used it may look at it again
    expect(otto.get_by_role("button", name="Open it")).to_be_visible()


def test_a_webhook_is_received_verified_and_replayed(scene, open_as, settings, look):
    got: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.headers["X-Hub-Signature-256"], body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pia = open_as("pia")
    pia.goto(f"/teams/{scene.team.slug}/hooks/")
    look(pia, "hook-1-none")
    pia.get_by_label("Address").fill(f"http://127.0.0.1:{server.server_port}/assay")
    pia.get_by_role("button", name="New webhook").click()
    secret = pia.locator("#secret").inner_text()
    look(pia, "hook-2-secret")
    assert deliver(now=timezone.now()) == 1
    pia.reload()
    expect(pia.get_by_text("✓ 204")).to_be_visible()
    look(pia, "hook-3-delivered")
    pia.get_by_role("button", name="Send again").click()
    expect(pia.get_by_role("row").filter(has_text="ping")).to_have_count(2)
    assert deliver(now=timezone.now()) == 1
    pia.reload()
    expect(pia.get_by_text("✓ 204")).to_have_count(2)
    look(pia, "hook-4-replayed")
    server.shutdown()
    server.server_close()
    for signature, body in got:
        assert signature == "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    first, second = (json.loads(body) for _, body in got)
    assert (first["event"], second["replay_of"]) == ("ping", first["delivery"])


def test_an_account_is_exported_and_deleted(scene, open_as, look):
    pia = open_as("pia")
    pia.goto("/account/")
    look(pia, "account-1-page")
    with pia.expect_download() as download:
        pia.get_by_role("button", name="Download everything we keep about you").click()
    document = json.loads(download.value.path().read_text())
    assert document["account"][0]["username"] == "pia"
    pia.get_by_role("link", name="Delete your account").click()
    look(pia, "account-2-delete")
    pia.get_by_label("Your user name").fill("pia")
    pia.get_by_label("Password").fill(PASSWORD)
    pia.get_by_role("button", name="Delete it for good").click()
    expect(pia.get_by_text("Your account is deleted.")).to_be_visible()
    look(pia, "account-3-deleted")
    pia.go_back()
    pia.goto("/account/")
    expect(pia).to_have_url(re.compile("/login/"))
    sign_in(pia, "pia", PASSWORD)
    expect(pia.get_by_role("alert")).to_be_visible()
    assert str(User.objects.get(pk=scene.pia.pk)) == "Deleted account"


PIECE = 16 * 2**20
"""As large as `assay.js` sends them."""


def loses_the_network(page: Page) -> list[int]:
    """Where each piece of an upload began. The network goes away before the second one arrives."""
    offsets: list[int] = []

    def pass_on(route: Route) -> None:
        if route.request.method == "PATCH":
            offsets.append(int(route.request.headers["upload-offset"]))
        if len(offsets) == 2 and route.request.method == "PATCH":
            page.context.set_offline(True)
            route.abort("internetdisconnected")
        else:
            route.continue_()

    page.route("**/api/v1/uploads/*", pass_on)
    return offsets


@pytest.fixture
def uploading(scene, open_as, tmp_path):
    """Pia's form to submit, a file of three pieces, and where each piece began. The network goes away before the second one arrives."""
    scene.phase.opens_at, scene.phase.closes_at = timezone.now().replace(year=2000), timezone.now().replace(year=2100)
    scene.phase.save()
    file = tmp_path / "image.tar"
    file.write_bytes(os.urandom(2**20) * 40)
    pia = open_as("pia")
    offsets = loses_the_network(pia)
    pia.goto("/c/brains/p/final/submit/")
    pia.get_by_label("Algorithm name").fill("Slow and steady")
    pia.locator("#id_archive").set_input_files(file)
    pia.get_by_role("button", name="Submit", exact=True).click()
    expect(pia.get_by_text("The connection is gone.")).to_be_visible()
    return pia, file, offsets


def test_an_upload_goes_on_by_itself_when_the_network_is_back(uploading, look):
    pia, _, offsets = uploading
    look(pia, "upload-1-offline")
    pia.context.set_offline(False)
    expect(pia.get_by_role("heading", name="Slow and steady")).to_be_visible()
    assert offsets == [0, PIECE, PIECE, 2 * PIECE], "what had arrived is not sent again"


def test_an_upload_that_was_left_is_listed_and_goes_on(uploading, look):
    pia, file, offsets = uploading
    pia.context.set_offline(False)
    pia.goto("about:blank")
    pia.goto("/c/brains/p/final/submit/")
    del offsets[3:]
    done_before = len(offsets)
    expect(pia.get_by_text("Unfinished uploads")).to_be_visible()
    expect(pia.get_by_role("listitem").filter(has_text="image.tar")).to_contain_text("40.0 MiB")
    look(pia, "upload-2-unfinished")
    pia.get_by_label("Algorithm name").fill("Slow and steady")
    pia.locator("#id_archive").set_input_files(file)
    pia.get_by_role("button", name="Submit", exact=True).click()
    expect(pia.get_by_role("heading", name="Slow and steady")).to_be_visible()
    assert min(offsets[done_before:]) >= PIECE, "the first piece is not sent again"


def test_several_files_and_a_folder_are_sent_as_one_zip_that_goes_on_where_it_stopped(scene, open_as, look, tmp_path):
    scene.phase.opens_at, scene.phase.closes_at = timezone.now().replace(year=2000), timezone.now().replace(year=2100)
    scene.phase.kind = "predictions"
    scene.phase.save()
    names = expected_files(rules_of(scene.phase.protocol), case_names(scene.phase))
    folder = tmp_path / "answers"
    folder.mkdir()
    contents = {name: os.urandom(9 * 2**20 + place) for place, name in enumerate(names)}
    for name, content in {**contents, "notes.docx": b"x", ".DS_Store": b"x"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    pia = open_as("pia")
    offsets = loses_the_network(pia)
    pia.goto("/c/brains/p/final/submit/")
    pia.locator("#id_archive").set_input_files([folder / "notes.docx", folder / names[0]])
    told = pia.locator("[data-files]")
    expect(told).to_contain_text("notes.docx, 1 B: no expected name")
    expect(told).to_contain_text(f"Expected files that are missing: {len(names) - 1} ({names[1]}")
    with pia.expect_file_chooser() as chooser:
        pia.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(folder)
    expect(told).to_contain_text(f"Files sent as one zip: {len(names)} (")
    expect(told).to_contain_text("Files that are not sent: 1")
    expect(told).not_to_contain_text("missing")
    look(pia, "upload-3-files")
    pia.get_by_label("Algorithm name").fill("File by file")
    pia.get_by_role("button", name="Submit", exact=True).click()
    expect(pia.get_by_text("The connection is gone.")).to_be_visible()
    pia.context.set_offline(False)
    pia.goto("about:blank")
    del offsets[3:]
    pia.goto("/c/brains/p/final/submit/")
    pia.locator("#id_archive").set_input_files([folder / name for name in names])  # in another way, the same zip
    pia.get_by_label("Algorithm name").fill("File by file")
    pia.get_by_role("button", name="Submit", exact=True).click()
    expect(pia.get_by_role("heading", name="File by file")).to_be_visible()
    assert min(offsets[1:]) >= PIECE, "the first piece is not sent again"
    upload = Submission.objects.get(name="File by file").predictions
    with zipfile.ZipFile(storage.unchanged_path(upload.key, sha256=upload.sha256)) as packed:
        assert packed.testzip() is None
        assert {name: packed.read(name) for name in packed.namelist()} == contents
