"""Draw a hall: which of its rooms import which, and on how many floors they stand.

    python tests/architecture/drawing.py evaluator [evaluator/ranking …]      the figures of each hall
    python tests/architecture/drawing.py --arrows evaluator                   and every arrow

A *hall* is a folder of Python files. A *room* is a file or a folder directly in it. The hall's own `__init__.py` is none. An *arrow*
leads from a room to one that it imports, at the top of a file or within a function. The *floor* of a room is the length of the
longest chain of arrows below it, those upwards left out. Rooms that import each other in a ring are a *circle*. An arrow of a function's import that closes
a chain of imports at the top of files is counted as *upwards* instead: for Python it is no circle, because it runs when both rooms are there.
"""

import argparse
import ast
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Arrows = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Drawing:
    """One hall. `firm` are the arrows of imports at the top of files, `late` those found in functions only."""

    hall: str
    files: int
    rooms: frozenset[str]
    firm: Arrows
    late: Arrows

    @cached_property
    def below(self) -> Arrows:
        """Room → every room that it reaches by firm arrows."""
        return {room: frozenset(_reached(self.firm, room)) for room in self.rooms}

    @property
    def arrows(self) -> list[tuple[str, str]]:
        return sorted((room, other) for arrows in (self.firm, self.late) for room in arrows for other in arrows[room])

    @property
    def upwards(self) -> list[tuple[str, str]]:
        """Late arrows to a room that stands on the one they start from."""
        return sorted(
            (room, other) for room in self.late for other in self.late[room] if room in self.below.get(other, ())
        )

    @cached_property
    def reached(self) -> Arrows:
        """Room → every room that it reaches by any arrow, those upwards left out."""
        kept = defaultdict(set)
        for room, other in set(self.arrows) - set(self.upwards):
            kept[room].add(other)
        ahead = {room: frozenset(others) for room, others in kept.items()}
        return {room: frozenset(_reached(ahead, room)) for room in self.rooms}

    @property
    def circles(self) -> list[list[str]]:
        rings = {
            frozenset(other for other in self.reached[room] if room in self.reached[other])
            for room in self.rooms
            if room in self.reached[room]
        }
        return sorted(sorted(ring) for ring in rings)

    @property
    def floors(self) -> list[list[str]]:
        """Rooms by floor, the ground floor first. A circle stands on one floor."""
        height: dict[str, int] = {}

        def floor(room: str) -> int:
            if room not in height:
                ring = {room} | {mate for mate in self.reached[room] if room in self.reached[mate]}
                others = {other for start, other in self.arrows if start in ring and (start, other) not in self.upwards}
                height[room] = 1 + max((floor(other) for other in others - ring), default=-1)
            return height[room]

        by_floor: dict[int, list[str]] = defaultdict(list)
        for room in sorted(self.rooms):
            by_floor[floor(room)].append(room)
        return [by_floor[level] for level in sorted(by_floor)]

    def lines(self) -> Iterator[str]:
        yield (
            f"{self.hall}: {self.files} files in {len(self.rooms)} rooms on {len(self.floors)} floors, {len(self.arrows)} arrows, "
            f"{len(self.upwards)} upwards, {len(self.circles)} circles"
        )
        for level, rooms in reversed(list(enumerate(self.floors))):
            yield f"  {level:2}  {'  '.join(rooms)}"
        yield from (f"  upwards: {room} → {other}" for room, other in self.upwards)
        yield from (f"  circle: {' – '.join(ring)}" for ring in self.circles)


def draw(hall: str) -> Drawing:
    """The hall at a path relative to the repository, such as `evaluator` or `platform/assay/workflow`."""
    folder = ROOT / hall
    package = hall.removeprefix("platform/").replace("/", ".")
    files = sorted(path for path in folder.rglob("*.py") if path != folder / "__init__.py")
    rooms = frozenset(_room(path, folder) for path in files)
    firm, late = defaultdict(set), defaultdict(set)
    for path in files:
        for name, is_late in _imports(path):
            target = name.removeprefix(f"{package}.").split(".")[0]
            if name.startswith(f"{package}.") and target in rooms and target != _room(path, folder):
                (late if is_late else firm)[_room(path, folder)].add(target)
    return Drawing(
        hall=hall, files=len(files), rooms=rooms,
        firm={room: frozenset(others) for room, others in firm.items()},
        late={room: frozenset(others - firm[room]) for room, others in list(late.items())},
    )  # fmt: skip


def _room(path: Path, folder: Path) -> str:
    return path.relative_to(folder).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every module or name a file imports, and whether a function does it."""
    tree = ast.parse(path.read_text())
    within = {
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in within) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((f"{node.module}.{alias.name}", node in within) for alias in node.names)


def _reached(arrows: Arrows, start: str) -> set[str]:
    reached: set[str] = set()
    ahead = list(arrows.get(start, ()))
    while ahead:
        room = ahead.pop()
        if room not in reached:
            reached.add(room)
            ahead += arrows.get(room, ())
    return reached


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Draw a hall: its rooms, floors and arrows.")
    parser.add_argument("halls", nargs="+", help="folders relative to the repository, such as evaluator")
    parser.add_argument("--arrows", action="store_true", help="print every arrow too")
    asked = parser.parse_args(arguments)
    for hall in asked.halls:
        drawing = draw(hall)
        print("\n".join(drawing.lines()))
        if asked.arrows:
            print("\n".join(f"  {room} → {other}" for room, other in drawing.arrows))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` for instance, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again when it ends
