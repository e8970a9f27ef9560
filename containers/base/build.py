"""Build `assay/base-python`: Debian, Python and the wheels the examples need, from this machine's own package mirrors.

    python -m containers.base.build         # prints the image's name, a second call is instant

Theory of operation. No image registry is asked for anything, because hospitals have none. `debootstrap --foreign`
downloads and unpacks a minimal system from the mirror apt is configured with (same proxy), `pip download` fetches
hash-pinned wheels with the host's pip configuration, the Engine imports both as an image, and `configure.sh` finishes it
in a container without a network. What that container holds becomes the flat base image. Its tag is a hash of everything
that decides its content, so an existing tag is never rebuilt and a changed recipe never meets an old image. Unpacking
needs no root: where we are not root, `fakeroot` pretends.

`ASSAY_BASE_IMAGE` names an image to use instead. It must have `python3` and the packages of `requirements.txt`.
"""

import argparse
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
NAME = "assay/base-python"
DEBIAN_PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
IMAGE_CONFIG = (
    "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "ENV LANG=C.UTF-8",
    "ENV PYTHONUNBUFFERED=1",
    'CMD ["python3"]',
)


class BaseImageError(Exception):
    """The base image cannot be made here. The message says what was found and what to do."""


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """Where apt gets this host's own release from."""

    uri: str
    suite: str
    components: tuple[str, ...]
    proxy: str


def recipe_tag(*, suite: str, architecture: str) -> str:
    """The image name whose tag is a hash of everything that decides the content. The mirror does not."""
    digest = hashlib.sha256()
    parts = [suite, architecture, *DEBIAN_PACKAGES, *IMAGE_CONFIG]
    for text in [*parts, *((HERE / name).read_text() for name in ("configure.sh", "requirements.txt"))]:
        digest.update(text.encode() + b"\0")
    return f"{NAME}:{digest.hexdigest()[:12]}"


def parse_index_targets(*, text: str, suite: str, proxy: str) -> Mirror:
    """Choose the mirror of `suite` out of what `apt-get indextargets` printed as `uri|suite|component` lines."""
    rows = [tuple(line.split("|")) for line in text.splitlines() if line.count("|") == 2]
    mirrors = [row for row in rows if row[1] == suite and row[2] in ("main", "universe")]
    if not mirrors:
        raise BaseImageError(
            f"apt on this machine has no source for {suite!r} main (found {sorted({row[1] for row in rows})}). "
            "Add one to /etc/apt/sources.list, or set ASSAY_BASE_IMAGE to an image with Python."
        )
    uri = mirrors[0][0]
    return Mirror(uri=uri, suite=suite, components=tuple(sorted({row[2] for row in mirrors})), proxy=proxy)


def read_mirror() -> Mirror:
    """The mirror this machine's apt is configured with."""
    _require("debootstrap", "apt-get", "docker")
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    line = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    targets = _output(["apt-get", "indextargets", "--format", line, "Created-By: Packages"])
    proxy = _output(["apt-config", "dump", "--format", "%v", "Acquire::http::Proxy"])
    return parse_index_targets(text=targets, suite=codename, proxy=proxy)


def base_image() -> str:
    """The name of a usable base image, built now if it does not exist yet."""
    chosen = os.environ.get("ASSAY_BASE_IMAGE", "")
    if chosen:
        if not _image_exists(chosen):
            raise BaseImageError(
                f"ASSAY_BASE_IMAGE names {chosen!r}, which this Docker Engine does not have: load it first."
            )
        return chosen
    mirror = read_mirror()
    tag = recipe_tag(suite=mirror.suite, architecture=platform.machine())
    with _one_builder_at_a_time():
        if not _image_exists(tag):
            _build(mirror=mirror, tag=tag)
    return tag


def _build(*, mirror: Mirror, tag: str) -> None:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="assay-base-") as scratch:
        work = Path(scratch)
        archive = work / "rootfs.tar"
        _say(f"{tag}: unpacking {mirror.suite} from {mirror.uri}")
        python = _unpack_debian(mirror=mirror, work=work, archive=archive)
        _say(f"fetching wheels for Python {python}")
        _fetch_wheels(python=python, work=work)
        _run(["tar", "--append", "-f", str(archive), "--owner=0", "--group=0", "-C", str(work), "assay-base"])
        _say("configuring it in a container without a network")
        _configure(archive=archive, tag=tag)
    _run(["docker", "tag", tag, f"{NAME}:latest"])
    _say(f"{tag}: ready after {time.monotonic() - started:.0f} s")


