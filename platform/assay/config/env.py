"""The server's only reader of the environment. Every name starts with `ASSAY_`, except `DATABASE_URL`, `BROKER_URL` and `XDG_DATA_HOME`."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from containers.waiting import NotStartedError, Patience, patience_from

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
ONLY_WHERE_ASKED = 2**31
"""psycopg plans a statement once per connection after so many times: never, but for those that ask for it (`runs/leases.py`)."""
FALSE_WORDS = frozenset({"0", "false", "no", "off", ""})


class EnvironmentValueError(Exception):
    """A variable of the environment holds something that cannot be used."""


def text(*, name: str, default: str = "") -> str:
    """The variable's text, or `default` when it is unset or empty."""
    return os.environ.get(name, "").strip() or default


def number(*, name: str, default: int) -> int:
    """The variable as a whole number."""
    value = text(name=name, default=str(default))
    try:
        return int(value)
    except ValueError:
        raise EnvironmentValueError(f"{name} is {value!r}; a whole number is expected.") from None


def flag(*, name: str, default: bool) -> bool:
    """The variable as yes or no."""
    value = text(name=name, default="1" if default else "0").lower()
    if value in TRUE_WORDS | FALSE_WORDS:
        return value in TRUE_WORDS
    raise EnvironmentValueError(f"{name} is {value!r}; one of 1, 0, true, false, yes, no, on, off is expected.")


def patience() -> Patience:
    """How long a program that starts is waited for: `ASSAY_START_SECONDS`."""
    try:
        return patience_from(os.environ)
    except NotStartedError as error:
        raise EnvironmentValueError(str(error)) from None


def state_folder() -> Path:
    """Where an installation writes: `ASSAY_VAR`, else `var/` of a checkout, else the user's own data folder."""
    checkout = Path(__file__).resolve().parents[3]
    if (checkout / "pyproject.toml").is_file() and (checkout / "platform").is_dir():
        return folder(name="ASSAY_VAR", default=checkout / "var")
    data = folder(name="XDG_DATA_HOME", default=Path.home() / ".local" / "share")
    return folder(name="ASSAY_VAR", default=data / "assay")


def put(**values: str) -> None:
    """Set variables for this process and those it starts, before the settings are read."""
    os.environ.update(values)


def words(*, name: str, default: str = "") -> list[str]:
    """The variable as a list, separated by commas."""
    return [word.strip() for word in text(name=name, default=default).split(",") if word.strip()]


def folder(*, name: str, default: Path) -> Path:
    """The variable as an absolute path."""
    return Path(text(name=name, default=str(default))).expanduser().absolute()


def database(*, url: str) -> dict[str, Any]:
    """Django's form of a PostgreSQL address such as `postgresql://user:password@host:5432/name?host=/socket/folder`."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise EnvironmentValueError(
            f"DATABASE_URL starts with {parts.scheme!r}; Assay runs on PostgreSQL only (postgresql://user@host/name)."
        )
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "assay",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", "") or parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": {"prepare_threshold": ONLY_WHERE_ASKED, **options},
    }


def child_environment(*, without: Collection[str] = (), **changes: str) -> dict[str, str]:
    """What a process we start gets to see: everything we saw but what is named in `without`, and `changes`."""
    return {name: value for name, value in os.environ.items() if name not in without} | changes
