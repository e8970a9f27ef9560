"""Whose case run is next: start-time fair queueing between the teams of a pool.

Theory of operation. Sorting every queued case run by "the team's recent GPU seconds" at every claim costs a pass over the
queue. Instead each case run gets its place when it is queued, and a claim is one index look-up:

    turn   = max(pool's virtual time now, the team's finish tag)
    finish = turn + the seconds it is expected to take          (the team's new finish tag)

Claims go by priority, then by turn. A team that queues a hundred submissions pushes its own finish tag ahead. Another team
that comes later starts at the pool's virtual time and is interleaved at once. A team that was idle saves up nothing. When
a case run ends, the team's finish tag moves by the difference between what it took and what was expected, so the shares
follow seconds really used. A fault of ours gives them all back.

The pool's virtual time is the smallest queued turn. With nothing queued it is the largest finish tag, which makes everybody
equal again. (S. Goyal, H. Vin, H. Cheng, "Start-time fair queuing", SIGCOMM 1996.)
"""

from collections.abc import Sequence
from uuid import UUID

from django.db import connection
from django.db.models import F, Max, Min

from assay.runs.models import CaseRun, Share


def charge_turns(*, pool: str, team_id: int, expected_seconds: float, count: int) -> list[float]:
    """Take `count` places in the pool's line for the team, and return their turns. Call inside a transaction."""
    queued = CaseRun.objects.filter(status=CaseRun.Status.QUEUED, pool=pool)
    virtual_now = queued.aggregate(least=Min("turn"))["least"]
    if virtual_now is None:
        virtual_now = Share.objects.filter(pool=pool).aggregate(most=Max("finish"))["most"] or 0.0
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO runs_share AS share (pool, team_id, finish) VALUES (%(pool)s, %(team)s, %(now)s + %(cost)s)
            ON CONFLICT (pool, team_id) DO UPDATE SET finish = GREATEST(share.finish, %(now)s) + %(cost)s
            RETURNING finish
            """,
            {"pool": pool, "team": team_id, "now": virtual_now, "cost": expected_seconds * count},
        )
        finish = float(cursor.fetchone()[0])
    start = finish - expected_seconds * count
    return [start + expected_seconds * place for place in range(count)]


def settle(*, pool: str, team_id: int, expected_seconds: float, used_seconds: float) -> None:
    """Correct the team's share once it is known what a case run really took (nothing, when the fault was ours)."""
    Share.objects.filter(pool=pool, team_id=team_id).update(finish=F("finish") + used_seconds - expected_seconds)


def give_back(*, pool: str, team_id: int, case_runs: Sequence[tuple[UUID, float]]) -> None:
    """Return what was charged for case runs that will never run."""
    unused = sum(expected for _, expected in case_runs)
    settle(pool=pool, team_id=team_id, expected_seconds=unused, used_seconds=0.0)
