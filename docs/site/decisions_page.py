"""`developers/decisions/index.md`: the list of decisions, from the heads of their files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_text import contents, table

FOLDER = Path(__file__).resolve().parents[1] / "developers" / "decisions"
PLACE = "developers/decisions/index.md"
HEAD = re.compile(
    r"# (?P<title>.+)\n\n\*(?P<date>\d{4}-\d\d(?:-\d\d)?) · (?P<room>[\w/.-]+)(?: · (?P<status>[^*]+))?\*\n"
)
OPENING = """# Decisions

One file per decision: when it was taken, in which room, what was chosen and what it costs. A decision is never deleted. When a later
one replaces it, its status names the later one.

To add one, copy the newest file, give it the next number, and keep the form of its first three lines. `make docs` writes this list.
"""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The head of one file."""

    number: str
    file: str
    title: str
    date: str
    room: str
    status: str


def decisions() -> list[Decision]:
    """Every decision in the order of their numbers. Raises `ValueError` for a file without the head."""
    found = []
    for path in sorted(FOLDER.glob("[0-9]*.md")):
        head = HEAD.match(path.read_text(encoding="utf-8"))
        if head is None:
            raise ValueError(f"{path.name} does not begin with `# Title`, an empty line and `*YYYY-MM-DD · room*`")
        found.append(
            Decision(
                number=path.name[:4], file=path.name, title=head["title"], date=head["date"], room=head["room"],
                status=head["status"] or "in force",
            )
        )  # fmt: skip
    return found


def pages() -> Iterator[tuple[str, str]]:
    """The list, by room."""
    by_room: dict[str, list[Decision]] = {}
    for decision in decisions():
        by_room.setdefault(decision.room, []).append(decision)
    parts = [OPENING]
    for room, taken in sorted(by_room.items()):
        rows = [(item.number, f"[{item.title}]({item.file})", item.date, item.status) for item in taken]
        parts += [f"## {room}", table(("number", "decision", "date", "status"), rows)]
    yield PLACE, "\n\n".join([*parts, contents("*")]) + "\n"
