"""The two modes of a protocol: what the organizers meant, and what their published code does.

Theory of operation. A document states the rules as they were meant: its mode is `corrected`, the default. Where the published
code does something else, the document names each such defect with its source, an example in numbers, and the settings that
bring it about. `mode: published` lays those settings over the normal form, defect by defect. Mappings are merged, items of
lists are found by their name, everything else is replaced. Applied settings leave the document, so that a published protocol
is a document like any other: it can be stored, read back and changed. A defect without settings is only named: nothing here
can, or should, bring it about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from evaluator.documents import Pointer
from evaluator.errors import ProtocolError
from evaluator.protocol.source import Marks, locate


class Mode(StrEnum):
    """Which of the two a protocol follows."""

    CORRECTED = "corrected"
    PUBLISHED = "published"


@dataclass(frozen=True, kw_only=True)
class Example:
    """One prediction of a defect's example, and what it is worth in either mode."""

    what: str
    metric: str
    corrected: float | None
    published: float | None

    def __str__(self) -> str:
        worth = f"{_number(self.corrected)} corrected, {_number(self.published)} published"
        if self.corrected is None or self.published is None:
            return f"{self.what}: {self.metric} {worth}"
        return f"{self.what}: {self.metric} {worth} ({self.published - self.corrected:+.4g})"


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One thing the organizers' code does that their rules do not say."""

    id: str
    what: str
    source: str
    example: Example | None
    settings: Mapping[str, Any]

    @classmethod
    def from_document(cls, item: Mapping[str, Any]) -> "Defect":
        """From its normal form."""
        return cls(**{**item, "example": Example(**item["example"]) if item["example"] else None})


def normal_defects(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The normal form of the `defects` of a document."""
    return [
        {
            "id": item["id"],
            "what": item["what"],
            "source": item["source"],
            "example": item.get("example"),
            "settings": dict(item.get("settings", {})),
        }
        for item in given
    ]


def with_defects(document: Mapping[str, Any], marks: Marks) -> dict[str, Any]:
    """A normal form with the settings of its defects laid over it, and gone from the list."""
    result = dict(document)
    for index, defect in enumerate(document["defects"]):
        result = lay_over(result, defect["settings"], path=("defects", index, "settings"), marks=marks)
    result["defects"] = [{**defect, "settings": {}} for defect in document["defects"]]
    return result


def lay_over(base: Any, change: Any, *, path: Pointer, marks: Marks) -> Any:
    """`base` changed by `change`. Items of a list are found by `id` or `name`. ProtocolError names what is not there."""
    if not isinstance(change, Mapping):
        return change
    if isinstance(base, list):
        return _with_items(base, change, path=path, marks=marks)
    below = base if isinstance(base, Mapping) else {}
    return {
        **below,
        **{key: lay_over(below.get(key), value, path=(*path, key), marks=marks) for key, value in change.items()},
    }


def _with_items(base: Sequence[Any], change: Mapping[str, Any], *, path: Pointer, marks: Marks) -> list[Any]:
    names = [str(item.get("id", item.get("name"))) if isinstance(item, Mapping) else "" for item in base]
    for name in change:
        if name not in names:
            raise locate((*path, name), marks, found=repr(name), expected=f"one of {', '.join(names)}")
    return [
        lay_over(item, change[name], path=(*path, name), marks=marks) if name in change else item
        for name, item in zip(names, base, strict=True)
    ]


def in_settings(problem: ProtocolError, marks: Marks) -> ProtocolError:
    """A complaint about the document with its defects, said of the defects: they are what was changed last."""
    return locate(("defects",), marks, found=f"in {problem.where} {problem.found}", expected=problem.expected)


def _number(value: float | None) -> str:
    return "no value" if value is None else f"{value:.4g}"
