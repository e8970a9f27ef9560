"""A hospital joins from behind a proxy that opens encrypted connections, and goes on through faults of machine and network.

The hospital's program comes from the wheel and runs in a network namespace. `make test-agent` takes the built file instead, and
`make test-agent-image` the container image, as the page for IT starts it. Each fault happens to a real run with real containers, and each
run ends with exactly one release and with nothing left: no container, no mount, no image, no scan in scratch.
"""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

import installation
from containers.engines import OWNER_LABEL
from inspecting_proxy import HOST, PORT, Proxy, hospital_network, running_proxy, write_authority
from namespaces import can_make_namespaces

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.xdist_group("installation"),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root, and `ip netns` of iproute2"),
]
ASSAY = Path(sys.executable).with_name("assay")
ROOT = Path(__file__).resolve().parents[2]
SITE = "st-mary"
GOAL_COMMANDS, GOAL_SECONDS = 6, 15 * 60
PATIENCE_SECONDS = 900
FILE_PYTHON = os.environ.get("ASSAY_TEST_SITE_PYTHON", sys.executable)
"""The Python that starts the one file: a hospital's own."""
IMAGE = os.environ.get("ASSAY_TEST_SITE_IMAGE", "")
"""The container image of the hospital's program, where that is tested."""


class Organizers:
    """What Olga does over the API, and Pia's one submission."""

    def __init__(self, *, url: str, home: Path) -> None:
        self.url, self.home = url, home
        environment = os.environ | {"ASSAY_PASSWORD": "correct horse battery"}
        self.environments = {
            name: environment | {"XDG_CONFIG_HOME": str(home / name), "XDG_CACHE_HOME": str(home / name)}
            for name in ("olga", "pia")
        }
        for name in self.environments:
            self.assay(name, "signup", url, "--username", name, "--email", f"{name}@example.org")
        (home / "challenge.yaml").write_text(installation.CHALLENGE)
        self.assay("olga", "challenge", "push", home / "challenge.yaml")
        hidden = installation.write_testset(home / "hidden")
        self.assay("olga", "testset", "push", hidden, "--challenge", "copycat", "--name", "hidden", "--phase", "main")
        self.assay("olga", "challenge", "publish", "copycat")
        self.assay("pia", "join", "copycat")
        image = installation.copying_image(home, dwell_seconds=0.5)
        self.assay("pia", "submit", image, "--phase", "copycat/main", "--name", "Copier", "--wait")
        (found,) = Path(self.environments["olga"]["XDG_CONFIG_HOME"]).rglob("*.json")
        words = json.dumps(json.loads(found.read_text())).replace('"', " ").split()
        token = next(word for word in words if word.startswith("assay_"))
        self.http = httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=120)
        self.sites = f"{url}/api/v1/challenges/copycat/phases/main/sites"

    def assay(self, name: str, *words: str | Path) -> None:
        done = subprocess.run(
            [ASSAY, *words], env=self.environments[name], capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, f"assay {' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}"

    def post(self, path: str, **document: str) -> dict:
        answer = self.http.post(f"{self.sites}/{path}", json=document)
        assert answer.is_success, answer.text
        return answer.json()

    def cell(self) -> dict:
        (entry,) = self.http.get(f"{self.sites}/board").json()["entries"]
        return entry["cells"][SITE]


class HospitalMachine:
    """The hospital's commands: its program in the namespace, with the two variables of its page for IT.

    The program is the unpacked wheel, or the one file. The file runs in an empty folder, and sees nothing of this environment.
    """

    def __init__(self, *, namespace: str, proxy: str, authority: Path, program: Path, home: Path) -> None:
        self.folder, self.namespace, self.commands = home / "site", namespace, 0
        if program.is_file():
            self.place = home / "empty"
            self.place.mkdir()
            self.program = [FILE_PYTHON, "-s", program, "site"]
            surroundings = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.place)}
            surroundings["ASSAY_PROGRAM_FOLDER"] = str(home / "unpacked")
        else:
            self.place = Path.cwd()
            self.program = [sys.executable, "-m", "assay.node", "site"]
            surroundings = os.environ | {"PYTHONPATH": str(program)}
        self.environment = surroundings | {
            "HTTPS_PROXY": f"http://{proxy}:{PORT}",
            "SSL_CERT_FILE": str(authority),
            "ASSAY_SITE_FOLDER": str(self.folder),
            "COLUMNS": "400",
        }

    def started(self, *words: str | Path, **changed: str) -> tuple[subprocess.Popen[bytes], int]:
        """A command with a terminal, and the terminal's other end."""
        self.commands += 1
        leader, terminal = pty.openpty()
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.namespace}", *self.program, *words],
            cwd=self.place,
            env=self.environment | changed,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        return process, leader

    def says(self, *words: str | Path, answer: str = "", fails: bool = False, **changed: str) -> str:
        """Run a command to its end, with the answer typed ahead. What it showed."""
        process, leader = self.started(*words, **changed)
        os.write(leader, answer.encode())
        shown = read_until(leader, lambda text: False)
        os.close(leader)
        code = process.wait(timeout=PATIENCE_SECONDS)
        assert (code != 0) is fails, shown
        return shown

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL, for the program and what it started."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def left_behind(self) -> dict[str, list[str]]:
        """What no run may leave: containers, mounts, and files of patients or of the run in scratch."""
        listing = ["docker", "ps", "-a", "--format", f'{{{{.Label "{OWNER_LABEL}"}}}}']
        owners = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        work = self.folder / SITE
        return {
            "containers": [owner for owner in owners if owner.startswith(f"site/{SITE}")],
            "mounts": [line for line in mounts if f" {self.folder}" in line],
            "scratch": sorted(str(path) for path in (work / "scratch").rglob("*")),
            "progress": sorted(str(path) for path in (work / "progress").rglob("*")),
            "drafts": sorted(str(path) for path in (work / "releases").glob("*.json")),
        }


