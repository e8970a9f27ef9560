"""What one run used: the one record of it, from the runner over the node to the leaderboard.

Figures of a usage decide ranks (efficiency metrics), shares of the queue and charts. So each field has one type and one range, checked
wherever a usage comes in: `Usage.from_json` refuses what does not fit, `Usage.salvaged` leaves it out (for rows stored before there
was a check). Units are in the names: seconds, bytes, percent seconds (100 % of one CPU or GPU for one second are 100), byte seconds.

`version` counts changes of meaning. A field that is new does not change it: a reader leaves out names that it does not know, because a
node may be newer than its server. Documents without a version were written before there was one and mean the same as version 1.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple, get_type_hints

__all__ = ["Curve", "FailedCase", "RoundUsage", "Usage", "UsageInvalid"]

VERSION = 1
LONGEST_SECONDS = 10_000_000.0
"""About 116 days. No run may take that long."""
LARGEST_COUNT = 2**53
"""Whole numbers up to here are exact in JSON readers everywhere. Bytes: 8 PiB."""
LARGEST_AREA = 1e24
"""The largest count, held for the longest time, is below it."""
MOST_POINTS = 1000
"""Of a curve. `containers.usage` keeps at most 600."""
MOST_ROUNDS = 1000
MOST_FAILED_CASES = 100_000
MOST_GPUS = 64
LONGEST_WORD = 60


class UsageInvalid(ValueError):
    """A usage that cannot be used: the message names the field, what was found and what was expected."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Values over time, thinned out: `values[i]` was measured `seconds[i]` after the start."""

    seconds: tuple[float, ...]
    values: tuple[float, ...]

    def to_json(self) -> dict[str, list[float]]:
        """As it is sent and stored."""
        return {"seconds": list(self.seconds), "values": list(self.values)}


@dataclass(frozen=True, kw_only=True)
class RoundUsage:
    """How one round of an interactive case ended."""

    verdict: str
    reason: str = ""
    wall_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As it is sent and stored."""
        return {"verdict": str(self.verdict), "reason": str(self.reason), "wall_seconds": self.wall_seconds}


class FailedCase(NamedTuple):
    """How one case of a container that saw many of them failed."""

    verdict: str
    reason: str = ""


# ---- readers of one field: the value in our types, or UsageInvalid ---------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What a field holds: its reader, and the same said as JSON Schema."""

    read: Callable[[Any], Any]
    schema: Mapping[str, Any]


def _refuse(found: Any, expected: str) -> UsageInvalid:
    return UsageInvalid(f"found {str(found)[:80]!r}; expected {expected}")


def _number(most: float) -> _Kind:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise _refuse(value, f"a number from 0 to {most:g}")
        return float(value)

    return _Kind(read=read, schema={"type": "number", "minimum": 0, "maximum": most})


def _read_count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_COUNT:
        raise _refuse(value, f"a whole number from 0 to {LARGEST_COUNT}")
    return value


