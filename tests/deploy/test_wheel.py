"""The wheel works where there is no checkout: in an empty environment that holds what the wheel itself asks for and nothing else."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from assay.config import env
from containers.waiting import Program, wait_until_ready
from waits import HANGS_AFTER_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("installation")]
ROOT = Path(__file__).resolve().parents[2]
NOT_IN_AN_EMPTY_ENVIRONMENT = ("ASSAY", "DATABASE_URL", "BROKER_URL", "DJANGO", "PYTHON", "XDG", "VIRTUAL_ENV")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """As `make wheel` builds: the source distribution, and the wheel from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = ["uv", "build", "--quiet", "--offline", "--no-build-isolation", "--python", sys.executable]
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, *command[1:], "--out-dir", folder, ROOT], check=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    (found,) = built.glob("*.whl")
    return found


def needed(requirement: Requirement, found: dict[str, importlib.metadata.Distribution]) -> None:
    """The installed distributions that this one asks for, and those that they ask for."""
    name = canonicalize_name(requirement.name)
    distribution = importlib.metadata.distribution(requirement.name)
    key = f"{name}[{','.join(sorted(requirement.extras))}]"
    if key in found:
        return
    found[key] = distribution
    for text in distribution.requires or []:
        asked = Requirement(text)
        extras = requirement.extras or {""}
        if asked.marker is None or any(asked.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            needed(asked, found)


def link(source: str, target: str) -> None:
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """An empty environment with the wheel, and of the locked distributions only those that `assay[server]` asks for.

    They are taken from this environment, file by file, which takes a second and no index.
    """
    folder = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(folder, symlinks=True, with_pip=False)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    asked = [Requirement(text) for text in metadata(wheel).get_all("Requires-Dist")]
    found: dict[str, importlib.metadata.Distribution] = {}
    for requirement in asked:
        if requirement.name != "assay" and (
            requirement.marker is None
            or any(requirement.marker.evaluate({"extra": extra}) for extra in ("server", "reports", "ingest"))
        ):
            needed(requirement, found)
    assert len(found) > 30
    for distribution in found.values():
        for file in distribution.files or []:
            source = Path(str(distribution.locate_file(file)))
            if ".." not in file.parts and source.is_file() and not (site / file).exists():
                link(str(source), str(site / file))
    uv = Path(sys.executable).with_name("uv")
    install = [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", folder / "bin" / "python", wheel]
    subprocess.run(install, check=True)
    return folder


def metadata(wheel: Path) -> importlib.metadata.PackageMetadata:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return importlib.metadata.PathDistribution(zipfile.Path(archive, name.removesuffix("METADATA"))).metadata


@pytest.fixture
def assay(environment, tmp_path):
    """The command of that environment, in a home of its own with nothing else set."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_IN_AN_EMPTY_ENVIRONMENT)}
    surroundings = kept | {"HOME": str(home)}

    def command(*words: str | Path, may_fail: bool = False) -> str:
        done = subprocess.run(
            [environment / "bin" / "assay", *words],
            env=surroundings, cwd=home, capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        assert may_fail or done.returncode == 0, f"assay {words}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    command.home, command.surroundings, command.program = home, surroundings, environment / "bin" / "assay"
    return command


def test_two_folders_of_masks_are_scored_and_ranked(assay, tmp_path):
    for folder, edge in (("references", 9), ("predictions", 8)):
        (tmp_path / folder).mkdir()
        for case in ("a", "b"):
            mask = np.zeros((12, 12, 12), np.uint8)
            mask[2:edge, 2:9, 2:9] = 1
            nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / folder / f"{case}.nii.gz")
    scores = tmp_path / "scores.csv"
    words = ["--references", tmp_path / "references", "--predictions", tmp_path / "predictions"]
    assay("evaluate", "--labels", "1:liver:1", *words, "--output", scores)
    dice = [float(line.split(",")[3]) for line in scores.read_text().splitlines() if ",dice," in line]
    assert dice == [pytest.approx(12 / 13)] * 2
    table = tmp_path / "table.csv"
    rows = [f"{name},{case},dice,{value}" for name, value in (("good", 0.9), ("poor", 0.5)) for case in "abcd"]
    table.write_text("\n".join(["algorithm,case,metric,value", *rows]) + "\n")
    assay(
        "rank",
        table,
        "--preset",
        "challengeR-rank",
        "--output",
        tmp_path / "ranks.csv",
        "--report",
        tmp_path / "r.html",
    )
    assert "good" in (tmp_path / "ranks.csv").read_text().splitlines()[1]
    assert "good" in (tmp_path / "r.html").read_text()


def test_what_comes_with_the_wheel_is_found(assay, environment):
    assert "flare22" in assay("protocol", "list")
    assert "labels" in assay("protocol", "show", "flare22")
    assay("challenge", "new", "mine", "--from", "flare22")
    assert (assay.home / "mine" / "challenge.yaml").is_file()
    assert re.search(r"PASS|CAUTION|FAIL", assay("doctor", may_fail=True))
    kernel = subprocess.run(
        [environment / "bin" / "python", "-m", "evaluator.kernel"], capture_output=True, text=True, check=True
    )
    assert "compiled kernel serves" in kernel.stdout or shutil.which("gcc") is None
    for room in ("evaluate", "submit", "import", "node", "serve"):
        assert "Not available here" not in assay(room, "--help")


def test_it_serves_from_a_folder_of_the_user(assay):
    """Pages, static files, migrations, API and workers, with everything it writes below the home."""
    ready, log = assay.home / "ready", assay.home / "serve.log"
    command = [assay.program, "serve", "--data-dir", assay.home / "data", "--port", "0", "--ready-file", ready]
    for folder in [assay.home, *assay.home.parents[:3]]:
        folder.chmod(
            folder.stat().st_mode | 0o011
        )  # as root the database runs as somebody unprivileged, who passes through
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=assay.surroundings, cwd=assay.home, stdout=out, stderr=out)
    try:
        program = Program(name="assay serve", process=server, log=log)
        wait_until_ready(program, is_ready=ready.exists, patience=env.patience())
        url = ready.read_text().strip()
        assert httpx.get(f"{url}/readyz", timeout=HANGS_AFTER_SECONDS).json()["status"] == "ready"
        page = httpx.get(url, timeout=HANGS_AFTER_SECONDS).text
        style = re.search(r'href="(/static/[^"]+\.css)"', page)
        assert httpx.get(f"{url}{style[1]}", timeout=HANGS_AFTER_SECONDS).status_code == 200
        data = ["--data-dir", assay.home / "data"]
        assay.surroundings |= {"ASSAY_ADMIN_PASSWORD": "correct horse battery", "ASSAY_VAR": str(data[1])}
        assert "is an administrator" in assay("admin", *data, "create", "stan", "--email", "stan@example.org")
        signed_in = {"username": "stan", "password": "correct horse battery", "name": "wheel", "days": 1}
        token = httpx.post(f"{url}/api/v1/tokens", json=signed_in, timeout=HANGS_AFTER_SECONDS).json()["token"]
        me = httpx.get(
            f"{url}/api/v1/me", headers={"Authorization": f"Bearer {token}"}, timeout=HANGS_AFTER_SECONDS
        ).json()
        assert me["is_staff"] is True
        assay("backup", *data, "make", assay.home / "monday")
        assert (assay.home / "monday" / "database.dump").is_file()
        assert "no issues" in assay("manage", "check")
    finally:
        server.terminate()
        assert server.wait() == 0, log.read_text()[-3000:]
    assert {path.name for path in assay.home.iterdir()} <= {"data", "serve.log", "monday", ".cache", ".config"}


def test_the_folder_it_writes_to_is_the_users_unless_named(environment, tmp_path):
    ask = "from assay.config import env; print(env.state_folder())"
    kept = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    python = [environment / "bin" / "python", "-c", ask]
    usual = subprocess.run(python, env=kept, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.strip()
    assert usual == str(tmp_path / ".local" / "share" / "assay")
    assert env.state_folder() == ROOT / "var" or "ASSAY_VAR" in os.environ


def test_the_source_distribution_is_the_repository(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        names = {name.partition("/")[2] for name in content.getnames()}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not listed:
        pytest.skip("no git here: nothing says what the repository holds")
    left_out = {name for name in listed if not name.startswith(".") and (ROOT / name).is_file()} - names
    assert left_out == set()
    assert not {name for name in names if name.startswith(("var/", ".venv/", "dist/"))}


def test_the_metadata_says_what_it_is(wheel):
    said = metadata(wheel)
    assert said["Name"] == "assay"
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in said.get_all("Classifier")
    with zipfile.ZipFile(wheel) as archive:
        assert {"assay/py.typed", "evaluator/py.typed", "containers/py.typed"} <= set(archive.namelist())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == said["Version"] == version


def test_no_text_names_an_index_where_assay_is_not():
    listed = subprocess.run(
        ["git", "grep", "-lE", r"pip install assay(\[|$|[^-])"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert set(listed.stdout.split()) <= {Path(__file__).relative_to(ROOT).as_posix()}
