"""What becomes of an uploaded image archive once it has been inspected. The inspection itself is a step of the workflow."""

from typing import Any
from uuid import UUID

from assay.submissions.models import AlgorithmImage

WARNINGS = {"legacy": (), "image-user": ("warnings_as_image_user",)}
"""By profile, the warnings of the intake's report that count beside the ones for everybody: see `containers.spec`."""


def warnings_of(image: AlgorithmImage, *, profile: str) -> tuple[str, ...]:
    """What its author should know before a run with this profile: one image may be entered in phases that run it differently."""
    keys = ("warnings", *WARNINGS.get(profile, ("warnings_as_user",)))
    return tuple(warning for key in keys for warning in image.report.get(key, ()))


def accept_image(*, image_id: UUID, key: str, sha256: str, size_bytes: int, report: dict[str, Any]) -> bool:
    """Note the rewritten archive and the identity under which it runs; False when another check was faster."""
    return bool(
        AlgorithmImage.objects.filter(id=image_id, status=AlgorithmImage.Status.CHECKING).update(
            status=AlgorithmImage.Status.ACCEPTED,
            uploaded_image_id=report["uploaded_image_id"],
            image_id=report["image_id"],
            rewritten_key=key,
            rewritten_sha256=sha256,
            rewritten_bytes=size_bytes,
            report=report,
        )
    )


def reject_image(*, image_id: UUID, reason: str, message: str) -> bool:
    """Note why the archive cannot be run; False when another check was faster."""
    return bool(
        AlgorithmImage.objects.filter(id=image_id, status=AlgorithmImage.Status.CHECKING).update(
            status=AlgorithmImage.Status.REJECTED, reason=reason[:60], report={"message": message}
        )
    )
