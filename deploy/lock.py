"""Makes requirements.lock and shows that it is complete: `make lock` (ARGS=--upgrade: newer releases, ARGS=--check: change nothing).

Theory of operation. `make setup` installs the lock without resolving it, so a requirement the lock does not name would be
missing on every machine. uv resolves for all platforms at once and writes the lock. Pip then says what each locked release
requires. That is kept in tests/deploy/locked_metadata.json, so that the check needs no index: `missing` walks from
pyproject.toml through every requirement, extras and markers included, in each environment below, and looks into the lock only.
A release without a wheel is refused, because building it asks an index for the newest build tools.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PYPROJECT = ROOT / "pyproject.toml"
METADATA = ROOT / "tests" / "deploy" / "locked_metadata.json"
EXTRA = "server"
OLDEST_PYTHON = "3.11"
PYTHONS = ("3.11.0", "3.11.9", "3.12.0", "3.13.0", "3.14.0")
SYSTEMS: Mapping[str, Mapping[str, str]] = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    "darwin": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
    "win32": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
}
WHEELS_FOR = {"win32": "win_amd64", "darwin": "macosx_11_0_arm64"}
Variables = Mapping[str, str]
"""What markers ask about: `python_version`, `sys_platform` and so on."""
Metadata = Mapping[str, Sequence[str]]
"""What each release requires: `name==version` → the lines of `Requires-Dist`."""


class LockError(Exception):
    """The lock could not be made or is not complete. The message says which requirement is missing."""


@dataclass(frozen=True, kw_only=True)
class Locked:
    """One release of the lock and where it is installed."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def key(self) -> str:
        """`name==version`."""
        return f"{self.name}=={self.version}"

    def is_for(self, environment: Variables) -> bool:
        """Whether pip installs it there."""
        return not self.marker or Requirement(f"x ; {self.marker}").marker.evaluate(environment)  # type: ignore[union-attr]  # it has one


def read_lock(text: str) -> list[Locked]:
    """The releases of a lock, in its order."""
    releases = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            pin, *hashes = re.split(r"\s+--hash=", line.strip())
            requirement = Requirement(pin)
            (exact,) = requirement.specifier
            releases.append(
                Locked(
                    name=canonicalize_name(requirement.name),
                    version=exact.version,
                    marker=str(requirement.marker or ""),
                    hashes=tuple(hashes),
                )
            )
    return releases


def environments() -> Iterator[tuple[str, Variables]]:
    """Each machine the lock is for, with a name for messages."""
    for system, facts in SYSTEMS.items():
        for version in PYTHONS:
            environment: Any = default_environment() | dict(facts)
            environment |= {
                "python_full_version": version,
                "implementation_version": version,
                "python_version": ".".join(version.split(".")[:2]),
                "implementation_name": "cpython",
                "platform_python_implementation": "CPython",
            }
            yield f"Python {version} on {system}", environment


def own_requirements(pyproject: Mapping[str, Any]) -> list[str]:
    """What `make setup` wants: the dependencies, the extra `server`, every dependency group."""
    project, groups = pyproject["project"], pyproject["dependency-groups"]
    return [*project["dependencies"], *_extra(project, EXTRA), *(line for group in groups.values() for line in group)]


def _extra(project: Mapping[str, Any], extra: str) -> Iterator[str]:
    """The requirements of one of our extras. An extra may name others of ours."""
    for line in project["optional-dependencies"][extra]:
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) == project["name"]:
            for other in requirement.extras:
                yield from _extra(project, other)
        else:
            yield line


