"""The signed account of what was run on what: it lets anybody check a result without trusting our database.

A receipt is canonical JSON signed with the installation's Ed25519 key. `assay verify` checks it offline with the public key
from `/api/v1/keys`. It carries hashes and versions, and the hash of the scores instead of the scores: it may be shown before
they are released.
"""

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from assay.evaluations.models import CaseScores, Evaluation
from assay.runs.models import CaseRun

RECEIPT_VERSION = 1


def canonical_json(document: Mapping[str, Any]) -> bytes:
    """The one spelling of a document that is hashed and signed."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def signing_key(*, folder: Path) -> Ed25519PrivateKey:
    """The installation's key: 32 bytes in a file of mode 0600, made at the first use. The first of two makers wins."""
    path = folder / "receipts.ed25519"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = folder / f"receipts.{os.getpid()}"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Ed25519PrivateKey.generate().private_bytes_raw())
        try:
            os.link(partial, path)
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())


def public_key_text(key: Ed25519PrivateKey) -> str:
    """The public half, base64: what `/api/v1/keys` publishes and `assay verify --key` takes."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def installation_name(*, folder: Path) -> str:
    """Twelve letters that tell this installation from others on the same machine."""
    return hashlib.sha256(public_key_text(signing_key(folder=folder)).encode()).hexdigest()[:12]


def sign(document: Mapping[str, Any], *, key: Ed25519PrivateKey) -> dict[str, Any]:
    """The document with the key's public half and a signature over all the rest."""
    signed = {**document, "public_key": public_key_text(key)}
    return {**signed, "signature": base64.b64encode(key.sign(canonical_json(signed))).decode()}


def build_receipt(evaluation: Evaluation, *, scores: Iterable[CaseScores], now: datetime) -> dict[str, Any]:
    """Everything that decided the result of one evaluation."""
    submission, image = evaluation.submission, evaluation.submission.image
    case_runs = list(CaseRun.objects.filter(run=evaluation.run).select_related("node"))
    nodes = {row.node.name: row.node.inventory for row in case_runs if row.node}
    table = [[row.case.case_id, row.scores] for row in sorted(scores, key=lambda row: row.case.case_id)]
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
        "evaluator": {"version": evaluation.evaluator_version, "backend": evaluation.backend},
        "metric_image_id": (evaluation.protocol.document.get("evaluation") or {}).get("image"),
        "limits": submission.limits,
        "nodes": nodes,
        "evaluation": evaluation.number,
        "cases": {"total": len(table), "failed": sum(row.status == CaseRun.Status.FAILED for row in case_runs)},
        "wall_seconds": round(sum(row.usage.wall_seconds or 0.0 for row in case_runs), 3),
        "scores_sha256": hashlib.sha256(canonical_json({"scores": table})).hexdigest(),
        "submitted_at": submission.created_at.isoformat(),
        "issued_at": now.isoformat(),
    }
