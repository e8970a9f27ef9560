"""Which guard of the sandbox holds on which engine, as the kernel says it of a container that runs.

The table in `docs/reference/engines.md` is what was seen. `make engines` writes it, as root on a machine that has them all. These tests
fail where an engine of this machine says something else.
"""

from pathlib import Path

import pytest

from containers.machine.guards import Guard, observe_guards

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "engines.md"
BEGIN, END = "<!-- guards: written by make engines -->", "<!-- guards end -->"
COLUMNS = {
    "docker": "Docker Engine",
    "podman": "Podman, as root",
    "apptainer": "Apptainer, as root",
}
HOLDS = "holds"
ENGINES = [
    pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.xdist_group("engine")]),
    pytest.param("podman", marks=[pytest.mark.docker, pytest.mark.xdist_group("podman")]),
    pytest.param("apptainer", marks=[pytest.mark.cluster, pytest.mark.xdist_group("apptainer")]),
]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_page_says_of_each_guard_what_the_kernel_says(engine, request):
    if engine == "docker" and request.config.getoption("--engine") != "docker":
        pytest.skip("this run has another engine in Docker's place")
    found = observe_guards(request.getfixturevalue(f"{engine}_engine"))
    if request.config.getoption("--write-table"):
        write_column(engine, found)
    assert {name: row[engine] for name, row in read_table().items()} == {guard.name: word_for(guard) for guard in found}


def word_for(guard: Guard) -> str:
    """What the cell says."""
    return HOLDS if guard.holds else f"no: {guard.seen}"


def read_table() -> dict[str, dict[str, str]]:
    """Guard → engine → what its cell says."""
    text = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {name: dict(zip(COLUMNS, cells, strict=True)) for name, *cells in rows[2:]}


def write_column(engine: str, guards: list[Guard]) -> None:
    """Put what was seen of one engine into the page. What it says of the others stays."""
    known = read_table()
    lines = [["guard", *COLUMNS.values()], ["---"] * (1 + len(COLUMNS))]
    for guard in guards:
        row = dict.fromkeys(COLUMNS, "not looked at") | known.get(guard.name, {}) | {engine: word_for(guard)}
        lines.append([guard.name, *row.values()])
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
