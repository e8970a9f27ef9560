"""Logs are events with keys, one line per transition: `submission.queued submission=… phase=…`. Never tokens, paths or output."""

import logging
from typing import Any

STANDARD_KEYS = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "request",
    "status_code",
    "server_time",
}


class EventFormatter(logging.Formatter):
    """Appends the keys given as `extra={…}` to the event's name."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        keys = {name: value for name, value in record.__dict__.items() if name not in STANDARD_KEYS}
        return " ".join([line, *(f"{name}={value}" for name, value in keys.items())])


def logging_settings(*, level: str) -> dict[str, Any]:
    """Django's LOGGING: everything to standard error, which the service manager keeps."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "event": {"()": EventFormatter, "format": "%(asctime)s %(levelname)s %(name)s %(message)s"},
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "event"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": "WARNING", "propagate": True},
            "django.request": {"level": "ERROR"},
            "django.security.DisallowedHost": {"level": "CRITICAL"},
        },
    }
