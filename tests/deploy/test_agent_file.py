"""The site's program in one file: it unpacks once, whole or not at all, and nothing outside its folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAIN = ROOT / "deploy" / "agent_main.py"
PROGRAM = """
import os, sys
def main():
    print(sys.argv[1:], os.environ["ASSAY_PROGRAM"], __file__)
"""


def write_file(folder: Path, *, extra: dict[str, str] | None = None) -> Path:
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
