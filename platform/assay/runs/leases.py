"""The right to execute one case run: claimed by one statement, kept by heartbeats, void as soon as the fence has moved on.

Theory of operation. Every claim raises the case run's `fence`. The holder of the lease sends its fence with every write, and
every write says `WHERE fence = mine AND status = 'running'`. A node that froze for longer than its lease, and whose case run
was given to another, wakes up to find that its writes change nothing: it kills its container and throws its result away.
Only the database's clock is read, so the nodes' clocks may say what they like. `SKIP LOCKED` lets any number of nodes claim at
once without waiting for one another.

Where a phase caps how many of its cases run at once (in all, or per team), a claim has to count what runs, and two that count at
the same time would both find room. So as long as there is such a phase, claims pass one after the other, under a lock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from psycopg import Cursor

from assay.leases import not_leased
from assay.runs.models import CaseRun


@dataclass(frozen=True, kw_only=True)
class Lease:
    """What a node holds."""

    case_run_id: UUID
    run_id: UUID
    fence: int
    attempt: int


CLAIM = """
{counted}
UPDATE runs_caserun SET
    status = 'running', fence = fence + 1, attempt = attempt + 1, node_id = %(node)s, outputs = '[]', log_key = '',
    lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s), started_at = clock_timestamp()
WHERE id = (
    SELECT case_run.id
    FROM runs_caserun case_run
    JOIN runs_run run ON run.id = case_run.run_id
    JOIN submissions_submission submission ON submission.id = run.submission_id
    JOIN challenges_phase phase ON phase.id = submission.phase_id
    WHERE case_run.status = 'queued' AND case_run.pool = %(pool)s AND case_run.gpus <= %(gpus)s
      AND phase.id <> ALL(%(unfit)s::bigint[]) AND NOT phase.is_paused AND submission.cancel_requested_at IS NULL
      AND (case_run.not_before IS NULL OR case_run.not_before <= clock_timestamp())
      {has_room}
    ORDER BY case_run.priority DESC, case_run.turn, case_run.position
    FOR UPDATE OF case_run SKIP LOCKED
    LIMIT 1
)
RETURNING id, run_id, fence, attempt
"""
IS_CAPPED = (
    """EXISTS (SELECT 1 FROM challenges_phase WHERE running_limit IS NOT NULL OR running_limit_per_team IS NOT NULL)"""
)
ANY_CLAIM = CLAIM.format(counted="", has_room=f"AND NOT {IS_CAPPED}")
CAPPED_CLAIM = CLAIM.format(
    counted="""
WITH running AS MATERIALIZED (
    SELECT submission.phase_id, submission.team_id, count(*) AS cases
    FROM runs_caserun case_run
    JOIN runs_run run ON run.id = case_run.run_id
    JOIN submissions_submission submission ON submission.id = run.submission_id
    WHERE case_run.status = 'running'
    GROUP BY 1, 2
), full_phase AS MATERIALIZED (
    SELECT phase.id FROM challenges_phase phase JOIN running ON running.phase_id = phase.id
    GROUP BY phase.id HAVING sum(running.cases) >= phase.running_limit
), full_team AS MATERIALIZED (
    SELECT running.phase_id, running.team_id FROM running JOIN challenges_phase phase ON phase.id = running.phase_id
    WHERE running.cases >= phase.running_limit_per_team
)""",
    has_room="""AND phase.id NOT IN (SELECT id FROM full_phase)
      AND (phase.id, submission.team_id) NOT IN (SELECT phase_id, team_id FROM full_team)""",
)
MANY_GPUS = 2**31 - 1
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('assay.runs.capped_claim', 0))"

LOCK_NODE = "SELECT slots FROM runs_node WHERE id = %(node)s FOR UPDATE"
COUNT_LEASES = "SELECT count(*) FROM runs_caserun WHERE node_id = %(node)s AND status = 'running'"

RENEW = """
UPDATE runs_caserun case_run SET lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
FROM runs_run run JOIN submissions_submission submission ON submission.id = run.submission_id
WHERE case_run.id = %(case_run)s AND case_run.fence = %(fence)s AND case_run.node_id = %(node)s
  AND case_run.status = 'running' AND run.id = case_run.run_id
RETURNING submission.cancel_requested_at IS NOT NULL
"""


def claim_case_run(
    *, node_id: int, pool: str, lease_seconds: float, gpus: int | None = None, unfit: Sequence[int] = ()
) -> Lease | None:
    """The next case run of the pool, in fair order, leased to the node. None when there is nothing to do.

    `gpus`: how many the node has free. None where a batch system gives them, or where the node does not say. `unfit`: phases that need
    what the node has not (`matching.py`).
    """
    wanted = {
        "node": node_id,
        "pool": pool,
        "lease_seconds": lease_seconds,
        "gpus": MANY_GPUS if gpus is None else gpus,
        "unfit": list(unfit),
    }
    row = _fetch_prepared(ANY_CLAIM, wanted)
    if row is None and _is_capped():
        with transaction.atomic():
            _fetch_prepared(ONE_AT_A_TIME, {})
            row = _fetch_prepared(CAPPED_CLAIM, wanted)
    return Lease(case_run_id=row[0], run_id=row[1], fence=row[2], attempt=row[3]) if row else None


def has_free_slot(*, node_id: int) -> bool:
    """Whether the node holds fewer leases than it has slots. Its row stays locked until the transaction ends, so that claims
    of one node that arrive together are counted one after the other.
    """
    node = {"node": node_id}
    (slots,) = _fetch_prepared(LOCK_NODE, node) or (0,)
    (held_now,) = _fetch_prepared(COUNT_LEASES, node) or (
        0,
    )  # a statement of its own: it has to see what the lock waited for
    return bool(held_now < slots)


def renew_lease(*, case_run_id: UUID, fence: int, node_id: int, lease_seconds: float) -> bool:
    """Keep the lease. True when the submission is to be cancelled. Raises LeaseLost."""
    kept = {"case_run": case_run_id, "fence": fence, "node": node_id, "lease_seconds": lease_seconds}
    row = _fetch_prepared(RENEW, kept)
    if row is None:
        raise not_leased(f"Case run {case_run_id}", fence=fence)
    return bool(row[0])


def held(*, case_run_id: UUID, fence: int, node_id: int) -> CaseRun:
    """The case run, if this node holds it under this fence. Raises LeaseLost. A check only: writes repeat the condition."""
    case_run = (
        CaseRun.objects.select_related("run__submission__image", "case")
        .filter(id=case_run_id, fence=fence, node_id=node_id, status=CaseRun.Status.RUNNING)
        .first()
    )
    if case_run is None:
        raise not_leased(f"Case run {case_run_id}", fence=fence)
    return case_run


def database_now() -> datetime:
    """The only clock that leases and deadlines are compared with."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]  # type: ignore[no-any-return]  # the driver's row is untyped


def _fetch_prepared(statement: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The one row of a statement that is planned once per connection: planning these joins takes twice as long as running them.

    Django's own cursors put the values into the text, so that every execution is another statement, planned anew.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, Cursor(connection.connection) as cursor:
        return cursor.execute(statement, values, prepare=True).fetchone()


def _is_capped() -> bool:
    """Whether some phase caps how many of its cases run at once."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {IS_CAPPED}")
        return bool(cursor.fetchone()[0])
