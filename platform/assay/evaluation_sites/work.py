"""The work of a site: claims, leases, releases, refusals, recalls. A site polls. Nothing is pushed to it.

A claim is a lease with a fence, as for case runs. An agent that died claims its own evaluation again at once. Another one waits for
the end of the lease. A result under review has no deadline: it waits for a person at the site, and the board says so.

With a site that has a key, everything that counts is signed. The order is signed by this installation and names a nonce. The release
is signed by the site and repeats the nonce, so that it fits one order only. We sign a receipt, and both stand in the public log.
"""

import base64
import binascii
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict, Unpack
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError
from assay.challenges.protocols import rules_of
from assay.evaluation_sites.agreements import groups_of, require_standing
from assay.evaluation_sites.log import append_line, sign_here
from assay.evaluation_sites.models import Site, SiteAgreement, SiteDataset, SiteEvaluation
from assay.evaluation_sites.releases import check_failures, check_release
from assay.evaluation_sites.services import LONGEST_REASON
from assay.evaluation_sites.signing import check_said
from assay.leases import not_leased
from assay.sealing import KEY_BYTES, sealed_size
from assay.signatures import document_hash
from evaluator import __version__ as evaluator_version

LEASE_SECONDS = 900.0
ORDER_DAYS = 7
ORDER, RELEASE, RECALL, RECEIPT = "assay-site-order", "assay-site-release", "assay-site-recall", "assay-site-receipt"

NEXT_SUBMISSION = """
INSERT INTO evaluation_sites_siteevaluation (id, site_id, submission_id, status, round, fence, agent, reason, created_at)
SELECT gen_random_uuid(), %(site)s, submission.id, 'queued', 1, 0, '', '', now()
FROM submissions_submission submission
WHERE submission.phase_id = %(phase)s AND submission.status = 'done' AND submission.image_id IS NOT NULL
  AND (%(protocol)s::bigint IS NULL OR submission.protocol_id = %(protocol)s)
  AND NOT submission.is_disqualified AND NOT submission.is_withdrawn
  AND (cardinality(%(teams)s::text[]) = 0
       OR submission.team_id IN (SELECT team.id FROM accounts_team team WHERE team.slug = ANY(%(teams)s::text[])))
ON CONFLICT (site_id, submission_id, round) DO NOTHING
"""

CLAIM = """
UPDATE evaluation_sites_siteevaluation SET
    status = 'running', fence = fence + 1, dataset_id = %(dataset)s, agreement_id = %(agreement)s, agent = %(agent)s,
    lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE id = (
    SELECT evaluation.id FROM evaluation_sites_siteevaluation evaluation
    JOIN submissions_submission submission ON submission.id = evaluation.submission_id
    WHERE evaluation.site_id = %(site)s AND NOT submission.is_disqualified AND NOT submission.is_withdrawn
      AND (%(protocol)s::bigint IS NULL OR submission.protocol_id = %(protocol)s)
      AND evaluation.id <> ALL(%(skip)s::uuid[])
      AND (cardinality(%(teams)s::text[]) = 0
           OR submission.team_id IN (SELECT team.id FROM accounts_team team WHERE team.slug = ANY(%(teams)s::text[])))
      AND (evaluation.status = 'queued'
           OR (evaluation.status = 'running'
               AND (evaluation.lease_until < clock_timestamp()
                    OR (%(agent)s <> '' AND evaluation.agent = %(agent)s))))
    ORDER BY submission.is_baseline DESC, submission.created_at, submission.number
    FOR UPDATE OF evaluation SKIP LOCKED
    LIMIT 1
)
RETURNING id
"""

RENEW = """
UPDATE evaluation_sites_siteevaluation SET
    status = %(status)s, lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE id = %(evaluation)s AND site_id = %(site)s AND fence = %(fence)s AND status IN ('running', 'review')
"""

MAY_END = Q(status=SiteEvaluation.Status.REVIEW) | Q(status=SiteEvaluation.Status.RUNNING, lease_until__gt=Now())
"""What may still end: a result under review at any time, a run only under its lease."""


