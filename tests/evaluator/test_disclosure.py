"""What may leave a hospital: an attacker with linear algebra recovers nothing about fewer than k patients."""

import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluator.disclosure import CountProblem, Told, TooFewCases, check_counts, release_metric
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


@st.composite
def histories(draw):
    """A hospital whose patients come, go and change, over up to four releases of one deterministic algorithm."""
    labels = ["a", "b"][: draw(st.integers(1, 2))]
    everybody, attributes = {}, {}
    for number in range(draw(st.integers(6, 12))):
        has = [draw(st.integers(0, 7)) > 0 for _ in labels]
        everybody[f"p{number}"] = {label: 0.5 if there else None for label, there in zip(labels, has, strict=True)}
        attributes[f"p{number}"] = {"scanner": draw(st.sampled_from("AB")), "sex": draw(st.sampled_from("FM"))}
    cohorts = [draw(st.integers(0, 2)) for _ in everybody]
    releases = []
    for number in range(draw(st.integers(2, 4))):
        gone = draw(st.sets(st.sampled_from(cohorts), max_size=2))
        others = draw(st.booleans())
        there = [case for case, cohort in zip(everybody, cohorts, strict=True) if cohort not in gone]
        changed = {case: number if others and cohorts[index] == 0 else 0 for index, case in enumerate(everybody)}
        breakdowns = draw(st.sampled_from([(), ("scanner",), ("sex",), ("scanner", "sex")]))
        releases.append((there, {case: str(changed[case]) for case in there}, breakdowns))
    return everybody, attributes, releases


@settings(max_examples=200, deadline=None)
@given(histories(), st.integers(2, 3))
def test_no_combination_over_versions_and_groupings_depends_on_fewer_than_k_patients(history, smallest):
    """A patient whose images changed is a new unknown, so a column counts patients with their content."""
    everybody, attributes, releases = history
    unknowns, columns, told = {}, [], []
    for there, contents, breakdowns in releases:
        values = {case: everybody[case] for case in there}
        try:
            release = release_metric(
                values,
                attributes=attributes,
                breakdowns=breakdowns,
                smallest=smallest,
                earlier=told,
                patients=contents,
            )
        except TooFewCases:
            continue
        told.append(Told.from_json(json.loads(json.dumps(release.told.to_json()))))
        matrix, patients = released_columns(release, values, attributes, breakdowns)
        names = [
            (case, contents[case], label)
            for case, row in values.items()
            for label, value in row.items()
            if value is not None
        ]
        assert [case for case, _, _ in names] == patients
        columns += [dict(zip(names, column, strict=True)) for column in matrix.T]
        unknowns |= dict.fromkeys(names)
    if columns:
        matrix = np.array([[column.get(name, 0.0) for column in columns] for name in unknowns])
        assert smallest_support(matrix, [case for case, _, _ in unknowns], below=smallest) == smallest


def versions(*, before, now, contents=None):
    """Releases of one metric by scanner on two versions of the data: patients are named by scanner and number."""
    found = []
    for cases, changed in ((before, {}), (now, contents or {})):
        patients = {case: changed.get(case, "same") for case in cases}
        try:
            release = release_metric(
                {case: {"a": 0.5} for case in cases},
                attributes={case: {"scanner": case[0]} for case in cases},
                breakdowns=("scanner",),
                earlier=[one.told for one in found if one],
                patients=patients,
            )
        except TooFewCases:
            release = None
        found.append(release)
    return found


def patients_of(scanner, count, *, start=0):
    return [f"{scanner}{number}" for number in range(start, start + count)]


def test_a_version_with_five_new_patients_of_whom_one_is_alone_at_a_scanner_has_no_groups():
    before = patients_of("A", 10) + patients_of("B", 10)
    _, now = versions(before=before, now=before + patients_of("A", 4, start=10) + patients_of("B", 1, start=10))
    assert set(now.numbers) == {"mean", "n", "sd", "per_label"}
    assert now.withheld == ("per_scanner",)


