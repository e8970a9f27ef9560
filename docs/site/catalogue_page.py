"""`security/catalogue.md`: every attack that a test carries out, from the table that `tests/catalogue.py` writes."""

from collections.abc import Iterator
from pathlib import Path

PLACE = "security/catalogue.md"
TABLE = Path(__file__).resolve().parents[2] / "containers" / "CATALOGUE.md"
BEGIN, END = "<!-- catalogue: written by make catalogue -->", "<!-- catalogue ends -->"
OPENING = """# Catalogue of attacks

Each row is an attack that a test carries out, what comes of it, and what stops it. `make guards` takes guards away,
one by one, and sees the attacks succeed. So the tests can fail.

The table is written from the tests by `make catalogue`.
"""


def pages() -> Iterator[tuple[str, str]]:
    """The one page. Raises `ValueError` when the table is not where it was."""
    _, found, rest = TABLE.read_text(encoding="utf-8").partition(BEGIN)
    if not found or END not in rest:
        raise ValueError(f"{TABLE} has no table between {BEGIN!r} and {END!r}")
    yield PLACE, OPENING + "\n" + rest.partition(END)[0].strip().replace("#### ", "## ") + "\n"
