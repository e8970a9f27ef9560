"""Organizers' Markdown as safe HTML: rendered once, when it is pushed. A page that shows it computes nothing.

The renderer is `markdown-it-py`, whose time grows in proportion to the text on everything hostile we could think of
(`tests/availability/test_markdown.py` has the list). What still grows faster is the answer: a reference that is defined once may be used
a thousand times, so the length of the result is counted before it is made. HTML in the text is shown as text: a browser's rules
for repairing misnested tags can multiply them.
"""

import re
from collections.abc import Iterable
from html import escape

from django.utils.translation import gettext as _
from markdown_it import MarkdownIt
from markdown_it.token import Token
from nh3 import clean

from assay.accounts.errors import InvalidError

PICTURE = "picture:"
PLACE = "/picture-of-the-challenge/"
LONGEST_TEXT = 32_768
"""Characters of one Markdown text."""
LONGEST_HTML = 8 * LONGEST_TEXT
DEEPEST_NESTING = 20
MOST_CELLS = 20_000
"""Of one table. The renderer fills short rows up to the width of the head, so a wide head over many rows multiplies."""


def render_markdown(text: str) -> str:
    """HTML without scripts, styles or frames. Links carry no referrer. Raises `InvalidError` when the result would be too long."""
    if (cells := most_cells(text)) > MOST_CELLS:
        raise InvalidError(
            _("A table of the text is too large."),
            found=_("%(cells)s cells") % {"cells": cells},
            expected=_(
                "at most %(most_cells)s: lines without an empty one between them, times the most `|` in one of them"
            )
            % {"most_cells": MOST_CELLS},
        )
    renderer = MarkdownIt("commonmark", {"html": False, "maxNesting": DEEPEST_NESTING}).enable("table")
    tokens = renderer.parse(text)
    place_pictures(tokens)
    if (length := length_of(tokens)) > LONGEST_HTML:
        raise InvalidError(
            _("The text is too long once it is rendered."),
            found=_("%(length)s characters") % {"length": length},
            expected=_("at most %(longest_html)s: shorter links, smaller tables") % {"longest_html": LONGEST_HTML},
        )
    return clean(renderer.renderer.render(tokens, renderer.options, {}), link_rel="noopener noreferrer nofollow")


def place_pictures(tokens: Iterable[Token]) -> None:
    """`![words](picture:NAME)` is shown from the challenge's own pictures. Where these are, `with_pictures` says."""
    for token in tokens:
        name = str(token.attrs.get("src", "")).removeprefix(PICTURE) if token.type == "image" else ""
        if name and str(token.attrs["src"]).startswith(PICTURE):
            token.attrs["src"] = f"{PLACE}{name}/" if re.fullmatch(r"[a-z0-9-]{1,80}", name) else ""
        place_pictures(token.children or ())


def with_pictures(html: str, *, address: str) -> str:
    """Rendered text with its pictures at `address`, which begins with the challenge's slug and so may change."""
    return html.replace(f'src="{PLACE}', f'src="{address}')


def most_cells(text: str) -> int:
    """Cells of the largest table that the text can hold: lines of a block, times the columns of its widest line."""
    blocks = (block.splitlines() for block in re.split(r"\n[ \t]*\n", text) if "|" in block)
    return max((len(lines) * max(line.count("|") + 1 for line in lines) for lines in blocks), default=0)


def render_old_text(text: str) -> str:
    """A text that was pushed before there were limits: rendered, or shown as it was written where it breaks them."""
    try:
        if len(text) <= LONGEST_TEXT:
            return render_markdown(text)
    except InvalidError:
        pass
    return f"<pre>{escape(text)}</pre>"


def length_of(tokens: Iterable[Token]) -> int:
    """About how many characters these become: their own text, their attributes, and two tags."""
    return sum(
        len(token.content if not token.children else "")
        + sum(len(str(value)) for value in token.attrs.values())
        + 2 * len(token.tag)
        + length_of(token.children or ())
        for token in tokens
    )