def test_a_version_with_one_exchanged_patient_is_withheld_as_a_whole():
    before = patients_of("A", 20)
    _, now = versions(before=before, now=[*before[1:], "A99"])
    assert now is None
    _, now = versions(before=before, now=before, contents={"A3": "another scan"})
    assert now is None


def test_versions_that_differ_by_many_patients_in_every_group_are_shown():
    before = patients_of("A", 10) + patients_of("B", 10)
    _, now = versions(before=before, now=before + patients_of("A", 5, start=10) + patients_of("B", 5, start=10))
    assert {group: cell["n"] for group, cell in now.numbers["per_scanner"].items()} == {"A": 15, "B": 15}


def test_another_grouping_of_the_same_data_is_held_against_the_earlier_one():
    cases = patients_of("A", 8) + patients_of("B", 8)
    attributes = {case: {"scanner": case[0], "sex": "F" if case < "A7" else "M"} for case in cases}
    values = {case: {"a": 0.5} for case in cases}
    first = release_metric(values, attributes=attributes, breakdowns=("scanner",))
    second = release_metric(values, attributes=attributes, breakdowns=("sex",), earlier=[first.told])
    assert "per_scanner" in first.numbers
    assert second.withheld == ("per_sex",)


def test_patients_without_a_value_do_not_hide_the_others_from_another_grouping():
    """Scanner A minus sex M is one patient's value: the five patients without a value add nothing to either sum."""
    nobody, somebody = [f"n{number}" for number in range(5)], [f"p{number}" for number in range(5)]
    values = {case: {"a": None if case in nobody else 0.5} for case in [*nobody, *somebody]}
    attributes = {case: {"scanner": "A", "sex": "F"} for case in nobody} | {
        case: {"scanner": scanner, "sex": sex} for case, scanner, sex in zip(somebody, "ABBAA", "FFFMM", strict=True)
    }
    first = release_metric(values, attributes=attributes, breakdowns=("scanner",), smallest=2)
    second = release_metric(values, attributes=attributes, breakdowns=("sex",), smallest=2, earlier=[first.told])
    assert "per_scanner" in first.numbers
    assert second.withheld == ("per_sex",)


def count_columns(numbers, values, attributes, breakdowns):
    """Every released count as a column over the patients. The reader knows the number of cases, and the sizes of groups with a count."""
    cases = list(values)
    defined = {case: any(value is not None for value in row.values()) for case, row in values.items()}
    columns = [[1.0] * len(cases)]
    if numbers["n"] is not None:
        columns.append([float(defined[case]) for case in cases])
    for label, cell in numbers.get("per_label", {}).items():
        if cell["n"] is not None:
            columns.append([float(values[case][label] is not None) for case in cases])
    for name in breakdowns:
        for group, cell in numbers.get(f"per_{name}", {}).items():
            if cell["n"] is not None:
                columns.append([float(attributes[case][name] == group) for case in cases])
                columns.append([float(defined[case] and attributes[case][name] == group) for case in cases])
    return np.array(columns).T, cases


@settings(max_examples=300, deadline=None)
@given(hospitals(), st.integers(2, 4))
def test_no_combination_of_released_counts_depends_on_fewer_than_k_patients(hospital, smallest):
    values, attributes = hospital
    breakdowns = ("scanner", "sex", "age")
    try:
        release = release_metric(values, attributes=attributes, breakdowns=breakdowns, smallest=smallest)
    except TooFewCases:
        return
    matrix, patients = count_columns(release.numbers, values, attributes, breakdowns)
    assert smallest_support(matrix, patients, below=smallest) == smallest


def test_two_patients_without_a_value_are_not_found_as_the_rest_of_counts():
    values, attributes = uniform({"A": 20, "B": 20})
    for case in [f"A{n}" for n in range(6)] + ["B0", "B1"]:
        values[case]["a"] = None
    release = release_metric(values, attributes=attributes, breakdowns=("scanner",))
    assert release.numbers["n"] == 32
    assert {group: cell["n"] for group, cell in release.numbers["per_scanner"].items()} == {"A": None, "B": None}


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
