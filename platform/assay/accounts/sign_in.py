"""The one guard of every door that takes a password: the page, Django's admin and the API all call `authenticate`, and so come here.

Theory of operation. Failures are counted in the database, which all web processes share, for three things: the pair of name and
address, the name, and the address. A try is counted before the password is looked at and given back when it was right, so that
tries that arrive together are all counted. Where a limit is reached the password is not looked at at all. Names are counted as
typed (by their key), whether such an account exists or not: the answer tells nobody who has an account. A pair that has signed in
before is exempt from the limit of the name, so a stranger who types wrong passwords all day does not shut the owner out.
"""

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.sessions.models import Session
from django.db import IntegrityError, transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import LimitReachedError
from assay.accounts.models import SignInCount, User
from assay.accounts.names import name_key

KNOWN_FOR = timedelta(days=90)
"""How long a name keeps an address it has signed in from."""
LONGEST_TYPED = 500


@dataclass(frozen=True, kw_only=True)
class Limit:
    """At most so many failures within a time."""

    failures: int
    within: timedelta


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """Who somebody says they are, and from where."""

    name: str
    address: str

    def counted(self, kind: str) -> str:
        """The row that counts this attempt by `pair`, `name` or `address`, or remembers it as `known`."""
        whose = {"name": self.name, "address": self.address}.get(kind, f"{self.name}\0{self.address}")
        return f"{kind}:{hashlib.sha256(whose.encode(errors='replace')).hexdigest()}"


class GuardedBackend(ModelBackend):
    """Django's own check of a password, behind the guard. Raises LimitReachedError where too many failed."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        typed = username if username is not None else kwargs.get(User.USERNAME_FIELD)
        if typed is None or password is None:
            return None
        now = timezone.now()
        attempt = Attempt(name=name_key(typed[:LONGEST_TYPED]), address=address_of(request))
        count_attempt(attempt, now=now)
        found = super().authenticate(request, username=typed, password=password, **kwargs)
        user = found if isinstance(found, User) else None
        settle(attempt, user=user, now=now)
        return user


def count_attempt(attempt: Attempt, *, now: datetime) -> None:
    """Count a try that is about to be made. Raises LimitReachedError where a limit is reached already."""
    for kind, limit in limits().items():
        if kind == "name" and is_known(attempt, now=now):
            continue
        attempts, until = add_one(attempt.counted(kind), within=limit.within, now=now)
        if attempts > limit.failures:
            if attempts == limit.failures + 1:  # once per window: further attempts fill no history
                record_event(
                    verb="sign_in.throttled",
                    subject=("user", ""),
                    now=now,
                    actor_label="somebody",
                    counted=kind,
                    address=attempt.address,
                    until=until.isoformat(),
                )
            raise LimitReachedError(
                _("Too many attempts to sign in have failed."),
                found=_("more than %(failures)s in %(total_seconds)s minutes")
                % {"failures": limit.failures, "total_seconds": f"{limit.within.total_seconds() / 60:.0f}"},
                expected=_("another attempt after %(until)s UTC") % {"until": f"{until:%H:%M}"},
                retry_at=until,
            )


def settle(attempt: Attempt, *, user: User | None, now: datetime) -> None:
    """Give a try back that was right. Write one that was not into history."""
    if user is None:
        owner = User.objects.filter(username_key=attempt.name).first() if attempt.name else None
        record_event(
            verb="sign_in.failed",
            subject=owner or ("user", ""),
            now=now,
            actor_label="somebody",
            address=attempt.address,
        )
        return
    SignInCount.objects.filter(counted=attempt.counted("pair")).delete()
    once = [attempt.counted(kind) for kind in limits() if kind != "pair"]
    SignInCount.objects.filter(counted__in=once, attempts__gt=0).update(attempts=F("attempts") - 1)
    SignInCount.objects.update_or_create(counted=attempt.counted("known"), defaults={"until": now + KNOWN_FOR})
    record_event(actor=user, verb="sign_in.succeeded", subject=user, now=now, address=attempt.address)


def is_known(attempt: Attempt, *, now: datetime) -> bool:
    """Whether this name has signed in from this address lately."""
    return SignInCount.objects.filter(counted=attempt.counted("known"), until__gt=now).exists()


def add_one(counted: str, *, within: timedelta, now: datetime) -> tuple[int, datetime]:
    """Count one more, and answer how many there are until when. Two at once are counted as two: the row is locked while we look."""
    rows = SignInCount.objects.filter(counted=counted)
    while True:
        with transaction.atomic():
            rows.filter(until__lte=now).update(attempts=0, until=now + within)
            if rows.update(attempts=F("attempts") + 1):
                row = rows.get()
                return row.attempts, row.until
        try:
            with transaction.atomic():
                SignInCount.objects.create(counted=counted, until=now + within)
        except IntegrityError:  # somebody else made it meanwhile: count in theirs
            continue


def forget_old_counts(*, now: datetime) -> int:
    """Delete what counts no more. Answers how many."""
    return SignInCount.objects.filter(until__lte=now).delete()[0]


def forget_ended_sessions(*, now: datetime) -> int:
    """Delete sessions that nobody can use any more, and what was typed in them. Answers how many."""
    return Session.objects.filter(expire_date__lte=now).delete()[0]


def limits() -> dict[str, Limit]:
    """What is counted, and how many failures are allowed: `SIGN_IN_LIMITS` of the settings."""
    return {
        kind: Limit(failures=failures, within=timedelta(minutes=minutes))
        for kind, (failures, minutes) in settings.SIGN_IN_LIMITS.items()
    }


def address_of(request: HttpRequest | None) -> str:
    """Where a request comes from: the address our outermost trusted proxy saw. Of IPv6 the network, which is one customer's."""
    if request is None:
        return ""
    address = request.META.get("REMOTE_ADDR", "")
    passed = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    if settings.NINJA_NUM_PROXIES and passed:
        address = passed[-min(settings.NINJA_NUM_PROXIES, len(passed))]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return str(address)[:80]
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
