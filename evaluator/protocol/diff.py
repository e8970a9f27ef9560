"""What differs between two normalised protocol documents, as lines a person can read."""

import json
from collections.abc import Mapping
from typing import Any

from evaluator.documents import Pointer
from evaluator.protocol.source import walk

_NAMED = ("id", "name")


def diff_documents(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """One line per setting: `-` only in the first, `+` only in the second, `~` changed. List items are told apart by name."""
    before, after = _settings(first), _settings(second)
    lines = []
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if key not in after:
            lines.append(f"- {key}: {old}")
        elif key not in before:
            lines.append(f"+ {key}: {new}")
        else:
            lines.append(f"~ {key}: {old} → {new}")
    return lines


def _settings(document: Mapping[str, Any]) -> dict[str, str]:
    """Dotted path → JSON of every leaf that says something now. A defect's settings do once they are applied."""
    return {
        ".".join(_names(document, path)): json.dumps(value, ensure_ascii=False)
        for path, value in walk(dict(document))
        if (not isinstance(value, dict | list) or not value) and not ("defects" in path[:1] and "settings" in path)
    }


def _names(document: Any, path: Pointer) -> list[str]:
    """The path with list positions replaced by the item's id or name where it has one."""
    names: list[str] = []
    for step in path:
        document = document[step]
        named = [document[key] for key in _NAMED if isinstance(document, dict) and key in document]
        names.append(str(named[0]) if isinstance(step, int) and named else str(step))
    return names
