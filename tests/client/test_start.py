"""The command starts at once: what it imports is counted, and the table it is known by says what the commands say."""

import json
import os
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

from assay.client.commands import COMMANDS, Entry
from evaluator import backends
from evaluator.commands import evaluate
from tests.evaluator.volume_files import save_nifti

FRONT = {
    "assay", "assay.client", "assay.client.cli", "assay.client.commands", "assay.client.credentials", "assay.client.errors",
    "assay.client.session", "assay.private_files",
}  # fmt: skip
"""What of the platform every command needs."""
HEAVY = {
    "celery", "containers", "cryptography", "django", "docker", "httpx", "importlib.metadata", "jsonschema", "matplotlib",
    "pydantic", "rich", "SimpleITK", "yaml",
}  # fmt: skip
PROGRAM = """
import json, sys
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
from assay.client.cli import main
try:
    main(sys.argv[1:], prog_name="assay")
except SystemExit as ended:
    assert not ended.code, ended.code
found = {"modules": sorted(sys.modules), "protocols": [path for path in opened if "/evaluator/protocols/" in path]}
print("\\n" + json.dumps(found))
"""


@pytest.fixture
def start():
    """Run `assay` in a process of its own: what it printed, the modules it imported, the protocols it opened."""

    def run(*arguments):
        ended = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)
        assert not ended.returncode, ended.stderr
        words, _, found = ended.stdout.rstrip().rpartition("\n")
        return words, set(json.loads(found)["modules"]), json.loads(found)["protocols"]

    return run


@pytest.fixture
def folders(tmp_path):
    """The options for one case of 8 × 8 × 8 voxels."""
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[2:6, 2:6, 2:6] = 1
    for name in ("references", "predictions"):
        (tmp_path / name).mkdir()
        save_nifti(tmp_path / name / "case.nii.gz", mask)
    places = [f"--{name}={tmp_path / name}" for name in ("references", "predictions")]
    return [*places, "-o", str(tmp_path / "scores.csv")]


def of(package, modules):
    """The package and what was imported below it."""
    return {name for name in modules if name == package or name.startswith(f"{package}.")}


def test_help_imports_no_room(start):
    words, modules, protocols = start("--help")
    assert all(name in words for name in COMMANDS)
    assert of("assay", modules) == FRONT
    assert of("evaluator", modules) == set()
    assert {"numpy", *HEAVY} & modules == set()
    assert protocols == []


def test_help_of_evaluate_needs_no_numpy(start):
    words, modules, protocols = start("evaluate", "--help")
    assert "--max-memory" in words
    assert of("assay", modules) == FRONT
    assert of("evaluator", modules) == {"evaluator", "evaluator.commands", "evaluator.commands.evaluate"}
    assert {"numpy", *HEAVY} & modules == set()
    assert protocols == []


def test_evaluating_imports_neither_the_client_nor_what_it_does_not_use(start, folders):
    words, modules, protocols = start("evaluate", "--labels", "1:liver:1", *folders)
    assert "1 cases" in words
    assert of("assay", modules) == FRONT
    assert HEAVY & modules == set()
    for room in ("reports", "disclosure", "layouts", "ranking.engine", "ranking.analysis", "backends.gpu"):
        assert of(f"evaluator.{room}", modules) == set()
    assert {"subprocess", "zipfile"} & modules == set()
    assert protocols == []


def test_evaluating_by_a_protocol_reads_that_one(start, folders):
    words, modules, protocols = start("evaluate", "--protocol", "flare22", *folders)
    assert "protocol flare22" in words
    assert HEAVY & modules == {"yaml"}
    assert [path.rpartition("/")[2] for path in protocols] == ["flare22.yaml"]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_table_says_what_the_command_says_of_itself(name):
    module, _, attribute = COMMANDS[name].home.partition(":")
    command = getattr(import_module(module), attribute)
    assert (command.name, command.get_short_help_str(10_000)) == (name, COMMANDS[name].help)
    assert not command.hidden


def test_the_door_of_evaluate_offers_the_backends_there_are():
    assert evaluate.BACKENDS == backends.BACKENDS


def test_a_broken_room_takes_no_other_down(assay, monkeypatch):
    monkeypatch.setitem(COMMANDS, "broken", Entry("nowhere.at.all:command", "Do what nobody can."))
    assert "Do what nobody can." in assay("--help").output
    result = assay("broken", "--flag", "x")
    assert result.exit_code == 1
    assert "`assay broken` is not available here" in result.output
    assert "No module named 'nowhere'" in result.output
    assert "Not available here" in assay("broken", "--help").output


@pytest.mark.parametrize(
    ("typed", "meant"), [("evalute", "'evaluate'"), ("leaderbord", "'leaderboard'"), ("serv", "'serve'")]
)
def test_a_mistyped_command_is_answered_with_the_one_that_was_meant(assay, typed, meant):
    result = assay(typed)
    assert result.exit_code == 2
    assert f"No such command '{typed}'. Did you mean {meant}" in result.output
    assert "Did you mean" not in assay("xyzzy").output


def complete(*words):
    """What a zsh offers for the last of the words: kind, name and help of each."""
    told = {"_ASSAY_COMPLETE": "zsh_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    program = "import sys; from assay.client.cli import main; main(prog_name='assay')"
    ended = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **told}, capture_output=True, text=True, check=False
    )
    lines = ended.stdout.splitlines()
    return [tuple(lines[first : first + 3]) for first in range(0, len(lines), 3)]


def test_the_shell_completes_commands_their_parts_and_their_options():
    names = [name for _, name, _ in complete("assay", "e")]
    assert names == ["evaluate", "export"]
    assert [name for _, name, _ in complete("assay", "leaderboard", "ex")] == ["export"]
    assert "--max-memory" in [name for _, name, _ in complete("assay", "evaluate", "--m")]
    (offered,) = complete("assay", "whoa")
    assert offered[1:] == ("whoami", "Say which server we talk to, and as whom.")
