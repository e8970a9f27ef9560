"""What a leaderboard says and what `assay rank` says of the same scores, to the last digit."""

import csv
import random

import pytest
import yaml
from click.testing import CliRunner

import factories
from assay.challenges.protocols import rules_of
from assay.evaluations.models import CaseScores, Evaluation
from assay.leaderboards import scores
from assay.leaderboards.models import LeaderboardEntry
from assay.leaderboards.services import ask_for_rebuild, rebuild_leaderboard
from evaluator.commands.rank import rank

pytestmark = pytest.mark.django_db
MISSING = {"any": {"dice": 0, "nsd": 0}}
RANKINGS = {
    "values": {"metrics": ["dice", "nsd"], "missing": MISSING, "scheme": "value"},
    "ranks per case": {
        "metrics": ["dice", {"id": "nsd", "weight": 0.3}],
        "missing": MISSING,
        "scheme": {"type": "mean_of_ranks", "rank_at": ["case", "structure"], "normalise": "teams"},
        "ties": {"method": "average"},
    },
    "significant wins": {
        "metrics": ["dice"],
        "missing": MISSING,
        "scheme": "significance",
        "significance": {"adjust": "holm"},
        "ties": {"break": ["dice.rim"]},
    },
}


def scored_phase(scene, ranking):
    """Five submissions on fifteen cases, one of which timed out for the last of them."""
    scores.forget_scores()
    document = {**factories.PROTOCOL, "metrics": [{"name": "dice"}, {"name": "nsd"}], "ranking": ranking}
    testset = factories.testset(challenge=scene.challenge, name="fifteen", case_ids=[f"c{n}" for n in range(15)])
    version = factories.protocol(challenge=scene.challenge, document=document)
    phase = factories.phase(challenge=scene.challenge, slug="fifteen", testset=testset, protocol=version)
    chance = random.Random(1)
    for number in range(5):
        submission = factories.submission(phase=phase, team=factories.team(members=[factories.user()]), status="done")
        evaluation = Evaluation.objects.create(
            submission=submission, number=1, protocol=submission.protocol, testset=submission.testset,
            status="done", is_active=True, created_at=factories.NOW,
        )  # fmt: skip
        for case in testset.cases.all():
            has_failed = (number, case.case_id) == (4, "c3")
            values = [
                [
                    label,
                    metric,
                    None if has_failed else chance.uniform(0.5, 0.9) + number / 50,
                    "timeout" if has_failed else "",
                ]
                for label in ("core", "rim")
                for metric in ("dice", "nsd")
            ]
            CaseScores.objects.create(evaluation=evaluation, case=case, scores=values)
    return phase


@pytest.mark.parametrize("ranking", RANKINGS)
def test_a_leaderboard_equals_the_command_on_its_own_scores(scene, tmp_path, ranking) -> None:
    phase = scored_phase(scene, RANKINGS[ranking])
    ask_for_rebuild(phase_id=phase.pk, now=factories.NOW)
    assert rebuild_leaderboard(phase_id=phase.pk, now=factories.NOW)
    with (tmp_path / "scores.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["algorithm", "case", "label", "metric", "value", "reason"])
        for row in CaseScores.objects.filter(evaluation__submission__phase=phase).select_related("case", "evaluation"):
            writer.writerows((row.evaluation.submission_id, row.case.case_id, *cells) for cells in row.scores)
    (tmp_path / "ranking.yaml").write_text(yaml.safe_dump(dict(rules_of(phase.protocol).ranking)))
    options = ["--config", str(tmp_path / "ranking.yaml"), "-o", str(tmp_path / "ranks.csv")]
    result = CliRunner().invoke(rank, [str(tmp_path / "scores.csv"), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    with (tmp_path / "ranks.csv").open() as file:
        told = {
            row["algorithm"]: (
                float(row["rank"]),
                float(row["score"]),
                [float(row["rank_low"]), float(row["rank_high"])],
            )
            for row in csv.DictReader(file)
        }
    shown = {
        str(entry.submission_id): (entry.rank, entry.score, entry.statistics["rank_interval"])
        for entry in LeaderboardEntry.objects.filter(phase=phase)
    }
    assert len(shown) == 5
    assert told == shown
