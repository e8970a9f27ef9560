"""Small pieces of Markdown."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table. Bars inside cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )


def code(text: object) -> str:
    """Text in the typeface of programs."""
    return f"`{text}`"


def listed(items: Iterable[object], *, nothing: str = "none") -> str:
    """Items in the typeface of programs, separated by commas."""
    return ", ".join(code(item) for item in items) or nothing


def block(text: str, language: str = "") -> str:
    """A block of program text."""
    return f"```{language}\n{text.rstrip()}\n```"


def contents(*pages: str) -> str:
    """The pages below this one, for the navigation. They are not listed in the text."""
    return block(":hidden:\n\n" + "\n".join(pages), "{toctree}")
