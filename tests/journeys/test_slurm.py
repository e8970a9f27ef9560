"""A submission on a server whose cases run as Apptainer jobs in a real Slurm: scored, ranked, judged and cancelled as anywhere else.

`make test-cluster` runs it. It installs Slurm and Apptainer as root.
"""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

import image_archives
import installation
from assay.client.http import Connection
from assay.client.uploads import describe_file, upload_file
from cluster_programs import apptainer_program
from slurm_cluster import Cluster, running_cluster
from waits import until

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("slurm")]
PASSWORD = "correct horse battery"
WALL_SECONDS = 20
HOG_SOURCE = r"""
#include <stdlib.h>
#include <string.h>
int main(void) {
    for (;;) {
        char *block = malloc(1 << 20);
        if (!block) return 5;
        memset(block, 1, 1 << 20);
    }
}
"""
SETTLED = ("done", "failed", "cancelled", "rejected")


@pytest.fixture(scope="module")
def cluster():
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here: the journey's images are compiled")
    with running_cluster() as found:
        yield found


@pytest.fixture(scope="module")
def server(cluster, tmp_path_factory):
    """An installation whose node hands its cases to Slurm. Gives its address and its folder."""
    folder = tmp_path_factory.mktemp("slurm-journey")
    folder.chmod(0o711)
    program = apptainer_program(folder)
    settings = {
        "ASSAY_ENGINE": "slurm",
        "ASSAY_ENGINE_SOCKET": str(program),
        "ASSAY_ENGINE_FOLDER": str(folder / "engine"),
        "ASSAY_NODE_SLOTS": "2",
        "ASSAY_WEB_PROCESSES": "1",
        **cluster.environment,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)  # also for the command that forgets the node at the end
        with installation.running_installation(folder=folder) as url:
            yield url, folder


def person(url: str, name: str) -> Connection:
    account = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "display_name": name}
    with Connection(url=url) as nobody:
        nobody.post("users", account)
        signed_in = nobody.post("tokens", {"username": name, "password": PASSWORD, "name": "test", "days": 1})
    return Connection(url=url, token=signed_in["token"])


def send(connection: Connection, path: Path, purpose: str) -> str:
    file = describe_file(path=path, on_progress=lambda *_: None)
    return upload_file(connection=connection, file=file, purpose=purpose, on_progress=lambda *_: None)


def hog_image(folder: Path) -> Path:
    """A program that takes memory until it is killed."""
    source, binary = folder / "hog.c", folder / "hog"
    source.write_text(HOG_SOURCE)
    subprocess.run(["gcc", "-static", "-O0", "-o", str(binary), str(source)], check=True)
    layer = image_archives.tar_of(image_archives.entry("hog", binary.read_bytes()))
    config = image_archives.config_of(layer, settings={"Entrypoint": ["/hog"], "Cmd": None})
    return image_archives.docker_save(folder / "hog.tar", layer, config=config)


def test_submissions_run_as_jobs_and_are_scored_ranked_judged_and_cancelled(server, cluster: Cluster):
    url, folder = server
    with person(url, "olga") as olga, person(url, "pia") as pia:
        source = installation.CHALLENGE.replace("wall_seconds: 60", f"wall_seconds: {WALL_SECONDS}")
        source = source.replace("submission_limit: 5", "submission_limit: 9\n    concurrent_limit: 9")
        olga.put("challenges/copycat", {"source": source, "dry_run": False})
        cases = installation.tar_folder(installation.write_testset(folder / "cases", cases=2))
        upload = send(olga, cases, "testset")
        olga.post("challenges/copycat/testsets", {"name": "hidden", "upload_id": upload, "phases": ["main"]})
        olga.post("challenges/copycat/publish")
        pia.post("challenges/copycat/join", {})

        def enter(path: Path, name: str) -> str:
            entry = {"upload_id": send(pia, path, "image"), "name": name}
            return pia.post("challenges/copycat/phases/main/submissions", entry)["id"]

        def seen(number: str) -> dict:
            return pia.get(f"submissions/{number}")

        good = enter(installation.copying_image(folder), "good")
        until(lambda: seen(good)["status"] in SETTLED)
        assert (seen(good)["status"], seen(good)["verdict"]) == ("done", "ok"), seen(good)
        board = pia.get("challenges/copycat/phases/main/leaderboard")
        assert [(row["rank"], row["name"]) for row in board["entries"]] == [(1, "good")], board
        measured = pia.get(f"submissions/{good}/cases")
        assert len(measured) == 2
        assert all(case["verdict"] == "ok" and case["peak_memory_bytes"] > 0 for case in measured), measured

        hog = enter(hog_image(folder), "hog")
        sleeper = enter(installation.copying_image(folder, dwell_seconds=600), "sleeper")
        until(lambda: seen(hog)["status"] in SETTLED and seen(sleeper)["status"] in SETTLED)
        assert {case["verdict"] for case in pia.get(f"submissions/{hog}/cases")} == {"out_of_memory"}
        assert {case["verdict"] for case in pia.get(f"submissions/{sleeper}/cases")} == {"timeout"}

        entered = enter(installation.copying_image(folder, dwell_seconds=601), "cancelled")
        until(lambda: any(line.endswith("RUNNING") for line in cluster.jobs()))
        pia.post(f"submissions/{entered}/cancel")
        asked_at = time.monotonic()
        until(lambda: not cluster.jobs())
        took = time.monotonic() - asked_at
        until(lambda: seen(entered)["status"] in SETTLED)
        assert seen(entered)["status"] == "cancelled"
    print(f"no job was left {took:.1f} s after the cancellation")
    assert took < WALL_SECONDS, "it ended by itself"
    assert [path for path in (folder / "engine" / "containers").iterdir() if not path.name.startswith(".")] == []
    assert list((folder / "var" / "node" / "scratch").glob("case-*")) == []
