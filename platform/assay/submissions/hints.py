"""Hints that two teams of a challenge may be one: for organizers, who judge. Nothing follows from a hint by itself.

Each has a harmless explanation: a laboratory shares one address, two teams submit the baseline, two students have similar names.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from assay.challenges.models import Challenge, Membership
from assay.submissions.models import Submission

LOOKED_AT = 10_000
"""The newest submissions of a challenge that are compared."""
SHORTEST_PATTERN = 3
LISTED = 5
TAG = re.compile(r"\+.*")
NOISE = re.compile(r"[._-]|\d+$")


@dataclass(frozen=True, kw_only=True)
class Hint:
    """What several teams have in common. `teams` are names; `submissions` are such as `final #3`."""

    kind: str
    reason: str
    teams: tuple[str, ...]
    submissions: tuple[str, ...] = ()


REASONS = {
    "image": "The same container image.",
    "predictions": "The same predictions for every case, bit by bit.",
    "address": "Submitted from the same network address.",
    "mail": "Verified mail addresses that differ only by digits, dots or a tag.",
}


def hints_of(challenge: Challenge) -> list[Hint]:
    """What teams of the challenge have in common. Two queries."""
    rows = challenge.submissions.filter(imported_from="").order_by("-created_at", "number")
    found: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    names = ("team__name", "phase__slug", "number", "origin_hash", "predictions_sha256", "predictions__sha256")
    images = ("image__uploaded_image_id", "image__archive_sha256")
    for team, phase, number, origin, wrote, handed_in, image_id, archive in rows.values_list(*names, *images)[
        :LOOKED_AT
    ]:
        shown = f"{phase} #{number}"
        for kind, value in (("image", image_id or archive), ("predictions", wrote or handed_in), ("address", origin)):
            if value:
                found[kind, value][team].append(shown)
    for team, pattern in _mail_patterns(challenge):
        found["mail", pattern][team] += []
    shared = (Hint(
        kind=kind,
        reason=REASONS[kind],
        teams=tuple(sorted(teams)),
        submissions=tuple(_some([shown for listed in teams.values() for shown in listed])),
    ) for (kind, _), teams in found.items() if len(teams) > 1)  # fmt: skip
    return sorted(shared, key=lambda hint: (list(REASONS).index(hint.kind), hint.teams))


def _some(shown: list[str]) -> Iterator[str]:
    distinct = list(dict.fromkeys(shown))
    yield from distinct[:LISTED]
    if len(distinct) > LISTED:
        yield f"and {len(distinct) - LISTED} more"


def _mail_patterns(challenge: Challenge) -> Iterable[tuple[str, str]]:
    """Team and pattern of each verified address of those who take part, or ask to."""
    here = challenge.memberships.filter(role=Membership.Role.PARTICIPANT, user__emailaddress__verified=True)
    for email, team in here.values_list("user__emailaddress__email", "team__name"):
        pattern = mail_pattern(email)
        if team and pattern:
            yield team, pattern


def mail_pattern(email: str) -> str:
    """An address without what somebody with many of them varies. Empty where too little is left to mean anything.

    >>> mail_pattern("Ada.Lovelace+flare2@Example.org")
    'adalovelace@example.org'
    """
    local, _, domain = email.strip().lower().rpartition("@")
    bare = NOISE.sub("", TAG.sub("", local))
    return f"{bare}@{domain}" if len(bare) >= SHORTEST_PATTERN else ""


def forget_origins(*, now: datetime) -> int:
    """Clear the hashes of addresses that are older than `ASSAY_ORIGIN_DAYS`. Answers how many."""
    old = Submission.objects.filter(created_at__lt=now - timedelta(days=settings.ORIGIN_DAYS))
    return old.exclude(origin_hash="").update(origin_hash="")
