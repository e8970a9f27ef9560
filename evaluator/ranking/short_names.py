"""Names that fit beside an axis or into a terminal, and are still told apart.

Teams name their algorithms after institutes, so long names often begin alike: cut at the end, all of them would read the same.
A name that is too long loses its middle. Names that are then equal show the part in which they differ. The last resort is a
number.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence

_LEAD = 6  # letters kept before the first one that differs


def shorten(names: Sequence[str], *, longest: int) -> tuple[str, ...]:
    """One text for each name, at most `longest` letters, different for different names."""
    texts = [_without_middle(name, longest) for name in names]
    for text, count in Counter(texts).items():
        if count > 1:
            twins = [place for place, other in enumerate(texts) if other == text]
            for place, own in zip(twins, _apart([names[place] for place in twins], longest), strict=True):
                texts[place] = own
    return tuple(texts)


def display_width(text: str) -> int:
    """How many cells of a terminal a text takes: Chinese and Japanese letters take two, accents of their own none."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _without_middle(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 3
    return f"{name[: longest - 1 - tail]}…{name[-tail:]}"


def _apart(names: Sequence[str], longest: int) -> list[str]:
    differing = (place for place, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1)
    start = max(0, next(differing, 0) - _LEAD)
    texts = [f"…{_without_end(name[start:], longest - 1)}" for name in names]
    if len(set(texts)) == len(texts):
        return texts
    return [f"{_without_end(text, longest - len(f' {number}'))} {number}" for number, text in enumerate(texts, 1)]


def _without_end(name: str, longest: int) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