def missing(*, wanted: Iterable[str], lock: Sequence[Locked], metadata: Metadata, environment: Variables) -> list[str]:
    """What the lock lacks in one environment, a sentence for each. Empty when every requirement is satisfied."""
    here: dict[str, Locked] = {}
    faults = []
    for release in lock:
        if release.is_for(environment):
            if release.name in here:
                faults.append(f"{release.name} is locked twice: {here[release.name].version} and {release.version}")
            here[release.name] = release
    todo = [(line, "pyproject.toml", "") for line in wanted]
    seen: set[tuple[str, str]] = set()
    while todo:
        line, asker, extra = todo.pop()
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({**environment, "extra": extra}):
            continue
        locked = here.get(canonicalize_name(requirement.name))
        if locked is None:
            faults.append(f"{asker} requires {line}: the lock has none")
            continue
        if not requirement.specifier.contains(locked.version, prereleases=True):
            faults.append(f"{asker} requires {line}: the lock has {locked.version}")
        for inner in {"", *requirement.extras} - {known for name, known in seen if name == locked.name}:
            seen.add((locked.name, inner))
            if locked.key in metadata:
                todo += [(needed, locked.key, inner) for needed in metadata[locked.key]]
            else:
                faults.append(f"{locked.key}: it is not known what it requires; run `make lock`")
    return faults


def check(*, lock: Sequence[Locked], metadata: Metadata, pyproject: Mapping[str, Any]) -> None:
    """Raise LockError with everything that is missing anywhere."""
    wanted = own_requirements(pyproject)
    faults = [
        f"{name}: {fault}"
        for name, environment in environments()
        for fault in missing(wanted=wanted, lock=lock, metadata=metadata, environment=environment)
    ]
    faults += [f"{release.key} has no hash" for release in lock if not release.hashes]
    if faults:
        raise LockError("the lock is not complete:\n" + "\n".join(faults))


def ask_pip(lock: Sequence[Locked], *, known: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """What each locked release requires, as its wheel says. Nothing is installed. A release that is known is not asked again."""
    found = {release.key: known[release.key] for release in lock if release.key in known}
    for name, environment in environments():
        todo = [release for release in lock if release.key not in found and release.is_for(environment)]
        if todo:
            print(f"lock: asking what {len(todo)} releases require ({name})", flush=True)
            found |= _report(todo, python=environment["python_version"], system=environment["sys_platform"])
    return found


def _report(releases: Sequence[Locked], *, python: str, system: str) -> dict[str, list[str]]:
    with tempfile.TemporaryDirectory(prefix="assay-lock-") as folder:
        pins, report = Path(folder, "pins.txt"), Path(folder, "report.json")
        pins.write_text(
            "".join(f"{release.key}\n" for release in releases)
        )  # no marker: pip would judge by its own Python
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--ignore-requires-python", "--no-deps", "--only-binary=:all:"]
        command += [f"--python-version={python}"]
        command += [f"--platform={WHEELS_FOR[system]}"] if system in WHEELS_FOR else []
        _must([*command, f"--target={folder}/target", f"--report={report}", f"--requirement={pins}"])
        answers = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    return {
        f"{canonicalize_name(one['name'])}=={one['version']}": sorted(one.get("requires_dist", [])) for one in answers
    }


def compile_lock(arguments: Sequence[str]) -> None:
    """Resolve for every platform. Releases already locked stay unless `--upgrade` is among the arguments."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
    command += ["--no-header", "--no-emit-index-url", "--no-emit-find-links", f"--python-version={OLDEST_PYTHON}"]
    groups = tomllib.loads(PYPROJECT.read_text())["dependency-groups"]
    command += [f"--extra={EXTRA}", *(f"--group={group}" for group in groups)]
    _must([*command, *arguments, "--output-file", LOCK.name, PYPROJECT.name])


def _must(command: list[str]) -> None:
    finished = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT
    )
    if finished.returncode != 0:
        raise LockError(f"{' '.join(command)} ended with {finished.returncode}:\n{finished.stderr}")


def main(arguments: Sequence[str]) -> int:
    """Make the lock, ask what it requires, check. 1 when it is not complete."""
    try:
        if "--check" not in arguments:
            compile_lock(arguments)
            lock = read_lock(LOCK.read_text())
            known = json.loads(METADATA.read_text()) if METADATA.exists() else {}
            METADATA.write_text(json.dumps(dict(sorted(ask_pip(lock, known=known).items())), indent=1) + "\n")
        lock = read_lock(LOCK.read_text())
        check(lock=lock, metadata=json.loads(METADATA.read_text()), pyproject=tomllib.loads(PYPROJECT.read_text()))
    except LockError as error:
        print(f"lock: {error}", file=sys.stderr)
        return 1
    print(f"lock: {len(lock)} releases, complete in {len(list(environments()))} environments")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
