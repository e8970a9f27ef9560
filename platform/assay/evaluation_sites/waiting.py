"""A site waits at the server for new work, so that it need not ask every few seconds.

A waiting request holds one thread of the web server. So few wait at once in each process, and none for long: proxies that cut a
silent connection after a minute see an answer before. Each waiting request asks the database one question per look. When the room
is full, a site gets its answer at once and is told when to come again.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from assay.evaluation_sites.agreements import newest_agreement
from assay.evaluation_sites.models import Site, SiteDataset, SiteEvaluation
from assay.evaluation_sites.work import claim_evaluation, parameters_of_claim

LONGEST_SECONDS = 25
LOOK_SECONDS = 2.0
MOST_WAITING = 4
"""In one process, of the threads that the web server has there."""
COME_AGAIN_SECONDS = 30
room = threading.BoundedSemaphore(MOST_WAITING)

MAY_HAVE_WORK = """
SELECT EXISTS (
    SELECT FROM submissions_submission submission
    LEFT JOIN evaluation_sites_siteevaluation evaluation
        ON evaluation.submission_id = submission.id AND evaluation.site_id = %(site)s
    WHERE submission.phase_id = %(phase)s AND submission.status = 'done' AND submission.image_id IS NOT NULL
      AND (%(protocol)s::bigint IS NULL OR submission.protocol_id = %(protocol)s)
      AND NOT submission.is_disqualified AND NOT submission.is_withdrawn
      AND (cardinality(%(teams)s::text[]) = 0
           OR submission.team_id IN (SELECT team.id FROM accounts_team team WHERE team.slug = ANY(%(teams)s::text[])))
      AND (evaluation.id IS NULL
           OR (evaluation.id <> ALL(%(skip)s::uuid[])
               AND (evaluation.status = 'queued'
                    OR (evaluation.status = 'running' AND evaluation.lease_until < clock_timestamp()))))
)
"""


class RoomIsFull(Exception):
    """As many sites wait here as may. Come again in COME_AGAIN_SECONDS."""


def wait_for_work(
    *,
    site: Site,
    dataset: SiteDataset,
    agent: str,
    skip: Sequence[UUID],
    seconds: int,
    now: Callable[[], datetime],
    pause: Callable[[float], None] = time.sleep,
) -> SiteEvaluation | None:
    """What `claim_evaluation` gives, or None after `seconds` in which nothing came. Raises RoomIsFull where it cannot wait.

    Belongs outside of a transaction, which would be open as long as it waits.
    """
    found = claim_evaluation(site=site, dataset=dataset, agent=agent, skip=skip, now=now())
    if found is not None or seconds <= 0:
        return found
    if not room.acquire(blocking=False):
        raise RoomIsFull
    try:
        agreement = newest_agreement(site) if site.public_key else None
        asked = parameters_of_claim(site=site, dataset=dataset, agreement=agreement, agent=agent, skip=skip)
        for _ in range(math.ceil(min(seconds, LONGEST_SECONDS) / LOOK_SECONDS)):
            pause(LOOK_SECONDS)
            if not _may_have_work(asked):
                continue
            found = claim_evaluation(site=site, dataset=dataset, agent=agent, skip=skip, now=now())
            if found is not None:
                return found
    finally:
        room.release()
    return None


def _may_have_work(asked: dict[str, Any]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(MAY_HAVE_WORK, asked)
        (found,) = cursor.fetchone()
    return bool(found)
