"""What may leave a hospital: an attacker with linear algebra recovers nothing about fewer than k patients."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluator.disclosure import CountProblem, TooFewCases, check_counts, release_metric
from evaluator.disclosure.cuts import fewest_patients
from evaluator.disclosure.release import shown_groups


def released_columns(release, values, attributes, breakdowns):
    """Every released sum as a column over the unknowns (patient, label)."""
    unknowns = [(case, label) for case, row in values.items() for label, value in row.items() if value is not None]
    size = {case: sum(value is not None for value in row.values()) for case, row in values.items()}
    columns = [[1 / size[case] for case, _ in unknowns]]
    columns += [[float(of == label) for _, of in unknowns] for label in release.numbers.get("per_label", {})]
    for name in breakdowns:
        columns += [
            [float(attributes[case][name] == group) / size[case] for case, _ in unknowns]
            for group in release.numbers.get(f"per_{name}", {})
        ]
    return np.array(columns).T, [case for case, _ in unknowns]


def smallest_support(matrix, patients, *, below):
    """The fewest patients that a combination of columns depends on, if fewer than `below`: by trying every set of patients."""
    rank = np.linalg.matrix_rank(matrix)
    names = sorted(set(patients))
    for count in range(1, below):
        for chosen in combinations(names, count):
            rest = matrix[[case not in chosen for case in patients]]
            if (np.linalg.matrix_rank(rest) if len(rest) else 0) < rank:
                return count
    return below


@st.composite
def hospitals(draw):
    cases = draw(st.integers(4, 9))
    labels = ["a", "b", "c"][: draw(st.integers(1, 3))]
    values, attributes = {}, {}
    for number in range(cases):
        has = [draw(st.integers(0, 5)) > 0 for _ in labels]
        values[f"p{number}"] = {label: 0.5 if there else None for label, there in zip(labels, has, strict=True)}
        attributes[f"p{number}"] = {"scanner": draw(st.sampled_from("AB")), "sex": draw(st.sampled_from("FM")),
                                    "age": draw(st.sampled_from("yo"))}  # fmt: skip
    return values, attributes


@settings(max_examples=300, deadline=None)
@given(hospitals(), st.integers(2, 4))
def test_no_combination_of_released_sums_depends_on_fewer_than_k_patients(hospital, smallest):
    values, attributes = hospital
    breakdowns = ("scanner", "sex", "age")
    try:
        release = release_metric(values, attributes=attributes, breakdowns=breakdowns, smallest=smallest)
    except TooFewCases:
        return
    matrix, patients = released_columns(release, values, attributes, breakdowns)
    assert smallest_support(matrix, patients, below=smallest) == smallest


def uniform(sizes, *, label="a"):
    values, attributes = {}, {}
    for scanner, size in sizes.items():
        for number in range(size):
            values[f"{scanner}{number}"] = {label: number / 10}
            attributes[f"{scanner}{number}"] = {"scanner": scanner}
    return values, attributes


def test_two_single_patients_beside_a_large_group_hide_the_large_group_too():
    values, attributes = uniform({"A": 8, "B": 1, "C": 1})
    release = release_metric(values, attributes=attributes, breakdowns=("scanner",))
    assert "per_scanner" not in release.numbers
    assert release.withheld == ("per_scanner",)


def test_large_groups_are_all_shown():
    values, attributes = uniform({"A": 8, "B": 6})
    release = release_metric(values, attributes=attributes, breakdowns=("scanner",))
    assert {group: cell["n"] for group, cell in release.numbers["per_scanner"].items()} == {"A": 8, "B": 6}
    assert release.withheld == ()


def test_a_patient_without_one_organ_hides_the_label_means():
    values = {f"p{n}": {"liver": 0.9, "spleen": 0.8} for n in range(20)}
    values["p0"]["spleen"] = None
    attributes = {}
    release = release_metric(values, attributes=attributes, breakdowns=())
    assert "per_label" not in release.numbers
    assert release.numbers["n"] == 20


def test_label_means_are_shown_where_every_patient_has_every_label():
    values = {f"p{n}": {"liver": 0.9, "spleen": 0.8} for n in range(20)}
    release = release_metric(values, attributes={}, breakdowns=())
    assert {label: cell["mean"] for label, cell in release.numbers["per_label"].items()} == {
        "liver": 0.9,
        "spleen": 0.8,
    }


def test_a_count_of_few_undefined_cases_is_withheld():
    values = {f"p{n}": {"liver": 0.9 if n else None} for n in range(20)}
    release = release_metric(values, attributes={}, breakdowns=())
    assert release.numbers["n"] is None


def test_a_spread_needs_twenty_cases():
    few, many = ({f"p{n}": {"liver": n / 100} for n in range(count)} for count in (19, 20))
    for values, has_spread in ((few, False), (many, True)):
        release = release_metric(values, attributes={}, breakdowns=())
        assert ("sd" in release.numbers) is has_spread


def test_too_few_cases_release_nothing():
    with pytest.raises(TooFewCases, match="fewer than 5"):
        release_metric({f"p{n}": {"a": 1.0} for n in range(4)}, attributes={}, breakdowns=())


def test_hidden_groups_together_hold_none_or_enough():
    assert shown_groups({"A": 8, "B": 5, "C": 1}, smallest=5) == {"A"}
    assert shown_groups({"A": 8, "B": 3, "C": 3}, smallest=5) == {"A"}
    assert shown_groups({"A": 8, "B": 7}, smallest=5) == {"A", "B"}


def test_the_minimum_cut_is_the_fewest_patients():
    scanner = ["A"] * 8 + ["B"] * 8
    assert fewest_patients(scanner, ["F"] * 8 + ["M"] * 8) == 8
    assert fewest_patients(scanner, ["F"] * 7 + ["M"] * 9) == 1  # one patient tells scanner from sex
    assert fewest_patients(scanner, ["F", "M"] * 8) == 8


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"n": 4}, "dice.n"),
        ({"n": True}, "dice.n"),
        ({"sd": 0.1}, "dice.sd"),
        ({"per_scanner": {"A": {"mean": 0.5, "n": 8}}}, "dice.per_scanner"),
        ({"per_scanner": {"A": {"mean": 0.5, "n": 8}, "B": {"mean": 0.5, "n": 2}}}, "dice.per_scanner.B.n"),
        ({"per_scanner": {"A": {"mean": 0.5, "n": 12}}}, "dice.per_scanner"),
    ],
)
def test_a_release_with_a_small_count_or_remainder_is_refused(change, where):
    with pytest.raises(CountProblem) as problem:
        check_counts({"mean": 0.5, "n": 10, **change}, where="dice")
    assert problem.value.where == where


def test_every_release_passes_the_servers_check():
    values, attributes = uniform({"A": 8, "B": 6, "C": 5, "D": 1})
    release = release_metric(values, attributes=attributes, breakdowns=("scanner",))
    check_counts(release.numbers, where="dice")
    assert set(release.numbers["per_scanner"]) == {"A", "B"}
