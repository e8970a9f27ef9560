"""Handing in a file: the questions before the first byte, the upload, and the request. Used by the command and by `Client`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.client.errors import ClientError, RefusedError
from assay.client.http import Connection, sentences
from assay.client.images import archive_of, cache_folder
from assay.client.records import Submission
from assay.client.session import phase_path
from assay.client.uploads import describe_file, upload_file
from assay.client.watching import Reporter

MODEL_FOLDER = "/opt/ml/model"
REGISTRY = "docker://"
"""In front of an image that the server fetches from a registry, as other tools write it."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A tar of weights that is handed in beside an image, or `sha256:…` of one, and where the algorithm finds its files."""

    source: str
    folder: str = MODEL_FOLDER


def submit_file(
    *,
    connection: Connection,
    image: str,
    phase: str,
    request: Mapping[str, Any],
    reporter: Reporter,
    model: Model | None = None,
    is_code: bool = False,
) -> Submission:
    """Upload an archive, a zip of predictions or of code, or a local image, and a model, and submit it.

    What the team has handed in before is not sent again. `sha256:…` names it without the file. Raises `ClientError` before any byte
    is sent.
    """
    refuse_ineligible(connection=connection, phase=phase)
    kept = kept_hashes(connection=connection, phase=phase)
    if image.startswith(REGISTRY):
        given = {"reference": image.removeprefix(REGISTRY)}
    else:
        path = None if hash_in(image) else archive_of(image=image, cache=cache_folder())
        purpose = "code" if is_code else purpose_of(image)
        given = given_file(
            connection=connection, path=path, source=image, purpose=purpose, kept=kept, reporter=reporter
        )
    if model is not None:
        path = None if hash_in(model.source) else Path(model.source)
        beside = given_file(
            connection=connection, path=path, source=model.source, purpose="model", kept=kept, reporter=reporter
        )
        given |= {f"model_{name}": value for name, value in beside.items()} | {"model_folder": model.folder}
    answer = connection.post(f"{phase_path(phase)}/submissions", {**request, **given})
    submission = Submission.from_json(answer)
    reporter.submission(submission)
    return submission


def hash_in(source: str) -> str:
    """The hash of `sha256:…`; empty where the text names a file or an image."""
    hexadecimal = source.removeprefix("sha256:")
    is_hash = source.startswith("sha256:") and len(hexadecimal) == 64 and set(hexadecimal) <= set("0123456789abcdef")
    return hexadecimal if is_hash else ""


def kept_hashes(*, connection: Connection, phase: str) -> set[tuple[str, str]]:
    """Purpose and hash of what the team has handed in before. A server that is older than this question keeps nothing for us."""
    try:
        return {(row["kind"], row["sha256"]) for row in connection.get(f"{phase_path(phase)}/kept")}
    except RefusedError as refusal:
        if refusal.status != 404:
            raise
        return set()


def given_file(
    *,
    connection: Connection,
    path: Path | None,
    source: str,
    purpose: str,
    kept: set[tuple[str, str]],
    reporter: Reporter,
) -> dict[str, str]:
    """The fields of a request that name a file: its hash where the server has it, else the upload that was just made."""
    if path is None:
        return {"sha256": hash_in(source)}
    file = describe_file(path=path, on_progress=lambda done, total: reporter.transfer("hashing", done, total))
    if (purpose, file.sha256) in kept:
        return {"sha256": file.sha256}
    upload_id = upload_file(
        connection=connection,
        file=file,
        purpose=purpose,
        on_progress=lambda done, total: reporter.transfer("uploading", done, total),
    )
    return {"upload_id": upload_id}


def purpose_of(image: str) -> str:
    """A zip holds predictions. Anything else is an algorithm image."""
    return "predictions" if image.endswith(".zip") and Path(image).is_file() else "image"


def refuse_ineligible(*, connection: Connection, phase: str) -> None:
    """Ask whether we may submit, and say each reason why not with its cure."""
    eligibility = connection.get(phase_path(phase)).get("eligibility")
    if eligibility is None or eligibility["can_submit"]:
        return
    failing = [condition for condition in eligibility["conditions"] if not condition["ok"]]
    raise ClientError(
        f"You cannot submit to {phase} now",
        found="; ".join(condition["text"] for condition in failing),
        what_to_do=sentences(condition.get("cure") or "" for condition in failing),
    )
