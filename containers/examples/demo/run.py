"""The whole of Assay in one go: `make demo`. An organizer and six teams, each with the `assay` command and nothing else.

Olga pushes the challenge and its test sets. Six teams submit container images, three of which misbehave in ways hidden data
meets sooner or later. Every case runs in its own sandbox, is scored, and ranked. The demo then checks what the board must
say, and exits non-zero if it does not.
"""

import argparse
import math
import shutil
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from containers.examples.demo.expectations import Board, unmet
from containers.examples.demo.progress import Progressing
from containers.examples.demo.stage import (
    HOME,
    DemoError,
    Person,
    base_image,
    build_image,
    make_test_sets,
    running_server,
    seconds_to_start,
    step,
)

CHALLENGE_FILE = Path(__file__).with_name("challenge.yaml")
CHALLENGE = "mni-brain-tissue"
PHASE = f"{CHALLENGE}/open"
STILL_SECONDS = 600
LOOK_SECONDS = 1.0
WRITTEN_LIMIT = "wall_seconds: 8"
TIMES_START = 10
"""A case may take ten times what a container takes here to start Python and SimpleITK, and never less than the eight seconds."""


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """One team and the example it submits."""

    example: str
    team: str
    algorithm: str


ENTRANTS = (
    Entrant(example="patience", team="Patience", algorithm="Waits for a licence"),
    Entrant(example="mixture", team="Mixture", algorithm="N4 + Gaussian mixture"),
    Entrant(example="otsu", team="Otsu", algorithm="Multi-Otsu with clean-up"),
    Entrant(example="thresholds", team="Thresholds", algorithm="Thresholds tuned on site A"),
    Entrant(example="quantiles", team="Quantiles", algorithm="Quantiles in a small buffer"),
    Entrant(example="mirror", team="Mirror", algorithm="Flipped, and no CSF"),
)


def main() -> int:
    """Run the story. Returns 0 when every expectation is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--exit", action="store_true", help="end after the leaderboard instead of serving the portal")
    parser.add_argument("--home", type=Path, default=HOME, help="where its data lives; its server's is made anew")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _play(home=arguments.home.absolute(), stay=not arguments.exit)
    except DemoError as error:
        print(f"demo: cannot go on: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _play(*, home: Path, stay: bool) -> int:
    shutil.rmtree(home / "people", ignore_errors=True)
    with step("cases made from the MNI152 average brain"):
        cases = make_test_sets(home=home)
    with step(f"{len(ENTRANTS)} algorithm images built from their Dockerfiles"):
        base = base_image()
        images = {entrant.example: build_image(name=entrant.example, base_image=base) for entrant in ENTRANTS}
    with ExitStack() as stack:
        with step("server started: database, broker, portal, workers, node"):
            url = stack.enter_context(running_server(home=home))
        olga = _person(home=home, username="olga", name="Olga", url=url)
        with step("organizer: challenge and test sets pushed, phase open"):
            _organize(olga=olga, cases=cases, file=_challenge_file(home=home, image=images["otsu"]))
        people = [_person(home=home, username=f"{e.example}-captain", name=e.team, url=url) for e in ENTRANTS]
        with step("six teams signed up"), ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(_join, people, ENTRANTS))
        with step("six submissions run, scored and ranked"):
            _submit_all(people=people, images=images, home=home)
        problems = _report(olga=olga, url=url, board=_read_board(olga=olga, people=people))
        if stay:
            _serve(url=url, olga=olga)
    return 1 if problems else 0


def _person(*, home: Path, username: str, name: str, url: str) -> Person:
    return Person(username=username, display_name=name, url=url, home=home / "people" / username)


def _challenge_file(*, home: Path, image: str) -> Path:
    """The challenge file, with a time limit that the honest algorithms meet on this machine while it serves as well."""
    text = CHALLENGE_FILE.read_text()
    assert WRITTEN_LIMIT in text, CHALLENGE_FILE
    seconds = max(int(WRITTEN_LIMIT.split()[-1]), math.ceil(TIMES_START * seconds_to_start(image=image)))
    file = home / CHALLENGE_FILE.name
    file.write_text(text.replace(WRITTEN_LIMIT, f"wall_seconds: {seconds}"))
    return file


def _organize(*, olga: Person, cases: Path, file: Path) -> None:
    olga.sign_up()
    olga.assay("challenge", "push", str(file))
    olga.assay(
        "testset", "push", str(cases / "hidden"), "--challenge", CHALLENGE, "--name", "hidden", "--phase", "open"
    )
    olga.assay("testset", "push", str(cases / "public"), "--challenge", CHALLENGE, "--name", "training", "--public")
    olga.assay("challenge", "publish", CHALLENGE)
    olga.assay("phase", "publish", "--phase", PHASE)


def _join(person: Person, entrant: Entrant) -> None:
    person.sign_up()
    person.assay("team", "create", entrant.team)
    person.assay("join", CHALLENGE, "--team", entrant.example)


def _submit_all(*, people: list[Person], images: dict[str, str], home: Path) -> None:
    """All six at once, each with `assay submit --wait`."""
    with Progressing(teams=[entrant.team for entrant in ENTRANTS]) as progress:
        threads = []
        for person, entrant in zip(people, ENTRANTS, strict=True):
            words = ["--phase", PHASE, "--name", entrant.algorithm, "--team", entrant.example]
            command = ("submit", images[entrant.example], *words, "--wait", "--progress", "json")
            show = partial(progress.show, entrant.team)
            threads.append(threading.Thread(target=person.watch, args=command, kwargs={"on_event": show}, daemon=True))
            threads[-1].start()
        for thread in threads:
            while thread.is_alive():
                thread.join(LOOK_SECONDS)
                if progress.still_seconds > STILL_SECONDS:
                    raise DemoError(f"nothing has changed for {STILL_SECONDS} s; see {home / 'server' / 'log'}")


def _read_board(*, olga: Person, people: list[Person]) -> Board:
    """What the public board says, and what each team is told about its own submission."""
    submissions = [person.assay_json("status", "--phase", PHASE, "--json") for person in people]
    return Board(
        leaderboard=olga.assay_json("leaderboard", "--phase", PHASE, "--json"),
        submissions={entrant.team: rows[0] for entrant, rows in zip(ENTRANTS, submissions, strict=True) if rows},
    )


def _report(*, olga: Person, url: str, board: Board) -> list[str]:
    print()
    print(olga.assay("leaderboard", "--phase", PHASE))
    for team, submission in board.submissions.items():
        if submission["verdict_text"]:
            print(f"  {team}: {submission['verdict_text']}")
    print(f"\n  {url}/c/{CHALLENGE}/\n")
    problems = unmet(board)
    for problem in problems:
        print(f"demo: expectation not met: {problem}", file=sys.stderr)
    if not problems:
        print("demo: every expectation is met")
    return problems


def _serve(*, url: str, olga: Person) -> None:
    print(f"demo: serving {url} until Ctrl-C; the organizer signs in as {olga.username} / {olga.password}", flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("\ndemo: stopping")


if __name__ == "__main__":
    raise SystemExit(main())
