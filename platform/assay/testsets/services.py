"""Changes to test sets: ingesting a pushed folder, choosing one for a phase, and pushing a challenge that names some."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.db import transaction
from django.db.models import F, Max
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import InvalidError
from assay.accounts.models import User
from assay.challenges import services as challenges
from assay.challenges.models import Challenge, Phase
from assay.challenges.protocols import rules_of
from assay.challenges.services import Change
from assay.testsets import storage
from assay.testsets.archives import top_of, unpack
from assay.testsets.ingestion import (
    CanonicalCase,
    CanonicalPart,
    Twins,
    ingest_cases,
    read_notice,
    refuse_identifying,
    summarise,
)
from assay.testsets.manifest import manifest_sha256
from assay.testsets.models import Case, PhaseTestSet, TestSet
from evaluator.protocol import InputKind
from evaluator.volumes import CANONICAL_SUFFIX


def ingest_testset(
    *,
    challenge: Challenge,
    user: User,
    archive_key: str,
    name: str,
    is_public: bool,
    phase_slugs: Sequence[str],
    now: datetime,
    refuse_bytes: Callable[[int], None] = lambda _: None,
    accepts_identifying: bool = False,
    folder_on_server: Path | None = None,
) -> TestSet:
    """Make a new version of a test set from an archive in storage, or from a folder on the server. The very same content again answers
    the version that has it.

    Headers that may say who a patient is are refused unless `accepts_identifying`.

    `refuse_bytes` is called with the size of a new version, in the transaction that makes it, and raises where there is no room.

    Phases that name this test set in `challenge.yaml`, and those in `phase_slugs`, use the new version from now on. Submissions
    keep the one they were accepted with.
    """
    phases = list(phases_to_serve(challenge=challenge, name=name, phase_slugs=phase_slugs))
    with storage.scratch_folder() as folder:
        source, target = folder_on_server or folder / "source", folder / "canonical"
        target.mkdir()
        if folder_on_server is None:
            source.mkdir()
            with storage.open_file(archive_key) as archive:
                unpack(archive=archive, folder=source)
        source = top_of(source)
        canonical = ingest_cases(folder=source, target=target, kinds=kinds_of_inputs(phases))
        if not accepts_identifying:
            refuse_identifying(canonical)
        notice = read_notice(source)
        documents = store_cases(cases=canonical, prefix=f"testsets/{challenge.pk}/{uuid4()}")
    sha256 = manifest_sha256([without_keys(document) for document in documents])
    with forgotten_when_refused(documents), transaction.atomic():
        Challenge.objects.select_for_update().get(pk=challenge.pk)
        testset = challenge.testsets.filter(name=name, sha256=sha256, is_public=is_public).first()
        if testset is None:
            refuse_bytes(bytes_of(documents))
            testset = create_version(
                challenge=challenge,
                name=name,
                sha256=sha256,
                is_public=is_public,
                notice=notice,
                report=summarise(canonical, notice=notice, twins=twins_of(documents, challenge=challenge, name=name)),
                documents=documents,
                now=now,
            )
            record_event(
                actor=user,
                verb="testset.pushed",
                subject=testset,
                challenge_slug=challenge.slug,
                now=now,
                version=testset.version,
                sha256=sha256,
                cases=len(documents),
            )
        else:
            forget(documents)
        for phase in phases:
            choose_testset(phase=phase, testset=testset, user=user, now=now)
    storage.delete_file(archive_key)  # no key, where it came from a folder
    return testset


def phases_to_serve(*, challenge: Challenge, name: str, phase_slugs: Sequence[str]) -> list[Phase]:
    """The phases that are to use this test set."""
    by_slug = {phase.slug: phase for phase in challenge.phases.all()}
    unknown = [slug for slug in phase_slugs if slug not in by_slug]
    if unknown:
        raise InvalidError(
            _("There is no such phase."),
            found=", ".join(unknown),
            expected=", ".join(by_slug) or "none yet",
            field="phase",
        )
    return [phase for phase in by_slug.values() if phase.slug in phase_slugs or phase.testset_name == name]


def kinds_of_inputs(phases: Sequence[Phase]) -> dict[str, InputKind]:
    """What the phases' protocols take each input for. Refused where two of them differ: one file cannot be both."""
    kinds: dict[str, InputKind] = {}
    for phase in phases:
        if phase.protocol is None:
            continue
        for item in rules_of(phase.protocol).inputs:
            if kinds.setdefault(item.name, item.kind) is not item.kind:
                raise InvalidError(
                    _("Two phases take the input %(name)s for different things.") % {"name": item.name},
                    found=_("%(kinds)s and %(kind)s") % {"kinds": kinds[item.name], "kind": item.kind},
                    expected=_("one kind in all phases that use this test set"),
                    what_to_do=_("Push a test set of its own for each of them."),
                )
    return kinds


def store_cases(*, cases: Sequence[CanonicalCase], prefix: str) -> list[dict[str, Any]]:
    """Give the canonical files to storage. Keys say nothing about the cases."""
    return [
        {
            "case_id": case.source.case_id,
            "inputs": [store_part(part, prefix=f"{prefix}/{position}") for part in case.inputs],
            "references": [store_part(part, prefix=f"{prefix}/{position}") for part in case.references],
            "grid": case.grid.to_json() if case.grid else {},
            "attributes": dict(case.source.attributes),
        }
        for position, case in enumerate(cases)
    ]


