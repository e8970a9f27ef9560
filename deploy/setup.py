"""Makes a bare machine ready: `make setup`. Needs python3 only. Prints a line per step with its time.

Theory of operation. Every step first looks whether there is anything to do, so a second call takes a second. System
packages are installed only as root with apt. Otherwise the exact commands are printed. Whatever is optional (a C
compiler, Docker, Chromium) may be missing: setup then says what will not work and goes on, and only what nothing
works without ends it. The base image of the example algorithms takes longest and needs only Docker, so it is built
while pip installs.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from containers import waiting  # noqa: E402  of the standard library only, like this program

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "assay-setup.sha256"
LOGS = ROOT / "var" / "log"
OLDEST_PYTHON = (3, 11)
START_ENGINE_BY_HAND = "sudo systemctl start docker; sudo usermod -aG docker $USER; then log in again"


BROKEN_CONNECTION = re.compile(r"connection broken by '(?P<why>.*)': /")


class SetupError(Exception):
    """A step nothing works without could not be done. The message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """Something the system's package manager provides."""

    package: str
    purpose: str
    is_present: Callable[[], bool]


def has_program(*names: str) -> Callable[[], bool]:
    """Whether one of these programs can be started. System folders count even where PATH leaves them out."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    return lambda: any(shutil.which(name, path=path) for name in names)


def either(first: Callable[[], bool], second: Callable[[], bool]) -> Callable[[], bool]:
    """Whether one of two questions is answered with yes."""
    return lambda: first() or second()


def engine_answers() -> bool:
    """Whether a Docker Engine, here or where DOCKER_HOST points, answers us."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def has_systemd() -> bool:
    """Whether an init system starts services here. In a container there is none."""
    return Path("/run/systemd/system").exists()


def has_venv() -> bool:
    """Debian splits `ensurepip` off into python3-venv. A fresh interpreter looks: this one remembers."""
    return (
        subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode
        == 0
    )


VENV_TOOL = Tool(package="python3-venv", purpose="everything", is_present=has_venv)
TOOLS = (
    VENV_TOOL,
    Tool(package="gcc", purpose="the fast evaluator kernel (NumPy serves without it)", is_present=has_program("gcc")),
    Tool(package="libc6-dev", purpose="the fast evaluator kernel", is_present=Path("/usr/include/stdio.h").exists),
    Tool(package="docker.io", purpose="running algorithm images", is_present=engine_answers),
    Tool(package="iptables", purpose="the Docker Engine", is_present=either(has_program("iptables"), engine_answers)),
    Tool(
        package="cgroupfs-mount",
        purpose="the Docker Engine",
        is_present=either(has_program("cgroupfs-mount"), either(has_systemd, engine_answers)),
    ),
    Tool(package="e2fsprogs", purpose="the hard cap on /output", is_present=has_program("mkfs.ext4")),
    Tool(
        package="debootstrap", purpose="the base image of the example algorithms", is_present=has_program("debootstrap")
    ),
    Tool(package="chromium", purpose="the browser tests", is_present=has_program("chromium", "chromium-browser")),
)


def main() -> int:
    """Do every step. Returns 1 when one that nothing works without failed."""
    started = time.monotonic()
    try:
        _check_python()
        with step("system packages") as say:
            say(_install_packages())
        with step("Docker Engine") as say:
            say(_start_engine())
        with _base_image() as report_base_image:
            with step("Python environment .venv") as say:
                say(_install_locked())
            with step("evaluator kernel") as say:
                say(_kernel_in_use())
            report_base_image()
    except SetupError as error:
        print(f"setup: cannot go on: {error}", file=sys.stderr)
        return 1
    print(f"setup: ready after {time.monotonic() - started:.1f} s", flush=True)
    return 0


