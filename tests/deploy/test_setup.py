"""`make setup` installs the lock as it is: next year, with any pip, and says pip's error where it cannot."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy import local_index
from tests.deploy.deploy_programs import load

setup = load("setup")


def bundled_pips() -> dict[str, Path]:
    """The pips that the Pythons of this machine brought along, and those in the folder `ASSAY_TEST_PIPS`, by version.

    At least one: that of the Python that runs the tests. `make test-pips` fetches one of every Python from 3.11 to 3.14.
    """
    folders = [
        Path(sys.base_prefix).parent,
        Path("/usr/share/python-wheels"),
        Path(os.environ.get("ASSAY_TEST_PIPS", "/nonexistent")),
    ]
    places = (
        "*/lib/python3.1[1-9]/ensurepip/_bundled/pip-*.whl",
        "lib/python3.1[1-9]/ensurepip/_bundled/pip-*.whl",
        "pip-*.whl",
    )
    own = Path(sys.base_prefix, "lib", f"python3.{sys.version_info.minor}", "ensurepip", "_bundled").glob("pip-*.whl")
    found = [*own, *(path for folder in folders for place in places for path in folder.glob(place))]
    return {path.name.split("-")[1]: path.resolve() for path in found}


PIPS = bundled_pips()
pytestmark = pytest.mark.slow


@pytest.fixture
def index(tmp_path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    return folder


@pytest.fixture
def project(tmp_path, index) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    local_index.project(folder, index=index)
    return folder


@pytest.fixture
def only_local(index, monkeypatch, tmp_path) -> None:
    """pip sees the folder and nothing else, whatever this machine's settings are."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setattr(setup, "LOGS", tmp_path / "log")


@pytest.fixture
def python(tmp_path, monkeypatch, pip) -> Path:
    """An empty environment with the given pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    monkeypatch.setenv("PYTHONPATH", str(PIPS[pip]))
    return tmp_path / "venv" / "bin" / "python"


def versions(python: Path) -> dict[str, str]:
    program = "from importlib.metadata import distributions as d; print(*(f'{x.name}={x.version}' for x in d()))"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True, env=environment).stdout
    return dict(pair.split("=") for pair in said.split())


LOCKED = {"alpha": "1.0", "beta": "1.0", "coverage_like": "1.0", "gamma": "1.0", "project": "1.0"}


@pytest.mark.parametrize("pip", PIPS)
def test_newer_releases_in_the_index_change_nothing(python, project, index, only_local):
    """With a newer release of a requirement, and of one required with an extra: what a resolving pip stops at."""
    local_index.release_newer(index)
    setup.install_locked(python=python, project=project)
    assert versions(python) == LOCKED


@pytest.mark.parametrize("pip", PIPS)
def test_the_index_stops_an_old_pip_that_resolves(pip, python, project, index, only_local):
    """So the test above can fail: the same command without `--no-deps`. Pips from 24 on prefer what is pinned."""
    local_index.release_newer(index)
    command = [python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", project / "requirements.lock"]
    finished = subprocess.run(command, check=False, capture_output=True, text=True)
    is_stopped = finished.returncode != 0
    assert is_stopped == (int(pip.split(".")[0]) < 24)
    if is_stopped:
        said = setup.error_of(finished.stderr)
        assert said.startswith("ERROR: In --require-hashes mode, all requirements must have their versions pinned")


@pytest.mark.parametrize("pip", [max(PIPS)])
def test_a_release_without_a_wheel_is_refused_before_build_tools_are_fetched(python, project, index, only_local):
    (index / "gamma-1.0-py3-none-any.whl").rename(index / "gamma-1.0.tar.gz")
    with pytest.raises(setup.SetupError, match=r"No matching distribution found for gamma==1\.0"):
        setup.install_locked(python=python, project=project)
    assert versions(python) == {}


@pytest.mark.parametrize("pip", PIPS)
def test_a_changed_file_is_refused_and_the_error_comes_first(python, project, index, only_local):
    local_index.wheel(index, name="gamma", version="1.0", requires=("beta",))  # same version, other bytes
    with pytest.raises(setup.SetupError) as refused:
        setup.install_locked(python=python, project=project)
    first, *rest = str(refused.value).splitlines()
    assert first.startswith("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES")
    assert any("Got" in line for line in rest)
    assert rest[-1].startswith("All it said: ")
    assert Path(rest[-1].removeprefix("All it said: ")).read_text().startswith(str(python))
    assert versions(python) == {}


PIP_SAYS = """\
WARNING: Location 'file:///mirror/a/' is ignored: it is neither a file nor a directory.
WARNING: Location 'file:///mirror/b/' is ignored: it is neither a file nor a directory.
ERROR: In --require-hashes mode, all requirements must have their versions pinned with ==. These do not:
    coverage[toml]>=7.10.6 from https://index/coverage-7.17.5.whl (from pytest-cov==7.1.0)
WARNING: There was an error checking the latest version of pip.

[notice] A new release of pip is available: 23.2.1 -> 26.0
"""


def test_the_error_of_pip_is_shown_without_its_warnings():
    assert setup.error_of(PIP_SAYS).splitlines() == [
        line for line in PIP_SAYS.splitlines() if line.startswith(("ERROR", "    coverage"))
    ]


def test_an_index_that_cannot_be_reached_is_named_before_the_error_that_follows_from_it():
    """Of a Python whose certificates do not know the proxy's, as pip 25 wrote it."""
    why = "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate'))"
    said = (
        f"WARNING: Retrying (Retry(total=0, connect=None, read=None)) after connection broken by '{why}': /simple/absl-py/\n"
        "ERROR: Could not find a version that satisfies the requirement absl-py==2.5.1 (from versions: none)\n"
        "ERROR: No matching distribution found for absl-py==2.5.1\n"
    )
    first, *rest = setup.error_of(said).splitlines()
    assert first == f"The package index could not be reached: {why}"
    assert rest[-1] == "ERROR: No matching distribution found for absl-py==2.5.1"


def test_where_nothing_is_marked_the_last_lines_are_shown():
    said = "\n".join(f"line {number}" for number in range(30)) + "\nZeroDivisionError: division by zero\n"
    assert setup.error_of(said).splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert setup.error_of("") == ""


def test_an_environment_of_another_python_is_made_anew(tmp_path, monkeypatch, capsys):
    """Or `make PYTHON=… setup` would go on with the Python that was there, and say nothing."""
    done = []
    folder = tmp_path / ".venv"
    (folder / "bin").mkdir(parents=True)
    old = folder / "bin" / "python"
    old.write_text("#!/bin/sh\necho 3.10\n")
    old.chmod(0o755)
    for name, value in {"VENV": folder, "PYTHON": old, "STAMP": folder / "stamp", "_must": done.append}.items():
        monkeypatch.setattr(setup, name, value)
    monkeypatch.setattr(setup, "install_locked", lambda **_: None)
    setup._install_locked()
    assert done[0] == [sys.executable, "-m", "venv", "--clear", str(folder)]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"{folder} has Python 3.10 and is made anew with Python {version}" in capsys.readouterr().out

    old.write_text(f"#!/bin/sh\necho {version}\n")
    (folder / "bin" / "pip").touch()
    done.clear()
    setup.STAMP.unlink()
    setup._install_locked()
    assert done == []


def test_no_environment_or_a_broken_one_has_no_python(tmp_path):
    assert setup.python_of(tmp_path) == ""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("/nonexistent/python3.9")
    assert setup.python_of(tmp_path) == ""
