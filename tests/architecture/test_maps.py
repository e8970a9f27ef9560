"""The map in a room's README names every module of the room: alone, or in a group such as `site_*.py`."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.architecture.test_layout import ROOT, tracked

USUAL = frozenset(
    (
        "__init__.py",
        "__main__.py",
        "access.py",
        "admin.py",
        "apps.py",
        "lifecycle.py",
        "migrations",
        "models.py",
        "selectors.py",
        "services.py",
        "urls.py",
    )
)
"""What `platform/README.md` says of every app, and Python's own names."""
QUOTED = re.compile(r"`([^`\s]+)`")
NAMES_PROGRAMS_OF_OTHERS = "evaluator/protocols"
HALLS = ("evaluator", "containers", "platform", "deploy", "docs")
"""Where rooms have maps. Folders of tests say what they are in `docs/developers/testing.md`."""


def rooms() -> list[Path]:
    """Folders with a README, product and documentation."""
    return sorted(path.parent for hall in HALLS for path in tracked(f"{hall}/*README.md"))


def modules_of(room: Path, *, files: list[Path]) -> set[str]:
    """Python files directly in a room, and its folders that hold some. A folder with a README has a map of its own and counts as one."""
    inside = [path.relative_to(room).parts for path in files if path.is_relative_to(room)]
    return {parts[0] for parts in inside} - USUAL


def names_in(text: str) -> set[str]:
    """What a map names: `flow/doorbells.py` names the file and its folder, `table` the module, `schemes/` the folder."""
    names: set[str] = set()
    for quoted in QUOTED.findall(re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)):
        whole = quoted.strip("/")
        names |= {whole, whole.rsplit("/", 1)[-1], whole.split("/", 1)[0]}
    return names


def left_out(modules: set[str], *, text: str) -> list[str]:
    named = names_in(text)
    return sorted(
        module
        for module in modules
        if not any(fnmatch(module, name) or module.removesuffix(".py") == name for name in named)
    )


def test_a_map_names_files_folders_and_groups():
    text = (
        "| `one.py` | … |\n| `two` | … |\n| `three/inner.py` | … |\n| `site_*.py`, `four/` | … |\n```\n`five.py`\n```\n"
    )
    modules = {"one.py", "two.py", "three", "site_a.py", "site_b.py", "four", "five.py", "six.py"}
    assert left_out(modules, text=text) == ["five.py", "six.py"]


@pytest.mark.parametrize("room", rooms(), ids=lambda room: room.relative_to(ROOT).as_posix())
def test_the_map_of_a_room_names_all_its_modules(room):
    files = tracked(f"{room.relative_to(ROOT).as_posix()}/*.py")
    assert left_out(modules_of(room, files=files), text=(room / "README.md").read_text()) == []


@pytest.mark.parametrize(
    "room",
    [room for room in rooms() if room != ROOT / NAMES_PROGRAMS_OF_OTHERS],
    ids=lambda room: room.relative_to(ROOT).as_posix(),
)
def test_a_map_names_no_module_that_is_not_there(room):
    there = {path.name for path in tracked("*.py")}
    named = {name for name in names_in((room / "README.md").read_text()) if re.fullmatch(r"\w+\.py", name)}
    assert named - there == set()


def test_the_map_of_the_documentation_names_all_its_folders():
    """Its pages stand in the navigation, its programs in `site/`."""
    folders = {path.relative_to(ROOT / "docs").parts[0] for path in tracked("docs/*/*")}
    assert left_out(folders, text=(ROOT / "docs" / "README.md").read_text()) == []


def test_every_room_is_looked_at():
    assert {"evaluator", "platform/assay/workflow", "deploy"} < {room.relative_to(ROOT).as_posix() for room in rooms()}
