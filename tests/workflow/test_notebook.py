"""The notebook for participants, cell by cell, with the real client and the real views. The workers' part is called by name."""

import contextlib
import io
import json
from pathlib import Path

import httpx
import pytest
from django.test import Client
from django.utils import timezone

import hosting
from assay.accounts.tokens import issue_token
from assay.client import http
from assay.leaderboards.services import rebuild_leaderboard
from assay.submissions.models import Submission
from assay.workflow.workers.checking import check_submission
from assay.workflow.workers.scoring import score_evaluation
from evaluator.protocol import load_protocol
from wire import send_through

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "participants" / "python-client.ipynb"
PROTOCOL = {
    "protocol": 1,
    "name": "one-block",
    "labels": {"block": {"values": 1}},
    "outputs": [{"name": "segmentation", "kind": "label_map", "file": "{case}.nii.gz"}],
    "metrics": [{"name": "dice"}],
}


@pytest.fixture
def phase(scene, tmp_path, monkeypatch):
    """A phase of predictions, a zip in the folder where the notebook runs, and Pia's token in the environment."""
    protocol = load_protocol(PROTOCOL)
    folder = hosting.reference_folder(protocol, tmp_path / "references", ["c1"])
    phase = hosting.hosted(scene=scene, protocol=protocol, folder=folder, now=timezone.now())
    type(phase).objects.filter(pk=phase.pk).update(kind="predictions", is_embargoed=False)
    (tmp_path / "predictions.zip").write_bytes(
        hosting.predictions_zip(protocol, tmp_path / "answer", ["c1"], share=1.0)
    )
    monkeypatch.chdir(tmp_path)
    ask = httpx.Client
    monkeypatch.setattr(http.httpx, "Client", lambda **options: ask(**{**options, "transport": send_through(Client())}))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    _, token = issue_token(user=scene.pia, name="test", days=1, now=timezone.now())
    monkeypatch.setenv("ASSAY_URL", "http://testserver")
    monkeypatch.setenv("ASSAY_TOKEN", token)
    return phase


def score() -> None:
    """What the workers do with the one submission there is."""
    submission = Submission.objects.get()
    check_submission(submission_id=submission.pk, clock=timezone.now)
    assert score_evaluation(evaluation_id=submission.evaluations.get().pk, worker="test", clock=timezone.now)
    rebuild_leaderboard(phase_id=submission.phase_id, now=timezone.now())


def test_every_cell_of_the_notebook_runs(phase, tmp_path):
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in document["cells"]}) == len(document["cells"])
    names: dict[str, object] = {}
    printed = io.StringIO()
    for cell in document["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] != "code":
            continue
        assert (cell["outputs"], cell["execution_count"]) == ([], None), "what a cell printed once is not kept"
        with contextlib.redirect_stdout(printed):
            exec(compile(text, cell["id"], "exec"), names)
        if "parameters" in cell["metadata"].get("tags", []):
            names["PHASE"] = f"{phase.challenge.slug}/{phase.slug}"
        if "client.submit(" in text:
            score()
    assert names["finished"].status == "done"
    assert names["rows"] == [{"rank": 1, "team": "Pia and friends", "name": "From a notebook", "dice": 1.0}]
    assert "block dice 1.0" in printed.getvalue()
    assert "brains/own open until" in printed.getvalue()
    assert json.loads((tmp_path / "receipt.json").read_text())
    assert "nobody" in printed.getvalue() or "There is no" in printed.getvalue()
