"""`challenge.yaml`: what an organizer pushes. Text in, frozen records out; every error names its line.

```yaml
slug: brains
title: MNI brain tissue
summary: …           # also: description, rules, licence, modality, anatomy, citation, contact, requires_approval
protocol:            # the whole document inline, or {use: NAME} and whatever differs from that shipped protocol
  use: flare22
phases:
  - {slug: final, title: Final, opens_at: 2026-11-01, closes_at: 2027-01-01 12:00, submission_limit: 3, submission_window_days: 7,
     testset: hidden}
```

A phase may carry a `protocol` of its own. Times without a zone are UTC. The protocol is parsed by `evaluator.protocol` from the
very characters of the file, padded so that its line numbers are the file's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time
from textwrap import dedent
from typing import Any

import yaml

from assay.accounts.errors import InvalidError
from assay.accounts.moments import EXPECTED, is_in_range
from assay.challenges.texts import LONGEST_TEXT
from evaluator.errors import ProtocolError
from evaluator.protocol import Protocol, load_named_protocol, load_protocol

LONGEST_BYTES = 1 << 20
SLUG_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
LONGEST_TITLE = 160
LONGEST_TEXTS = {
    "summary": 300,
    "description": LONGEST_TEXT,
    "rules": LONGEST_TEXT,
    "licence": 160,
    "modality": 80,
    "anatomy": 80,
    "citation": 4000,
    "contact": 254,
}
"""Characters; the columns of `Challenge` hold as much."""
KINDS = ("container", "predictions")
LONGEST_FOUND = 200
LONGEST_NUMBER_BITS = 128
LARGEST_NUMBER = 1_000_000
LONGEST_WINDOW_DAYS = 3660
UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
SHOWS = ("best", "latest", "all")


@dataclass(frozen=True, kw_only=True)
class PhaseDefinition:
    """One phase as written down."""

    slug: str
    title: str
    opens_at: datetime
    closes_at: datetime
    protocol: Protocol
    protocol_source: str
    kind: str = "container"
    submission_limit: int | None = None
    submission_window_days: int = 1
    submission_limit_total: int | None = None
    concurrent_limit: int = 1
    running_limit: int | None = None
    running_limit_per_team: int | None = None
    pool: str = "default"
    testset: str = ""
    leaderboard_shows: str = "best"
    embargo_until: datetime | None = None
    is_embargoed: bool = False


@dataclass(frozen=True, kw_only=True)
class ChallengeDefinition:
    """A challenge as written down."""

    slug: str
    title: str
    phases: tuple[PhaseDefinition, ...]
    summary: str = ""
    description: str = ""
    rules: str = ""
    licence: str = ""
    modality: str = ""
    anatomy: str = ""
    citation: str = ""
    contact: str = ""
    requires_approval: bool = False


CHALLENGE_KEYS = frozenset(field.name for field in fields(ChallengeDefinition)) | {"protocol"}
PHASE_KEYS = frozenset(field.name for field in fields(PhaseDefinition)) - {"protocol_source"}


def parse_definition(source: str) -> ChallengeDefinition:
    """Read a `challenge.yaml`. Raises `InvalidError` with line and column."""
    if len(source.encode()) > LONGEST_BYTES:
        raise InvalidError(
            "The file is too long.", found=f"{len(source.encode())} bytes", expected=f"at most {LONGEST_BYTES}"
        )
    root = Reader.of_text(source)
    root.refuse_unknown(CHALLENGE_KEYS)
    common = root.protocol(source)
    phases = tuple(read_phase(phase, source=source, common=common) for phase in root.items("phases"))
    if not phases:
        raise root.error(
            "A challenge needs at least one phase.", expected="phases: [{slug: …, opens_at: …, closes_at: …}]"
        )
    for number, phase in enumerate(phases):
        if phase.slug in {earlier.slug for earlier in phases[:number]}:
            raise root.error(
                "Two phases have one slug.", key="phases", found=phase.slug, expected="a slug of its own for each"
            )
    texts = {name: root.text(name, longest=longest) for name, longest in LONGEST_TEXTS.items()}
    return ChallengeDefinition(
        slug=root.slug("slug"),
        title=root.text("title", is_required=True, longest=LONGEST_TITLE),
        phases=phases,
        requires_approval=root.flag("requires_approval"),
        **texts,
    )


def read_phase(reader: "Reader", *, source: str, common: tuple[Protocol, str] | None) -> PhaseDefinition:
    """Read one item of `phases`."""
    reader.refuse_unknown(PHASE_KEYS)
    chosen = reader.protocol(source) or common
    if chosen is None:
        raise reader.error("The phase has no protocol.", expected="`protocol:` in the phase or at the top of the file")
    opens_at, closes_at = reader.moment("opens_at"), reader.moment("closes_at")
    if opens_at is None or closes_at is None:
        raise reader.error("A phase needs `opens_at` and `closes_at`.", expected="times such as 2026-11-01 12:00")
    if opens_at >= closes_at:
        raise reader.error("The phase closes before it opens.", key="closes_at", found=f"{closes_at:%Y-%m-%d %H:%M}")
    embargo_until = reader.moment("embargo_until")
    slug = reader.slug("slug")
    return PhaseDefinition(
        slug=slug,
        title=reader.text("title", longest=LONGEST_TITLE) or slug.replace("-", " ").capitalize(),
        opens_at=opens_at,
        closes_at=closes_at,
        protocol=chosen[0],
        protocol_source=chosen[1],
        kind=reader.choice("kind", choices=KINDS),
        submission_limit=reader.number("submission_limit", least=0),
        submission_window_days=reader.number("submission_window_days", least=1, most=LONGEST_WINDOW_DAYS) or 1,
        submission_limit_total=reader.number("submission_limit_total", least=0),
        concurrent_limit=reader.number("concurrent_limit", least=1) or 1,
        running_limit=reader.number("running_limit", least=1),
        running_limit_per_team=reader.number("running_limit_per_team", least=1),
        pool=reader.text("pool", longest=40) or "default",
        testset=reader.slug("testset") if reader.has("testset") else "",
        leaderboard_shows=reader.choice("leaderboard_shows", choices=SHOWS),
        embargo_until=embargo_until,
        is_embargoed=reader.flag("is_embargoed") or embargo_until is not None,
    )


def in_words(found: object) -> str:
    """What was found, short: the message goes to a page, and Python refuses to write endless numbers."""
    try:
        text = str(found)
    except ValueError:
        return "an endless number"
    return text if len(text) <= LONGEST_FOUND else f"{text[:LONGEST_FOUND]}…"


class SafeLoaderWithStrictKeys(yaml.SafeLoader):
    """YAML without surprises: a key given twice is an error, not a silent choice of the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A YAML mapping together with where each of its keys stands."""

    node: yaml.MappingNode
    values: Mapping[str, Any]

    @classmethod
    def of_text(cls, source: str) -> "Reader":
        """The document's top mapping."""
        loader = SafeLoaderWithStrictKeys(source)
        try:
            node = loader.get_single_node()
            if not isinstance(node, yaml.MappingNode):
                raise InvalidError(
                    "The file is not a list of `key: value`.", expected="slug: …, title: …, phases: …", line=1
                )
            return cls(node=node, values=loader.construct_document(node))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            raise InvalidError(
                f"This is not YAML: {error.problem}.",
                code="invalid_yaml",
                line=mark.line + 1 if mark else None,
                column=mark.column + 1 if mark else None,
            ) from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InvalidError(f"This is not YAML: {error}.", code="invalid_yaml") from error
        finally:
            loader.dispose()

    def has(self, key: str) -> bool:
        """Whether the key is there with a value."""
        return self.values.get(key) is not None

    def place(self, key: str) -> yaml.Node:
        """Where a key's value stands; the mapping itself when the key is missing."""
        return next((value for name, value in self.node.value if name.value == key), self.node)

    def error(self, message: str, *, key: str = "", found: object = "", expected: str = "") -> InvalidError:
        """An error at this key's line."""
        mark = self.place(key).start_mark
        return InvalidError(
            message, found=in_words(found), expected=expected, line=mark.line + 1, column=mark.column + 1
        )

    def refuse_unknown(self, known: frozenset[str]) -> None:
        """A misspelt key is an error: its value would be ignored silently."""
        for name, _ in self.node.value:
            if name.value not in known:
                raise InvalidError(
                    f"The key {name.value!r} is not known here.",
                    found=name.value,
                    expected="one of " + ", ".join(sorted(known)),
                    line=name.start_mark.line + 1,
                    column=name.start_mark.column + 1,
                )

    def items(self, key: str) -> list["Reader"]:
        """A list of mappings."""
        node = self.place(key)
        if not isinstance(node, yaml.SequenceNode) or not isinstance(self.values[key], list):
            raise self.error(
                f"`{key}` is a list.", key=key, found=self.values.get(key), expected=f"{key}: [{{…}}, {{…}}]"
            )
        for number, child in enumerate(node.value):
            if not isinstance(child, yaml.MappingNode):
                raise self.error(f"Item {number + 1} of `{key}` is not a mapping.", key=key, expected="{slug: …}")
        return [Reader(node=child, values=value) for child, value in zip(node.value, self.values[key], strict=True)]

    def text(self, key: str, *, is_required: bool = False, longest: int = LONGEST_TEXT) -> str:
        """A text; empty when missing. No control characters but tabs and line ends: PostgreSQL stores no NUL, pages show none."""
        value = self.values.get(key)
        if value in (None, "") and not is_required:
            return ""
        if not isinstance(value, str | int | float) or isinstance(value, bool) or not str(value).strip():
            raise self.error(f"`{key}` is a text.", key=key, found=value, expected=f"{key}: …")
        if (
            isinstance(value, int) and value.bit_length() > LONGEST_NUMBER_BITS
        ):  # longer ones Python refuses to write out
            raise self.error(
                f"`{key}` is a text.", key=key, found="an endless number", expected=f'{key}: "…" in quotes'
            )
        text = str(value).strip()
        if len(text) > longest:
            raise self.error(f"`{key}` is too long.", key=key, found=f"{len(text)} characters", expected=f"{longest}")
        if (odd := UNSTORABLE.search(text)) is not None:
            raise self.error(f"`{key}` has a character that cannot be stored.", key=key, found=repr(odd[0]))
        return text

    def slug(self, key: str) -> str:
        """A name as it appears in addresses."""
        value = self.text(key, is_required=True)
        if not set(value) <= SLUG_LETTERS or len(value) > 80:
            raise self.error(
                f"`{key}` appears in addresses.", key=key, found=value, expected="a-z, 0-9 and '-', at most 80"
            )
        return value

    def number(self, key: str, *, least: int, most: int = LARGEST_NUMBER) -> int | None:
        """A whole number that its column can hold."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.error(f"`{key}` is a whole number.", key=key, found=value, expected=f"{least} to {most}")
        return value

    def flag(self, key: str) -> bool:
        """Yes or no; no when missing."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.error(f"`{key}` is yes or no.", key=key, found=value, expected="true or false")
        return value

    def choice(self, key: str, *, choices: tuple[str, ...]) -> str:
        """One of a closed list; the first when missing."""
        value = self.values.get(key, choices[0])
        if value not in choices:
            raise self.error(f"`{key}` is not one of the choices.", key=key, found=value, expected=" or ".join(choices))
        return str(value)

    def moment(self, key: str) -> datetime | None:
        """A time; without a zone it is UTC, without a clock time midnight."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                raise self.error(f"`{key}` is a time.", key=key, found=value, expected="2026-11-01 12:00") from None
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        if isinstance(value, datetime):
            value = value if value.tzinfo else value.replace(tzinfo=UTC)
            if not is_in_range(value):
                raise self.error(f"`{key}` is out of range.", key=key, found=value.isoformat(), expected=EXPECTED)
            return value
        raise self.error(f"`{key}` is a time.", key=key, found=value, expected="2026-11-01 12:00")

    def protocol(self, source: str) -> tuple[Protocol, str] | None:
        """The protocol under this key and its text; `None` when there is none."""
        if not self.has("protocol"):
            return None
        node, value = self.place("protocol"), self.values["protocol"]
        if not isinstance(value, Mapping):
            raise self.error(
                "`protocol` is a mapping.", key="protocol", found=value, expected="the document, or {use: NAME}"
            )
        indented = " " * node.start_mark.column + source[node.start_mark.index : node.end_mark.index]
        text = dedent(indented)
        try:
            if "use" in value:
                changes = {name: change for name, change in value.items() if name != "use"}
                return load_protocol(merged(load_named_protocol(str(value["use"])).document, changes)), text
            return load_protocol("\n" * node.start_mark.line + indented), text
        except ProtocolError as error:
            line, column = (error.line, error.column) if error.line and "use" not in value else (0, 0)
            raise InvalidError(
                f"The protocol cannot be used: {error.where}.",
                code="invalid_protocol",
                found=error.found,
                expected=error.expected,
                line=line or node.start_mark.line + 1,
                column=column or node.start_mark.column + 1,
            ) from error


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mapping by mapping; lists and values are replaced whole."""
    result = dict(base)
    for name, change in changes.items():
        below = result.get(name)
        if isinstance(change, Mapping) and isinstance(below, Mapping):
            result[name] = merged(below, change)
        else:
            result[name] = change
    return result
