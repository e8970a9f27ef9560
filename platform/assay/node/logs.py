"""Logs are events with keys, one line each, to standard error: never tokens, addresses of files, or participants' output.

A line is `2026-11-21 05:30:00,123 INFO case_run.queued id=… run=… status=queued`. A value with blanks stands in quotes, so a line can be
cut into its keys again. `ASSAY_LOG_FORMAT=json` writes one JSON object per line instead. The server's processes log the same way.
"""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

STANDARD_KEYS = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "request",
    "status_code",
    "server_time",
    "keys",
}
FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def keys_of(record: logging.LogRecord) -> dict[str, Any]:
    """The event's keys: given one by one as `extra={…}`, or together as `extra={"keys": {…}}` where their names are not ours."""
    given: Mapping[str, Any] = getattr(record, "keys", {})
    return {**{name: value for name, value in vars(record).items() if name not in STANDARD_KEYS}, **given}


class EventFormatter(logging.Formatter):
    """Appends the keys to the event's name."""

    def format(self, record: logging.LogRecord) -> str:
        """The event and its keys, then a traceback where there is one."""
        event, traceback, rest = super().format(record).partition("\n")
        line = " ".join([event, *(f"{name}={_quoted(value)}" for name, value in keys_of(record).items())])
        return line + traceback + rest


class JsonFormatter(logging.Formatter):
    """One object per line, for log collectors."""

    def format(self, record: logging.LogRecord) -> str:
        """The event, its keys, and a traceback where there is one, as text."""
        document = {
            "at": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            **keys_of(record),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str, ensure_ascii=False)


FORMATTERS: Mapping[str, type[logging.Formatter]] = {"line": EventFormatter, "json": JsonFormatter}


def start_logging(*, level: str, form: str = "line") -> None:
    """For a process whose only job is the agent."""
    handler = logging.StreamHandler()
    handler.setFormatter(FORMATTERS[form](FORMAT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for talkative in ("httpx", "httpcore", "urllib3", "docker", "amqp", "kombu"):
        logging.getLogger(talkative).setLevel(logging.WARNING)


def _quoted(value: Any) -> str:
    text = str(value)
    is_plain = text and not any(letter.isspace() or letter in '"=' for letter in text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)
