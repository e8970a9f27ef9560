"""`make coverage` counts the lines of a room together, and tells a room that is below its floor."""

import pytest

import coverage_floors


def test_the_lines_of_a_room_are_counted_together():
    lines = {
        "platform/assay/runs/leases.py": (9, 10), "platform/assay/runs/deep/er.py": (1, 10), "evaluator/api.py": (3, 4),
        "evaluator/metrics/overlap.py": (0, 5), "evaluator/empty.py": (0, 0),
    }  # fmt: skip
    assert coverage_floors.percent_by_room(lines) == {
        "platform/assay/runs": 50.0, "evaluator": 75.0, "evaluator/metrics": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("percent", "floor", "said"),
    [(90.0, 90, ""), (89.9, 90, "below"), (None, 90, "no such room"), (90.0, None, "")],
)
def test_a_room_below_its_floor_is_told(percent, floor, said):
    assert coverage_floors.verdict(percent, floor) == said
