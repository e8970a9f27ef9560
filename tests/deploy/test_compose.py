"""The compose file, the units and the image agree with the program and with each other."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from assay.config.cli import serve

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
PARTS = {"prepare", "web", "workflow", "ranking", "scoring", "beat"}
SECRETS = {"DATABASE_URL", "ASSAY_SECRET_KEY", "POSTGRES_PASSWORD"}


@pytest.fixture(scope="module")
def image():
    spec = importlib.util.spec_from_file_location("image", DEPLOY / "image.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_part_of_the_server_is_a_service_that_runs_it():
    assert set(serve.commands) == PARTS
    for name in PARTS:
        assert COMPOSE["services"][name]["command"][:3] == ["assay", "serve", name]


def test_every_variable_of_the_compose_file_is_in_the_example():
    asked = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text()))
    offered = set(re.findall(r"^([A-Z_]+)=", (DEPLOY / ".env.example").read_text(), re.MULTILINE))
    assert asked <= offered


def test_the_node_is_off_unless_asked_for_and_sees_no_secret_of_the_server():
    node = COMPOSE["services"]["node"]
    assert node["profiles"] == ["node"]
    assert "env_file" not in node
    assert not SECRETS & set(node["environment"])


def test_the_page_shows_the_file_for_nginx_as_it_is():
    assert (DEPLOY / "nginx.conf").read_text() in (ROOT / "docs" / "operators" / "tls.md").read_text()


def test_nothing_but_caddy_can_be_reached_from_outside():
    assert [name for name, service in COMPOSE["services"].items() if "ports" in service] == ["caddy"]


def test_the_images_need_of_the_lock_depends_on_the_python_of_the_base(image):
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    old, new = image.server_lock(lock, python="3.11.2"), image.server_lock(lock, python="3.13.0")
    assert re.search(r"^numpy==", old, re.MULTILINE)
    assert re.search(r"^django==", new, re.MULTILINE)
    assert "async-timeout==" in old, "redis asks for it before Python 3.11.3"
    assert "async-timeout==" not in new
    assert not re.search(r"^(pytest|mypy|playwright)==", new, re.MULTILINE)
    assert all("--hash=sha256:" in entry for entry in new.split("\n\n") if entry.strip())


def test_a_lock_that_lacks_something_is_named(image):
    with pytest.raises(image.ImageError, match=r"lacks .*django"):
        image.server_lock("click==8.1 \\\n    --hash=sha256:00\n", python="3.13.0")


@pytest.mark.parametrize("unit", sorted(path.name for path in (DEPLOY / "units").glob("assay-*.service")))
def test_a_unit_runs_a_command_that_there_is(unit):
    text = (DEPLOY / "units" / unit).read_text()
    words = re.search(r"^ExecStart=/opt/assay/.venv/bin/assay (.*)$", text, re.MULTILINE)[1].split()
    if words[0] == "serve":
        assert words[1] in serve.commands
        assert unit == f"assay-{words[1]}.service"
    else:
        assert words[:2] == ["backup", "make"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here: apt-get install systemd")
def test_systemd_understands_every_unit(tmp_path):
    units = shutil.copytree(DEPLOY / "units", tmp_path / "units")
    shutil.copy(DEPLOY / "assay.service", units)
    for path in units.iterdir():  # the program is not installed here
        path.write_text(path.read_text().replace("/opt/assay/.venv/bin/assay", "/bin/true"))
    verify = ["systemd-analyze", "verify", *sorted(units.iterdir())]
    told = subprocess.run(verify, capture_output=True, text=True, check=False)
    complaints = [line for line in told.stderr.splitlines() if str(tmp_path) in line or "assay" in line]
    assert complaints == []
