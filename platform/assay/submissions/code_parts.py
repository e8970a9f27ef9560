"""What organizers keep for submissions of code: base images and wheel houses, by kind, version and hash."""

import hashlib
import json
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError
from assay.accounts.models import User
from assay.challenges.models import Challenge, Phase
from assay.challenges.protocols import rules_of
from assay.submissions.models import CodePart, Upload
from evaluator.protocol import Resources

PURPOSE_OF = {CodePart.Kind.BASE: Upload.Purpose.IMAGE, CodePart.Kind.WHEELS: Upload.Purpose.WHEELS}


def code_parts_of(challenge: Challenge) -> list[CodePart]:
    """Newest first, with who pushed them."""
    return list(challenge.code_parts.select_related("created_by").order_by("-created_at", "-version"))


def code_part(*, challenge: Challenge, kind: str, identity: str) -> CodePart | None:
    """The one that a protocol names; None where it was not pushed."""
    return challenge.code_parts.filter(kind=kind, identity=identity).first()


def keep_code_part(
    *,
    challenge: Challenge,
    user: User,
    kind: CodePart.Kind,
    identity: str,
    filename: str,
    key: str,
    sha256: str,
    stored_bytes: int,
    report: dict[str, Any],
    now: datetime,
) -> CodePart:
    """Note it under the hash that protocols name it by. The same again is the same row, whose file has just been written again."""
    with transaction.atomic():
        Challenge.objects.select_for_update(no_key=True).get(pk=challenge.pk)
        if found := code_part(challenge=challenge, kind=kind, identity=identity):
            return found
        last = challenge.code_parts.filter(kind=kind).aggregate(last=Max("version"))["last"] or 0
        part = CodePart.objects.create(
            challenge=challenge,
            kind=kind,
            version=last + 1,
            identity=identity,
            filename=filename,
            key=key,
            sha256=sha256,
            stored_bytes=stored_bytes,
            report=report,
            created_by=user,
            created_at=now,
        )
        record_event(
            actor=user,
            verb="code_part.taken",
            subject=part,
            challenge_slug=challenge.slug,
            now=now,
            kind=str(kind),
            identity=identity,
        )
    return part


def takes_code(phase: Phase) -> bool:
    """Whether the phase takes zips of code in place of images."""
    return phase.kind == Phase.Kind.CONTAINER and bool(rules_of(phase.protocol).resources.code_base)


def wheels_of(phase: Phase) -> dict[str, list[str]]:
    """What the phase's wheel house has: package → versions. Empty where there is none."""
    identity = rules_of(phase.protocol).resources.code_wheels
    part = code_part(challenge=phase.challenge, kind=CodePart.Kind.WHEELS, identity=identity) if identity else None
    return dict(sorted(part.report["wheels"].items())) if part else {}


def refuse_without_code_parts(phase: Phase) -> None:
    """What the phase's rules name has been pushed."""
    resources = rules_of(phase.protocol).resources
    wanted = ((CodePart.Kind.BASE, resources.code_base), (CodePart.Kind.WHEELS, resources.code_wheels))
    for kind, identity in wanted:
        if identity and code_part(challenge=phase.challenge, kind=kind, identity=identity) is None:
            raise ConflictError(
                _("The organizers have not pushed what code is built from in this phase."),
                code="code_part_missing",
                found=f"{kind} {identity[:19]}…",
                what_to_do=_("Ask the organizers."),
            )


def built_on(resources: Resources) -> str:
    """A hash of everything beside the zip that decides what the image becomes."""
    parts = [resources.code_base, resources.code_wheels, resources.input_mount, resources.output_mount]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
