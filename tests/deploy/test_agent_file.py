"""The site's program in one file: it unpacks once, whole or not at all, and nothing outside its folder."""

import json
import os
import platform
import re
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.deploy.deploy_programs import load

ROOT = Path(__file__).parents[2]
MAIN = ROOT / "deploy" / "agent_main.py"
PROGRAM = """
import os, sys
def main():
    print(sys.argv[1:], os.environ["ASSAY_PROGRAM"], __file__)
"""


HERE = {"python": ".".join(map(str, sys.version_info[:2])), "machine": platform.machine()}


def write_file(folder: Path, *, extra: dict[str, str] | None = None, built_for: dict[str, str] = HERE) -> Path:
    """A file of the same form with a small program in it."""
    wheel = folder / "assay-0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {
            "assay/__init__.py": "",
            "assay/client/__init__.py": "",
            "assay/client/cli.py": PROGRAM,
        }.items():
            archive.writestr(name, text)
        archive.writestr("other-1.data/platlib/other.py", "x = 1")
        archive.writestr("other-1.data/scripts/other", "#!python")
        for name, text in (extra or {}).items():
            archive.writestr(name, text)
    built = folder / "assay-site.pyz"
    with zipfile.ZipFile(built, "w") as archive:
        archive.write(wheel, f"wheels/{wheel.name}")
        archive.writestr("built_for.json", json.dumps(built_for))
        archive.write(MAIN, "__main__.py")
    return built


def start(built: Path, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "ASSAY_PROGRAM_FOLDER": str(folder / "program")}
    command = [sys.executable, "-I", str(built), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_first_start_unpacks_and_the_second_finds_it_there(tmp_path):
    built = write_file(tmp_path)
    first, second = start(built, "site", "status", folder=tmp_path), start(built, "doctor", folder=tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout.startswith(f"['site', 'status'] {built} ")
    (place,) = (tmp_path / "program").iterdir()
    assert str(place) in first.stdout
    assert (place / "other.py").is_file()
    assert not list(place.rglob("scripts"))


def test_another_file_is_unpacked_beside_it(tmp_path):
    start(write_file(tmp_path), folder=tmp_path)
    start(write_file(tmp_path, extra={"assay/newer.py": ""}), folder=tmp_path)
    assert len(list((tmp_path / "program").iterdir())) == 2


@pytest.mark.parametrize(
    ("built_for", "remedy"),
    [
        (HERE | {"python": "3.99"}, "start it with python3.99, or ask the organizers"),
        (HERE | {"machine": "pdp11"}, "What to do: ask the organizers"),
    ],
)
def test_a_file_for_another_python_or_machine_says_so_and_unpacks_nothing(tmp_path, built_for, remedy):
    done = start(write_file(tmp_path, built_for=built_for), folder=tmp_path)
    assert done.returncode == 1
    assert f"Found Python {HERE['python']} on {HERE['machine']}." in done.stderr
    assert f"Expected Python {built_for['python']} on {built_for['machine']}" in done.stderr
    assert remedy in done.stderr
    assert not (tmp_path / "program").exists()


def test_the_builder_notes_what_the_start_reads(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(MAIN.parent)  # `agent.py` imports its neighbour `image.py`
    built = tmp_path / "built.pyz"
    load("agent").write_file(built, wheels=tmp_path, python=HERE["python"])
    load("agent_main").refuse_another_python(built)


@pytest.mark.parametrize("name", ["../outside.py", "/tmp/assay-outside.py"])
def test_a_file_that_was_changed_writes_nothing_outside_its_folder(tmp_path, name):
    done = start(write_file(tmp_path, extra={name: "x"}), folder=tmp_path)
    assert done.returncode != 0
    assert "outside" in done.stderr
    assert list((tmp_path / "program").iterdir()) == []
    assert not Path("/tmp/assay-outside.py").exists()


def test_the_service_starts_the_file(monkeypatch):
    from assay.node.site_life import unit_text
    from containers.engines.choice import EngineChoice, EngineKind

    choice = EngineChoice(kind=EngineKind.DOCKER, socket="")
    monkeypatch.setenv("ASSAY_PROGRAM", "/opt/assay-site.pyz")
    text = unit_text(folder=Path("/var/lib/assay/site"), engine=choice, python="/usr/bin/python3")
    assert "ExecStart=/usr/bin/python3 /opt/assay-site.pyz site run --folder /var/lib/assay/site" in text


EVERY_MODULE = """
import importlib, pkgutil, sys
import assay.client.cli, assay.node
for found in pkgutil.iter_modules(assay.node.__path__):
    if found.name not in ("__main__", "doorbell"):
        importlib.import_module(f"assay.node.{found.name}")
import SimpleITK
print("\\n".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""
"""The doorbell is for nodes beside a broker: a site asks over HTTPS."""


def locked_for_a_site() -> set[str]:
    """What the built file carries beside the program: the names in the part of the lock that `make agent` takes."""
    image, agent = load("image"), (ROOT / "deploy" / "agent.py").read_text()
    (wanted,) = re.findall(r'^WANTED = "(.+)"$', agent, re.MULTILINE)
    python = ".".join(map(str, sys.version_info[:3]))
    lock = image.server_lock((ROOT / "requirements.lock").read_text("utf-8"), python=python, wanted=wanted)
    return set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))


def test_the_file_carries_what_a_site_imports_and_nothing_of_the_server():
    """`make agent` builds the real file. It fetches 90 MB, so it is a target and no test."""
    carried = locked_for_a_site()
    assert {"numpy", "simpleitk", "cryptography", "httpx", "docker"} <= carried
    assert not {"django", "celery", "gunicorn", "psycopg", "matplotlib"} & carried
    shown = subprocess.run([sys.executable, "-c", EVERY_MODULE], capture_output=True, text=True, check=True).stdout
    owners = packages_distributions()
    foreign = {owner.lower().replace("_", "-") for name in shown.split() for owner in owners.get(name, [])}
    at_the_start = {"setuptools"}  # a file of the environment loads it into every program
    assert foreign - carried - at_the_start - {"assay"} == set()
