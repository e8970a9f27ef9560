"""Telling people something: `notify` is the one door.

A notice, and the mail about it, are rows written in the transaction of what happened. What is rolled back is never told, and what was
committed is told even if every worker and the broker are down at that moment: `delivery.py` sends what waits, again and again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

from assay.accounts.addresses import must_verify, verified_among
from assay.accounts.models import Team, User
from assay.accounts.services import INVITE_LIFETIME
from assay.notices.choices import EVERY_KIND, unsubscribe_token, wishes_of_all
from assay.notices.models import ByMail, Delivery, Kind, Notice, OutgoingMail
from assay.notices.words import in_words, one_line

KEPT = timedelta(days=90)
"""How long notices stay in the list, and the rows of mails that have gone stay in the log."""


@dataclass(frozen=True, kw_only=True)
class News:
    """What is told: `event` names the sentence, `facts` fill it, `path` is the page it leads to.

    A person is told the same `key` once, however often and by however many processes it is told.
    """

    kind: Kind
    event: str
    key: str
    path: str
    facts: Mapping[str, str | int] = field(default_factory=dict)
    challenge_slug: str = ""


def notify(*, people: Collection[User], news: News, now: datetime) -> None:
    """Tell these people, each as they wish. The number of queries is the same for one person and for a thousand."""
    wanted = {person.pk: person for person in people if person.is_active}
    wishes = {
        person_id: next(wish for wish in listed if wish.kind == news.kind)
        for person_id, listed in wishes_of_all(list(wanted)).items()
    }
    reachable = reachable_among(wanted.values())
    rows = [
        Notice(
            person=person,
            kind=news.kind,
            event=news.event,
            facts=dict(news.facts),
            path=news.path,
            challenge_slug=news.challenge_slug,
            key=news.key,
            at=now,
            is_shown=wishes[person_id].is_shown,
            waits_for_digest=wishes[person_id].by_mail == ByMail.DIGEST and person_id in reachable,
        )
        for person_id, person in wanted.items()
        if wishes[person_id].is_shown or wishes[person_id].by_mail != ByMail.NEVER
    ]
    with transaction.atomic():
        told_before = set(Notice.objects.filter(person__in=wanted, key=news.key).values_list("person_id", flat=True))
        Notice.objects.bulk_create((row for row in rows if row.person_id not in told_before), ignore_conflicts=True)
        told = Notice.objects.filter(person__in=set(wanted) - told_before, key=news.key).select_related("person")
        OutgoingMail.objects.bulk_create(
            (
                mail_about(notice, now=now)
                for notice in told
                if wishes[notice.person_id].by_mail == ByMail.NOW and notice.person_id in reachable
            ),
            ignore_conflicts=True,  # one mail per notice, also where two processes tell it at once
        )


def reachable_among(people: Collection[User]) -> set[int]:
    """Whom a mail may go to. Where addresses are verified, nobody else's address is written to."""
    if not must_verify():
        return {person.pk for person in people if person.email}
    return verified_among(people)


def mail_about(notice: Notice, *, now: datetime) -> OutgoingMail:
    """The mail about one notice, in the language of its reader. It is not stored yet."""
    person = notice.person
    with translation.override(person.language or settings.LANGUAGE_CODE):
        told = in_words(notice.event, notice.facts)
        mail = written_mail(
            person=person,
            subject=told.subject,
            text=f"{told.text}\n\n{public_address(notice.path)}",
            kind=notice.kind,
            now=now,
        )
    mail.notice = notice
    return mail