def _unpack_debian(*, mirror: Mirror, work: Path, archive: Path) -> str:
    """Write the unpacked, not yet configured system as a tar. Returns the Python version it carries."""
    rootfs = work / "rootfs"
    bootstrap = ["debootstrap", "--foreign", "--variant=minbase", f"--components={','.join(mirror.components)}"]
    bootstrap += [f"--include={','.join(DEBIAN_PACKAGES)}", mirror.suite, str(rootfs), mirror.uri]
    script = '"$@" && tar -C "$ROOTFS" --numeric-owner --exclude=./dev/* -cf "$ARCHIVE" .'
    environment = {"ROOTFS": str(rootfs), "ARCHIVE": str(archive)}
    if mirror.proxy:
        environment["http_proxy"] = mirror.proxy
    as_root = [] if os.geteuid() == 0 else ["fakeroot", "--"]
    _require(*as_root[:1])
    # One shell, so that tar still sees the owners fakeroot pretended.
    _run([*as_root, "sh", "-ec", script, "sh", *bootstrap], environment=environment)
    packages = (rootfs / "var/cache/apt/archives").glob("python3.*-minimal_*.deb")
    versions = [path.name.removeprefix("python").split("-")[0] for path in packages]
    if len(versions) != 1:
        raise BaseImageError(
            f"{mirror.suite} from {mirror.uri} brought Python {versions}, expected one: check the mirror."
        )
    return versions[0]


def _fetch_wheels(*, python: str, work: Path) -> None:
    folder = work / "assay-base"
    folder.mkdir()
    for name in ("configure.sh", "requirements.txt"):
        shutil.copy(HERE / name, folder / name)
    machine = platform.machine()
    platforms = [f"--platform=manylinux{version}_{machine}" for version in ("_2_28", "_2_27", "_2_17", "2014")]
    # The host may have another Python, or one without pip: a throw-away environment always has it.
    _run(["python3", "-m", "venv", str(work / "pip")])
    download = [
        str(work / "pip/bin/pip"),
        "download",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
    ]
    download += platforms  # the list is complete: nothing is resolved, so a newer release cannot stop us
    download += [f"--python-version={python}", "--implementation=cp", "--dest", str(folder / "wheels")]
    _run([*download, "-r", str(folder / "requirements.txt")])


def _configure(*, archive: Path, tag: str) -> None:
    stage = _output(["docker", "import", str(archive)])
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    try:
        command = ["sh", "/assay-base/configure.sh"]
        container = _output(["docker", "create", "--network=none", f"--env={path}", stage, *command])
        try:
            _run(["docker", "start", "--attach", container])
            changes = [f"--change={line}" for line in IMAGE_CONFIG]
            pipeline = 'docker export "$CONTAINER" | docker import "$@"'
            arguments = ["bash", "-o", "pipefail", "-ec", pipeline, "bash", *changes, "-", tag]
            _run(arguments, environment={"CONTAINER": container})
        finally:
            _run(["docker", "rm", "--force", "--volumes", container])
    finally:
        _run(["docker", "rmi", stage])


@contextmanager
def _one_builder_at_a_time() -> Iterator[None]:
    """Two test runs on one machine would otherwise build the same image twice at once."""
    with (Path(tempfile.gettempdir()) / f"assay-base-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _require(*programs: str) -> None:
    packages = {"docker": "docker.io", "apt-get": "apt"}
    missing = [packages.get(program, program) for program in programs if shutil.which(program) is None]
    if missing:
        raise BaseImageError(
            f"Not installed: {', '.join(missing)}. Run: sudo apt-get install {' '.join(missing)}. "
            "Or set ASSAY_BASE_IMAGE to an image with Python and the packages of containers/base/requirements.txt."
        )


def _image_exists(name: str) -> bool:
    command = ["docker", "image", "inspect", name]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _output(command: list[str]) -> str:
    return _run(command).strip()


def _run(command: list[str], *, environment: dict[str, str] | None = None) -> str:
    finished = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )
    if finished.returncode != 0:
        tail = re.sub(r"\n+", "\n", finished.stdout + finished.stderr).strip().splitlines()[-15:]
        raise BaseImageError(f"{' '.join(command)[:200]} ended with {finished.returncode}:\n" + "\n".join(tail))
    return finished.stdout


def _say(text: str) -> None:
    print(f"base image: {text}", file=sys.stderr, flush=True)  # noqa: T201 - a command line tool speaks


def main() -> int:
    """Print the base image's name, building it first where needed."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    try:
        print(base_image())  # noqa: T201 - the answer of a command line tool
    except BaseImageError as error:
        _say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