@contextmanager
def step(name: str) -> Iterator[Callable[[str], None]]:
    """Time one step and print its line: name, seconds, what came of it."""
    started = time.monotonic()
    outcome: list[str] = []
    yield outcome.append
    print(f"setup: {name:<28} {time.monotonic() - started:6.1f} s  {' '.join(outcome)}", flush=True)


def _check_python() -> None:
    if sys.version_info < OLDEST_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        raise SetupError(
            f"Python {found} found, 3.11 or newer expected. Install one, then run `make setup PYTHON=python3.11`."
        )


def _install_packages() -> str:
    missing = [tool for tool in TOOLS if not tool.is_present()]
    if not missing:
        return "nothing to install"
    packages = [tool.package for tool in missing]
    install = ["apt-get", "install", "--yes", "--no-install-recommends"]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        by_hand = f"sudo {' '.join([*install, *packages])}"
        if VENV_TOOL in missing:
            raise SetupError(f"{VENV_TOOL.package} is missing. Run: {by_hand}")
        lacks = "; ".join(f"{tool.package}: {tool.purpose}" for tool in missing)
        return f"missing ({lacks}). To have them: {by_hand}"
    _apt(["apt-get", "update"])
    if not _apt([*install, *packages]):
        for package in packages:  # one that this release lacks must not cost us the others
            _apt([*install, package])
    if not has_venv():
        raise SetupError(f"apt-get could not install {VENV_TOOL.package}; see {LOGS / 'apt.log'}")
    return "installed " + " ".join(packages)


def _apt(command: list[str]) -> bool:
    LOGS.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with (LOGS / "apt.log").open("ab") as log:
        return subprocess.run(command, stdout=log, stderr=log, env=environment, check=False).returncode == 0


def _start_engine() -> str:
    if engine_answers():
        return "answers"
    if os.geteuid() != 0:
        return f"does not answer: nothing can be run. Do: {START_ENGINE_BY_HAND}"
    if not has_program("dockerd")():
        return "is not installed and could not be: install Docker 20.10 or newer, or set DOCKER_HOST"
    if has_systemd():
        started = subprocess.run(["systemctl", "start", "docker"], check=False)  # it waits, and says why it gave up
        return "started" if started.returncode == 0 and engine_answers() else "does not start: journalctl -u docker"
    log = LOGS / "dockerd.log"
    program = waiting.Program(name="dockerd", process=_start_dockerd(log), log=log)
    try:
        waiting.wait_until_ready(program, is_ready=engine_answers, patience=waiting.patience_from(os.environ))
    except waiting.NotStartedError as error:
        return f"nothing can be run: {error}"
    return "started"


def _start_dockerd(log: Path) -> "subprocess.Popen[bytes]":
    """Without an init system: mount the cgroups if nobody did, then start the daemon in a session of its own."""
    if has_program("cgroupfs-mount")() and not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        subprocess.run(["cgroupfs-mount"], capture_output=True, check=False)
    LOGS.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        return subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True)


def _install_locked() -> str:
    wanted = _fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return "up to date"
    STAMP.unlink(missing_ok=True)
    found, expected = python_of(VENV), ".".join(map(str, sys.version_info[:2]))
    if found != expected:
        if found:
            print(f"setup: {VENV} has Python {found} and is made anew with Python {expected}", flush=True)
        _must([sys.executable, "-m", "venv", "--clear", str(VENV)])
    print(
        "setup: installing what requirements.lock names into .venv; the first time this takes some minutes", flush=True
    )
    if not (VENV / "bin" / "pip").exists():
        _must([str(PYTHON), "-m", "ensurepip", "--upgrade"])
    install_locked(python=PYTHON, project=ROOT)
    STAMP.write_text(wanted)
    return "installed from requirements.lock, hashes checked"


def python_of(environment: Path) -> str:
    """The Python of a virtual environment, such as `3.13`; empty where there is none that can be started."""
    python = environment / "bin" / "python"
    if not python.exists():
        return ""
    asked = "import sys; print('.'.join(map(str, sys.version_info[:2])))"
    return subprocess.run([str(python), "-c", asked], capture_output=True, text=True, check=False).stdout.strip()


