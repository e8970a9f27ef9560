"""Tables of figures, each beside its bar: printed, and kept in a README between marks that name the command which wrote them."""

import os
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"


def host() -> str:
    """What the figures were measured on."""
    return f"{len(os.sched_getaffinity(0))} cores for clients, web server and database together, load {os.getloadavg()[0]:.1f}"


def beside_bar(value: float, *, bar: float, is_least: bool = False) -> str:
    """A figure, bold where it misses its bar by being over it (with `is_least`, under it)."""
    misses = value < bar if is_least else value > bar
    return f"**{value:.0f}**" if misses else f"{value:.0f}"


def keep(lines: Sequence[str], *, program: str, readme: Path = README) -> None:
    """Put the lines into the README, between the marks of the program that measured them."""
    name, _, place = program.partition("-")
    option = f"--write {program}" if place else "--write"
    begin, end = f"<!-- written by tests/benchmarks/{name}.py {option} -->", f"<!-- {program} ends -->"
    before, found, rest = readme.read_text("utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise SystemExit(f"found no place for the figures in {readme}, expected the lines {begin!r} and {end!r}")
    readme.write_text("\n\n".join([before + begin, "\n".join(lines), end + after]), "utf-8")
