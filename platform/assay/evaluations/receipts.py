"""The signed account of what was run on what: it lets anybody check a result without trusting our database.

A receipt is canonical JSON signed with the installation's Ed25519 key. `assay verify` checks it offline with the public key
from `/api/v1/keys`. It carries hashes and versions, and the hash of the scores instead of the scores: it may be shown before
they are released.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.evaluations.models import Evaluation
from assay.runs.models import CaseRun, Node
from assay.signatures import canonical_json, kept_key, public_key_text
from containers.spec import Usage
from evaluator import source_sha256
from evaluator.results import CaseResult

RECEIPT_VERSION = 1


def signing_key(*, folder: Path) -> Ed25519PrivateKey:
    """The installation's key: 32 bytes in a file of mode 0600, made at the first use. The first of two makers wins."""
    return kept_key(folder / "receipts.ed25519")


def installation_name(*, folder: Path) -> str:
    """Twelve letters that tell this installation from others on the same machine."""
    return hashlib.sha256(public_key_text(signing_key(folder=folder)).encode()).hexdigest()[:12]


def build_receipt(evaluation: Evaluation, *, results: Iterable[CaseResult], now: datetime) -> dict[str, Any]:
    """Everything that decided the result of one evaluation."""
    submission, image = evaluation.submission, evaluation.submission.image
    ended = list(CaseRun.objects.filter(run=evaluation.run).values_list("status", "usage__wall_seconds"))
    usages = (Usage.salvaged({"wall_seconds": seconds}) for _status, seconds in ended)
    nodes = Node.objects.filter(pk__in=CaseRun.objects.filter(run=evaluation.run).values("node"))
    table = [
        [result.case_id, [row.to_json() for row in result.rows]]
        for result in sorted(results, key=lambda result: result.case_id)
    ]
    return {
        "receipt": RECEIPT_VERSION,
        "submission": str(submission.pk),
        "number": submission.number,
        "challenge": submission.challenge.slug,
        "phase": submission.phase.slug,
        "team": submission.team.slug,
        "algorithm": submission.name,
        "image": {
            "archive_sha256": image.archive_sha256,
            **({"model_sha256": image.model_sha256} if image.model_sha256 else {}),
            "uploaded_image_id": image.uploaded_image_id,
            "image_id": image.image_id,
        }
        if image
        else None,
        "predictions_sha256": submission.predictions.sha256 if submission.predictions else None,
        "testset": {
            "name": evaluation.testset.name,
            "version": evaluation.testset.version,
            "sha256": evaluation.testset.sha256,
        },
        "protocol": {"version": evaluation.protocol.version, "sha256": evaluation.protocol.sha256},
        "evaluator": {
            "version": evaluation.evaluator_version,
            "sha256": source_sha256(),
            "backend": evaluation.backend,
        },
        "metric_image_id": (evaluation.protocol.document.get("evaluation") or {}).get("image"),
        "limits": submission.limits,
        "nodes": dict(nodes.values_list("name", "inventory")),
        "evaluation": evaluation.number,
        "cases": {"total": len(table), "failed": sum(status == CaseRun.Status.FAILED for status, _seconds in ended)},
        "wall_seconds": round(sum(used.wall_seconds or 0.0 for used in usages), 3),
        "scores_sha256": hashlib.sha256(canonical_json({"scores": table})).hexdigest(),
        "submitted_at": submission.created_at.isoformat(),
        "issued_at": now.isoformat(),
    }