def claim_evaluation(
    *,
    site: Site,
    dataset: SiteDataset,
    now: datetime,
    agent: str = "",
    skip: Sequence[UUID] = (),
    for_days: int = 0,
) -> SiteEvaluation | None:
    """The next submission for this site, baselines first, then the oldest. None when it has seen them all.

    `agent` names the installation of the site's program: it gets back at once what it held before it was killed. `skip` are
    evaluations that it could not do a moment ago. `for_days`: so long for a site without a network, which renews no lease. A site
    with a key works under a signed agreement about this data. Raises ConflictError where there is none that holds.
    """
    agreement = require_standing(site, now=now) if site.public_key else None
    if agreement is not None and agreement.dataset_id != dataset.pk:
        raise ConflictError(
            gettext("The agreement is about other data."),
            code="data_differs",
            found=dataset.root_sha256,
            expected=agreement.dataset.root_sha256,
            what_to_do=gettext("Work with the data that was agreed, or ask the organizers for terms about this data."),
        )
    parameters = parameters_of_claim(site=site, dataset=dataset, agreement=agreement, agent=agent, skip=skip)
    if for_days:
        parameters["lease_seconds"] = timedelta(days=for_days).total_seconds()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(NEXT_SUBMISSION, parameters)
        cursor.execute(CLAIM, parameters)
        row = cursor.fetchone()
        Site.objects.filter(pk=site.pk).update(last_seen_at=now)
        if row is None:
            return None
        related = ("submission__image", "submission__protocol", "submission__team", "dataset")
        evaluation = SiteEvaluation.objects.select_related(*related).get(id=row[0])
        if agreement is not None:
            evaluation.order = sign_here(
                _order_of(evaluation, agreement=agreement, days=for_days or ORDER_DAYS, now=now)
            )
            evaluation.save(update_fields=["order"])
    return evaluation


def parameters_of_claim(
    *, site: Site, dataset: SiteDataset, agreement: SiteAgreement | None, agent: str, skip: Sequence[UUID]
) -> dict[str, Any]:
    """What the statements about a site's next submission are asked with."""
    return {
        "site": site.pk,
        "phase": site.phase_id,
        "dataset": dataset.pk,
        "agreement": agreement.pk if agreement else None,
        "protocol": agreement.protocol_id if agreement else None,
        "agent": agent,
        "skip": [str(evaluation) for evaluation in skip],
        "teams": agreement.terms.get("teams", []) if agreement else [],
        "lease_seconds": LEASE_SECONDS,
    }


def _order_of(evaluation: SiteEvaluation, *, agreement: SiteAgreement, days: int, now: datetime) -> dict[str, Any]:
    submission, image = evaluation.submission, evaluation.submission.image
    if image is None:
        raise LookupError(f"submission {submission.pk} has no image; only image submissions are claimed")
    return {
        "kind": ORDER,
        "evaluation_id": str(evaluation.pk),
        "submission": f"#{submission.number}",
        "team": submission.team.slug if agreement.terms.get("teams") else "",
        "image_id": image.image_id,
        "image_sha256": image.rewritten_sha256,
        "image_bytes": image.rewritten_bytes,
        "protocol_sha256": rules_of(submission.protocol).sha256,
        "evaluator": evaluator_version,
        "groups": agreement.terms["groups"],
        "data_root": agreement.dataset.root_sha256,
        "agreement_sha256": agreement.terms_sha256,
        "nonce": secrets.token_hex(16),
        "issued_at": now.isoformat(),
        "expires_at": (now + timedelta(days=days)).isoformat(),
    }


def sealing_key_of(acceptance: Mapping[str, Any]) -> bytes | None:
    """The raw key that a site named when it signed its terms. None where it named none that can be used."""
    try:
        key = base64.b64decode(str(acceptance.get("sealing_key", "")), validate=True)
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == KEY_BYTES else None


def receiver_of(evaluation: SiteEvaluation) -> bytes | None:
    """The key to which the image of this work is sealed. None where the site named none."""
    return sealing_key_of((evaluation.agreement.acceptance if evaluation.agreement else None) or {})


def file_key_of(evaluation: SiteEvaluation, *, sha256: str) -> X25519PrivateKey:
    """The key of one sealed image for one lease: the same at each request, so that a broken download goes on where it stopped."""
    secret = salted_hmac(
        "assay.evaluation_sites.sealed", f"{evaluation.pk}:{evaluation.fence}:{sha256}", algorithm="sha256"
    )
    return X25519PrivateKey.from_private_bytes(secret.digest())