def written_mail(*, person: User, subject: str, text: str, kind: str, now: datetime) -> OutgoingMail:
    """A mail to somebody who has an account, with its greeting and its way out. It is not stored yet."""
    link = unsubscribe_address(person, kind=kind)
    words = _("Hello %(person)s,") % {"person": person}
    way_out = _("To get no more mails like this one: %(link)s") % {"link": link}
    choices = _("To choose what you hear of: %(link)s") % {
        "link": public_address(reverse("portal:notice-choices")),
    }
    return OutgoingMail(
        person=person,
        address=person.email,
        subject=one_line(f"{settings.ACCOUNT_EMAIL_SUBJECT_PREFIX}{subject}"),
        text=f"{words}\n\n{text}\n\n-- \n{way_out}\n{choices}\n",
        unsubscribe_url=link,
        written_at=now,
        due_at=now,
    )


def mail_to_address(*, address: str, subject: str, text: str, now: datetime) -> OutgoingMail:
    """Write one mail to somebody who may have no account, such as an invitation."""
    return OutgoingMail.objects.create(
        address=address,
        subject=one_line(f"{settings.ACCOUNT_EMAIL_SUBJECT_PREFIX}{subject}"),
        text=text,
        written_at=now,
        due_at=now,
    )


def mail_team_invite(*, address: str, team: Team, secret: str, by: User, now: datetime) -> None:
    """Send somebody the link that lets them into a team, in the language of the page it was made on."""
    link = public_address(reverse("portal:accept-invite", args=[secret]))
    text = _(
        "%(person)s invites you to the team %(team)s on Assay.\n\n"
        "To join, open this link. It works once, within %(days)s days:\n%(link)s\n\n"
        "If you do not know %(person)s, ignore this mail."
    )
    words = {"person": by, "team": team.name, "days": INVITE_LIFETIME.days, "link": link}
    subject = _("Invitation to the team %(team)s") % {"team": team.name}
    mail_to_address(address=address, subject=subject, text=text % words, now=now)


def write_digests(*, now: datetime) -> int:
    """Write each person's mail about everything that waits for one since a day. Answers how many mails."""
    due = Notice.objects.filter(waits_for_digest=True, at__lte=now - timedelta(days=1))
    count = 0
    for person in User.objects.filter(pk__in=due.values("person"), is_active=True).order_by("pk"):
        with transaction.atomic():
            waiting = list(
                Notice.objects.select_for_update(skip_locked=True)
                .filter(person=person, waits_for_digest=True)
                .order_by("at", "pk")
            )
            if waiting:
                digest_of(person, notices=waiting, now=now).save()
                Notice.objects.filter(pk__in=[notice.pk for notice in waiting]).update(waits_for_digest=False)
                count += 1
    return count


def digest_of(person: User, *, notices: Collection[Notice], now: datetime) -> OutgoingMail:
    """Everything that waited, the oldest first, in one mail. It is not stored yet."""
    with translation.override(person.language or settings.LANGUAGE_CODE):
        parts = [f"{in_words(notice.event, notice.facts).text}\n{public_address(notice.path)}" for notice in notices]
        return written_mail(
            person=person, subject=_("What happened"), text="\n\n".join(parts), kind=EVERY_KIND, now=now
        )


def mark_read(*, person: User, now: datetime, notice_id: int | None = None) -> int:
    """Note that somebody has read one of their notices, or all of them."""
    unread = Notice.objects.filter(person=person, read_at=None)
    return (unread if notice_id is None else unread.filter(pk=notice_id)).update(read_at=now)


def forget_old(*, now: datetime) -> None:
    """Delete what is older than `KEPT`."""
    Notice.objects.filter(at__lt=now - KEPT).delete()
    OutgoingMail.objects.filter(written_at__lt=now - KEPT).delete()
    Delivery.objects.filter(at__lt=now - KEPT).delete()


def public_address(path: str) -> str:
    """A page's address for a mail: below the public one, whatever name a request asked for."""
    return settings.PUBLIC_URL.rstrip("/") + path


def unsubscribe_address(person: User, *, kind: str) -> str:
    """Where one click ends mails of this kind."""
    return public_address(reverse("portal:unsubscribe", args=[unsubscribe_token(person=person, kind=kind)]))
