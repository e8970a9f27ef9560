"""The one range of times: 1970 to 2200. Every time that somebody writes down is held against it, and the database holds it again.

PostgreSQL stores times that Python cannot read (year 10000, years before Christ, infinity), and every zone shifts a time at an
end of the calendar out of it. One row of that kind would break each page that lists it.
"""

from datetime import UTC, datetime

from django.db import models
from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
EXPECTED = f"a time between {EARLIEST.year} and {LATEST.year}, such as 2026-11-01 12:00"


def is_in_range(value: datetime) -> bool:
    """Whether a time with a zone lies in the range. Comparing never overflows, unlike converting to another zone."""
    return EARLIEST <= value <= LATEST


def checked_moment(value: datetime | None, *, name: str) -> datetime | None:
    """The same time, with UTC where it named no zone. Raises `InvalidError` outside the range."""
    if value is None:
        return None
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    if not is_in_range(aware):
        raise InvalidError(
            _("`%(name)s` is out of range.") % {"name": name}, found=value.isoformat(), expected=EXPECTED, field=name
        )
    return aware


def read_moment(text: str, *, name: str) -> datetime | None:
    """A time as a form sends it. Nothing for an empty text. Raises `InvalidError` for what is no time, or out of range."""
    if not text.strip():
        return None
    try:
        value = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidError(
            _("`%(name)s` is no time.") % {"name": name}, found=text[:40], expected=EXPECTED, field=name
        ) from None
    return checked_moment(value, name=name)


def moments_in_range(name: str, *fields: str) -> models.CheckConstraint:
    """A constraint: each of these fields is empty or in the range."""
    condition = models.Q()
    for field in fields:
        inside = models.Q(**{f"{field}__gte": EARLIEST, f"{field}__lte": LATEST})
        condition &= inside | models.Q(**{f"{field}__isnull": True})
    return models.CheckConstraint(condition=condition, name=name, violation_error_message=f"Expected {EXPECTED}.")
