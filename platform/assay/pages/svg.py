"""Pictures as SVG, from escaped parts: a template never spells a path, a co-ordinate or an attribute itself.

Names of elements and attributes come from our own code. Values and texts may be anybody's, so they are escaped.
"""

from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString

Value = str | float


def element(name: str, *children: SafeString | str, **attributes: Value | None) -> SafeString:
    """One element. `text_anchor` becomes `text-anchor`, `class_` becomes `class`, and an attribute that is None is left out."""
    written = format_html_join(
        "",
        ' {}="{}"',
        (
            (key.rstrip("_").replace("_", "-"), f"{value:g}" if isinstance(value, float) else value)
            for key, value in attributes.items()
            if value is not None
        ),
    )
    inside = format_html_join("", "{}", ((conditional_escape(child),) for child in children))
    return format_html("<{0}{1}>{2}</{0}>", name, written, inside)


def picture(*parts: SafeString, words: str, **attributes: Value | None) -> SafeString:
    """A picture that a screen reader announces by `words`."""
    return element("svg", *parts, role="img", aria_label=words, **attributes)


def decoration(*parts: SafeString, **attributes: Value | None) -> SafeString:
    """A picture of what stands beside it as text: a screen reader skips it."""
    return element("svg", *parts, aria_hidden="true", **attributes)


def named(shape: str, *, words: str, **attributes: Value | None) -> SafeString:
    """A shape that says what it is when it is pointed at."""
    return element(shape, element("title", words), **attributes)
