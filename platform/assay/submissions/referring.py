"""An image that lies in a registry: a row in place of an upload. The checker fetches its bytes, by the digest that is noted here."""

import platform
from datetime import datetime
from pathlib import Path

from django.db import transaction

from assay.accounts.models import User
from assay.challenges.models import Phase
from assay.submissions.kept import Source
from assay.submissions.models import AlgorithmImage, Upload
from assay.submissions.registry import Login, describe, fetch, parse_reference, seal, unseal
from assay.submissions.selectors import eligibility_of
from assay.submissions.services import refuse_ineligible, refuse_unfit_upload
from assay.submissions.space import refuse_over_quota, refuse_without_space
from assay.submissions.uploads import EMPTY_LIFETIME

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def this_architecture() -> str:
    """The one that nodes have, in the registry's words."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def refer(*, user: User, phase: Phase, reference: str, login: Login, now: datetime) -> Upload:
    """Ask the registry what the reference means now, and note its digest. Nothing but the manifest is fetched yet.

    Raises `AssayError`: the person may not submit, the registry does not give the image, or it is too large.
    """
    wanted = parse_reference(reference)
    refuse_ineligible(eligibility_of(person=user, phase=phase, now=now))
    image = describe(wanted, login=login, architecture=this_architecture())
    upload = Upload(
        user=user,
        purpose=Upload.Purpose.IMAGE,
        filename=str(wanted)[:255],
        total_bytes=image.bytes,
        offset_bytes=image.bytes,
        sha256=image.reference.wanted.removeprefix("sha256:"),
        reference=str(image.reference),
        sealed_login=seal(login),
        created_at=now,
        completed_at=now,
        expires_at=now + EMPTY_LIFETIME,
    )
    refuse_unfit_upload(upload=upload, phase=phase)
    with transaction.atomic():
        refuse_over_quota(user=user, total_bytes=image.bytes, now=now)
        refuse_without_space(wanted_bytes=image.bytes, now=now)
        upload.save(force_insert=True)
    return upload


def fetched(image: AlgorithmImage, *, folder: Path) -> Source | None:
    """The image's bytes, fetched now into `folder`; None where its upload is no reference. Raises as `registry.fetch` does."""
    upload = image.upload
    if upload is None or not upload.reference:
        return None
    path = folder / "fetched.tar"
    fetch(
        parse_reference(upload.reference),
        login=unseal(upload.sealed_login),
        architecture=this_architecture(),
        destination=path,
        most_bytes=upload.total_bytes,
    )
    return Source(path=path)


def forget_logins() -> int:
    """Forget what was needed to fetch images that are checked by now. Answers how many."""
    waiting = AlgorithmImage.objects.filter(status=AlgorithmImage.Status.CHECKING, upload__isnull=False)
    over = Upload.objects.exclude(sealed_login="").filter(images__isnull=False).exclude(pk__in=waiting.values("upload"))
    return Upload.objects.filter(pk__in=over.values("pk")).update(sealed_login="")
