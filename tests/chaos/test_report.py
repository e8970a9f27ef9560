"""What a run of the driver is judged by, and that nobody types the figures of the README."""

import dataclasses

import pytest

from chaos import report as chaos_report

GOOD = chaos_report.Report(
    broker="redis",
    seed=1,
    submissions=2,
    cases=2,
    statuses={"done": 2},
    endings_per_submission={"1": 2},
    scores=4,
    struck=[
        chaos_report.Struck(name="broker away", recovery_seconds=1.0),
        chaos_report.Struck(name="broker away", recovery_seconds=3.0),
        chaos_report.Struck(name="kill -9 broker", recovery_seconds=0.5),
    ],
)


def test_a_run_in_which_all_went_well_has_no_problem():
    assert GOOD.problems == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"statuses": {"done": 1, "failed": 1}}, "statuses"),
        ({"endings_per_submission": {"1": 1, "2": 1}}, "endings"),
        ({"scores": 3}, "3 scores"),
        ({"doubled": 1}, "1 doubled"),
        ({"charged_for_our_faults": 1}, "charged"),
        ({"held_against_the_algorithm": 1}, "held against"),
        ({"containers_left": 1}, "containers"),
        ({"folders_left": 1}, "folders"),
    ],
)
def test_everything_that_must_not_be_is_named(changes, problem):
    (found,) = dataclasses.replace(GOOD, **changes).problems
    assert problem in found


@pytest.mark.parametrize(("last_mib", "is_flat"), [(100.0, True), (144.0, True), (145.0, False)])
def test_memory_is_flat_when_it_stays_within_a_fifth_and_the_slack(last_mib, is_flat):
    samples = [50.0] * 40 + [150.0] * 10 + [100.0] * 25 + [last_mib] * 25
    memory = chaos_report.medians(role="web server", samples=samples)
    assert (memory.before_mib, memory.last_mib, memory.most_mib) == (100.0, last_mib, max(samples))
    assert memory.is_flat == is_flat


def test_recovery_is_told_in_all_and_by_fault():
    lines = chaos_report.table(GOOD).splitlines()
    assert "| until something moved again | median 1.0 s, longest 3.0 s |" in lines
    assert "| broker away | 2 | 2.0 s, 3.0 s |" in lines


def test_the_figures_in_the_readme_are_those_a_run_has_kept():
    text = chaos_report.README.read_text()
    assert text.count(chaos_report.BEGIN) == text.count(chaos_report.END) == 1
    assert text == chaos_report.with_tables(text), "run `make chaos ARGS=--write`; do not type figures"
    for path in chaos_report.FIGURES.glob("*.json"):
        assert chaos_report.read(path).problems == []
