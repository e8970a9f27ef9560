"""Containers' logs for organizers: untrusted bytes, capped, with everything but text made visible."""

from collections.abc import Iterable
from dataclasses import dataclass

from assay.runs.selectors import CaseRow
from assay.testsets.storage import has_file, open_file
from containers.log_text import readable

TAIL_BYTES = 64 * 2**10
MOST_LOGS = 200


@dataclass(frozen=True, kw_only=True)
class Log:
    """One case run's output."""

    name: str
    verdict: str
    text: str


def logs_of(rows: Iterable[CaseRow]) -> list[Log]:
    """The tail of every case run's log. One file read per case run."""
    return [
        Log(name=row.case_id or f"case run {row.position + 1}", verdict=row.verdict, text=_tail(row.log_key))
        for row in [row for row in rows if row.log_key][:MOST_LOGS]
        if has_file(row.log_key)
    ]


def _tail(key: str) -> str:
    with open_file(key) as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL_BYTES))
        return readable(file.read())
