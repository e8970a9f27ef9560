"""Handing in a file: the questions before the first byte, the upload, and the request. Used by the command and by `Client`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.client.errors import ClientError
from assay.client.http import Connection, sentences
from assay.client.images import archive_of, cache_folder
from assay.client.records import Submission
from assay.client.session import phase_path
from assay.client.uploads import describe_file, upload_file
from assay.client.watching import Reporter

MODEL_FOLDER = "/opt/ml/model"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A tar of weights that is handed in beside an image, and where the algorithm finds its files."""

    path: Path
    folder: str = MODEL_FOLDER


def submit_file(
    *,
    connection: Connection,
    image: str,
    phase: str,
    request: Mapping[str, Any],
    reporter: Reporter,
    model: Model | None = None,
) -> Submission:
    """Upload an archive, a zip of predictions or a local image, and a model, and submit it.

    Raises `ClientError` before any byte is sent.
    """
    refuse_ineligible(connection=connection, phase=phase)
    path = archive_of(image=image, cache=cache_folder())
    uploads = {"upload_id": send_file(connection=connection, path=path, purpose=purpose_of(image), reporter=reporter)}
    if model is not None:
        uploads["model_upload_id"] = send_file(
            connection=connection, path=model.path, purpose="model", reporter=reporter
        )
        uploads["model_folder"] = model.folder
    answer = connection.post(f"{phase_path(phase)}/submissions", {**request, **uploads})
    submission = Submission.from_json(answer)
    reporter.submission(submission)
    return submission


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


def send_file(*, connection: Connection, path: Path, purpose: str, reporter: Reporter) -> str:
    """Upload a file, or the rest of it, and return the upload's id."""
    file = describe_file(path=path, on_progress=lambda done, total: reporter.transfer("hashing", done, total))
    return upload_file(
        connection=connection,
        file=file,
        purpose=purpose,
        on_progress=lambda done, total: reporter.transfer("uploading", done, total),
    )