def _read_claim(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refuse(value, "true or false")
    return value


def _read_word(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_WORD:
        raise _refuse(value, f"a text of at most {LONGEST_WORD} characters")
    return str(value)


def _read_list(value: Any, *, most: int) -> Sequence[Any]:
    if not isinstance(value, list | tuple) or len(value) > most:
        raise _refuse(value, f"a list of at most {most} entries")
    return value


def _points(value: Any, *, most: float) -> tuple[float, ...]:
    points = _read_list(value, most=MOST_POINTS)
    if any(type(point) not in (int, float) for point in points) or not all(map(math.isfinite, points)):
        raise _refuse(value, "numbers")
    if points and not (min(points) >= 0 and max(points) <= most):
        raise _refuse(value, f"numbers from 0 to {most:g}")
    return tuple(map(float, points))


def _read_curve(value: Any) -> Curve:
    if isinstance(value, Curve):
        value = value.to_json()
    if not isinstance(value, Mapping):
        raise _refuse(value, "an object with `seconds` and `values`")
    seconds = _points(value.get("seconds", ()), most=LONGEST_SECONDS)
    values = _points(value.get("values", ()), most=LARGEST_COUNT)
    if len(seconds) != len(values):
        raise UsageInvalid(f"found {len(seconds)} moments and {len(values)} values; expected as many of both")
    return Curve(seconds=seconds, values=values)


def _read_failed_cases(value: Any) -> Mapping[str, FailedCase]:
    if not isinstance(value, Mapping) or len(value) > MOST_FAILED_CASES:
        raise _refuse(value, f"an object of at most {MOST_FAILED_CASES} positions")
    found = {}
    for position, said in value.items():
        if not isinstance(said, list | tuple) or len(said) != 2:
            raise _refuse(said, "a verdict and a reason")
        found[_read_word(position)] = FailedCase(_read_word(said[0]), _read_word(said[1]))
    return found


def _read_rounds(value: Any) -> tuple[RoundUsage, ...]:
    return tuple(_read_round(said) for said in _read_list(value, most=MOST_ROUNDS))


def _read_round(value: Any) -> RoundUsage:
    if not isinstance(value, Mapping) or "verdict" not in value:
        raise _refuse(value, "an object with `verdict`, `reason` and `wall_seconds`")
    seconds = value.get("wall_seconds")
    return RoundUsage(
        verdict=_read_word(value["verdict"]),
        reason=_read_word(value.get("reason", "")),
        wall_seconds=None if seconds is None else SECONDS.read(seconds),
    )


def _read_words(value: Any) -> tuple[str, ...]:
    return tuple(_read_word(word) for word in _read_list(value, most=MOST_GPUS))


WORD = {"type": "string", "maxLength": LONGEST_WORD}
POINTS = {"type": "array", "maxItems": MOST_POINTS, "items": {"type": "number", "minimum": 0}}
SECONDS = _number(LONGEST_SECONDS)
AREA = _number(LARGEST_AREA)
COUNT = _Kind(read=_read_count, schema={"type": "integer", "minimum": 0, "maximum": LARGEST_COUNT})
CLAIM = _Kind(read=_read_claim, schema={"type": "boolean"})
TEXT = _Kind(read=_read_word, schema=WORD)
CURVE = _Kind(read=_read_curve, schema={"type": "object", "properties": {"seconds": POINTS, "values": POINTS}})
GPUS = _Kind(read=_read_words, schema={"type": "array", "maxItems": MOST_GPUS, "items": WORD})
FAILED_CASES = _Kind(
    read=_read_failed_cases,
    schema={
        "type": "object",
        "maxProperties": MOST_FAILED_CASES,
        "additionalProperties": {"type": "array", "minItems": 2, "maxItems": 2, "items": WORD},
    },
)
ROUND_FIELDS = {"verdict": WORD, "reason": WORD, "wall_seconds": {"anyOf": [SECONDS.schema, {"type": "null"}]}}
ROUNDS = _Kind(
    read=_read_rounds,
    schema={
        "type": "array",
        "maxItems": MOST_ROUNDS,
        "items": {"type": "object", "required": ["verdict"], "properties": ROUND_FIELDS},
    },
)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one run used. None: not measured. What each figure means is in `containers.usage.telemetry`."""

    wall_seconds: Annotated[float | None, SECONDS] = None
    """From start to end, by the engine's clock."""
    startup_seconds: Annotated[float | None, SECONDS] = None
    cpu_seconds: Annotated[float | None, AREA] = None
    cpu_area_percent_seconds: Annotated[float | None, AREA] = None
    """CPU seconds over the CPUs that were given, times 100."""
    cpus: Annotated[int | None, COUNT] = None
    peak_memory_bytes: Annotated[int | None, COUNT] = None
    """The kernel's own peak where it keeps one, else the largest sample."""
    stable_memory_bytes: Annotated[int | None, COUNT] = None
    memory_area_byte_seconds: Annotated[float | None, AREA] = None
    memory_curve: Annotated[Curve | None, CURVE] = None
    cpu_curve: Annotated[Curve | None, CURVE] = None
    sample_count: Annotated[int | None, COUNT] = None
    largest_gap_seconds: Annotated[float | None, SECONDS] = None
    is_valid: Annotated[bool | None, CLAIM] = None
    """Whether memory was sampled without a gap."""
    gpu_uuids: Annotated[tuple[str, ...] | None, GPUS] = None
    gpu_baseline_bytes: Annotated[int | None, COUNT] = None
    gpu_peak_memory_bytes: Annotated[int | None, COUNT] = None
    gpu_stable_memory_bytes: Annotated[int | None, COUNT] = None
    gpu_memory_area_byte_seconds: Annotated[float | None, AREA] = None
    gpu_memory_area_over_tolerance_byte_seconds: Annotated[float | None, AREA] = None
    gpu_utilisation_area_percent_seconds: Annotated[float | None, AREA] = None
    gpu_memory_curve: Annotated[Curve | None, CURVE] = None
    gpu_utilisation_curve: Annotated[Curve | None, CURVE] = None
    gpu_sample_count: Annotated[int | None, COUNT] = None
    gpu_largest_gap_seconds: Annotated[float | None, SECONDS] = None
    gpu_is_valid: Annotated[bool | None, CLAIM] = None
    """Whether the GPUs were sampled without a gap."""
    output_bytes: Annotated[int | None, COUNT] = None
    output_files: Annotated[int | None, COUNT] = None
    store: Annotated[str | None, TEXT] = None
    """Where the output lay while the container ran."""
    failed_cases: Annotated[Mapping[str, FailedCase] | None, FAILED_CASES] = None
    """By position, the cases that failed although their container ended well (cohort mode)."""
    rounds: Annotated[tuple[RoundUsage, ...] | None, ROUNDS] = None
    """Of an interactive case, in the order they were played."""

    def to_json(self) -> dict[str, Any]:
        """The document that is sent and stored: the version, and what was measured."""
        document: dict[str, Any] = {"version": VERSION}
        for name in KINDS:
            if (value := getattr(self, name)) is not None:
                document[name] = _plain(value)
        return document

    @classmethod
    def from_json(cls, document: Any) -> "Usage":
        """The record of a document. Raises UsageInvalid where a version, a type or a range is not the one above."""
        if not isinstance(document, Mapping):
            raise _refuse(document, "an object")
        if (version := document.get("version", VERSION)) != VERSION or isinstance(version, bool):
            raise UsageInvalid(
                f"version: found {str(version)[:20]!r}; expected {VERSION}. The sender and the receiver of this usage need the "
                "same release of Assay."
            )
        found = {}
        for name, kind in KINDS.items():
            if (value := document.get(name)) is not None:
                try:
                    found[name] = kind.read(value)
                except UsageInvalid as error:
                    raise UsageInvalid(f"{name}: {error}") from None
        return cls(**found)

    @classmethod
    def salvaged(cls, document: Any) -> "Usage":
        """What can be used of a stored document, which may be older than the checks. The rest is left out."""
        if not isinstance(document, Mapping) or document.get("version", VERSION) != VERSION:
            return cls()
        found = {}
        for name, kind in KINDS.items():
            if (value := document.get(name)) is not None:
                try:
                    found[name] = kind.read(value)
                except UsageInvalid:
                    continue
        return cls(**found)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """What `from_json` takes, as JSON Schema."""
        nullable = {name: {"anyOf": [dict(kind.schema), {"type": "null"}]} for name, kind in KINDS.items()}
        version = {"type": "integer", "enum": [VERSION]}
        return {
            "type": "object",
            "title": "Usage",
            "description": cls.__doc__,
            "properties": {"version": version} | nullable,
        }

    def without_curves(self) -> "Usage":
        """The figures alone. Curves are most of a record, and thousands of records may be held at once."""
        return replace(self, **{name: None for name, kind in KINDS.items() if kind is CURVE})

    def beside(self, other: "Usage") -> "Usage":
        """Both together. Where both know a figure, the other's stands."""
        known = {name: value for name in KINDS if (value := getattr(other, name)) is not None}
        return replace(self, **known)


KINDS: Mapping[str, _Kind] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(Usage, include_extras=True).items()
}
"""By name, what a field holds."""


def _plain(value: Any) -> Any:
    """A field as JSON has it."""
    if isinstance(value, Curve):
        return value.to_json()
    if isinstance(value, Mapping):
        return {str(position): [str(word) for word in said] for position, said in value.items()}
    if isinstance(value, tuple):
        return [entry.to_json() if isinstance(entry, RoundUsage) else str(entry) for entry in value]
    return str(value) if isinstance(value, str) else value
