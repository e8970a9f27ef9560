"""The halls keep their shape: no circles, nothing upwards, and few arrows between rooms."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import drawing

MOST_ARROWS = {"evaluator": 85, "evaluator/ranking": 72, "containers": 35}


@pytest.mark.parametrize("hall", MOST_ARROWS)
def test_a_hall_has_no_circles_and_few_arrows(hall):
    drawn = drawing.draw(hall)
    assert drawn.circles == []
    assert drawn.upwards == []
    assert 20 < len(drawn.arrows) <= MOST_ARROWS[hall]


@pytest.fixture
def hall(tmp_path, monkeypatch):
    """Write a hall of these files. Get its drawing."""

    def build(**files):
        for room, text in files.items():
            path = tmp_path / "hall" / f"{room.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(drawing, "ROOT", tmp_path)
        return drawing.draw("hall")

    return build


def test_arrows_lead_between_rooms_and_floors_count_from_the_ground(hall):
    drawn = hall(
        a="from hall.b import c\nfrom hall import d\nimport os",
        b__x="from hall.b.y import z",
        b__y="import hall.d",
        d="",
    )
    assert drawn.arrows == [("a", "b"), ("a", "d"), ("b", "d")]
    assert drawn.floors == [["d"], ["b"], ["a"]]
    assert (drawn.circles, drawn.upwards, drawn.files) == ([], [], 4)


def test_a_ring_is_a_circle_and_a_ring_by_a_function_leads_upwards(hall):
    ring = hall(a="import hall.b", b="import hall.c", c="import hall.a", d="import hall.a")
    assert ring.circles == [["a", "b", "c"]]
    assert ring.floors == [["a", "b", "c"], ["d"]]
    late = hall(a="import hall.b", b="import hall.c", c="def f():\n    import hall.a", d="")
    assert (late.circles, late.upwards) == ([], [("c", "a")])


def test_a_ring_of_functions_alone_is_a_circle_too(hall):
    ring = hall(a="def f():\n    import hall.b", b="def g():\n    import hall.a", c="import hall.a")
    assert (ring.circles, ring.upwards, ring.floors) == ([["a", "b"]], [], [["a", "b"], ["c"]])


def test_the_command_prints_the_figures(capsys):
    drawing.main(["--arrows", "containers"])
    out = capsys.readouterr().out
    assert out.startswith("containers: ")
    assert " 0 upwards, 0 circles\n" in out
    assert "→ engines" in out


def test_a_reader_who_leaves_early_gets_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        program = [sys.executable, str(Path(drawing.__file__)), "evaluator/kernel"]
        finished = subprocess.run(program, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")
