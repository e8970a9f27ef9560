"""Organizers write to some of those who take part: to all, to the teams of a phase in a certain state, or to one team.

A message is a notice, mailed as each reader wishes. It is shown before it goes, with how many people it goes to. Where that number has
changed meanwhile, it is shown again.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.urls import reverse
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError
from assay.accounts.models import Team, User
from assay.challenges.announcements import refuse_more_than, written
from assay.challenges.models import Challenge, Membership, Phase
from assay.notices.models import Kind
from assay.notices.services import News, notify
from assay.submissions.lifecycle import FINAL
from assay.submissions.models import Message, Submission

ALL = "all"
STATES = ("submitted", "idle", "failed", "unfinished")
MOST_PER_DAY = 20


@dataclass(frozen=True, kw_only=True)
class Audience:
    """Who is written to. `key` is what forms and the log say, `words` the same for people."""

    key: str
    words: str
    people: tuple[User, ...]


def audiences(challenge: Challenge) -> list[tuple[str, str]]:
    """Every audience there is, with its words. Two queries."""
    teams = Team.objects.filter(challenge_memberships__challenge=challenge).distinct().order_by("name")
    found = [(ALL, _("everybody who takes part"))]
    for phase in challenge.phases.all():
        found += [(f"phase:{phase.slug}:{state}", state_words(state, phase=phase)) for state in STATES]
    return found + [(f"team:{team.slug}", _("the team %(team)s") % {"team": team}) for team in teams]


def state_words(state: str, *, phase: Phase) -> str:
    """An audience of a phase in words."""
    words = {
        "submitted": _("%(phase)s: teams that submitted"),
        "idle": _("%(phase)s: teams that have not submitted"),
        "failed": _("%(phase)s: teams whose last submission failed"),
        "unfinished": _("%(phase)s: teams with a submission under way"),
    }
    return words[state] % {"phase": phase.title}


def audience_of(challenge: Challenge, key: str) -> Audience:
    """Who is meant, by now. Raises InvalidError."""
    words = dict(audiences(challenge)).get(key)
    if words is None:
        raise InvalidError(
            _("There is no such group of people."),
            found=key[:100],
            expected=_("one of those of the list"),
            field="audience",
        )
    return Audience(key=key, words=words, people=tuple(_people(challenge, key)))


def _people(challenge: Challenge, key: str) -> QuerySet[User]:
    members = challenge.memberships.filter(role=Membership.Role.PARTICIPANT, status=Membership.Status.ACCEPTED)
    kind, _colon, rest = key.partition(":")
    if kind == "team":
        members = members.filter(team__slug=rest)
    elif kind == "phase":
        slug, _colon, state = rest.rpartition(":")
        teams = _teams_in_state(challenge.phases.get(slug=slug), state)
        members = members.exclude(team__in=teams) if state == "idle" else members.filter(team__in=teams)
    return User.objects.filter(pk__in=members.values("user")).order_by("pk")


def _teams_in_state(phase: Phase, state: str) -> QuerySet[Submission, int]:
    """Teams by key; for `idle` those to leave out."""
    rows = phase.submissions.filter(is_baseline=False)
    if state == "unfinished":
        rows = rows.exclude(status__in=FINAL)
    elif state == "failed":
        last = phase.submissions.filter(team=OuterRef("team")).order_by("-number").values("pk")[:1]
        rows = rows.filter(Q(pk=Subquery(last)), status=Submission.Status.FAILED)
    return rows.order_by().values_list("team", flat=True)


def send_message(
    *, challenge: Challenge, key: str, title: str, text: str, expected: int | None, by: User, now: datetime
) -> Message:
    """Write to an audience of the size that was shown. Raises ConflictError where it is another one by now."""
    shown, words, html = written(title=title, text=text, missing=_("A message needs a title and a text."))
    with transaction.atomic():
        Challenge.objects.select_for_update(no_key=True).get(pk=challenge.pk)
        audience = audience_of(challenge, key)
        if not audience.people:
            raise ConflictError(_("Nobody is in this group now."), found=audience.words, field="audience")
        if len(audience.people) != expected:
            raise ConflictError(
                _("The message goes to another number of people than was shown."),
                found=str(len(audience.people)),
                expected=str(expected),
                what_to_do=_("Look at it again, then send it."),
            )
        why = _("A challenge sends %(most)s messages a day.")
        refuse_more_than(MOST_PER_DAY, sent=challenge.messages.all(), why=why, now=now)
        message = Message.objects.create(
            challenge=challenge,
            audience=audience.key,
            audience_words=audience.words,
            people=len(audience.people),
            title=shown,
            text=words,
            text_html=html,
            by=by,
            at=now,
        )
        record_event(
            actor=by,
            verb="challenge.message_sent",
            subject=message,
            challenge_slug=challenge.slug,
            now=now,
            audience=audience.key,
            people=len(audience.people),
            title=shown,
        )
        news = News(
            kind=Kind.ANNOUNCEMENT,
            event="announced",
            key=f"message:{message.pk}",
            path=reverse("portal:challenge", args=[challenge.slug]),
            facts={"challenge": challenge.title, "title": shown, "text": words},
            challenge_slug=challenge.slug,
        )
        notify(people=audience.people, news=news, now=now)
    return message
