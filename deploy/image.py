"""`make image`: the server as a container image, from the wheel and the lock, without a registry.

    python deploy/image.py                              # assay/server:VERSION and :latest on the locally made base
    python deploy/image.py --base python:3.13-slim      # on a published base, where a registry can be reached
    python deploy/image.py --services debian            # also PostgreSQL, a broker and Caddy from Debian's packages

Theory of operation. The wheel is built first. The distributions that `assay[server]` asks for are looked up in this environment, and
their lines of `requirements.lock` become the lock of the image. pip fetches those wheels, hashes checked, for the Python of the base.
The image is then built without a network. Only `--services debian` lets apt reach the host's mirror while it builds.
"""

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).with_name("image")
NAME = "assay/server"
SERVICES = ("postgres", "broker", "caddy")
PLATFORMS = ("_2_28", "_2_27", "_2_17", "2014")


class ImageError(Exception):
    """The image cannot be built. The message says why, with the program's own words."""


def target(python: str) -> dict[str, str]:
    """What a marker asks of the base image's Python, such as 3.11.2."""
    return {"python_version": ".".join(python.split(".")[:2]), "python_full_version": python}


def needed(requirement: Requirement, *, python: str, found: set[str], seen: set[tuple[str, frozenset[str]]]) -> None:
    """The names of the distributions that this requirement asks for on this Python, its extras included."""
    key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
    if key in seen:
        return
    seen.add(key)
    found.add(key[0])
    try:
        asked = importlib.metadata.distribution(requirement.name).requires or []
    except importlib.metadata.PackageNotFoundError:  # of another Python or system: the lock decides
        return
    for text in asked:
        other = Requirement(text)
        extras = ("", *requirement.extras)
        if other.marker is None or any(other.marker.evaluate(target(python) | {"extra": extra}) for extra in extras):
            needed(other, python=python, found=found, seen=seen)


def server_lock(lock: str, *, python: str, wanted: str = "assay[server]") -> str:
    """The part of the lock that the server (or what else is wanted) needs on this Python. Raises ImageError when it lacks something."""
    found: set[str] = set()
    needed(Requirement(wanted), python=python, found=found, seen=set())
    found.discard("assay")
    entries: dict[str, str] = {}
    for entry in re.findall(r"^[A-Za-z0-9][^\n]*(?:\n[ \t]+[^\n]*)*", lock, re.MULTILINE):
        head, _, hashes = entry.partition(" \\\n")
        locked = Requirement(head)
        if locked.marker is None or locked.marker.evaluate(target(python)):
            entries[canonicalize_name(locked.name)] = f"{locked.name}{locked.specifier} \\\n{hashes}"
    missing = sorted(found - entries.keys())
    if missing:
        raise ImageError(f"requirements.lock lacks {', '.join(missing)}: run `make setup` again")
    return "\n".join(entries[name] for name in sorted(found)) + "\n"


def python_of(image: str) -> str:
    """The Python version of a base image, to the last digit: there are requirements of Python before 3.11.3."""
    ask = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
    return run(["docker", "run", "--rm", "--network=none", image, "python3", "-c", ask]).strip()


def fetch_wheels(folder: Path, *, lock: Path, python: str) -> None:
    """The wheels of the lock for this Python and this kind of machine."""
    machine = platform.machine()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", f"--python-version={python}", "--implementation=cp"]
    command += [f"--platform=manylinux{version}_{machine}" for version in PLATFORMS]
    run([*command, "--dest", str(folder), "-r", str(lock)])


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout."""
    uv = Path(sys.executable).with_name("uv")
    options = ["--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(folder)]
    run([str(uv), "build", *options, str(ROOT)])
    (wheel,) = folder.glob("assay-*.whl")
    return wheel


def build_server(*, base: str) -> str:
    """Build the image of the server. Returns its name."""
    with tempfile.TemporaryDirectory(prefix="assay-image-") as scratch:
        context = Path(scratch)
        (context / "wheels").mkdir()
        version = build_wheel(context / "wheels").name.split("-")[1]
        lock, python = context / "server.lock", python_of(base)
        lock.write_text(server_lock((ROOT / "requirements.lock").read_text("utf-8"), python=python), encoding="utf-8")
        fetch_wheels(context / "wheels", lock=lock, python=python)
        shutil.copy(HERE / "Dockerfile", context / "Dockerfile")
        name = f"{NAME}:{version}"
        build(context, "--network=none", "--build-arg", f"BASE={base}", "--tag", name, "--tag", f"{NAME}:latest")
    return name


def build_services(*, base: str) -> list[str]:
    """Build the three servers beside it from Debian's packages. Returns their names."""
    names = [f"assay/{stage}:debian" for stage in SERVICES]
    for stage, name in zip(SERVICES, names, strict=True):
        options = ["--network=host", "--build-arg", f"BASE={base}", "--target", stage, "--tag", name]
        build(HERE, "--file", str(HERE / "services.Dockerfile"), *options)
    return names


def build(context: Path, *options: str) -> None:
    """Build with the builder that every engine has."""
    run(["docker", "build", "--quiet", *options, str(context)], environment={"DOCKER_BUILDKIT": "0"})


def run(command: Sequence[str], *, environment: dict[str, str] | None = None) -> str:
    """What a program prints. Raises ImageError with the end of its words when it fails."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, **(environment or {})}
    )
    if done.returncode != 0:
        words = (done.stdout + done.stderr).strip().splitlines()[-15:]
        raise ImageError(f"{' '.join(command)[:160]} ended with {done.returncode}:\n" + "\n".join(words))
    return done.stdout


def main() -> int:
    """Build what is asked for and print the names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="", help="the image to build on: Debian with python3; the locally made one")
    parser.add_argument(
        "--services", choices=["debian"], help="also build PostgreSQL, a broker and Caddy from packages"
    )
    wanted = parser.parse_args()
    try:
        local = (
            run([sys.executable, "-m", "containers.base.build"]).strip() if wanted.services or not wanted.base else ""
        )
        names = [build_server(base=wanted.base or local)]
        names += build_services(base=local) if wanted.services else []
    except ImageError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    print("\n".join(names))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
