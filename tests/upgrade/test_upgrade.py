"""An installation of the first version becomes one of this version, and nothing is lost. `make test-upgrade` does it with 10,000 submissions."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests" / "upgrade" / "run.py"
SUBMISSIONS = 200


@pytest.mark.slow
def test_a_database_of_the_first_version_is_upgraded_and_its_backup_restored():
    command = [sys.executable, "-W", "ignore::UserWarning", str(PROGRAM), "--submissions", str(SUBMISSIONS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "upgrade: nothing was lost" in done.stdout.splitlines()
    assert "accounts.0003_name_keys" in done.stdout, "no newer migration ran"


@pytest.fixture
def facts(monkeypatch):
    """The module that compares, by its name."""
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    import facts

    return facts


def test_a_lost_row_and_a_changed_value_are_both_noticed(facts, scene):
    columns = facts.columns_now()
    before = facts.read(columns)
    assert before.counts["challenges_phase"] == 1
    assert "challenges_phase.opens_at: 0 rows changed; expected 1" in facts.differences(before, before)
    scene.challenge.title = "Another"
    scene.challenge.save()
    scene.team.members.clear()
    found = facts.differences(before, facts.read(columns))
    assert "challenges_challenge.title: its content changed" in found
    assert "accounts_teammember: 1 rows before, 0 after" in found


def test_a_column_that_is_gone_has_to_be_explained(facts, db):
    with pytest.raises(LookupError, match=r"challenges_phase\.wings: list it"):
        facts.read({"challenges_phase": ["id", "wings"]})
