"""The server's commands: a folder that can be written, parts that become what they start, administrators."""

import os
import stat
import sys

import pytest
from click.testing import CliRunner

import factories
from assay.accounts.models import AuditEvent, User
from assay.config import cli, parts, serve
from assay.config import env as environment

GOOD = "correct horse battery"


@pytest.fixture
def call(monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_VAR", str(tmp_path / "var"))

    def go(command, *words, **surroundings):
        return CliRunner().invoke(command, words, env=surroundings)

    return go


@pytest.fixture
def became(monkeypatch):
    """What a part would have become."""
    said = []
    monkeypatch.setattr(os, "execv", lambda program, command: said.append(command))
    return said


def test_the_folder_named_is_made_and_used(call, tmp_path, became):
    assert call(cli.serve, "--data-dir", str(tmp_path / "here"), "beat").exit_code == 0
    assert environment.state_folder() == tmp_path / "here"
    assert stat.S_IMODE((tmp_path / "here").stat().st_mode) == 0o711


def test_a_folder_that_cannot_be_made_is_named_with_what_to_do(call, tmp_path):
    (tmp_path / "file").touch()
    told = call(cli.serve, "--data-dir", str(tmp_path / "file" / "var"), "beat")
    assert told.exit_code == 1
    assert "--data-dir" in told.output
    assert "Traceback" not in told.output


def test_a_folder_of_somebody_else_is_refused(call, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert "cannot be written by this user" in call(cli.serve, "--data-dir", str(tmp_path / "closed"), "beat").output


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["web", "--host", "0.0.0.0", "--port", "9000"], ["gunicorn", "assay.config.wsgi", "--bind", "0.0.0.0:9000"]),
        (["web"], ["gunicorn", "--bind", "127.0.0.1:8000"]),
        (["workflow"], ["celery", "worker", "-Q", "workflow", "workflow@%h"]),
        (["ranking"], ["celery", "worker", "-Q", "ranking", "ranking@%h"]),
        (["scoring"], ["celery", "worker", "-Q", "prompts,scoring", "scoring@%h"]),
        (["beat"], ["celery", "beat"]),
    ],
)
def test_a_part_becomes_its_program_so_that_signals_reach_it(call, became, words, expected):
    assert call(cli.serve, *words).exit_code == 0
    (command,) = became
    assert command[0] == sys.executable
    assert set(expected) <= set(command)
    assert "--beat" not in command


def test_the_workflow_worker_brings_the_clock_where_it_is_asked_to(call, became):
    call(cli.serve, "workflow", "--beat")
    assert "--beat" in became[0]


def test_everything_together_and_alone_runs_by_the_same_commands(became, call, monkeypatch):
    call(cli.serve, "scoring")
    spec = serve.worker_process(
        name="scoring", queues="prompts,scoring", url="http://x", options=parts.scoring_options()
    )
    assert spec.command == became[0]


def test_an_administrator_is_made_and_may_do_everything(call, db):
    told = call(cli.admin, "create", "stan", "--email", "stan@example.org", ASSAY_ADMIN_PASSWORD=GOOD)
    assert told.exit_code == 0, told.output
    stan = User.objects.get()
    assert (stan.username, stan.is_staff, stan.is_superuser) == ("stan", True, True)
    assert stan.check_password(GOOD)
    assert list(AuditEvent.objects.values_list("verb", flat=True)) == ["user.signed_up", "user.promoted"]


@pytest.mark.parametrize(
    ("password", "email", "expected"),
    [
        ("short", "stan@example.org", "too short"),
        (GOOD, "nowhere", "valid email"),
        (GOOD, "PIA@example.org", "exists already"),
    ],
)
def test_an_administrator_who_cannot_be_made_is_refused_in_words(call, db, password, email, expected):
    factories.user(username="pia")
    told = call(cli.admin, "create", "stan", "--email", email, ASSAY_ADMIN_PASSWORD=password)
    assert told.exit_code == 1
    assert expected in told.output
    assert not User.objects.filter(username="stan").exists()


def test_somebody_who_has_an_account_is_promoted(call, db):
    factories.user(username="pia")
    assert call(cli.admin, "promote", "pia").exit_code == 0
    assert User.objects.get(username="pia").is_superuser
    told = call(cli.admin, "promote", "nobody")
    assert told.exit_code == 1
    assert "Nobody here is called 'nobody'" in told.output


def test_the_first_administrator_comes_from_the_environment_once(db, monkeypatch, capsys):
    cli.first_administrator()
    assert "assay admin create" in capsys.readouterr().out
    for name, value in (("NAME", "stan"), ("EMAIL", "stan@example.org"), ("PASSWORD", GOOD)):
        monkeypatch.setenv(f"ASSAY_ADMIN_{name}", value)
    cli.first_administrator()
    monkeypatch.setenv("ASSAY_ADMIN_NAME", "second")
    cli.first_administrator()
    assert list(User.objects.values_list("username", "is_superuser")) == [("stan", True)]