class HospitalContainers(HospitalMachine):
    """The hospital's commands from the container image. Each is a container of its own, in the network of one that sleeps."""

    def __init__(self, *, holder: str, proxy: str, authority: Path, home: Path) -> None:
        self.folder, self.home, self.holder, self.commands = home / "site", home, holder, 0
        self.folder.mkdir(mode=0o700)
        self.environment = os.environ | {
            "HTTPS_PROXY": f"http://{proxy}:{PORT}",
            "SSL_CERT_FILE": str(authority),
            "ASSAY_SITE_FOLDER": str(self.folder),
            "COLUMNS": "400",
        }

    def started(self, *words: str | Path, **changed: str) -> tuple[subprocess.Popen[bytes], int]:
        """As the page for IT says it: the engine's socket, its cgroups, the site's folder, the data."""
        self.commands += 1
        leader, terminal = pty.openpty()
        places = {
            "/var/run/docker.sock": "/var/run/docker.sock",
            "/sys/fs/cgroup": "/sys/fs/cgroup",
            str(self.folder): str(self.folder),
            str(self.home / "cohort"): f"{self.home / 'cohort'}:ro",
            self.environment["SSL_CERT_FILE"]: f"{self.environment['SSL_CERT_FILE']}:ro",
        }
        mounts = [
            word for source, target in places.items() if Path(source).exists() for word in ("-v", f"{source}:{target}")
        ]
        told = [
            word for name in ("HTTPS_PROXY", "SSL_CERT_FILE", "ASSAY_SITE_FOLDER", "COLUMNS") for word in ("-e", name)
        ]
        name = ["--name", f"{self.holder}-site"]
        network = ["--network", f"container:{self.holder}"]
        process = subprocess.Popen(
            ["docker", "run", "--rm", "-it", "--pid=host", *name, *network, *mounts, *told, IMAGE, *map(str, words)],
            env=self.environment | changed,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        return process, leader

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        subprocess.run(["docker", "kill", f"{self.holder}-site"], check=True, capture_output=True)
        process.wait()


@contextmanager
def hospital_at(*, name: str, home: Path, authority: Path) -> Iterator[tuple[HospitalMachine, str]]:
    """The hospital and the address of the proxy's end of its wire."""
    with ExitStack() as held:
        if not IMAGE:
            namespace, proxy = held.enter_context(hospital_network(name=name))
            program = installed(home)
            yield (
                HospitalMachine(namespace=namespace, proxy=proxy, authority=authority, program=program, home=home),
                proxy,
            )
            return
        holder = f"{name}-network"
        sleeping = [
            "docker",
            "run",
            "-d",
            "--network",
            "none",
            "--name",
            holder,
            "--entrypoint",
            "sleep",
            IMAGE,
            "infinity",
        ]
        subprocess.run(sleeping, check=True, capture_output=True)
        held.callback(subprocess.run, ["docker", "rm", "-f", holder], capture_output=True, check=False)
        asked = ["docker", "inspect", "--format", "{{.State.Pid}}", holder]
        process = int(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
        _, proxy = held.enter_context(hospital_network(name=name, of_process=process))
        yield HospitalContainers(holder=holder, proxy=proxy, authority=authority, home=home), proxy


def read_until(leader: int, is_enough: Callable[[str], bool]) -> str:
    """What a terminal shows until that is enough or the program ends."""
    shown, ends_at = b"", time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends_at and not is_enough(shown.decode(errors="replace")):
        if not select.select([leader], [], [], 1.0)[0]:
            continue
        try:
            piece = os.read(leader, 1 << 16)
        except OSError:  # the last program that had the terminal has ended
            break
        if not piece:
            break
        shown += piece
    return shown.decode(errors="replace")


def installed(folder: Path) -> Path:
    """The wheel of this checkout, unpacked. What it asks for is in this environment, so that no index is needed. Or the one file."""
    if built := os.environ.get("ASSAY_TEST_SITE_PROGRAM"):
        return Path(built).resolve(strict=True)
    uv = Path(sys.executable).with_name("uv")
    options = ["--quiet", "--offline", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([uv, "build", *options, "--out-dir", folder / "dist", ROOT], check=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "program")
    return folder / "program"


def releases(proxy: Proxy) -> int:
    return sum(path == "/api/v1/site/release" for path, _ in proxy.told)


def image_of(proxy: Proxy) -> str:
    """The submission's image, as the hospital was told."""
    claims = [json.loads(content) for path, content in proxy.told if path == "/api/v1/site/claim" and content]
    return str(next(claim["image"]["image_id"] for claim in reversed(claims) if claim))


def remove_image(proxy: Proxy) -> None:
    """The engine here is the server's too, so the image lies there already. A hospital's own has to fetch it."""
    subprocess.run(["docker", "rmi", "-f", image_of(proxy)], capture_output=True, check=False)


def is_image_left(proxy: Proxy) -> bool:
    return (
        subprocess.run(["docker", "image", "inspect", image_of(proxy)], capture_output=True, check=False).returncode
        == 0
    )


def test_a_hospital_joins_releases_and_survives_faults(address, tmp_path, request, record_property):
    organizers = Organizers(url=address, home=tmp_path)
    request.addfinalizer(organizers.http.close)
    authority, context = write_authority(tmp_path)
    name = f"assay-h{os.getpid()}"
    began = time.monotonic()
    with (
        hospital_at(name=name, home=tmp_path, authority=authority) as (hospital, proxy_address),
        running_proxy(address=proxy_address, upstream=address, context=context) as proxy,
    ):
        code = organizers.post("codes", name=SITE, title="St Mary's Hospital")["code"]
        url = f"https://{HOST}"
        joined = hospital.says("join", code, "--url", url, "--no-service", answer="n\n")
        words = re.search(r"^\s*((?:[a-z]{5} ){5}[a-z]{5})\s*$", joined, re.MULTILINE)
        assert words, joined
        organizers.post(f"{SITE}/approve", words=words.group(1))
        hospital.says("confirm")
        data = installation.write_testset(tmp_path / "cohort", cases=6)
        hospital.says("data", "add", data, answer="y\n")
        organizers.post(f"{SITE}/agreements")
        hospital.says("agree", answer="y\n")
        shown = hospital.says("run", answer="approve\n")
        assert "is sent" in shown, shown
        seconds = time.monotonic() - began
        record_property("commands", hospital.commands)
        record_property("seconds", round(seconds))
        print(f"\njoin to first released result: {hospital.commands} commands, {seconds:.0f} s with the wheel's build")
        assert hospital.commands <= GOAL_COMMANDS
        assert seconds < GOAL_SECONDS
        assert organizers.cell()["mean"] == 1.0, organizers.cell()
        assert not any(hospital.left_behind().values()), hospital.left_behind()

        assert proxy.asked_for == {f"{HOST}:443"}, "one host, one port"
        assert "case0" not in json.dumps(proxy.seen)
        assert str(data) not in json.dumps(proxy.seen)

        untold = hospital.says("doctor", "--url", url, fails=True, SSL_CERT_FILE="")
        assert "SSL_CERT_FILE" in untold, "the proxy's authority is named as what is in the way"

        faults = {
            "byte flipped": byte_flipped,
            "killed in the middle of the cases": killed,
            "server away at the end of the cases": away_at_the_end,
        }
        for number, (fault, happens) in enumerate(faults.items(), start=1):
            hospital.says("recall", "1", "--reason", fault, "--again")
            assert organizers.cell()["because"] == fault
            remove_image(proxy)
            happens(hospital, proxy)
            if "is sent" not in (shown := hospital.says("run", answer="approve\n")):
                shown += hospital.says("release", answer="approve\n")
            assert "is sent" in shown, f"{fault}: {shown}"
            assert organizers.cell()["mean"] == 1.0, f"{fault}: {organizers.cell()}"
            assert releases(proxy) == number + 1, f"{fault}: released more than once"
            assert not any(hospital.left_behind().values()), f"{fault}: {hospital.left_behind()}"
            assert not is_image_left(proxy), f"{fault}: the image of the submission stays in the hospital's engine"
            print(f"{fault}: released once, nothing left")


def byte_flipped(hospital: HospitalMachine, proxy: Proxy) -> None:
    proxy.flips = 1
    shown = hospital.says("run", answer="approve\n", fails=True)
    assert "put off" in shown
    assert "does not open" in shown
    assert proxy.flips == 0


def killed(hospital: HospitalMachine, proxy: Proxy) -> None:
    process, leader = hospital.started("run")
    shown = read_until(leader, lambda text: "2 ok" in text)
    hospital.kill(process)
    os.close(leader)
    assert "2 ok" in shown, shown
    assert list((hospital.folder / SITE / "progress").iterdir()), "finished cases are written down"


def away_at_the_end(hospital: HospitalMachine, proxy: Proxy) -> None:
    proxy.goes_away_at = '"is_in_review":true'
    hospital.says("run", answer="approve\n", fails=True)
    assert proxy.is_away
    proxy.goes_away_at, proxy.is_away = "", False
