"""After a restart, and on another machine's kernel, the stored files of an evaluation give the scores that its receipt names."""

import json
import os
import subprocess
import sys
from pathlib import Path

from django.utils import timezone

from assay.challenges.protocols import rules_of
from assay.evaluations import specs
from assay.evaluations.models import CaseScores, Evaluation
from assay.signatures import document_hash
from assay.workflow.workers.scoring import score_evaluation

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from pathlib import Path
from evaluator import source_sha256
from evaluator.protocol import load_protocol
from evaluator.scoring import score_case

given = json.loads(Path(sys.argv[1]).read_text())
protocol = load_protocol(given["protocol"])
files = lambda found: {name: Path(path) for name, path in found.items()}
table = []
for case_id, (references, predictions) in sorted(given["cases"].items()):
    result = score_case(protocol=protocol, case_id=case_id, references=files(references), predictions=files(predictions))
    table.append([case_id, [row.to_json() for row in result.rows]])
print(json.dumps([table, source_sha256()]))
"""


def test_cases_scored_one_at_a_time_get_the_scores_that_they_get_together(stage, monkeypatch) -> None:
    stage.submit()
    stage.play()
    together = list(CaseScores.objects.order_by("case__position").values_list("case_id", "scores"))
    CaseScores.objects.all().delete()
    Evaluation.objects.update(status="queued", lease_until=None, attempt=0)
    monkeypatch.setattr(specs, "ROWS_AT_ONCE", 1)
    assert score_evaluation(evaluation_id=Evaluation.objects.get().pk, worker="scorer", clock=timezone.now)
    assert list(CaseScores.objects.order_by("case__position").values_list("case_id", "scores")) == together
    assert len(together) > 1


def test_new_processes_give_the_bits_of_the_receipt_from_what_is_stored(stage, tmp_path) -> None:
    submission = stage.submit()
    stage.play()
    evaluation = Evaluation.objects.get()
    receipt = submission.evaluations.get().receipt
    protocol = rules_of(evaluation.protocol)
    answers = specs.answers_of(evaluation)
    given = {}
    for case in evaluation.testset.cases.all():
        scratch = tmp_path / f"scratch-{case.case_id}"
        scratch.mkdir()
        prepared = specs.prepare_case(case=case, answer=answers.get(case.pk), protocol=protocol, scratch=scratch)
        given[case.case_id] = [
            {name: str(path) for name, path in files.items()} for files in (prepared.references, prepared.predictions)
        ]
    stored = [[row.case.case_id, row.scores] for row in CaseScores.objects.order_by("case__case_id")]
    whole = json.dumps({"protocol": evaluation.protocol.document, "cases": given}, sort_keys=True)
    (tmp_path / "given.json").write_text(whole)
    for instructions in ("avx512", "avx2", "plain"):
        said = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "given.json")],
            cwd=ROOT,
            env={**os.environ, "ASSAY_KERNEL_INSTRUCTIONS": instructions},
            capture_output=True,
            text=True,
            check=True,
        )
        table, evaluator_sha256 = json.loads(said.stdout)
        assert evaluator_sha256 == receipt["evaluator"]["sha256"]
        assert {"scores": table} == {"scores": stored}, instructions
        assert document_hash({"scores": table}) == receipt["scores_sha256"], instructions
