"""Who a site is, and the data that it registers. `joining.py` lets sites in, `work.py` has their claims and releases."""

import re
from datetime import datetime
from typing import Any

from django.utils.translation import gettext

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError, NotAllowedError
from assay.accounts.models import User
from assay.accounts.tokens import hash_secret, new_secret
from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluation_sites.models import Site, SiteDataset
from assay.evaluation_sites.signing import check_said

TOKEN_PREFIX = "assaysite_"  # noqa: S105  a prefix, not a secret
LONGEST_REASON = 200
LONGEST_TITLE = 120
NAME = re.compile(r"[a-z0-9-]{1,60}")


def check_names(*, name: str, title: str) -> None:
    """Refuse a name or a title that cannot be used. Raises InvalidError."""
    if not NAME.fullmatch(name):
        raise InvalidError(
            gettext("The site's name cannot be used."),
            found=name[:80],
            expected=gettext("1 to 60 characters of a to z, 0 to 9 and hyphens"),
            what_to_do=gettext("Choose a short name for addresses; the title may say more."),
            field="name",
        )
    if not 0 < len(title) <= LONGEST_TITLE:
        raise InvalidError(
            gettext("The site's title cannot be used."),
            found=gettext("%(title)s characters") % {"title": len(title)},
            expected=gettext("1 to %(longest_title)s characters") % {"longest_title": LONGEST_TITLE},
            what_to_do=gettext("Give a title of that length."),
            field="title",
        )


def enrol_site(*, phase: Phase, name: str, title: str, by: User, now: datetime) -> tuple[Site, str]:
    """A site without a key, and its token, shown this once. A known name gets a new token. `joining.make_code` is the better way."""
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
