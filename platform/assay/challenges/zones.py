"""A challenge's time zone: what a time without a zone means, and how its times are written."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

AOE = timezone(timedelta(hours=-12), "AoE")
"""Anywhere on Earth: a day ends when it has ended everywhere."""
EXPECTED = "UTC, AoE (anywhere on Earth), or a name such as Europe/Berlin"


def zone_of(name: str) -> tzinfo | None:
    """The zone of this name. None when there is none."""
    if name in ("UTC", "AoE"):
        return UTC if name == "UTC" else AOE
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def moment_words(value: datetime, *, zone: tzinfo, ends: bool = False) -> str:
    """`2027-03-28 12:00 CEST`. Of what ends a day (`ends`) midnight is 24:00 of that day."""
    here = value.astimezone(zone)
    if ends and (here.hour, here.minute, here.second) == (0, 0, 0):
        return f"{here - timedelta(days=1):%Y-%m-%d} 24:00 {here:%Z}"
    return f"{here:%Y-%m-%d %H:%M} {here:%Z}"
