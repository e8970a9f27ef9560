"""What changes evaluation sites: enrolling one, registering its data, claims, releases. A site polls; nothing is pushed to it.

A claim is a lease with a fence, as for case runs: an agent that died leaves its evaluation to the next poll. A result under
review has no deadline: it waits for a person at the site, and the board says so.
"""

import re
from datetime import datetime
from typing import Any, TypedDict, Unpack
from uuid import UUID

from django.db import connection, transaction
from django.utils.translation import gettext

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError, NotAllowedError
from assay.accounts.models import User
from assay.accounts.tokens import hash_secret, new_secret
from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluation_sites.models import Site, SiteDataset, SiteEvaluation
from assay.evaluation_sites.releases import check_release
from assay.leases import not_leased
from assay.signatures import SignatureInvalid, check_signature

TOKEN_PREFIX = "assaysite_"  # noqa: S105  a prefix, not a secret
LEASE_SECONDS = 900.0
LONGEST_REASON = 200
LONGEST_TITLE = 120
NAME = re.compile(r"[a-z0-9-]{1,60}")

NEXT_SUBMISSION = """
INSERT INTO evaluation_sites_siteevaluation (id, site_id, submission_id, status, fence, reason, created_at)
SELECT gen_random_uuid(), %(site)s, submission.id, 'queued', 0, '', now()
FROM submissions_submission submission
WHERE submission.phase_id = %(phase)s AND submission.status = 'done' AND submission.image_id IS NOT NULL
  AND NOT submission.is_disqualified AND NOT submission.is_withdrawn
ON CONFLICT (site_id, submission_id) DO NOTHING
"""

CLAIM = """
UPDATE evaluation_sites_siteevaluation SET
    status = 'running', fence = fence + 1, dataset_id = %(dataset)s,
    lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE id = (
    SELECT evaluation.id FROM evaluation_sites_siteevaluation evaluation
    JOIN submissions_submission submission ON submission.id = evaluation.submission_id
    WHERE evaluation.site_id = %(site)s AND NOT submission.is_disqualified AND NOT submission.is_withdrawn
      AND (evaluation.status = 'queued'
           OR (evaluation.status = 'running' AND evaluation.lease_until < clock_timestamp()))
    ORDER BY submission.created_at
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


def check_names(*, name: str, title: str) -> None:
    """Refuse a name or a title that cannot be used. Raises InvalidError."""
    if not NAME.fullmatch(name):
        raise InvalidError(
            gettext("The site's name cannot be used."),
            found=name[:80],
            expected=gettext("1 to 60 characters of a to z, 0 to 9 and hyphens"),
            what_to_do=gettext("Choose a short name for addresses; the title may say more."),
        )
    if not 0 < len(title) <= LONGEST_TITLE:
        raise InvalidError(
            gettext("The site's title cannot be used."),
            found=gettext("%(title)s characters") % {"title": len(title)},
            expected=gettext("1 to %(longest_title)s characters") % {"longest_title": LONGEST_TITLE},
            what_to_do=gettext("Give a title of that length."),
        )


def enrol_site(*, phase: Phase, name: str, title: str, by: User, now: datetime) -> tuple[Site, str]:
    """A site without a key, and its token, shown this once; a known name gets a new token. `joining.make_code` is the better way."""
    check_names(name=name, title=title)
    if Site.objects.filter(phase=phase, name=name, revoked_at=None).exclude(public_key="").exists():
        raise ConflictError(
            gettext("A site of this name has a key. A token alone does not replace it."),
            code="site_has_key",
            found=name,
            what_to_do=gettext("Make a new code for it, so that it joins again with a key; or revoke it first."),
        )
    token = new_secret(prefix=TOKEN_PREFIX)
    values = {
        "title": title,
        "token_hash": hash_secret(token),
        "revoked_at": None,
        "revoked_because": "",
        "public_key": "",
    }
    site, _ = Site.objects.update_or_create(
        phase=phase, name=name, defaults=values, create_defaults={**values, "created_at": now}
    )
    record_event(verb="site.enrolled", subject=site, now=now, actor=by, challenge_slug=phase.challenge.slug, name=name)
    return site, token


def find_site(token: str) -> Site | None:
    """The site this token belongs to, unless it was revoked."""
    if not token.startswith(TOKEN_PREFIX):
        return None
    return (
        Site.objects.select_related("phase__challenge", "phase__protocol")
        .filter(token_hash=hash_secret(token), revoked_at=None)
        .first()
    )


def require_approved(site: Site) -> Site:
    """The site, when it may work. Raises NotAllowedError while its key waits for approval."""
    if site.is_waiting:
        raise NotAllowedError(
            gettext("This site waits for the organizers' approval."),
            code="site_waiting",
            what_to_do=gettext(
                "Read the six words of `assay site status` to an organizer of the challenge, by telephone say."
            ),
        )
    return site


DATA_KIND = "assay-site-data"


def register_dataset(
    *,
    site: Site,
    root_sha256: str,
    case_count: int,
    summary: dict[str, Any],
    now: datetime,
    said: dict[str, Any] | None = None,
) -> SiteDataset:
    """What the site says of its data: the root of a hash tree and counts. The same data again is the same row.

    A site with a key signs it (`said`), and its summary says that the data was checked: every reference scored against itself.
    """
    if site.public_key:
        expected = {"kind": DATA_KIND, "root_sha256": root_sha256, "case_count": case_count, "summary": summary}
        check_said(said, site=site, expected=expected)
        _check_summary(summary, site=site, case_count=case_count)
    if len(root_sha256) != 64 or any(letter not in "0123456789abcdef" for letter in root_sha256):
        raise InvalidError(
            gettext("The data's root is not a hash."), found=root_sha256[:80], expected=gettext("64 hexadecimal digits")
        )
    dataset, is_new = SiteDataset.objects.get_or_create(
        site=site,
        root_sha256=root_sha256,
        defaults={"case_count": case_count, "summary": summary, "registered_at": now, "document": said},
    )
    if is_new:
        record_event(
            verb="site.data_registered",
            subject=site,
            now=now,
            actor_label=f"site {site.name}",
            challenge_slug=site.phase.challenge.slug,
            root=root_sha256,
            cases=case_count,
        )
    return dataset


def check_said(said: dict[str, Any] | None, *, site: Site, expected: dict[str, Any]) -> None:
    """Return quietly when the site's key signed exactly `expected`. Raise InvalidError, code `signature_invalid`, if not."""
    what_to_do = gettext(
        "Use the agent on the machine that joined. If the key was changed there, nothing else may sign."
    )
    if said is None or {name: said[name] for name in said.keys() - {"public_key", "signature"}} != expected:
        raise InvalidError(
            gettext("This is not signed by the site's key."),
            code="signature_invalid",
            found=gettext("no signature") if said is None else gettext("a signature of something else"),
            expected=gettext("the same document, signed with the key that was approved"),
            what_to_do=what_to_do,
        )
    try:
        check_signature(said, public_key=site.public_key)
    except SignatureInvalid as error:
        raise InvalidError(
            gettext("This is not signed by the site's key."),
            code="signature_invalid",
            found=str(error),
            expected=gettext("the same document, signed with the key that was approved"),
            what_to_do=what_to_do,
        ) from error


