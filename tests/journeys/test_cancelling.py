"""How long a container lives on after somebody has asked for its end, with the usual intervals and a real engine."""

import shutil
import subprocess
from pathlib import Path

import pytest

import installation
from assay.client.http import Connection
from assay.client.uploads import describe_file, upload_file
from assay.evaluations.receipts import installation_name
from waits import until

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("installation")]
PASSWORD = "correct horse battery"
LONG_SECONDS = 300
AT_MOST_SECONDS = 5.0


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cancelling")
    folder.chmod(0o711)
    with installation.running_installation(folder=folder, ASSAY_WEB_PROCESSES="1", ASSAY_NODE_SLOTS="3") as url:
        yield folder, url


def person(url: str, name: str) -> Connection:
    account = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "display_name": name}
    with Connection(url=url) as nobody:
        nobody.post("users", account)
        signed_in = nobody.post("tokens", {"username": name, "password": PASSWORD, "name": "test", "days": 1})
    return Connection(url=url, token=signed_in["token"])


def send(connection: Connection, path, purpose: str) -> str:
    file = describe_file(path=path, on_progress=lambda *_: None)
    return upload_file(connection=connection, file=file, purpose=purpose, on_progress=lambda *_: None)


def containers(owner: str) -> int:
    command = ["docker", "ps", "-q", "--filter", f"label=assay.owner={owner}/local"]
    return len(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def seconds_until(owner: str, *, count: int) -> float:
    return until(lambda: containers(owner) == count)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here: the submitted image is compiled")
def test_one_or_many_cancelled_submissions_are_stopped_within_five_seconds(address):
    folder, url = address
    with person(url, "olga") as olga, person(url, "pia") as pia:
        ids = enter_three(olga=olga, pia=pia, folder=folder)
        owner = installation_name(folder=folder / "var" / "keys")
        seconds_until(owner, count=3)

        pia.post(f"submissions/{ids[0]}/cancel")
        one = seconds_until(owner, count=2)
        cancelled = pia.post("submissions/cancel", {"submission_ids": ids})["cancelled"]
        many = seconds_until(owner, count=0)

    assert sorted(cancelled) == sorted(ids[1:])
    print(f"stopped after {one:.1f} s, two at once after {many:.1f} s")
    assert max(one, many) < AT_MOST_SECONDS


def enter_three(*, olga: Connection, pia: Connection, folder: Path) -> list[str]:
    """Pia's slow algorithm, entered three times."""
    source = installation.CHALLENGE.replace("wall_seconds: 60", f"wall_seconds: {2 * LONG_SECONDS}")
    source = source.replace("submission_limit: 5", "submission_limit: 5\n    concurrent_limit: 5")
    olga.put("challenges/copycat", {"source": source, "dry_run": False})
    cases = send(olga, installation.tar_folder(installation.write_testset(folder / "cases", cases=1)), "testset")
    olga.post("challenges/copycat/testsets", {"name": "hidden", "upload_id": cases, "phases": ["main"]})
    olga.post("challenges/copycat/publish")
    pia.post("challenges/copycat/join", {})
    image = send(pia, installation.copying_image(folder, dwell_seconds=LONG_SECONDS), "image")
    entry = {"upload_id": image, "name": "slow", "allow_duplicate": True}
    return [pia.post("challenges/copycat/phases/main/submissions", entry)["id"] for _ in range(3)]
