"""`make coverage` ends with this: how much of each room its tests run, beside the floor that `pyproject.toml` has for it.

Floors stand in the table `[tool.assay-coverage-floors]`; a room without one is only printed. A floor lies a few points below what was
measured when it was written. It is raised by hand when a room has more; a room that falls below its floor has lost tests. Lines that
run only in processes of their own (workers, nodes, readers of untrusted files) do not count.
"""

import json
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Print the table; 1 where a room is below its floor, or is gone."""
    floors = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"].get("assay-coverage-floors", {})
    measured = percent_by_room(lines_by_file())
    rooms = sorted({*measured, *floors})
    for room in rooms:
        percent, floor = measured.get(room), floors.get(room)
        print(f"{verdict(percent, floor):<12} {room:<34} {shown(percent):>7} {shown(floor):>7}")
    return int(any(verdict(measured.get(room), floors.get(room)) for room in rooms))


def shown(percent: float | None) -> str:
    """A percentage, or nothing."""
    return "" if percent is None else f"{percent:.1f}"


def verdict(percent: float | None, floor: float | None) -> str:
    """What is wrong, in a word or two; nothing where the room is at its floor or above."""
    if percent is None:
        return "no such room"
    return "" if floor is None else "below" if percent < floor else ""


def lines_by_file() -> dict[str, tuple[int, int]]:
    """Path in the repository → lines that ran, lines there are; out of the `.coverage` of the last run."""
    measured = Coverage(data_file=str(ROOT / ".coverage"), config_file=str(ROOT / "pyproject.toml"))
    measured.load()
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        measured.json_report(outfile=report.name)
        files = json.loads(Path(report.name).read_bytes())["files"]
    return {name: (each["summary"]["covered_lines"], each["summary"]["num_statements"]) for name, each in files.items()}


def room_of(path: str) -> str:
    """`platform/assay/runs/leases.py` belongs to `platform/assay/runs`, `evaluator/metrics/overlap.py` to `evaluator/metrics`."""
    parts = Path(path).parent.parts
    return "/".join(parts[: 3 if parts[0] == "platform" else 2])


def percent_by_room(lines: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """Percent of the lines of each room that ran."""
    sums: dict[str, tuple[int, int]] = {}
    for path, (ran, there) in lines.items():
        before = sums.get(room_of(path), (0, 0))
        sums[room_of(path)] = (before[0] + ran, before[1] + there)
    return {room: 100 * ran / there for room, (ran, there) in sums.items() if there}


if __name__ == "__main__":
    sys.exit(main())
