"""Joining: the machine is examined first, the token is kept from others, and the same file serves every reader."""

import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from assay.node import cli
from assay.node.http import NodeApiProblem, Registration, UnservedPhase
from assay.node.joining import NodeConfig, install_service, read_config, unit_text, write_config
from containers.engines.choice import EngineChoice, EngineKind
from containers.errors import EngineUnreachable
from containers.machine.doctor import Finding, Level

TOKEN = "assaynode_secret"
READY = [Finding(level=Level.PASS, title="container engine", detail="Docker Engine 28.1.0")]
BROKEN = [Finding(level=Level.FAIL, title="disk", detail="full", fix="a larger disk")]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine whose doctor, server and systemd are played. Gives what was said to them."""
    said = {"hello": [], "calls": [], "findings": READY, "lacking": []}

    class Api:
        def __init__(self, *, url, token):
            said["server"] = (url, token)

        def register(self, *, slots, inventory):
            if said["server"][1] != TOKEN:
                raise NodeApiProblem("POST /api/v1/node/register: 401: Unauthorized")
            said["hello"].append((slots, inventory))
            return Registration(name="gpu-1", pool="a100", installation="here", slots=slots or 1)

        def unserved(self):
            if said["server"][1] != TOKEN:
                raise NodeApiProblem("GET /api/v1/node/unserved: 401: Unauthorized")
            return said["lacking"]

    units = tmp_path / "units"
    units.mkdir()
    monkeypatch.setattr(cli, "NodeApi", Api)
    monkeypatch.setattr(cli, "examine", lambda **_options: said["findings"])
    monkeypatch.setattr(cli, "server_clock_ahead_seconds", lambda _url: 0.0)
    monkeypatch.setattr(cli, "take_inventory", lambda *, folder, engine: {"engine": engine.kind.value})
    monkeypatch.setattr(cli, "SYSTEMD", tmp_path / "no-systemd")
    monkeypatch.setattr(
        cli,
        "install_service",
        lambda *, config, call: install_service(config=config, call=said["calls"].append, units=units),
    )
    return said


def join(tmp_path, *options, token=TOKEN):
    paths = ["--config", str(tmp_path / "etc" / "node"), "--folder", str(tmp_path / "a folder")]
    return CliRunner().invoke(cli.node, ["join", "https://assay.example.org", "--token", token, *paths, *options])


def test_joining_registers_and_keeps_the_token_from_everybody_else(machine, tmp_path):
    result = join(tmp_path, "--engine", "podman", "--slots", "2")
    assert result.exit_code == 0, result.output
    assert machine["hello"] == [(2, {"engine": "podman"})]
    path = tmp_path / "etc" / "node"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_config(path) == {
        "ASSAY_URL": "https://assay.example.org",
        "ASSAY_NODE_TOKEN": TOKEN,
        "ASSAY_NODE_FOLDER": str(tmp_path / "a folder"),
        "ASSAY_NODE_SLOTS": "2",
        "ASSAY_ENGINE": "podman",
    }
    assert "gpu-1 is known to https://assay.example.org, in pool a100" in result.output
    assert TOKEN not in result.output


def test_without_systemd_the_exact_command_is_printed(machine, tmp_path):
    result = join(tmp_path)
    assert "There is no systemd here" in result.output
    assert f"-m assay.node run --config {tmp_path}/etc/node" in result.output
    assert machine["calls"] == []


def test_as_root_with_systemd_the_service_is_installed_and_started(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "SYSTEMD", tmp_path)
    monkeypatch.setattr(cli, "IS_ROOT", True)
    assert "journalctl -u assay-node" in join(tmp_path).output
    assert machine["calls"] == [
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "assay-node"],
        ["systemctl", "restart", "assay-node"],
    ]
    unit = (tmp_path / "units" / "assay-node.service").read_text()
    assert f"EnvironmentFile={tmp_path}/etc/node\n" in unit
    assert "@" not in unit


def test_joining_and_the_doctor_say_which_phases_need_what_this_node_lacks(machine, tmp_path, monkeypatch):
    assert "this node has what every phase of its pool needs" in join(tmp_path).output
    machine["lacking"] = [UnservedPhase(phase="brains/final", needs="1 GPU (A100, 40 GB)")]
    words = "CAUTION phase brains/final: a case needs 1 GPU (A100, 40 GB), which this node does not have"
    assert words in join(tmp_path).output
    asked = ["--url", "https://assay.example.org", "--token"]
    looked = CliRunner().invoke(cli.doctor, [*asked, TOKEN])
    assert (looked.exit_code, words in looked.output) == (0, True), looked.output
    refused = CliRunner().invoke(cli.doctor, [*asked, "assaynode_wrong"])
    assert "the server does not say" in refused.output
    assert "phase" not in CliRunner().invoke(cli.doctor, asked[:2]).output
    monkeypatch.setattr(os, "environ", dict(os.environ))  # the file's settings become the environment of this process
    assert words in CliRunner().invoke(cli.doctor, ["--config", str(tmp_path / "etc" / "node")]).output


def test_a_machine_that_is_not_ready_is_not_joined(machine, tmp_path):
    machine["findings"] = BROKEN
    result = join(tmp_path)
    assert result.exit_code == 1
    assert "→ a larger disk" in result.output
    assert machine["hello"] == []
    assert not (tmp_path / "etc").exists()


def test_a_wrong_token_is_said_before_anything_is_written(machine, tmp_path):
    result = join(tmp_path, token="assaynode_wrong")
    assert result.exit_code == 1
    assert "assay nodes enrol" in result.output
    assert not (tmp_path / "etc").exists()


def test_joining_again_replaces_the_old_token_and_its_file_was_never_open_to_others(tmp_path):
    path = tmp_path / "node"
    path.write_text("ASSAY_NODE_TOKEN=old")
    path.chmod(0o644)
    settings = NodeConfig(
        url="https://x", token="it's new", folder=Path("/f"), engine=EngineChoice(kind=EngineKind.DOCKER)
    )
    write_config(path, settings.text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_config(path)["ASSAY_NODE_TOKEN"] == "it's new"


def test_a_shell_reads_the_same_file(tmp_path):
    engine = EngineChoice(kind=EngineKind.PODMAN, socket="unix:///run/podman/podman.sock")
    settings = NodeConfig(
        url="https://x/?a=b&c", token="t$HOME", folder=Path("/a folder"), engine=engine, broker="redis://b"
    )
    write_config(tmp_path / "node", settings.text())
    script = f"set -a; . {shlex.quote(str(tmp_path / 'node'))}; env"
    lines = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    seen = dict(line.split("=", 1) for line in lines if line.startswith("ASSAY_"))
    assert {name: seen[name] for name in read_config(tmp_path / "node")} == read_config(tmp_path / "node")


def test_run_takes_the_configuration_and_the_environment_wins_over_it(tmp_path, monkeypatch):
    path = tmp_path / "node"
    path.write_text("# a comment\nASSAY_URL=https://written\nASSAY_NODE_TOKEN='t'\nASSAY_ENGINE=podman\n")
    seen = {}
    monkeypatch.setenv("ASSAY_URL", "https://set")
    for name in ("ASSAY_NODE_TOKEN", "ASSAY_ENGINE"):
        monkeypatch.setenv(name, "gone")  # so that what the command sets is taken back afterwards
        monkeypatch.delenv(name)

    def hello(api, *, slots, folder, engine):
        seen.update(engine=engine.kind, slots=slots)
        raise SystemExit(3)

    monkeypatch.setattr(cli, "NodeApi", lambda *, url, token: seen.update(url=url, token=token))
    monkeypatch.setattr(cli, "wait_for_engine", lambda engine, *, pause_seconds: None)
    monkeypatch.setattr(cli, "say_hello", hello)
    assert CliRunner().invoke(cli.node, ["run", "--config", str(path)]).exit_code == 3
    assert seen == {"url": "https://set", "token": "t", "engine": EngineKind.PODMAN, "slots": None}


def test_a_node_that_starts_before_its_engine_waits_for_it(monkeypatch):
    answers, pauses = iter([EngineUnreachable("no socket"), EngineUnreachable("no socket"), "docker 20.10"]), []

    def describe(engine):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(cli, "describe_engine", describe)
    cli.wait_for_engine(EngineChoice(), pause_seconds=5.0, sleep=pauses.append)
    assert pauses == [5.0, 5.0]


def test_the_unit_examines_the_machine_before_it_runs_the_agent():
    unit = unit_text(config=Path("/etc/assay/node"), python="/opt/assay/bin/python")
    assert "ExecStartPre=/opt/assay/bin/python -m assay.node doctor\n" in unit
    assert "ExecStart=/opt/assay/bin/python -m assay.node run --grace-seconds 540\n" in unit
