"""Handing in a file: the questions before the first byte, the upload, and the request. Used by the command and by `Client`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.client.errors import ClientError, RefusedError
from assay.client.http import Connection, sentences
from assay.client.images import archive_of, cache_folder
from assay.client.records import Submission
from assay.client.session import phase_path
from assay.client.uploads import LocalFile, describe_file, upload_file
from assay.client.watching import Reporter, wait_until_finished

MODEL_FOLDER = "/opt/ml/model"
REGISTRY = "docker://"
"""In front of an image that the server fetches from a registry, as other tools write it."""


@dataclass(frozen=True, kw_only=True)
class HandedIn:
    """What is handed in, and what is said of it. Either `image` or `code` is given.

    `image`: an archive, a zip of predictions, a local image by name, `sha256:…` of what the team has handed in before, or
    `docker://REGISTRY/NAME:TAG`. `code`: a zip of code. `model`: a tar of weights, or `sha256:…` of one.
    """

    phase: str
    name: str
    image: str = ""
    code: str = ""
    description: str = ""
    link: str = ""
    team: str = ""
    division: str = ""
    model: str = ""
    model_folder: str = MODEL_FOLDER
    command: str = ""
    registry_login: tuple[str, str] | None = None
    allow_duplicate: bool = False

    def __post_init__(self) -> None:
        if bool(self.image) == bool(self.code):
            raise ClientError(
                "One thing is submitted at a time",
                found="an image and code" if self.image else "neither an image nor code",
                expected="an image, or a zip of code",
                what_to_do="name one of the two",
            )

    def request(self) -> dict[str, Any]:
        """What is said of the files."""
        user, password = self.registry_login or ("", "")
        return {
            "name": self.name,
            "description": self.description,
            "url": self.link,
            "team": self.team,
            "division": self.division,
            "allow_duplicate": self.allow_duplicate,
            **({"command": self.command} if self.command else {}),
            **({"registry_user": user, "registry_password": password} if self.registry_login else {}),
        }


def hand_in(given: HandedIn, *, connection: Connection, reporter: Reporter, wait: bool = False) -> Submission:
    """Upload the files and submit them. With `wait` the answer comes when the submission has finished.

    What the team has handed in before is not sent again. Raises `ClientError` before any byte is sent.
    """
    refuse_ineligible(connection=connection, phase=given.phase)
    kept = kept_hashes(connection=connection, phase=given.phase)
    if given.image.startswith(REGISTRY):
        files = {"reference": given.image.removeprefix(REGISTRY)}
    else:
        purpose = "code" if given.code else purpose_of(given.image)
        path = None if hash_in(given.image) else file_of(given)
        files = given_file(
            connection=connection, path=path, source=given.image, purpose=purpose, kept=kept, reporter=reporter
        )
    if given.model:
        path = None if hash_in(given.model) else Path(given.model)
        beside = given_file(
            connection=connection, path=path, source=given.model, purpose="model", kept=kept, reporter=reporter
        )
        files |= {f"model_{name}": value for name, value in beside.items()} | {"model_folder": given.model_folder}
    answer = connection.post(f"{phase_path(given.phase)}/submissions", {**given.request(), **files})
    submission = Submission.from_json(answer)
    reporter.submission(submission)
    if not wait:
        return submission
    return wait_until_finished(connection=connection, submission_id=submission.id, reporter=reporter)


def file_of(given: HandedIn) -> Path:
    """The file to send: of a local image, what `docker save` writes of it."""
    return Path(given.code) if given.code else archive_of(image=given.image, cache=cache_folder())


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
    file = _described(path, reporter=reporter)
    if (purpose, file.sha256) in kept:
        return {"sha256": file.sha256}
    return {"upload_id": _sent(file, purpose=purpose, connection=connection, reporter=reporter)}


def send_file(path: Path, *, purpose: str, connection: Connection, reporter: Reporter) -> str:
    """Upload a file with bars for what takes long. The upload's id."""
    return _sent(_described(path, reporter=reporter), purpose=purpose, connection=connection, reporter=reporter)


def _described(path: Path, *, reporter: Reporter) -> LocalFile:
    return describe_file(path=path, on_progress=lambda done, total: reporter.transfer("hashing", done, total))


def _sent(file: LocalFile, *, purpose: str, connection: Connection, reporter: Reporter) -> str:
    return upload_file(
        connection=connection,
        file=file,
        purpose=purpose,
        on_progress=lambda done, total: reporter.transfer("uploading", done, total),
    )


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
