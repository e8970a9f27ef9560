"""The whole path on the command line, to a third party's board: push, submit, receipt, and an evaluation on data that stays away."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import installation
from waits import HANGS_AFTER_SECONDS

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("installation")]
ASSAY = Path(sys.executable).with_name("assay")
PHASE = "copycat/main"


class Person:
    """Somebody with a home folder and the `assay` command."""

    def __init__(self, *, name: str, url: str, home: Path) -> None:
        self.url = url
        self.environment = os.environ | {"XDG_CONFIG_HOME": str(home / name), "XDG_CACHE_HOME": str(home / name)}
        self.environment |= {"ASSAY_PASSWORD": "correct horse battery"}
        self.run("signup", url, "--username", name, "--email", f"{name}@example.org")

    def run(self, *words: str | Path) -> str:
        done = subprocess.run(
            [ASSAY, *words], env=self.environment, capture_output=True, encoding="utf-8", timeout=3600, check=False
        )
        assert done.returncode == 0, f"assay {' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def say(self, *words: str | Path, answer: str) -> str:
        """Run a command that asks a person: it gets a terminal, and the answer is typed there."""
        leader, terminal = pty.openpty()
        os.write(leader, answer.encode())
        try:
            command = subprocess.run(
                [ASSAY, *words],
                env=self.environment,
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
                timeout=3600,
                check=False,
            )
            os.set_blocking(leader, False)
            shown = os.read(leader, 1 << 16).decode(errors="replace")
        finally:
            os.close(leader)
            os.close(terminal)
        assert command.returncode == 0, shown
        return shown

    def token(self) -> str:
        (found,) = Path(self.environment["XDG_CONFIG_HOME"]).rglob("*.json")
        text = json.dumps(json.loads(found.read_text("utf-8")))
        return next(word for word in text.replace('"', " ").split() if word.startswith("assay_"))


def test_from_a_challenge_file_to_the_board_of_a_site_whose_data_stayed_there(address, tmp_path):
    olga = Person(name="olga", url=address, home=tmp_path)
    challenge_file = tmp_path / "challenge.yaml"
    challenge_file.write_text(installation.CHALLENGE)
    olga.run("challenge", "push", challenge_file)
    hidden = installation.write_testset(tmp_path / "hidden")
    olga.run("testset", "push", hidden, "--challenge", "copycat", "--name", "hidden", "--phase", "main")
    olga.run("challenge", "publish", "copycat")

    pia = Person(name="pia", url=address, home=tmp_path)
    pia.run("join", "copycat")
    image = installation.copying_image(tmp_path)
    pia.run("submit", image, "--phase", PHASE, "--name", "Copier", "--wait", "--progress", "none")
    assert "Copier" in pia.run("leaderboard", "--phase", PHASE)
    board = httpx.get(
        f"{address}/api/v1/challenges/copycat/phases/main/leaderboard", timeout=HANGS_AFTER_SECONDS
    ).json()
    assert board["entries"][0]["metrics"]["dice"]["mean"] == 1.0

    receipt = tmp_path / "receipt.json"
    pia.run("receipt", board["entries"][0]["submission_id"], "--output", receipt)
    pia.run("verify", receipt)
    receipt.write_text(receipt.read_text("utf-8").replace("copycat", "copydog"))
    forged = subprocess.run([ASSAY, "verify", receipt], env=pia.environment, capture_output=True, check=False)
    assert forged.returncode != 0

    sites = f"{address}/api/v1/challenges/copycat/phases/main/sites"
    as_olga = httpx.Client(headers={"Authorization": f"Bearer {olga.token()}"}, timeout=HANGS_AFTER_SECONDS)

    def organizer(path: str, **document) -> dict:
        answer = as_olga.post(f"{sites}/{path}", json=document)
        assert answer.is_success, answer.text
        return answer.json()

    clinic, folder = Person(name="clinic", url=address, home=tmp_path), tmp_path / "site"
    here = ("--folder", folder)
    code = organizer("codes", name="st-mary", title="St Mary's Hospital")["code"]
    assert "Read these six words" in clinic.run("site", "join", code, "--url", address, "--no-service", *here)
    words = json.loads(clinic.run("site", "status", "--json", *here))["words"]
    organizer("st-mary/approve", words=words)
    clinic.run("site", "confirm", *here)
    at_home = installation.write_testset(tmp_path / "st-mary", cases=6)
    clinic.run("site", "data", "add", at_home, "--yes", *here)
    organizer("st-mary/agreements")
    clinic.run("site", "agree", "--yes", *here)
    shown = clinic.say("site", "run", *here, answer="approve\n")
    assert "dice" in shown.lower()
    board = as_olga.get(f"{sites}/board").json()
    assert [entry["mean"] for entry in board["entries"]] == [1.0], board
    assert "case0" not in json.dumps(board)
    (paper,) = folder.rglob("*.released")
    clinic.run("verify", paper)
    clinic.run("site", "log", "--output", tmp_path / "log.json", *here)
    assert "1 releases, 0 recalls" in clinic.run("verify", tmp_path / "log.json")
    clinic.run("site", "recall", "1", "--reason", "wrong labels", *here)
    recalled = as_olga.get(f"{sites}/board").json()["entries"][0]
    as_olga.close()
    assert recalled["cells"]["st-mary"]["because"] == "wrong labels"
    clinic.run("site", "leave", "--yes", *here)
    clinic.run("site", "uninstall", "--yes", *here)
    assert not folder.exists()
