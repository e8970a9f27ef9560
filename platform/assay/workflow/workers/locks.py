"""Work that only one process should do at a time, guarded by a lock of the database session.

PostgreSQL gives the lock back by itself when the session ends, however the process died. It spares double work. What makes
double work harmless are the conditional updates at its end.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import connection


def lock_number(name: str) -> int:
    """A stable 63-bit number for a lock's name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


@contextmanager
def only_one(*, purpose: str, subject: UUID | str) -> Iterator[bool]:
    """Yields whether this session is the one that does `purpose` for `subject`. Never waits."""
    number = lock_number(f"{purpose} {subject}")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [number])
        is_mine = bool(cursor.fetchone()[0])
    try:
        yield is_mine
    finally:
        if is_mine and connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [number])
