"""What a person at a site looks at before numbers leave: the exact text, what changed since the last release, warnings, every case. Pure.

The page on 127.0.0.1 and the terminal show the same sheet.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.node.review import SMALLEST_GROUP, shown_bytes
from assay.signatures import canonical_json

NUMBERS_PER_CASE = 12
"""How many columns the table of cases shows."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One number of this release beside the same number of the last one. None where one of them has none."""

    name: str
    before: float | None
    now: float | None


@dataclass(frozen=True, kw_only=True)
class CaseRow:
    """One case for local eyes. It never leaves."""

    case_id: str
    verdict: str
    reason: str
    values: tuple[float | None, ...]
    place: int = 0
    """Its number in the draft, from 0."""

    @property
    def has_failed(self) -> bool:
        """Whether the algorithm gave no usable answer."""
        return self.verdict != "ok"


@dataclass(frozen=True, kw_only=True)
class ReviewSheet:
    """Everything that a decision needs."""

    text: str
    """Exactly what would be signed and sent, for a person to read."""
    sha256: str
    """Of the spelling that is signed: no spaces, keys sorted."""
    byte_count: int
    warnings: tuple[str, ...]
    differences: tuple[Difference, ...]
    compared_with: str
    """Which release the differences are about. Empty where there was none on this data."""
    withheld: tuple[str, ...]
    columns: tuple[str, ...]
    cases: tuple[CaseRow, ...]
    """Failures first."""
    is_clean: bool = False
    """No case failed, every metric has a number, and no row looks made."""


def sheet_of(
    leaves: Mapping[str, Any],
    *,
    withheld: Sequence[str],
    cases: Sequence[Mapping[str, Any]],
    last: Mapping[str, Any] | None,
    releases_before: int,
) -> ReviewSheet:
    """`leaves` is what would be sent, `cases` the local results of every case, `last` the last release on the same data."""
    spelled = canonical_json(leaves)
    columns, rows = _case_rows(cases)
    odd = list(_warnings(leaves, rows=rows, columns=columns, releases_before=0))
    return ReviewSheet(
        text=shown_bytes(leaves),
        sha256=hashlib.sha256(spelled).hexdigest(),
        byte_count=len(spelled),
        warnings=tuple(_warnings(leaves, rows=rows, columns=columns, releases_before=releases_before)),
        differences=tuple(_differences(last, leaves)) if last else (),
        compared_with=str(last.get("submission", "the last release")) if last else "",
        withheld=tuple(withheld),
        columns=columns,
        cases=tuple(sorted(rows, key=lambda row: (not row.has_failed, row.case_id))),
        is_clean=bool(rows) and not odd and all(leaves.get("metrics", {}).values()),
    )


def _case_rows(cases: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[CaseRow]]:
    names = dict.fromkeys(_column(score) for case in cases for score in case.get("scores", ()))
    columns = tuple(names)[:NUMBERS_PER_CASE]
    rows = []
    for place, case in enumerate(cases):
        values = {_column(score): score[2] for score in case.get("scores", ())}
        rows.append(
            CaseRow(
                case_id=str(case["case"]),
                verdict=str(case["verdict"]),
                reason=str(case["reason"]),
                values=tuple(values.get(name) for name in columns),
                place=place,
            )
        )
    return columns, rows


def _column(score: Sequence[Any]) -> str:
    label, metric = score[0], score[1]
    return f"{metric} {label}".strip()


def _warnings(
    leaves: Mapping[str, Any], *, rows: Sequence[CaseRow], columns: Sequence[str], releases_before: int
) -> Iterator[str]:
    failed = Counter(row.verdict for row in rows if row.has_failed)
    for verdict, count in failed.most_common():
        yield f"{count} of {len(rows)} cases ended with {verdict}"
    for place, column in enumerate(columns):
        values = [row.values[place] for row in rows if row.values[place] is not None]
        if len(values) < SMALLEST_GROUP:
            continue
        usual, times = Counter(values).most_common(1)[0]
        others = len(values) - times
        if 0 < others < SMALLEST_GROUP and times > len(values) / 2:
            yield (
                f"{column}: {times} cases have the same value {usual}, so the mean tells about the other {others} alone. "
                "An algorithm that answers few cases and leaves the rest empty can send single patients out this way"
            )
    if releases_before:
        words = "1 result was" if releases_before == 1 else f"{releases_before} results were"
        yield f"{words} released on this data before; together they tell more than each alone"
    if not any(leaves.get("metrics", {}).values()):
        yield "no metric has a number"


def _differences(last: Mapping[str, Any], leaves: Mapping[str, Any]) -> Iterator[Difference]:
    before, now = dict(_flat(last.get("metrics", {}))), dict(_flat(leaves.get("metrics", {})))
    for name in dict.fromkeys([*now, *before]):
        if before.get(name) != now.get(name):
            yield Difference(name=name, before=before.get(name), now=now.get(name))


def _flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float | None]]:
    for name, value in document.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, Mapping):
            yield from _flat(value, path)
        else:
            yield path, value


def clean_in_a_row(papers: Sequence[str]) -> int:
    """How many of the newest decisions, oldest first, were clean results that were approved. Any other decision begins anew."""
    count = 0
    for paper in reversed(papers):
        if not json.loads(paper).get("clean"):
            break
        count += 1
    return count


def last_release(papers: Sequence[str], *, data_root: str) -> tuple[Mapping[str, Any] | None, int]:
    """The newest release on this data among the texts of kept ones, oldest first, and how many there were."""
    releases = [paper["release"] for paper in map(json.loads, papers) if paper.get("release")]
    same = [release for release in releases if release.get("data_root") == data_root]
    return (same[-1] if same else None), len(same)
