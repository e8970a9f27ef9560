"""Whether a document is one of Kubernetes': kinds, field names and types from its own API description (`kubernetes_fields.json`).

What an API server checks with `fieldValidation=Strict`, and nothing of what it checks beyond names and types.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DESCRIPTION = json.loads(Path(__file__).with_name("kubernetes_fields.json").read_text(encoding="utf-8"))
MODELS: Mapping[str, Mapping[str, str]] = DESCRIPTION["models"]
PLAIN = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "number": (int, float),
    "time": (str,),
    "integer | string": (int, str),
}


def problems(document: Mapping[str, Any]) -> list[str]:
    """What is wrong with it, by path. Nothing for a document that an API server reads."""
    kind = document.get("kind")
    if kind not in DESCRIPTION["kinds"]:
        return [f"unknown kind {kind!r}"]
    return list(_check(document, of=DESCRIPTION["kinds"][kind], at=""))


def _check(value: Any, *, of: str, at: str) -> Iterator[str]:
    if of in PLAIN:
        if not isinstance(value, PLAIN[of]) or (isinstance(value, bool) and of != "boolean"):
            yield f"{at or '.'}: found {value!r}; expected {of}"
    elif found := re.fullmatch(r"list\[(.+)\]", of):
        if not isinstance(value, list):
            yield f"{at}: found {value!r}; expected a list"
            return
        for number, entry in enumerate(value):
            yield from _check(entry, of=found[1], at=f"{at}[{number}]")
    elif found := re.fullmatch(r"map\[str, (.+)\]", of):
        if not isinstance(value, dict):
            yield f"{at}: found {value!r}; expected names and values"
            return
        for name, entry in value.items():
            yield from _check(entry, of=found[1], at=f"{at}.{name}")
    elif of in MODELS:
        yield from _check_model(value, fields=MODELS[of], at=at)


def _check_model(value: Any, *, fields: Mapping[str, str], at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at}: found {value!r}; expected an object"
        return
    for name, entry in value.items():
        if name not in fields:
            yield f'unknown field "{at.lstrip(".")}{"." if at else ""}{name}"'
        elif entry is not None:
            yield from _check(entry, of=fields[name].removesuffix("!"), at=f"{at}.{name}")
    missing = [name for name, of in fields.items() if of.endswith("!") and value.get(name) is None]
    yield from (f"{at}.{name}: required" for name in missing)
