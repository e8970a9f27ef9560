"""Rows that wait to be sent, mails and deliveries of webhooks alike: who holds them, for how long, and when they are tried again.

Theory of operation. A worker takes a few rows by moving `due_at` into the future in one statement that skips rows which others hold. If
it dies, they become due again. A round has an end, so that a worker goes back to its other work: what it did not reach is due at once.
"""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import transaction
from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)
LONGEST_ROUND_SECONDS = 15.0
HELD = timedelta(minutes=5)
"""How long a worker has what it took: far longer than a round."""
WAITS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 240, 720, 1440))
"""How long a row waits after each failure. After the last one it is given up."""


def take(waiting: QuerySet[Row], *, most: int, now: datetime) -> list[Row]:
    """Hold the next few of these rows, so that no other worker sends them."""
    with transaction.atomic():
        rows = list(waiting.select_for_update(skip_locked=True, of=("self",)).order_by("due_at", "pk")[:most])
        waiting.model._default_manager.filter(pk__in=[row.pk for row in rows]).update(due_at=now + HELD)
    return rows


def one_round(taken: list[Row], *, now: datetime) -> Iterator[Row]:
    """Each taken row in turn until the round is over. The rest is given back."""
    began = time.monotonic()
    for position, row in enumerate(taken):
        if time.monotonic() - began > LONGEST_ROUND_SECONDS:
            type(row)._default_manager.filter(pk__in=[late.pk for late in taken[position:]]).update(due_at=now)
            return
        yield row