def install_locked(*, python: Path, project: Path) -> None:
    """Install a project and its lock into the environment of `python`, whatever its pip, and whatever is newest today.

    `--no-deps`: the lock is complete (`make lock` checks it), so nothing is resolved. A pip that resolves it again stops when
    an index holds something newer. `--only-binary` and `--no-build-isolation`: building would fetch the newest build tools.
    """
    # Python compiles what is imported when it is imported: compiling everything now would take half of the time.
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile", "--no-deps"]
    _must([*pip, "--only-binary=:all:", "--require-hashes", "--requirement", str(project / "requirements.lock")])
    _must([*pip, "--no-build-isolation", "--editable", str(project)])


def _fingerprint() -> str:
    """Of everything that decides what is installed: the lock, the packaging, the kernel's sources, the interpreter."""
    files = [ROOT / "requirements.lock", ROOT / "pyproject.toml", *_kernel_sources()]
    digest = hashlib.sha256(sys.version.encode())
    for path in files:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _kernel_sources() -> Iterable[Path]:
    return sorted(p for p in (ROOT / "evaluator" / "kernel").rglob("*") if p.suffix in (".c", ".h", ".py"))


def _kernel_in_use() -> str:
    answer = subprocess.run(
        [str(PYTHON), "-m", "evaluator.kernel"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    return " ".join(answer.stdout.split()) or "the NumPy fallback serves"


@contextmanager
def _base_image() -> Iterator[Callable[[], None]]:
    """Build the base image beside the other steps. Calling what is yielded waits for it and prints its line."""
    if not engine_answers():
        yield lambda: None
        return
    started = time.monotonic()
    LOGS.mkdir(parents=True, exist_ok=True)
    log_path = LOGS / "base-image.log"
    with log_path.open("wb") as log:
        command = [sys.executable, "-m", "containers.base.build"]
        builder = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)

    def report() -> None:
        name, _ = builder.communicate()
        outcome = name.strip() if builder.returncode == 0 else f"not built, the demo cannot run; see {log_path}"
        print(f"setup: {'base image':<28} {time.monotonic() - started:6.1f} s  {outcome}", flush=True)

    try:
        yield report
    finally:
        if builder.poll() is None:
            builder.terminate()
            builder.wait()


def _must(command: list[str]) -> None:
    """Run a command nothing works without. Its error first when it fails, and all it said in a file."""
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if finished.returncode != 0:
        said = finished.stdout + finished.stderr
        LOGS.mkdir(parents=True, exist_ok=True)
        log = LOGS / "setup.log"
        log.write_text(f"{' '.join(command)}\n{said}")
        raise SetupError(f"{error_of(said)}\nThat was: {' '.join(command)}\nAll it said: {log}")


def error_of(said: str) -> str:
    """What went wrong, from all that a program wrote: its error lines and what belongs to them, without warnings.

    pip writes `ERROR: …` once for the cause, indents what belongs to it, and adds warnings and notices before and after. A
    failing build writes `error: …`. Where nothing is marked as an error (a traceback, say), the last lines have to do. An index that
    cannot be reached (a proxy, a certificate) is a mere warning to pip, whose error then says that there is no such release.
    """
    lines = [line.rstrip() for line in said.splitlines() if line.strip()]
    errors: list[str] = []
    is_error = False
    for line in lines:
        if line.lower().startswith("error"):
            is_error = True
        elif not line.startswith(" "):
            is_error = False
        if is_error:
            errors.append(line)
    broken = [found["why"] for line in lines if (found := BROKEN_CONNECTION.search(line))]
    unreachable = [f"The package index could not be reached: {broken[-1]}"] if broken and errors else []
    return "\n".join([*unreachable, *(errors or lines[-12:])[:12]])


if __name__ == "__main__":
    raise SystemExit(main())
