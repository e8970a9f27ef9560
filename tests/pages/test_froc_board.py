"""The FROC curves on a detection challenge's board: the report's own points, and nothing of them where the board withholds."""

import re
from pathlib import Path

import numpy as np
import pytest
from django.urls import reverse
from django.utils import timezone

import factories
import hosting
from assay.leaderboards.models import LeaderboardEntry
from assay.leaderboards.order import Wanted
from assay.leaderboards.reports import board_of
from assay.leaderboards.selectors import leaderboard
from assay.leaderboards.services import active_evaluations, rebuild_leaderboard
from assay.portal.curves import curves_of
from assay.workflow.workers.checking import check_submission
from assay.workflow.workers.scoring import score_evaluation
from evaluator.protocol import load_named_protocol
from evaluator.ranking import analyse
from evaluator.reports.data import gather
from evaluator.reports.sections import Scene, froc

RATES = ("1/8", "1/4", "1/2", "1", "2", "4", "8")


class Shelf:
    """Keeps no figure: the points are in the table."""

    def show(self, name, drawn, caption):
        return ""


@pytest.fixture
def phase(scene, tmp_path: Path):
    protocol = load_named_protocol("luna16")
    cases = [f"c{number}" for number in range(hosting.cases_needed(protocol))]
    folder = hosting.reference_folder(protocol, tmp_path / "references", cases)
    phase = hosting.hosted(scene=scene, protocol=protocol, folder=folder, now=timezone.now())
    for name, share in (("poorer", 1 / 3), ("perfect", 1.0)):
        content = hosting.predictions_zip(protocol, tmp_path / name, cases, share=share)
        submission = hosting.handed_in(phase, scene=scene, name=name, content=content)
        check_submission(submission_id=submission.pk, clock=timezone.now)
        evaluation = submission.evaluations.get()
        assert score_evaluation(evaluation_id=evaluation.pk, worker="test", clock=timezone.now)
    rebuild_leaderboard(phase_id=phase.pk, now=timezone.now())
    return phase


def test_the_board_shows_the_points_of_the_report_and_none_where_it_withholds(scene, phase, client):
    board = leaderboard(phase, is_organizer=False, now=timezone.now())
    (curve,) = curves_of(board, wanted=Wanted())
    assert curve.rates == RATES
    assert [row.name for row in curve.rows] == ["perfect", "poorer"]
    assert curve.rows[0].values == (1.0,) * 7
    for row in curve.rows:
        assert np.mean(row.values) == pytest.approx(row.mean, abs=1e-12)

    made = board_of(phase, evaluations=active_evaluations(phase=phase))
    data = gather(made.table, analyse(made.table, made.config, bootstrap=0), title="own")
    (section,) = [item for item in load_named_protocol("luna16").report if item.section == "froc"]
    told = "".join(froc(Scene(data=data, protocol=load_named_protocol("luna16"), section=section), Shelf()))
    shown = [[float(cell) for cell in re.findall(r"<td[^>]*>([\d.]+)</td>", row)] for row in told.split("<tr>")[2:]]
    assert shown == [pytest.approx(row.values, abs=1e-3) for row in curve.rows]

    address = reverse("portal:leaderboard", args=[scene.challenge.slug, phase.slug])
    client.force_login(scene.pia)
    page = client.get(address).content.decode()
    assert page.count('class="curve ') == 4  # two lines, each with its key
    assert "FROC curves" in page

    def everything() -> str:
        api = f"/api/v1/challenges/{scene.challenge.slug}/phases/{phase.slug}/leaderboard"
        return "".join(client.get(path).content.decode() for path in (address, f"{address}?format=json", api))

    assert '"curve"' in everything()
    document = {**phase.protocol.document, "release": {"mode": "aggregate", "rounding": 1, "delta": 0.01}}
    whole, coarse = phase.protocol, factories.protocol(challenge=scene.challenge, document=document)
    for changes in ({"is_embargoed": True}, {"protocol": coarse}):
        before = {name: getattr(phase, name) for name in changes}
        type(phase).objects.filter(pk=phase.pk).update(**changes)
        told = everything()
        assert not re.search("curve|polyline", told), changes
        type(phase).objects.filter(pk=phase.pk).update(**before)
    assert whole.pk == phase.protocol_id
    assert '"curve"' in everything()


def test_rows_beyond_the_drawn_ones_are_in_the_table_only(scene, phase):
    entry = LeaderboardEntry.objects.filter(phase=phase).first()
    for rank in range(3, 10):
        factories.entry(phase=phase, rank=rank, metrics=entry.metrics)
    (curve,) = curves_of(leaderboard(phase, is_organizer=False, now=timezone.now()), wanted=Wanted())
    assert [row.tone for row in curve.rows] == [*"abcdef", "", "", ""]
    assert str(curve.picture).count("<polyline") == 6
    assert curves_of(leaderboard(phase, is_organizer=False, now=timezone.now()), wanted=Wanted(view="site:A")) == ()
