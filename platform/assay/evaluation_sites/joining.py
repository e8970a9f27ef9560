"""How a site joins: a one-time code, a key pair that is made at the site, and six words that both sides compare before it may work.

The code lets somebody in under one name, once, within a day. It proves nothing about the machine: a proxy that reads the
connection could put its own key in the site's place. Therefore an organizer hears the six words from the site, by telephone
say, and types them in. They are made from both public keys, so they differ as soon as somebody stands in between.
"""

import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.utils.translation import gettext

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError, NotFoundError
from assay.accounts.models import User
from assay.accounts.tokens import hash_secret, new_secret
from assay.challenges.models import Phase
from assay.evaluation_sites.log import append_line
from assay.evaluation_sites.models import Site, SiteCode
from assay.evaluation_sites.services import LONGEST_REASON, TOKEN_PREFIX, check_names
from assay.evaluations.receipts import signing_key
from assay.signatures import (
    SignatureInvalid,
    check_signature,
    is_public_key,
    public_key_text,
    same_words,
    words_of,
)

GOOD_FOR = timedelta(hours=24)
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without the letters that are read as digits, or as each other (Crockford)."""
READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1", "-": "", " ": ""})
GROUPS, LETTERS = 5, 4


def make_code(*, phase: Phase, name: str, title: str, by: User, now: datetime) -> tuple[SiteCode, str]:
    """A code for a site of this name, shown this once. A newer code for the same name makes the older ones void."""
    check_names(name=name, title=title)
    letters = "".join(secrets.choice(ALPHABET) for _ in range(GROUPS * LETTERS))
    text = "-".join(letters[place : place + LETTERS] for place in range(0, len(letters), LETTERS))
    with transaction.atomic():
        SiteCode.objects.filter(phase=phase, name=name, used_at=None, expires_at__gt=now).update(expires_at=now)
        code = SiteCode.objects.create(
            phase=phase,
            name=name,
            title=title,
            code_hash=code_hash(text),
            created_by=by,
            created_at=now,
            expires_at=now + GOOD_FOR,
        )
        record_event(
            verb="site.invited",
            subject=code,
            now=now,
            actor=by,
            challenge_slug=phase.challenge.slug,
            name=name,
        )
    return code, text


def code_hash(text: str) -> str:
    """What is stored of a code, and what the site signs. Capitals, hyphens, and O for 0 do not matter. It has 100 random bits."""
    return hash_secret(text.upper().translate(READ_AS))


def join(*, code: str, said: dict[str, Any], now: datetime) -> tuple[Site, str]:
    """Let the site in whose key signed `said`, and give it a token. It may do nothing until it is approved.

    A name that is known already gets the new key and token, and has to be approved again: that is how a machine is replaced.
    """
    digest, public_key = code_hash(code), str(said.get("public_key", ""))
    try:
        _check_first_words(said, digest=digest)
    except SignatureInvalid as error:
        raise InvalidError(
            gettext("The site's first words are not signed by its key."),
            code="signature_invalid",
            found=str(error),
            expected=gettext("the hash of the code, signed with the key that joins"),
        ) from error
    token = new_secret(prefix=TOKEN_PREFIX)
    with transaction.atomic():
        found = SiteCode.objects.select_related("phase__challenge").filter(code_hash=digest).first()
        if not SiteCode.objects.filter(code_hash=digest, used_at=None, expires_at__gt=now).update(used_at=now):
            raise _bad_code(found, now=now)
        assert found is not None  # noqa: S101  the update changed it
        values = {
            "title": found.title,
            "token_hash": hash_secret(token),
            "public_key": public_key,
            "joined_at": now,
            "approved_at": None,
            "revoked_at": None,
            "revoked_because": "",
        }
        site, is_new = Site.objects.update_or_create(
            phase=found.phase, name=found.name, defaults=values, create_defaults={**values, "created_at": now}
        )
        record_event(
            verb="site.joined" if is_new else "site.joined_again",
            subject=site,
            now=now,
            actor_label=f"site {site.name}",
            challenge_slug=site.phase.challenge.slug,
            public_key=public_key,
        )
    return site, token


def _check_first_words(said: dict[str, Any], *, digest: str) -> None:
    public_key = str(said.get("public_key", ""))
    if not is_public_key(public_key) or said.get("joins_with") != digest:
        raise SignatureInvalid(gettext("a document about another code, or no key"))
    check_signature(said, public_key=public_key)


def _bad_code(found: SiteCode | None, *, now: datetime) -> InvalidError:
    if found is None:
        said = gettext("a code that nobody made")
    elif found.used_at is not None:
        said = gettext("a code that was used already")
    else:
        hours = round((now - found.expires_at).total_seconds() / 3600)
        said = gettext("a code that ended %(hours)s hours ago, or was replaced by a newer one") % {
            "hours": max(0, hours)
        }
    return InvalidError(
        gettext("This code does not let a site in."),
        code="site_code_invalid",
        found=said,
        expected=gettext("a code of the last 24 hours that nobody has used"),
        what_to_do=gettext("Ask the organizers for a new code. If you did not use this one yourself, tell them so."),
    )


def server_key() -> str:
    """The public half of the installation's key."""
    return public_key_text(signing_key(folder=Path(settings.KEY_FOLDER)))


