"""Why a site cannot go on."""

import json
from pathlib import Path
from typing import Any


class SiteProblem(Exception):
    """The site cannot go on. The text says why and what to do."""


def read_kept(path: Path, *, remedy: str) -> dict[str, Any]:
    """A document that this program wrote earlier. Raises SiteProblem where it cannot be read, FileNotFoundError where it is not there."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SiteProblem(
            f"{path} cannot be read: found {error}; expected JSON as it was written here. What to do: {remedy}"
        ) from error
    if not isinstance(found, dict):
        raise SiteProblem(f"{path} cannot be read: found no object; expected one. What to do: {remedy}")
    return found
