"""What the demo stands on: a fresh installation under var/demo, the example images, and people who type `assay` commands."""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from containers.examples.demo import make_cases
from containers.waiting import NotStartedError, Program, patience_from, wait_until_ready

EXAMPLES = Path(__file__).resolve().parents[1]
ROOT = EXAMPLES.parents[1]
HOME = ROOT / "var" / "demo"
ASSAY = Path(sys.executable).with_name("assay")
STOP_SECONDS = 120
COLUMNS = str(max(150, shutil.get_terminal_size().columns))
"""Room for the leaderboard, whose printer does not see our terminal."""


class DemoError(Exception):
    """A step could not be done. The message says what to do."""


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    started = time.monotonic()
    yield
    print(f"demo: {name:<58} {time.monotonic() - started:6.1f} s", flush=True)


def make_test_sets(*, home: Path) -> Path:
    """The folder with `hidden` and `public`. Made again only when its recipe changed."""
    recipe = hashlib.sha256(Path(make_cases.__file__).read_bytes()).hexdigest()[:16]
    folder = home / f"cases-{recipe}"
    if not folder.exists():
        fresh = home / "cases.new"
        shutil.rmtree(fresh, ignore_errors=True)
        template = make_cases.read_template()
        make_cases.write_testset(folder=fresh / "hidden", wanted=make_cases.HIDDEN, template=template)
        make_cases.write_testset(folder=fresh / "public", wanted=make_cases.PUBLIC, template=template)
        fresh.rename(folder)
    return folder


def build_image(*, name: str, base_image: str) -> str:
    """Build one example from its Dockerfile, without BuildKit, and return its tag. The image that had the tag goes."""
    tag = f"assay-example/{name}"
    before = _image_id(tag)
    command = [
        "docker",
        "build",
        "--quiet",
        "--network=none",
        "--build-arg",
        f"BASE_IMAGE={base_image}",
        "--tag",
        tag,
        str(EXAMPLES / name),
    ]
    built = _output(command, environment={"DOCKER_BUILDKIT": "0"}).strip()
    if before not in ("", built):
        subprocess.run(["docker", "rmi", before], capture_output=True, check=False)  # stays where something uses it
    return tag


def _image_id(tag: str) -> str:
    command = ["docker", "image", "inspect", "--format", "{{.Id}}", tag]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def seconds_to_start(*, image: str) -> float:
    """How long a container of this image takes until SimpleITK is loaded, while the server works beside it."""
    started = time.monotonic()
    _output(["docker", "run", "--rm", "--network=none", "--entrypoint=python3", image, "-c", "import SimpleITK"])
    return time.monotonic() - started


def base_image() -> str:
    """The name of the image the examples build on. `make setup` has built it."""
    return _output([sys.executable, "-m", "containers.base.build"]).strip()


def _output(command: list[str], *, environment: dict[str, str] | None = None) -> str:
    finished = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, **(environment or {})}
    )
    if finished.returncode != 0:
        words = (finished.stderr or finished.stdout).strip()
        raise DemoError(f"{' '.join(command)[:160]} ended with {finished.returncode}:\n{words[-2000:]}")
    return finished.stdout


@contextmanager
def running_server(*, home: Path) -> Iterator[str]:
    """A fresh installation (database, broker, portal, workers, node) in the folder `server`. Its address.

    Of the last one only the node's list of images stays: those are in the engine, and those that this one does not use are removed.
    """
    var, started_at = home / "server", time.time()
    _start_over(var, keep="node/images")
    log_path, ready_file = home / "server.log", var / "address"
    environment = {**os.environ, "ASSAY_VAR": str(var)}
    command = [str(ASSAY), "serve", "--empty", "--ready-file", str(ready_file)]
    with log_path.open("wb") as log:
        server = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield _wait_for_address(server=server, ready_file=ready_file, log_path=log_path)
    finally:
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
        unused = ["--unused-days", f"{(time.time() - started_at) / 86_400:.6f}"]
        subprocess.run([ASSAY, "node", "forget", "--folder", var / "node", *unused], capture_output=True, check=False)


def _start_over(folder: Path, *, keep: str) -> None:
    """An empty folder, but for what it held under the relative path `keep`."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
        kept = Path(aside) / "kept"
        with contextlib.suppress(FileNotFoundError):
            (folder / keep).rename(kept)
        shutil.rmtree(folder, ignore_errors=True)
        (folder / keep).parent.mkdir(parents=True)
        with contextlib.suppress(FileNotFoundError):
            kept.rename(folder / keep)


def _wait_for_address(*, server: subprocess.Popen[bytes], ready_file: Path, log_path: Path) -> str:
    """The address the server announces once all of it runs."""
    program = Program(name="The server", process=server, log=log_path)
    try:
        wait_until_ready(program, is_ready=ready_file.exists, patience=patience_from(os.environ))
    except NotStartedError as error:
        raise DemoError(str(error)) from error
    return ready_file.read_text().strip()


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody at a keyboard of their own: a home for their token, and the `assay` command."""

    username: str
    display_name: str
    url: str
    home: Path
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)

    def sign_up(self) -> None:
        """Make the account and keep its token."""
        email = f"{self.username}@example.org"
        names = ["--username", self.username, "--email", email, "--display-name", self.display_name]
        self.assay("signup", self.url, *names)

    def assay(self, *arguments: str) -> str:
        """What an `assay` command prints. It must succeed."""
        return _output([str(ASSAY), *arguments], environment=self._environment())

    def assay_json(self, *arguments: str) -> Any:
        """The answer of an `assay` command that speaks JSON."""
        return json.loads(self.assay(*arguments))

    def watch(self, *arguments: str, on_event: Callable[[dict[str, Any]], None]) -> int:
        """Run an `assay` command that reports JSON lines. Returns its exit code."""
        process = subprocess.Popen(
            [str(ASSAY), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, **self._environment()},
        )  # fmt: skip
        with process:
            if process.stdout is None or process.stderr is None:
                raise AssertionError("both are pipes")
            for line in process.stdout:
                on_event(json.loads(line))
            words = process.stderr.read().strip()
        if words:
            on_event({"event": "note", "text": words})
        return process.returncode

    def _environment(self) -> dict[str, str]:
        return {
            "XDG_CONFIG_HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home.parents[1] / "cache"),
            "ASSAY_PASSWORD": self.password,
            "ASSAY_URL": "",
            "ASSAY_TOKEN": "",
            "COLUMNS": COLUMNS,
        }
