"""Who may use which pool of nodes.

A pool belongs to everybody unless an operator gave it owners. Then a challenge may use it when the operator named the challenge, or
when one of the challenge's organizers is among the people. A push that newly names such a pool has to come from one of these people:
anybody may list somebody else as an organizer, and must not get their machines by that.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from django.db import transaction
from django.db.models import Prefetch, QuerySet
from django.utils.translation import gettext

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError, NotAllowedError
from assay.accounts.models import User
from assay.challenges.models import Challenge, Membership, Pool

EVERYBODYS = "default"
LONGEST_NAME = 40
LONGEST_NOTE = 200
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
HAVE_IT_GRANTED = "Take one of the pools that are allowed, or ask an operator to let your challenge use this one."


class NamesPool(Protocol):
    """A phase as it was written down."""

    @property
    def slug(self) -> str: ...
    @property
    def pool(self) -> str: ...


def may_use(pool: str, *, challenge: Challenge | None) -> bool:
    """Whether the challenge may use the pool as it stands now. Two queries. None for the pool that is everybody's."""
    if pool == EVERYBODYS:
        return True
    owned = Pool.objects.filter(name=pool).first()
    if owned is None:
        return True
    return challenge is not None and _usable(challenge).filter(pk=owned.pk).exists()


def _usable(challenge: Challenge) -> QuerySet[Pool]:
    organizers = challenge.memberships.filter(role=Membership.Role.ORGANIZER, status=Membership.Status.ACCEPTED)
    named = Pool.objects.filter(challenges=challenge) | Pool.objects.filter(people__in=organizers.values("user"))
    return named.distinct()


def refuse_foreign_pools(
    *,
    phases: Iterable[NamesPool],
    before: Mapping[str, str],
    challenge: Challenge | None,
    user: User,
    served: Sequence[str],
) -> None:
    """Refuse a push that names a pool of others. Raises NotAllowedError with the pools that may be named.

    `before`: phase → pool, as it was. `challenge`: as it is after the push. `served`: the pools that have nodes.
    """
    owned = {pool.name: pool for pool in Pool.objects.all()}
    if not owned:
        return
    mine = set(Pool.objects.filter(people=user).values_list("name", flat=True))
    granted = set(Pool.objects.filter(challenges=challenge).values_list("name", flat=True)) if challenge else set()
    for phase in phases:
        is_kept = before.get(phase.slug) == phase.pool and may_use(phase.pool, challenge=challenge)
        if phase.pool not in owned or phase.pool in mine | granted or is_kept:
            continue
        allowed = sorted({EVERYBODYS, *(name for name in served if name not in owned), *mine, *granted})
        note = owned[phase.pool].note
        raise NotAllowedError(
            gettext("Phase %(phase)s names a pool of nodes that belongs to others.") % {"phase": repr(phase.slug)},
            code="pool_not_allowed",
            found=f"pool: {phase.pool}" + (f" ({note})" if note else ""),
            expected=f"one of {', '.join(allowed)}",
            what_to_do=HAVE_IT_GRANTED,
        )


def set_pool_owners(
    *, name: str, people: Collection[str], challenges: Collection[str], note: str, by: User | None, now: datetime
) -> Pool | None:
    """Give a pool to these people and challenges. To everybody again (`None`) where both are empty.

    Cases that wait or run go on. A phase that may not use its pool any more takes no new submissions.
    """
    name, note = checked_name(name), note.strip()
    if len(note) > LONGEST_NOTE:
        raise InvalidError(
            gettext("The note is too long."),
            found=f"{len(note)} characters",
            expected=f"at most {LONGEST_NOTE}",
            field="note",
        )
    users = User.objects.filter(username__in=people)
    chosen = Challenge.objects.filter(slug__in=challenges)
    refuse_unknown("person", people, known=users.values_list("username", flat=True))
    refuse_unknown("challenge", challenges, known=chosen.values_list("slug", flat=True))
    with transaction.atomic():
        pool: Pool | None = None
        if users or chosen:
            pool, _ = Pool.objects.update_or_create(name=name, defaults={"note": note})
            pool.people.set(users)
            pool.challenges.set(chosen)
        else:
            Pool.objects.filter(name=name).delete()
        record_event(
            actor=by,
            actor_label="" if by else "command line",
            verb="pool.owners_set",
            subject=("pool", name),
            now=now,
            people=", ".join(sorted(people)),
            challenges=", ".join(sorted(challenges)),
        )
    return pool


def checked_name(name: str) -> str:
    """A pool that can have owners."""
    name = name.strip()
    if name == EVERYBODYS:
        raise ConflictError(
            gettext("The pool %(pool)s is everybody's: a phase that names no pool uses it.")
            % {"pool": repr(EVERYBODYS)},
            what_to_do=gettext("Enrol the nodes in a pool of another name, and give that one owners."),
            field="pool",
        )
    if not 0 < len(name) <= LONGEST_NAME or not set(name) <= LETTERS:
        raise InvalidError(
            gettext("This is no name of a pool."),
            found=repr(name[:80]),
            expected="lower-case letters, digits and hyphens",
            field="pool",
        )
    return name


FIELDS = {"person": "people", "challenge": "challenges"}
"""Where each kind of name is given."""


def refuse_unknown(what: str, named: Collection[str], *, known: Iterable[str]) -> None:
    """Refuse names that are nobody's."""
    if unknown := sorted(set(named) - set(known)):
        raise InvalidError(
            gettext("There is no such %(what)s.") % {"what": what},
            found=", ".join(unknown),
            expected="user names and names of challenges",
            field=FIELDS[what],
        )


def owned_pools() -> QuerySet[Pool]:
    """Pools that belong to somebody, with whom, each by name (three queries)."""
    people = Prefetch("people", queryset=User.objects.order_by("username"))
    challenges = Prefetch("challenges", queryset=Challenge.objects.order_by("slug"))
    return Pool.objects.prefetch_related(people, challenges).order_by("name")
