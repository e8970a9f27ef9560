"""Django's LOGGING: everything to standard error, which the service manager keeps. What a line looks like: `assay/node/logs.py`."""

from typing import Any

from assay.node.logs import FORMAT, FORMATTERS


def logging_settings(*, level: str, form: str = "line") -> dict[str, Any]:
    """`form` is `line` or `json`."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"event": {"()": FORMATTERS[form], "format": FORMAT}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "event"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": "WARNING", "propagate": True},
            "django.request": {"level": "ERROR"},
            "django.security.DisallowedHost": {"level": "CRITICAL"},
        },
    }
