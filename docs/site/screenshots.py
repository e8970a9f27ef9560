"""`make screenshots`: take the pictures of the documentation from a server that the demo has filled, so that they show what there is.

`make demo ARGS=--exit` leaves a whole installation in `var/demo/server`: a challenge, six submissions, a leaderboard. This program starts
that server again, signs people in by sessions that it makes beside it, and writes one file for each row of `PICTURES`. A picture of
another page is one more row and one line in a Markdown file.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from containers.examples.demo.run import CHALLENGE
from containers.examples.demo.stage import ASSAY, HOME, ROOT
from containers.waiting import NotStartedError, Program, patience_from, wait_until_ready

TARGET = ROOT / "docs" / "screenshots"
CHROMIUM = "/usr/bin/chromium"
WIDTH, HEIGHT = 1100, 720
COLOURS = 128
"""A page has few colours: a palette makes a file a third as large, and nobody sees a difference."""
STOP_SECONDS = 120
CHALLENGE_PAGE = f"/c/{CHALLENGE}/"
PHASE_PAGE = f"{CHALLENGE_PAGE}p/open/"
MANAGE_PAGE = f"{CHALLENGE_PAGE}manage/"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One page, who looks at it (empty: a stranger), and how much of it is shown, from `top` to `top + height` pixels.

    `{mixture}` and the like in an address stand for the newest submission of that team.
    """

    name: str
    address: str
    person: str = ""
    top: int = 0
    height: int = HEIGHT


PICTURES = (
    Picture(name="home", address="/", height=520),
    Picture(name="challenge", address=CHALLENGE_PAGE, person="mixture-captain"),
    Picture(name="rules", address=f"{CHALLENGE_PAGE}rules/", person="mixture-captain", height=900),
    Picture(name="phase", address=PHASE_PAGE, person="mixture-captain"),
    Picture(name="submit", address=f"{PHASE_PAGE}submit/", person="mixture-captain", height=860),
    Picture(name="submission", address="/s/{mixture}/", person="mixture-captain", height=900),
    Picture(name="verdict", address="/s/{patience}/", person="patience-captain", height=760),
    Picture(name="leaderboard", address=f"{PHASE_PAGE}leaderboard/", height=760),
    Picture(name="compare", address=f"{PHASE_PAGE}compare/?s={{mixture_number}}&s={{otsu_number}}", height=1000),
    Picture(name="manage", address=MANAGE_PAGE, person="olga", height=860),
    Picture(name="manage-submissions", address=f"{MANAGE_PAGE}submissions/", person="olga"),
    Picture(name="manage-testsets", address=f"{MANAGE_PAGE}testsets/", person="olga"),
    Picture(name="score-again", address=f"{MANAGE_PAGE}p/open/rejudge/", person="olga", height=620),
)
FACTS = """
import json
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from assay.accounts.models import User
from assay.submissions.models import Submission
sessions, words = {}, {}
for user in User.objects.all():
    session = SessionStore()
    session.update({SESSION_KEY: str(user.pk), HASH_SESSION_KEY: user.get_session_auth_hash(),
                    BACKEND_SESSION_KEY: "assay.accounts.sign_in.GuardedBackend"})
    session.create()
    sessions[user.username] = session.session_key
for row in Submission.objects.select_related("team").order_by("created_at"):
    words[row.team.slug] = str(row.pk)
    words[row.team.slug + "_number"] = row.number
print(json.dumps([sessions, words]))
"""
"""What the pictures need to know of the installation: a session for everybody, and each team's submission."""


def main() -> int:
    """Take the pictures; 1 where there is no filled installation."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", type=Path, default=HOME, help="where the demo keeps its data")
    parser.add_argument("--only", nargs="*", default=[], help="names of pictures; all of them without this")
    arguments = parser.parse_args()
    folder = arguments.home.absolute() / "server"
    if not (folder / "files").is_dir():
        print(f"screenshots: {folder} holds no installation. Run `make demo ARGS=--exit` first.", file=sys.stderr)
        return 1
    with running(folder) as url:
        sessions, words = facts(folder)
        take(url=url, sessions=sessions, words=words, only=set(arguments.only))
    return 0


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The installation in `folder`, as it is; its address."""
    with tempfile.TemporaryDirectory() as scratch:
        ready, log = Path(scratch) / "address", Path(scratch) / "log"
        command = [str(ASSAY), "serve", "--data-dir", str(folder), "--ready-file", str(ready)]
        with log.open("wb") as output:
            server = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            program = Program(name="The server", process=server, log=log)
            wait_until_ready(program, is_ready=ready.exists, patience=patience_from(os.environ))
            yield ready.read_text().strip()
        except NotStartedError as error:
            raise SystemExit(f"screenshots: {error}") from error
        finally:
            server.terminate()
            server.wait(STOP_SECONDS)


def facts(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Session keys by user name; what the fields of addresses stand for."""
    command = [str(ASSAY), "manage", "shell", "--no-imports", "-c", FACTS]
    environment = {**os.environ, "ASSAY_VAR": str(folder)}
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    sessions, words = json.loads(printed.splitlines()[-1])
    return sessions, words


def take(*, url: str, sessions: dict[str, str], words: dict[str, str], only: set[str]) -> None:
    """Write one file for each picture."""
    TARGET.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        for picture in PICTURES:
            if not only or picture.name in only:
                session = sessions[picture.person] if picture.person else ""
                content = look(browser, picture, url=url, address=picture.address.format(**words), session=session)
                small = Image.open(io.BytesIO(content)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
                small.save(TARGET / f"{picture.name}.png", optimize=True)
                print(f"screenshots: {picture.name}.png, {(TARGET / f'{picture.name}.png').stat().st_size} bytes")
        browser.close()


def look(browser: Browser, picture: Picture, *, url: str, address: str, session: str) -> bytes:
    """The page as this person sees it, as PNG."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": picture.height}, locale="en-GB", timezone_id="UTC", color_scheme="light"
    )
    if session:
        context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
    page = context.new_page()
    answer = page.goto(f"{url}{address}")
    if answer is None or answer.status != 200:
        raise SystemExit(f"screenshots: {picture.name}: {address} answers {answer.status if answer else 'nothing'}")
    page.wait_for_load_state("load")
    clip = {"x": 0, "y": picture.top, "width": WIDTH, "height": picture.height}
    content = page.screenshot(clip=clip, animations="disabled", full_page=True)
    context.close()
    return content


if __name__ == "__main__":
    raise SystemExit(main())
