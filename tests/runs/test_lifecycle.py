"""The table of legal changes."""

import pytest

from assay.runs import lifecycle
from assay.runs.models import CaseRun, Run


@pytest.mark.parametrize(
    ("table", "statuses"), [(lifecycle.CASE_RUN_TRANSITIONS, CaseRun.Status), (lifecycle.RUN_TRANSITIONS, Run.Status)]
)
def test_the_table_knows_exactly_the_statuses_of_the_model(table, statuses):
    assert set(table) == set(statuses.values)
    assert set().union(*table.values()) <= set(statuses.values)


def test_nothing_leaves_a_final_status():
    final = {status for status, targets in lifecycle.CASE_RUN_TRANSITIONS.items() if not targets}
    assert final == {"done", "failed", "cancelled"}


def test_only_running_case_runs_can_be_done():
    assert lifecycle.sources(lifecycle.CASE_RUN_TRANSITIONS, to="done") == {"running"}


def test_an_unknown_status_is_named():
    with pytest.raises(ValueError, match="no status may become 'lost'"):
        lifecycle.sources(lifecycle.CASE_RUN_TRANSITIONS, to="lost")