def order_body(evaluation: SiteEvaluation, *, image_at: str) -> dict[str, Any]:
    """What a site needs to evaluate one submission: the rules, the signed order, and where the image lies."""
    submission, image = evaluation.submission, evaluation.submission.image
    if image is None:
        raise LookupError(f"submission {submission.pk} has no image; only image submissions are claimed")
    return {
        "evaluation_id": str(evaluation.pk),
        "fence": evaluation.fence,
        "lease_seconds": LEASE_SECONDS,
        "submission": f"#{submission.number}",
        "root_sha256": evaluation.dataset.root_sha256 if evaluation.dataset else "",
        "protocol": rules_of(submission.protocol).document,
        "evaluator_version": evaluator_version,
        "order": evaluation.order,
        "groups": evaluation.order["groups"] if evaluation.order else groups_of(submission.phase),
        "image": {
            "image_id": image.image_id,
            "sha256": image.rewritten_sha256,
            "bytes": image.rewritten_bytes,
            "url": image_at,
            "sealed_bytes": sealed_size(image.rewritten_bytes) if receiver_of(evaluation) else None,
        },
    }


def keep_evaluation(*, site: Site, evaluation_id: UUID, fence: int, is_in_review: bool, now: datetime) -> None:
    """Renew the lease, or say that the result now waits for a person at the site. Raises LeaseLost."""
    status = SiteEvaluation.Status.REVIEW if is_in_review else SiteEvaluation.Status.RUNNING
    parameters: dict[str, str | int | float] = {
        "site": site.pk,
        "evaluation": str(evaluation_id),
        "fence": fence,
        "status": status.value,
        "lease_seconds": LEASE_SECONDS,
    }
    with connection.cursor() as cursor:
        cursor.execute(RENEW, parameters)
        is_held = cursor.rowcount > 0
    Site.objects.filter(pk=site.pk).update(last_seen_at=now)
    if not is_held:
        raise not_leased(f"Evaluation {evaluation_id}", fence=fence)


def release_evaluation(
    *,
    site: Site,
    evaluation_id: UUID,
    fence: int,
    aggregates: dict[str, Any],
    now: datetime,
    failures: dict[str, Any] | None = None,
    said: dict[str, Any] | None = None,
) -> SiteEvaluation:
    """Take the numbers a person at the site approved, and give a receipt. Raises LeaseLost, or InvalidError where they say too much.

    `failures`: verdict → number of cases that ended so, None for 1 to 4 cases. `said`: the same, signed by a site that has a key.
    """
    evaluation = _held(site, evaluation_id, fence=fence)
    if evaluation.dataset is None:
        raise not_leased(f"Evaluation {evaluation_id}", fence=fence)
    if said is not None and evaluation.status == SiteEvaluation.Status.RELEASED and said == evaluation.document:
        return evaluation  # our answer got lost on the way: the same receipt again, and nothing changes
    protocol = rules_of(evaluation.submission.protocol)
    if site.public_key:
        order = evaluation.order or {}
        names = ("submission", "agreement_sha256", "data_root", "evaluator", "nonce")
        expected = {
            "kind": RELEASE,
            "evaluation_id": str(evaluation.pk),
            "metrics": aggregates,
            "failures": failures or {},
            **{name: order.get(name) for name in names},
        }
        check_said(said, site=site, expected=expected)
        _check_terms(evaluation, now=now)
    groups = evaluation.order["groups"] if evaluation.order else groups_of(site.phase)
    check_release(aggregates, protocol=protocol, case_count=evaluation.dataset.case_count, groups=groups)
    check_failures(failures or {}, case_count=evaluation.dataset.case_count)
    with transaction.atomic():
        receipt = None
        if said is not None and site.public_key:
            line = append_line(site=site, kind="release", document=said, now=now)
            receipt = sign_here(
                {
                    "kind": RECEIPT,
                    "evaluation_id": str(evaluation.pk),
                    "site": site.name,
                    "release_sha256": document_hash(said),
                    "log_number": line.number,
                    "log_sha256": line.sha256,
                    "received_at": now.isoformat(),
                }
            )
        _end(
            evaluation,
            fence=fence,
            now=now,
            status=SiteEvaluation.Status.RELEASED,
            release={
                "case_count": evaluation.dataset.case_count,
                "metrics": aggregates,
                "failures": failures or {},
            },
            document=said if site.public_key else None,
            receipt=receipt,
            released_at=now,
        )
    evaluation.receipt = receipt
    return evaluation


