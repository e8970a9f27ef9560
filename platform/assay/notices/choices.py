"""What people want to hear of: the defaults, and each person's own choices."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from django.core import signing
from django.db import transaction
from django.utils.translation import gettext as _

from assay.accounts.errors import NotFoundError
from assay.accounts.models import User
from assay.notices.models import ByMail, Choice, Kind, Notice

SALT = "assay.notices.unsubscribe"
EVERY_KIND = "all"
BY_MAIL = {Kind.DISCUSSION: ByMail.DIGEST}
"""Kinds that are not mailed at once where their reader has not chosen."""
FOR_ORGANIZERS = frozenset({Kind.REQUEST, Kind.PUBLICATION})


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How one person wants to hear of one kind of notice."""

    kind: Kind
    is_shown: bool = True
    by_mail: str = ByMail.NOW


def wishes_of(person: User) -> list[Wish]:
    """What this person chose, for every kind. One query."""
    return wishes_of_all([person.pk])[person.pk]


def wishes_of_all(person_ids: Collection[int]) -> Mapping[int, list[Wish]]:
    """The same of many people. One query."""
    chosen = {(row.person_id, row.kind): row for row in Choice.objects.filter(person__in=person_ids)}
    return {
        person_id: [
            Wish(kind=kind, is_shown=row.is_shown, by_mail=row.by_mail)
            if (row := chosen.get((person_id, kind)))
            else Wish(kind=kind, by_mail=BY_MAIL.get(kind, ByMail.NOW))
            for kind in Kind
        ]
        for person_id in person_ids
    }


def choose(*, person: User, wishes: Collection[Wish]) -> None:
    """Keep what somebody wants to hear of. What waits for a digest of a kind that is mailed no more waits no longer."""
    with transaction.atomic():
        for wish in wishes:
            Choice.objects.update_or_create(
                person=person, kind=wish.kind, defaults={"is_shown": wish.is_shown, "by_mail": wish.by_mail}
            )
        unwanted = [wish.kind for wish in wishes if wish.by_mail == ByMail.NEVER]
        Notice.objects.filter(person=person, kind__in=unwanted, waits_for_digest=True).update(waits_for_digest=False)


def unsubscribe_token(*, person: User, kind: str) -> str:
    """The secret part of a mail's unsubscribe link. It works as long as the account does, and for nothing else."""
    return signing.dumps([person.pk, kind], salt=SALT)


def unsubscribe(token: str) -> tuple[User, str]:
    """End the mails that a link names, for good and without signing in. Raises NotFoundError."""
    person, kind = read_token(token)
    kinds = list(Kind) if kind == EVERY_KIND else [Kind(kind)]
    shown = {wish.kind: wish.is_shown for wish in wishes_of(person)}
    choose(person=person, wishes=[Wish(kind=kind, is_shown=shown[kind], by_mail=ByMail.NEVER) for kind in kinds])
    return person, kind


def read_token(token: str) -> tuple[User, str]:
    """Whose mails of which kind a link ends. Raises NotFoundError."""
    try:
        person_id, kind = signing.loads(token, salt=SALT)
        person = User.objects.filter(pk=person_id, is_active=True).first()
        if person is not None and kind in {EVERY_KIND, *Kind.values}:
            return person, kind
    except (signing.BadSignature, TypeError, ValueError):
        pass
    raise NotFoundError(_("This link is not known."), what_to_do=_("Sign in and choose on the page of your notices."))
