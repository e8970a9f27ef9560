"""The templates that check an image on every push: their script, run as a pipeline runs it, and what they hand to it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from image_archives import LAYER, config_of, docker_save

CI = Path(__file__).parents[2] / "deploy" / "ci"
SCRIPT = CI / "check-image.sh"


def check(tmp_path, **variables) -> subprocess.CompletedProcess:
    """The script, with the command `assay` of this environment and nothing else of it."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8", **variables}
    return subprocess.run(
        ["sh", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )


@pytest.mark.parametrize(
    ("user", "exit_code", "said"), [("", 0, "image accepted"), ("ghost", 1, "useradd --create-home ghost")]
)
def test_the_script_says_what_the_platform_would(tmp_path, user, exit_code, said):
    archive = docker_save(tmp_path / "image.tar", LAYER, config=config_of(LAYER, settings={"User": user}))
    result = check(tmp_path, ASSAY_IMAGE=str(archive), ASSAY_PROTOCOL="segrap23")
    assert result.returncode == exit_code, result.stderr
    assert said in result.stdout


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "ASSAY_IMAGE is not set"),
        ({"ASSAY_IMAGE": "x"}, "Whose rules apply?"),
        ({"ASSAY_IMAGE": "x", "ASSAY_PHASE": "a/b", "ASSAY_PROTOCOL": "c"}, "Set one."),
        ({"ASSAY_IMAGE": "x", "ASSAY_PROTOCOL": "c", "PATH": "/usr/bin:/bin"}, "There is no command assay."),
    ],
)
def test_what_is_missing_is_said_before_anything_runs(tmp_path, variables, said):
    result = check(tmp_path, **variables)
    assert result.returncode == 2
    assert said in result.stderr


def test_both_templates_run_the_script_with_variables_it_reads():
    read = set(re.findall("ASSAY_[A-Z]+", SCRIPT.read_text()))
    action = yaml.safe_load((CI / "action.yml").read_text())
    step = action["runs"]["steps"][-1]
    assert step["run"].endswith('check-image.sh"')
    assert set(step["env"]) <= read
    assert {value.split("inputs.")[1].split(" ")[0] for value in step["env"].values()} <= set(action["inputs"])
    job = yaml.safe_load((CI / "gitlab.yml").read_text())["check-image"]
    assert job["script"] == ['sh "$ASSAY_SCRIPT"']
    assert (CI.parents[1] / job["variables"]["ASSAY_SCRIPT"]).is_file()