def _check_terms(evaluation: SiteEvaluation, *, now: datetime) -> None:
    """The agreement of the order still has to hold: a release after its end, or above its number, is refused."""
    agreement = require_standing(evaluation.site, now=now)
    if agreement.pk != evaluation.agreement_id:
        raise ConflictError(
            gettext("The result belongs to terms that were replaced."),
            code="terms_differ",
            what_to_do=gettext("Decline it here; it is ordered again under the new terms."),
        )


def _held(site: Site, evaluation_id: UUID, *, fence: int) -> SiteEvaluation:
    evaluation = (
        SiteEvaluation.objects.select_related(
            "site__phase__protocol", "submission__protocol", "dataset", "submission__challenge"
        )
        .filter(id=evaluation_id, site=site)
        .first()
    )
    if evaluation is None:
        raise not_leased(f"Evaluation {evaluation_id}", fence=fence)
    return evaluation


def decline_evaluation(*, site: Site, evaluation_id: UUID, fence: int, reason: str, now: datetime) -> SiteEvaluation:
    """The site does not release a result, and says why in a few words. Raises LeaseLost."""
    evaluation = _held(site, evaluation_id, fence=fence)
    status = SiteEvaluation.Status.DECLINED
    _end(evaluation, fence=fence, now=now, status=status, reason=reason.strip()[:LONGEST_REASON])
    return evaluation


def recall_evaluation(
    *, site: Site, evaluation_id: UUID, reason: str, again: bool, said: dict[str, Any] | None, now: datetime
) -> SiteEvaluation:
    """Take a released result back: its numbers leave the board, a mark and the reason stay. `again` orders it anew, as a new record.

    The log keeps the release, as a hash that was read once, with the recall below it. Raises ConflictError, InvalidError.
    """
    evaluation = _held(site, evaluation_id, fence=0)
    reason = reason.strip()[:LONGEST_REASON]
    if not reason:
        raise InvalidError(
            gettext("A recall says why."), found=gettext("no reason"), expected=gettext("a few words for the board")
        )
    expected = {
        "kind": RECALL,
        "evaluation_id": str(evaluation.pk),
        "release_sha256": document_hash(evaluation.document) if evaluation.document else "",
        "reason": reason,
    }
    if site.public_key:
        check_said(said, site=site, expected=expected)
    with transaction.atomic():
        recalled = SiteEvaluation.Status.RECALLED
        if not SiteEvaluation.objects.filter(pk=evaluation.pk, status=SiteEvaluation.Status.RELEASED).update(
            status=recalled, recalled_at=now, reason=reason, release=None
        ):
            raise ConflictError(
                gettext("There is no released result to recall."), code="not_released", found=evaluation.status
            )
        if said is not None and evaluation.document:
            append_line(site=site, kind="recall", document=said, now=now)
        record_event(
            verb="site_evaluation.recalled",
            subject=evaluation,
            now=now,
            actor_label=f"site {site.name}",
            challenge_slug=evaluation.submission.challenge.slug,
            submission=str(evaluation.submission_id),
            reason=reason,
        )
        if again:
            SiteEvaluation.objects.create(
                site=site,
                submission=evaluation.submission,
                status=SiteEvaluation.Status.QUEUED,
                round=evaluation.round + 1,
                created_at=now,
            )
    evaluation.status, evaluation.reason, evaluation.recalled_at = recalled, reason, now
    return evaluation


class EndingValues(TypedDict, total=False):
    """What is written beside the status when a site's evaluation ends."""

    release: dict[str, Any]
    document: dict[str, Any] | None
    receipt: dict[str, Any] | None
    released_at: datetime
    reason: str


def _end(
    evaluation: SiteEvaluation,
    *,
    fence: int,
    now: datetime,
    status: SiteEvaluation.Status,
    **changes: Unpack[EndingValues],
) -> None:
    with transaction.atomic():
        if not SiteEvaluation.objects.filter(MAY_END, pk=evaluation.pk, fence=fence).update(
            status=status, lease_until=None, **changes
        ):
            raise not_leased(f"Evaluation {evaluation.pk}", fence=fence)
        record_event(
            verb=f"site_evaluation.{status.value}",
            subject=evaluation,
            now=now,
            actor_label=f"site {evaluation.site.name}",
            challenge_slug=evaluation.submission.challenge.slug,
            submission=str(evaluation.submission_id),
        )
    evaluation.status = status
