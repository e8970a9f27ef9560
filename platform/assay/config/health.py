"""Is it up (`/healthz`), and can it work (`/readyz`)? For load balancers, supervisors, and operators on call.

`/readyz` names every part and how it is. Without the database, its newest tables or storage no request can be served: 503. A
broker that is away costs time and loses nothing (doorbells; the reaper rings again), so a web server stays in service without
it: 200, and `degraded`. What exactly is wrong stands in the log: the answer is for everybody.
"""

import logging
from collections.abc import Callable, Mapping

from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse

from assay.testsets.storage import try_storage
from assay.workflow.flow.doorbells import try_broker

log = logging.getLogger(__name__)
UP, DOWN = "up", "down"


class NotMigrated(Exception):
    """The code is newer than the tables."""


@transaction.non_atomic_requests
def healthz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001  a view's signature
    """The process answers."""
    return JsonResponse({"status": "ok"})


@transaction.non_atomic_requests
def readyz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001  a view's signature
    """Every part, and whether requests can be served."""
    parts = {name: UP if works(name, probe) else DOWN for name, probe in PARTS.items()}
    if any(parts[name] == DOWN for name in INDISPENSABLE):
        return JsonResponse({"status": "not ready", "parts": parts}, status=503)
    return JsonResponse({"status": "degraded" if DOWN in parts.values() else "ready", "parts": parts})


def works(name: str, probe: Callable[[], None]) -> bool:
    """Whether a part answers. If not, the log says why."""
    try:
        probe()
    except Exception as error:  # noqa: BLE001  whatever a driver raises, the part is down
        log.warning("part.down", extra={"part": name, "error": f"{type(error).__name__}: {error}"})
        return False
    return True


def try_database() -> None:
    """Ask the database the simplest question."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def try_migrations() -> None:
    """Raise when the tables are older than the code."""
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if waiting:
        raise NotMigrated(
            f"{len(waiting)} migrations are not applied, {waiting[0][0]} first: run `assay serve prepare`"
        )


PARTS: Mapping[str, Callable[[], None]] = {
    "database": try_database,
    "migrations": try_migrations,
    "storage": try_storage,
    "broker": try_broker,
}
INDISPENSABLE = ("database", "migrations", "storage")