def _check_summary(summary: dict[str, Any], *, site: Site, case_count: int) -> None:
    """A closed list, so that no text of a hospital gets in: what was checked, and which attributes of the protocol the cases have."""
    known = rules_of(site.phase.protocol).breakdowns
    checked = {"cases": case_count, "problems": 0}
    attributes = summary.get("attributes")
    is_list = isinstance(attributes, list) and all(name in known for name in attributes)
    if set(summary) != {"selfcheck", "attributes"} or summary["selfcheck"] != checked or not is_list:
        raise InvalidError(
            gettext("The data's summary cannot be taken."),
            code="summary_invalid",
            found=", ".join(sorted(str(name)[:40] for name in summary))[:200],
            expected=gettext("`selfcheck` without a problem in any case, and `attributes` that the protocol names"),
            what_to_do=gettext("Mend what `assay site data add` says, and add the data again."),
        )


def claim_evaluation(*, site: Site, dataset: SiteDataset, now: datetime) -> SiteEvaluation | None:
    """The next submission for this site, oldest first; None when it has seen them all."""
    parameters = {"site": site.pk, "phase": site.phase_id, "dataset": dataset.pk, "lease_seconds": LEASE_SECONDS}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(NEXT_SUBMISSION, parameters)
        cursor.execute(CLAIM, parameters)
        row = cursor.fetchone()
    Site.objects.filter(pk=site.pk).update(last_seen_at=now)
    if row is None:
        return None
    return SiteEvaluation.objects.select_related("submission__image", "submission__protocol", "dataset").get(id=row[0])


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
    *, site: Site, evaluation_id: UUID, fence: int, aggregates: dict[str, Any], now: datetime
) -> SiteEvaluation:
    """Take the numbers a person at the site approved. Raises LeaseLost, or InvalidError where they say too much."""
    evaluation = (
        SiteEvaluation.objects.select_related("submission__protocol", "dataset", "submission__challenge")
        .filter(id=evaluation_id, site=site)
        .first()
    )
    if evaluation is None or evaluation.dataset is None:
        raise not_leased(f"Evaluation {evaluation_id}", fence=fence)
    protocol = rules_of(evaluation.submission.protocol)
    check_release(aggregates, protocol=protocol, case_count=evaluation.dataset.case_count)
    _end(
        evaluation,
        fence=fence,
        now=now,
        status=SiteEvaluation.Status.RELEASED,
        release={"case_count": evaluation.dataset.case_count, "metrics": aggregates},
        released_at=now,
    )
    return evaluation


def decline_evaluation(*, site: Site, evaluation_id: UUID, fence: int, reason: str, now: datetime) -> SiteEvaluation:
    """The site does not release a result, and says why in a few words. Raises LeaseLost."""
    evaluation = (
        SiteEvaluation.objects.select_related("submission__challenge").filter(id=evaluation_id, site=site).first()
    )
    if evaluation is None:
        raise not_leased(f"Evaluation {evaluation_id}", fence=fence)
    status = SiteEvaluation.Status.DECLINED
    _end(evaluation, fence=fence, now=now, status=status, reason=reason.strip()[:LONGEST_REASON])
    return evaluation


class EndingValues(TypedDict, total=False):
    """What is written beside the status when a site's evaluation ends."""

    release: dict[str, Any]
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
    open_statuses = [SiteEvaluation.Status.RUNNING, SiteEvaluation.Status.REVIEW]
    with transaction.atomic():
        if not SiteEvaluation.objects.filter(pk=evaluation.pk, fence=fence, status__in=open_statuses).update(
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
