"""Published tables become finished leaderboards, and leaderboards become published tables: through the command line and back."""

import re

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from django.test import Client
from django.utils import timezone

import factories
import wire
from assay.accounts.tokens import issue_token
from assay.client import http
from assay.client.cli import main
from assay.leaderboards.models import Snapshot
from assay.leaderboards.selectors import leaderboard
from assay.leaderboards.services import rebuild_leaderboard
from assay.submissions.models import Submission
from assay.submissions.selectors import eligibility_of
from evaluator.layouts import columns_of, load_layout
from evaluator.protocol import load_named_protocol

SOURCE = "https://example.org/published"
LAYOUTS = {"flare": "flare22", "flare21": "flare21", "kits": "kits23", "touchstone": "touchstone"}
CASES = ("case_1", "case_2", "case_10")


@pytest.fixture
def assay(scene, monkeypatch, tmp_path):
    """The command as Olga types it, against our own views."""
    _, secret = issue_token(user=scene.olga, name="cli", days=1, now=timezone.now())
    real = httpx.Client
    transport = wire.send_through(Client())
    monkeypatch.setattr(http.httpx, "Client", lambda **options: real(**{**options, "transport": transport}))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def run(*words) -> str:
        found = CliRunner().invoke(main, ["--url", "http://testserver", "--token", secret, *map(str, words)])
        return found.output if found.exit_code == 0 else f"exit {found.exit_code}: {found.output}"

    return run


def phase_for(scene, protocol: str, slug: str = "published"):
    version = factories.protocol(challenge=scene.challenge, document=load_named_protocol(protocol).document)
    return factories.phase(challenge=scene.challenge, slug=slug, protocol=version)


def write_algorithm(folder, layout: str, *, quality: float) -> None:
    """An algorithm's tables: every accuracy is `quality` less a little per case, every cost the smaller the better it is."""
    folder.mkdir(parents=True)
    for name, columns in columns_of(load_layout(layout), load_named_protocol(LAYOUTS[layout])).items():
        lines = [",".join([load_layout(layout).case_column, *(column.header for column in columns)])]
        for number, case in enumerate(CASES):
            cells = [
                f"{quality - number / 64:.4f}" if column.spec.metric.direction == "max" else f"{100 - 50 * quality:.2f}"
                for column in columns
            ]
            lines.append(",".join([case + load_layout(layout).case_ending, *cells]))
        (folder / name).write_text("\n".join(lines) + "\n")


def board_of(phase):
    rebuild_leaderboard(phase_id=phase.pk, now=timezone.now())
    return leaderboard(phase, is_organizer=False, now=factories.NOW)


