"""Cells as values: numbers as people write them, and names of which two that look the same are the same."""

import math
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from evaluator.arrays import Floats
from evaluator.ranking.document.spellings import is_missing
from evaluator.ranking.score_files.plain_columns import PlainColumn
from evaluator.ranking.score_files.sheets import Sheet

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNSEEN = re.compile("[\u200b-\u200f\u2028-\u202e\u2060\ufeff]")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_PLAIN = r"[+-]?(?:\d+(?:[.,]\d+)?|[.,]\d+)(?:[eE][+-]?\d+)?"
_WITH_SPREAD = re.compile(
    rf"\$?({_PLAIN})\s*(?:(?:±|\+/?-|\\pm)\s*{_PLAIN}|"
    rf"[(\[]\s*±?\s*{_PLAIN}(?:\s*(?:-|–|—|,|;|to|\.\.)\s*{_PLAIN})?\s*[)\]])\$?"
)
"""A number with its spread or interval, as tables in papers have it: `0.90 ± 0.02`, `0.90 (0.85–0.95)`."""
_SUMMARY = re.compile(
    r"(mean|average|avg|median|std|sd|stdev|std\.? ?dev|standard deviation|overall|total|sum|summary|aggregate[sd]?|"
    r"min|max|minimum|maximum|mean ?(±|\+/?-) ?(std|sd)|(mean|median|std)[ _-]?(all|score|total)?|q25|q75|25%|50%|75%|iqr|"
    r"(macro|micro|weighted|overall|total)[ _-]?(mean|average|avg)|mean ?\((std|sd)\)|all ?cases|count|var|variance|sem|"
    r"95 ?% ?(ci|ki)|(95 ?% ?)?confidence interval|"
    r"mittel|mittelwert|durchschnitt|standardabweichung|stabw|gesamt|summe|"  # German
    r"moyenne|m[ée]diane|[ée]cart[ -]type|ensemble des cas|media|mediana|promedio|desviaci[óo]n est[áa]ndar)"
)


def numbers(sheet: Sheet, column: str, texts: Sequence[str], *, spreads: dict[str, str]) -> Floats:
    """Every cell of a column as a number, NaN where there is no value. Raises `ScoresError`.

    Of `0.90 ± 0.02` the first number is taken. `spreads` gets the column and the first such cell, for the reader must hear of it.
    """
    try:
        values = texts.numbers() if isinstance(texts, PlainColumn) else _floats(texts)
    except ValueError:
        return _careful_numbers(sheet, column, texts, spreads)
    if (not sheet.text or "_" in sheet.text) and "_" in "".join(texts):  # Python reads 1_000 as a thousand
        return _careful_numbers(sheet, column, texts, spreads)
    return values


def _floats(texts: Sequence[str]) -> Floats:
    return np.fromiter(map(float, texts), dtype=np.float64, count=len(texts))


def _careful_numbers(sheet: Sheet, column: str, texts: Sequence[str], spreads: dict[str, str]) -> Floats:
    """A file has decimal points or commas: 1,234 beside 0.5 may be a thousand."""
    values = np.full(len(texts), math.nan)
    first_with: dict[str, int] = {}
    for row, written in enumerate(texts):
        if is_missing(written):
            continue
        with_spread = _WITH_SPREAD.fullmatch(written.strip())
        text = with_spread[1] if with_spread else written
        if with_spread:
            spreads.setdefault(column, written.strip())
        has_comma = sheet.separator != "," and _DECIMAL_COMMA.fullmatch(text.strip()) is not None
        if has_comma or "." in text:
            mark, other = (",", ".") if has_comma else (".", ",")
            first_with.setdefault(mark, row)
            if other in first_with:
                wanted = "point" if has_comma else "comma"
                before = sheet.place(first_with[other])
                raise sheet.error(
                    row, column, found=repr(text.strip()), expected=f"a decimal {wanted} as on {sheet.unit} {before}"
                )
        plain = text.replace(",", ".") if has_comma else text
        try:
            values[row] = float(plain) if "_" not in plain else float("_")
        except ValueError:
            point = " with a decimal point" if "," in text else ""
            raise sheet.error(
                row, column, found=repr(written.strip()), expected=f"a number{point}, or nothing where it is missing"
            ) from None
    return values


def is_number(text: str) -> bool:
    """Whether a cell is a number, perhaps with its spread, or says that there is none."""
    if _WITH_SPREAD.fullmatch(text.strip()):
        return True
    try:
        float(text.replace(",", "."))
    except ValueError:
        return is_missing(text)
    return "_" not in text


def plain_name(text: str) -> str:
    """The one form of names that look the same: Unicode NFC, ordinary single spaces, nothing that cannot be seen."""
    text = unicodedata.normalize("NFC", _UNSEEN.sub("", text))
    return " ".join(re.split("[ \u00a0\u2000-\u200a\u202f\u3000]+", text.strip(" \u00a0\u202f\u3000")))


def has_control(text: str) -> bool:
    """Whether a name would break a line or paint a terminal."""
    return _CONTROL.search(text) is not None


def is_summary(text: str) -> bool:
    """Whether a name stands for a summary of rows (`mean`, `std`, `overall` …), not for a row."""
    return _SUMMARY.fullmatch(text.strip().lower()) is not None
