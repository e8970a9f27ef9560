"""What a team has handed in before and need not send again: images and models, found by the hash of their archive.

An uploaded archive is thrown away once it is checked. What is kept is the image as we wrote it, with the model as its last layer. From
it an image gets another model, and a model another image (`containers.intake`). So a hash stands for bytes that we still have.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from assay.accounts.errors import NotFoundError
from assay.accounts.models import Team, User
from assay.submissions.models import AlgorithmImage, Upload
from assay.testsets import storage

LISTED = 50


@dataclass(frozen=True, kw_only=True)
class KeptFile:
    """An image or a model that need not be sent again. `version` counts the team's images, or its models, from 1."""

    kind: str
    sha256: str
    filename: str
    version: int
    first_at: datetime
    bytes: int
    submissions: tuple[str, ...]
    """Names of the algorithms that were submitted with it, newest first."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the bytes of an image or a model are. `within`: the checked image that holds them; None for the archive as uploaded."""

    path: Path
    within: AlgorithmImage | None = None


def checked_images(team: Team) -> QuerySet[AlgorithmImage]:
    """The team's images that were accepted and are still here, oldest first. Those we made of code are none of them."""
    rows = AlgorithmImage.objects.filter(team=team, status=AlgorithmImage.Status.ACCEPTED, built_on="").exclude(
        rewritten_key=""
    )
    return rows.order_by("created_at", "pk")


def kept_files(team: Team) -> list[KeptFile]:
    """The team's images and models that need not be sent again, newest first. Two queries."""
    rows = list(checked_images(team).select_related("upload", "model_upload").prefetch_related("submissions"))
    found: list[KeptFile] = []
    for kind in (Upload.Purpose.IMAGE, Upload.Purpose.MODEL):
        by_hash: dict[str, list[AlgorithmImage]] = {}
        for row in rows:
            if _upload_of(row, kind) is not None:
                by_hash.setdefault(row.model_sha256 if kind == Upload.Purpose.MODEL else row.archive_sha256, []).append(
                    row
                )
        for version, (sha256, images) in enumerate(by_hash.items(), start=1):
            upload = _upload_of(images[0], kind)
            assert upload is not None  # noqa: S101 - asked above; for the type checker
            names = [submission.name for image in reversed(images) for submission in image.submissions.all()]
            found.append(
                KeptFile(
                    kind=kind.value,
                    sha256=sha256,
                    filename=upload.filename,
                    version=version,
                    first_at=images[0].created_at,
                    bytes=upload.total_bytes,
                    submissions=tuple(dict.fromkeys(names)),
                )
            )
    return sorted(found, key=lambda file: file.first_at, reverse=True)[:LISTED]


def _upload_of(image: AlgorithmImage, kind: str) -> Upload | None:
    return image.model_upload if kind == Upload.Purpose.MODEL else image.upload


def kept_upload(*, user: User, team: Team | None, purpose: str, sha256: str) -> Upload:
    """The upload that brought this file before: of the team, or an own one that was not submitted yet. Raises NotFoundError."""
    own = Upload.objects.filter(user=user, purpose=purpose, sha256=sha256, completed_at__isnull=False).exclude(key="")
    upload = own.order_by("-created_at").first() or (_kept_by(team, purpose, sha256) if team else None)
    if upload is None:
        raise NotFoundError(
            _("Your team has handed in no such file, or it is not kept any more."),
            found=_("sha256 %(sha256)s") % {"sha256": sha256[:64]},
            what_to_do=_("Send the file itself."),
        )
    return upload


def _kept_by(team: Team, purpose: str, sha256: str) -> Upload | None:
    column = {Upload.Purpose.IMAGE: "archive_sha256", Upload.Purpose.MODEL: "model_sha256"}.get(Upload.Purpose(purpose))
    if not sha256 or column is None:
        return None
    rows = checked_images(team).filter(**{column: sha256}).select_related("upload", "model_upload")
    return next((upload for row in rows if (upload := _upload_of(row, purpose)) is not None), None)


def is_kept(upload: Upload, *, team: Team) -> bool:
    """Whether the bytes of a complete upload are here: as they were sent, or in an image of the team."""
    return bool(upload.key or upload.reference) or _kept_by(team, upload.purpose, upload.sha256) is not None


def image_source(image: AlgorithmImage) -> Source | None:
    """The bytes of the image's archive; None when they are gone."""
    if image.upload is not None and image.upload.key:
        return _sent(image.upload)
    return _within(checked_images(image.team).filter(archive_sha256=image.archive_sha256).order_by("model_sha256"))


def model_source(image: AlgorithmImage) -> Source | None:
    """The bytes of the image's model; None when they are gone."""
    if image.model_upload is not None and image.model_upload.key:
        return _sent(image.model_upload)
    return _within(checked_images(image.team).filter(model_sha256=image.model_sha256))


def _sent(upload: Upload) -> Source:
    return Source(path=storage.unchanged_path(upload.key, sha256=upload.sha256))


def _within(images: QuerySet[AlgorithmImage]) -> Source | None:
    row = images.first()
    if row is None:
        return None
    return Source(path=storage.unchanged_path(row.rewritten_key, sha256=row.rewritten_sha256), within=row)


def kept_json(file: KeptFile) -> dict[str, Any]:
    """As the API gives it."""
    return {**file.__dict__, "submissions": list(file.submissions)}
