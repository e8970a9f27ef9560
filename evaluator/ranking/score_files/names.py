"""Names that a person takes for one: refused with what tells them apart, before a ranking depends on it."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from evaluator.ranking.score_files.sheets import ScoresError
from evaluator.ranking.table import ScoreTable

_ENDINGS = re.compile(r"(\.nii(\.gz)?|\.mha|\.mhd|\.nrrd|\.tiff?|\.png|\.dcm|\.json|\.csv|_0000)+$")
_SHOWN = 3
_HOMOGLYPHS = str.maketrans("АВЕКМНОРСТУХаеорсухіѕјΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEKMHOPCTYXaeopcyxisjABEZHIKMNOPTYXo")
"""Cyrillic and Greek letters that look like Latin ones (a part of Unicode's confusables, UTS 39)."""


def looks_of(name: str) -> str:
    """What two names have in common that look the same in most typefaces."""
    return unicodedata.normalize("NFKC", name).translate(_HOMOGLYPHS).casefold()


def refuse_twins(names: Iterable[str], *, what: str, where: str) -> None:
    """Raises `ScoresError` where two names of algorithms or structures look the same and are not."""
    first: dict[str, str] = {}
    for name in names:
        twin = first.setdefault(looks_of(name), name)
        if twin != name:
            how = "case" if twin.casefold() == name.casefold() else "letters that look the same"
            raise ScoresError(
                f"{where}: found the {what}s {twin!r} and {name!r}, which differ only by {how}; expected one spelling of "
                f"one {what}, or names that differ visibly"
            )


def loose_id(case: str) -> str:
    """A case's name without what people change by accident: letter case, endings, leading zeros."""
    text = _ENDINGS.sub("", looks_of(case))
    return re.sub(r"0+(?=\d)", "", text)


def refuse_near_cases(table: ScoreTable, *, where: str) -> None:
    """Ids of one case in two spellings, each used by other algorithms. Raises `ScoresError` with counts."""
    groups: dict[str, list[str]] = {}
    for case in table.cases:
        groups.setdefault(loose_id(case), []).append(case)
    doubled = {loose: cases for loose, cases in groups.items() if len(cases) > 1}
    if not doubled:
        return
    has = _has(table)
    place = {case: index for index, case in enumerate(table.cases)}
    suspects = [cases for cases in doubled.values() if (has[:, [place[c] for c in cases]].sum(axis=1) < 2).all()]
    if not suspects:
        return
    ways = Counter(_difference(cases) for cases in suspects)
    told = ", ".join(f"{count} of {len(groups)} cases differ only by {way}" for way, count in ways.items())
    examples = "; ".join(
        " and ".join(f"{case!r} of {_first_with(table, has, place[case])}" for case in cases[:2])
        for cases in suspects[:_SHOWN]
    )
    lacks = lacking(table, merged=[[place[c] for c in cases] for cases in suspects])
    raise ScoresError(
        f"{where}: found unequal case sets: {told} ({examples}){f'; {lacks}' if lacks else ''}; expected one spelling of "
        "each case"
    )


def lacking(table: ScoreTable, *, merged: Sequence[Sequence[int]] = ()) -> str:
    """`B lacks 37 of 500`, for every algorithm without a row for some case. `merged`: spellings that are one case."""
    has = _has(table)
    is_counted = np.ones(has.shape[1], dtype=bool)
    for places in merged:
        has[:, places[0]] = has[:, list(places)].any(axis=1)
        is_counted[list(places[1:])] = False
    lacks = (~has[:, is_counted]).sum(axis=1)
    found = [
        f"{name} lacks {count} of {int(is_counted.sum())}"
        for name, count in zip(table.algorithms, lacks.tolist(), strict=True)
        if count
    ]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


def _has(table: ScoreTable) -> np.ndarray:
    """Algorithm × case: whether there is any row."""
    absent = table.reason_names.index("absent")
    there = [(scores.reasons != absent).any(axis=1) for scores in table.metrics.values()]
    return np.asarray(np.logical_or.reduce(there))


def _first_with(table: ScoreTable, has: np.ndarray, case: int) -> str:
    return table.algorithms[int(np.flatnonzero(has[:, case])[0])]


def _difference(cases: Sequence[str]) -> str:
    """What tells the spellings of one case apart."""
    ways = (
        ("letter case", lambda text: text.casefold()),
        ("an ending", lambda text: _ENDINGS.sub("", text)),
        ("leading zeros", lambda text: re.sub(r"0+(?=\d)", "", text)),
        ("letters that look the same", lambda text: unicodedata.normalize("NFKC", text).translate(_HOMOGLYPHS)),
    )
    for way, change in ways:
        if len({change(case) for case in cases}) == 1:
            return way
    return "letter case, ending or zeros"