def store_part(part: CanonicalPart, *, prefix: str) -> dict[str, Any]:
    """Give one file to storage."""
    stored = storage.keep_file(source=part.path, key=f"{prefix}/{part.path.name}", move=True)
    return {"name": part.name, "key": stored.key, "sha256": stored.sha256, "bytes": stored.bytes}


def without_keys(document: dict[str, Any]) -> dict[str, Any]:
    """A case's content without where it lies."""
    bare = {
        kind: [{name: value for name, value in file.items() if name != "key"} for file in document[kind]]
        for kind in ("inputs", "references")
    }
    return {**document, **bare}


TWINS_NAMED = 3
"""Places that each case names of the same image."""


def twins_of(documents: Sequence[dict[str, Any]], *, challenge: Challenge, name: str) -> dict[str, Twins]:
    """Case → other places of the same image: in this test set, and in those of another name in the challenge. One query.

    Of many alike, each names some: a list of all, at each of them, would grow with the square of their number.
    """
    places: dict[str, list[str]] = {}
    for case_id, sha256 in images_of(documents):
        places.setdefault(sha256, []).append(case_id)
    others = Case.objects.filter(testset__challenge=challenge).exclude(testset__name=name).select_related("testset")
    for case in others.only("case_id", "inputs", "testset__name", "testset__version").iterator():
        for file in case.inputs:
            if file["sha256"] in places:
                places[file["sha256"]].append(f"{case.case_id} of {case.testset.name} v{case.testset.version}")
    found: dict[str, Twins] = {}
    for (case_id, sha256), times in Counter(images_of(documents)).items():
        elsewhere = tuple(islice((place for place in places[sha256] if place != case_id), TWINS_NAMED))
        if elsewhere:
            before = found.get(case_id, Twins())
            count = before.count + len(places[sha256]) - times
            found[case_id] = Twins(named=before.named + elsewhere, count=count)
    return found


def images_of(documents: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Case and hash of each image. Other inputs, such as values, may be alike for good reasons."""
    return [
        (document["case_id"], file["sha256"])
        for document in documents
        for file in document["inputs"]
        if file["key"].endswith(CANONICAL_SUFFIX)
    ]


def forget(documents: Sequence[dict[str, Any]]) -> None:
    """Delete the files of cases we turned out to have already."""
    for document in documents:
        for file in [*document["inputs"], *document["references"]]:
            storage.delete_file(file["key"])


@contextmanager
def forgotten_when_refused(documents: Sequence[dict[str, Any]]) -> Iterator[None]:
    """Delete the files of a version that did not come to be."""
    try:
        yield
    except Exception:
        forget(documents)
        raise


def bytes_of(documents: Sequence[dict[str, Any]]) -> int:
    """What the files of these cases take."""
    return sum(file["bytes"] for document in documents for kind in ("inputs", "references") for file in document[kind])


def create_version(
    *,
    challenge: Challenge,
    name: str,
    sha256: str,
    is_public: bool,
    notice: str,
    report: dict[str, Any],
    documents: Sequence[dict[str, Any]],
    now: datetime,
) -> TestSet:
    """Write the rows of a new version. The challenge's row is locked by the caller."""
    last = challenge.testsets.filter(name=name).aggregate(last=Max("version"))["last"] or 0
    testset = TestSet.objects.create(
        challenge=challenge,
        name=name,
        version=last + 1,
        sha256=sha256,
        is_public=is_public,
        notice=notice,
        report=report,
        stored_bytes=bytes_of(documents),
        created_at=now,
    )
    Case.objects.bulk_create(
        Case(testset=testset, position=position, **document) for position, document in enumerate(documents)
    )
    return testset


def choose_testset(*, phase: Phase, testset: TestSet, user: User, now: datetime) -> None:
    """Let a phase use a test set. Submissions accepted before keep theirs."""
    with transaction.atomic():
        chosen = PhaseTestSet.objects.select_for_update().filter(phase=phase).first()
        if chosen is not None and chosen.testset_id == testset.pk:
            return
        PhaseTestSet.objects.update_or_create(phase=phase, defaults={"testset": testset, "chosen_at": now})
        Phase.objects.filter(pk=phase.pk).update(testset_name=testset.name)
        record_event(
            actor=user,
            verb="phase.testset_chosen",
            subject=phase,
            challenge_slug=testset.challenge.slug,
            now=now,
            testset=f"{testset.name} v{testset.version}",
        )


def push_challenge(
    *, user: User, slug: str, source: str, is_dry_run: bool, now: datetime
) -> tuple[list[Change], Challenge | None]:
    """Push a `challenge.yaml` (see `challenges.services.push_challenge`) and let its phases use the test sets they name."""
    with transaction.atomic():
        changes, challenge = challenges.push_challenge(
            user=user, slug=slug, source=source, is_dry_run=is_dry_run, now=now
        )
        if challenge is not None and not is_dry_run:
            for phase in challenge.phases.exclude(testset_name="").exclude(
                chosen_testset__testset__name=F("testset_name")
            ):
                latest = challenge.testsets.filter(name=phase.testset_name).order_by("-version").first()
                if latest is not None:
                    choose_testset(phase=phase, testset=latest, user=user, now=now)
    return changes, challenge