def standing(board):
    return [(row.rank, row.score, row.metrics, row.case_count) for row in board.entries]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_published_table_is_a_finished_leaderboard_and_survives_the_round_trip(scene, assay, tmp_path, layout):
    phase = phase_for(scene, LAYOUTS[layout])
    for name, quality in (("Middle", 0.75), ("Best", 0.875), ("Last", 0.5)):
        write_algorithm(tmp_path / "tables" / name, layout, quality=quality)
    said = assay("leaderboard", "import", tmp_path / "tables", "--layout", layout, "--phase", "brains/published",
                 "--source", SOURCE)  # fmt: skip
    assert "#1 Best: 3 cases" in said

    board = board_of(phase)
    assert [(row.rank, row.name) for row in board.entries] == [(1, "Best"), (2, "Middle"), (3, "Last")]
    assert {row.imported_from for row in board.entries} == {SOURCE}
    accuracy = next(metric.name for metric in board.metrics if metric.direction == "max")
    assert board.entries[0].metrics[accuracy]["mean"] == pytest.approx(
        np.mean([0.875, round(0.875 - 1 / 64, 4), round(0.875 - 2 / 64, 4)])
    )

    assay("leaderboard", "export", "--layout", layout, "--phase", "brains/published", "--output", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0001-best", "0002-last", "0003-middle"]
    again = phase_for(scene, LAYOUTS[layout], slug="again")
    assay("leaderboard", "import", tmp_path / "out", "--layout", layout, "--phase", "brains/again", "--source", SOURCE)
    assert standing(board_of(again)) == standing(board)


def test_an_imported_row_ran_nothing_costs_nothing_and_wins_nothing(scene, assay, tmp_path):
    phase = phase_for(scene, "kits23")
    write_algorithm(tmp_path / "Ours", "kits", quality=0.5)
    assay(
        "leaderboard",
        "import",
        tmp_path / "Ours",
        "--layout",
        "kits",
        "--phase",
        "brains/published",
        "--source",
        SOURCE,
    )
    board_of(phase)
    submission = Submission.objects.get(phase=phase)
    assert (submission.image, submission.predictions, submission.is_charged) == (None, None, False)
    assert not submission.runs.exists()
    assert submission.team.members.count() == 0
    (entry,) = Snapshot.objects.get(phase=phase).document["entries"]
    assert (entry["may_win_a_prize"], entry["imported_from"]) == (False, SOURCE)
    judged = eligibility_of(person=scene.pia, phase=phase, now=factories.NOW)
    assert not judged.can_submit  # names of cases are no test set
    assert "no test set" in judged.text


def test_an_algorithm_imported_again_takes_its_own_place(scene, assay, tmp_path):
    phase = phase_for(scene, "kits23")
    for folder, quality in (("first", 0.5), ("second", 0.75)):
        write_algorithm(tmp_path / folder, "kits", quality=quality)
        assay("leaderboard", "import", tmp_path / folder, "--layout", "kits", "--phase", "brains/published",
              "--source", SOURCE, "--name", "Ours")  # fmt: skip
    (row,) = board_of(phase).entries
    assert (row.number, row.name) == (2, "Ours")
    assert row.metrics["dice"]["mean"] == pytest.approx(np.mean([0.75, 0.7344, 0.7188]))


def test_a_table_about_other_cases_than_the_phases_is_refused(scene, assay, tmp_path):
    write_algorithm(tmp_path / "Ours", "kits", quality=0.5)
    version = factories.protocol(challenge=scene.challenge, document=load_named_protocol("kits23").document)
    scene.phase.protocol = version
    scene.phase.save()
    said = assay(
        "leaderboard", "import", tmp_path / "Ours", "--layout", "kits", "--phase", "brains/final", "--source", SOURCE
    )
    assert said.startswith("exit 1: ")
    assert "other cases than this phase" in said
    assert not Submission.objects.filter(phase=scene.phase).exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--layout", "brats", "--source", SOURCE), "There is no such layout"),
        (("--layout", "touchstone", "--source", SOURCE), "does not have the columns of Touchstone"),
        (("--layout", "kits", "--source", "a paper"), "source_url"),
    ],
)
def test_what_cannot_be_imported_is_said_and_leaves_nothing(scene, assay, tmp_path, words, complaint):
    phase = phase_for(scene, "kits23")
    write_algorithm(tmp_path / "Ours", "kits", quality=0.5)
    said = assay("leaderboard", "import", tmp_path / "Ours", "--phase", "brains/published", *words)
    assert said.startswith("exit 1: ")
    assert complaint in said
    assert not phase.submissions.exists()


def test_single_cases_are_exported_to_those_who_may_see_them(scene, tmp_path):
    phase = scene.phase
    phase.protocol = factories.protocol(
        challenge=scene.challenge, document={**factories.PROTOCOL, "release": "aggregate"}
    )
    phase.save()
    address = "/api/v1/challenges/brains/phases/final/leaderboard/export?layout=kits"
    assert Client().get(address).status_code == 403
    client = Client()
    client.force_login(scene.olga)
    answer = client.get(address)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/zip"


def test_a_folder_without_tables_and_one_name_for_many_are_refused(assay, tmp_path):
    (tmp_path / "empty").mkdir()
    common = ("--layout", "kits", "--phase", "brains/published", "--source", SOURCE)
    assert "holds no table" in assay("leaderboard", "import", tmp_path / "empty", *common)
    for name in ("A", "B"):
        write_algorithm(tmp_path / "two" / name, "kits", quality=0.5)
    assert re.search(
        r"--name fits one algorithm", assay("leaderboard", "import", tmp_path / "two", *common, "--name", "X")
    )