def words_for(site: Site) -> str:
    """The six words that this site and its organizers compare. Empty for a site without a key."""
    return words_of(server_key(), site.public_key) if site.public_key else ""


def find_site_of(phase: Phase, name: str) -> Site:
    """The site of this name in a phase."""
    site = Site.objects.select_related("phase__challenge").filter(phase=phase, name=name).first()
    if site is None:
        raise NotFoundError(
            gettext("There is no such site."), found=name[:80], what_to_do=gettext("Look at the list of sites.")
        )
    return site


def approve_site(site: Site, *, words: str, by: User, now: datetime) -> None:
    """Let a site work that joined, if `words` are those it shows. The organizer heard them from a person there."""
    expected = words_for(site)
    if not expected or not same_words(words, expected):
        raise InvalidError(
            gettext("These are not the six words of this site."),
            code="words_differ",
            found=words[:100],
            expected=gettext("the words that the site's own machine shows (assay site status)"),
            what_to_do=gettext(
                "Listen again. If the site really reads other words, somebody stands between you: do not approve, revoke the site, "
                "and ask the hospital's IT about proxies that open encrypted connections."
            ),
            field="words",
        )
    with transaction.atomic():
        changed = Site.objects.filter(pk=site.pk, public_key=site.public_key, approved_at=None, revoked_at=None).update(
            approved_at=now
        )
        if not changed:
            raise ConflictError(
                gettext("This site is not waiting for approval."),
                code="not_waiting",
                found=gettext("a site that is approved, revoked, or has joined again meanwhile"),
                what_to_do=gettext("Look at the list of sites."),
            )
        append_line(site=site, kind="approved", document=_key_line("site-approved", site.public_key), now=now)
        record_event(
            verb="site.approved",
            subject=site,
            now=now,
            actor=by,
            challenge_slug=site.phase.challenge.slug,
            public_key=site.public_key,
        )
    site.approved_at = now


def revoke_site(site: Site, *, reason: str, by: User | None, now: datetime) -> None:
    """End what a site may do: its token is void and its leases end. What it released stays. Doing it twice changes nothing."""
    with transaction.atomic():
        because = reason.strip()[:LONGEST_REASON]
        if not Site.objects.filter(pk=site.pk, revoked_at=None).update(revoked_at=now, revoked_because=because):
            return
        site.evaluations.filter(status__in=("running", "review")).update(
            status="queued", lease_until=None, fence=models.F("fence") + 1
        )
        if site.approved_at is not None:
            append_line(site=site, kind="revoked", document=_key_line("site-revoked", site.public_key), now=now)
        record_event(
            verb="site.revoked" if by else "site.left",
            subject=site,
            now=now,
            actor=by,
            actor_label="" if by else f"site {site.name}",
            challenge_slug=site.phase.challenge.slug,
            reason=because,
        )
    site.revoked_at = now


def rotate_key(site: Site, *, said: dict[str, Any], now: datetime) -> None:
    """Take the new key that the old one signed for, and that signed for itself. The six words change with it.

    `said` is `{"next_public_key", "proof", "was", "public_key", "signature"}`: signed by the old key, and `proof` is
    `{"replaces": old key}` signed by the new one.
    """
    following = str(said.get("next_public_key", ""))
    try:
        _check_both_keys(said, was=site.public_key, following=following)
    except SignatureInvalid as error:
        raise InvalidError(
            gettext("The change of key is not signed by both keys."),
            code="signature_invalid",
            found=str(error),
            expected=gettext("the new key, signed by the old one, and the old one's name signed by the new"),
            what_to_do=gettext("If the old key is lost, ask the organizers for a new code and join again."),
        ) from error
    with transaction.atomic():
        if not Site.objects.filter(pk=site.pk, public_key=site.public_key, revoked_at=None).update(
            public_key=following
        ):
            raise ConflictError(gettext("The site's key has changed meanwhile."), code="key_changed")
        append_line(site=site, kind="key_changed", document=_key_line("site-key-changed", following), now=now)
        record_event(
            verb="site.key_changed",
            subject=site,
            now=now,
            actor_label=f"site {site.name}",
            challenge_slug=site.phase.challenge.slug,
            public_key=following,
            was=site.public_key,
        )
    site.public_key = following


def _check_both_keys(said: dict[str, Any], *, was: str, following: str) -> None:
    check_signature(said, public_key=was)
    proof = said.get("proof")
    if not isinstance(proof, dict) or proof.get("replaces") != was or following == was:
        raise SignatureInvalid(gettext("no proof that the new key replaces the old one"))
    check_signature(proof, public_key=following)


def _key_line(kind: str, key: str) -> dict[str, str]:
    return {"kind": f"assay-{kind}", "site_key": key}
