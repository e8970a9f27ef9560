"""What organizers' own metric images may say, and what becomes of it: declared metrics, finite numbers, every case accounted for."""

import json

import pytest

from evaluator.errors import ProtocolError
from evaluator.protocol import load_protocol
from evaluator.scoring.external import LEFT_OUT, MAX_METRICS_BYTES, MetricsInvalid, external_rows, parse_metrics

IMAGE = "sha256:" + "ab" * 32
CASES = ("a", "b")


def document(**changes):
    return {
        "protocol": 1,
        "name": "rings",
        "labels": {"ring": 1, "arch": 2},
        "outputs": [{"name": "segmentation", "kind": "label_map", "file": "{case}.nii.gz"}],
        "metrics": [
            {"name": "external_score", "id": "agreement", "rounding": 2},
            {"name": "external_error", "id": "topology", "per": "label"},
        ],
        "conventions": {"failed": {"agreement": 0, "topology": 9}},
        "evaluation": {"image": IMAGE, "memory_mb": 512},
    } | changes


PROTOCOL = load_protocol(document())


def said(*results, **more) -> bytes:
    return json.dumps({"results": list(results), **more}).encode()


def rows(raw: bytes, case_id: str, *, failure: str | None = None):
    scores = parse_metrics(raw, protocol=PROTOCOL, case_ids=CASES).get(case_id, {})
    found = external_rows(PROTOCOL, scores, failure=failure, diagonal_mm=1.0)
    return {(row.metric, row.label): (row.value, row.reason) for row in found}


def test_a_number_per_case_and_one_per_label_become_rows_rounded_as_the_protocol_says():
    raw = said(
        {"case": "a", "metrics": {"agreement": 0.917, "topology": {"ring": 2, "arch": None}}}, aggregates={"x": 1}
    )
    assert rows(raw, "a") == {
        ("agreement", ""): (0.92, ""),
        ("topology", "ring"): (2.0, ""),
        ("topology", "arch"): (None, "not_defined"),
    }


@pytest.mark.parametrize(
    "key", [{"case": "a"}, {"case": "a.mha"}, {"pk": "job-0"}, {"image": "a.mha", "note": "blurred"}]
)
def test_a_case_is_named_by_anything_that_identifies_its_image(key):
    """As grand-challenge's templates write their entries: metrics beside the key, and other things with them."""
    named = {"a.mha": "a", "job-0": "a", "b.mha": "b", "job-1": "b"}
    entry = {**key, "metrics": {"agreement": 0.5}} if "case" in key else {**key, "agreement": 0.5, "seconds": 3}
    found = parse_metrics(said(entry), protocol=PROTOCOL, case_ids=CASES, keys=named)
    assert found == {"a": {("agreement", ""): 0.5}}


def test_an_entry_that_names_two_cases_is_of_neither():
    with pytest.raises(MetricsInvalid, match="as a case"):
        parse_metrics(said({"one": "a", "other": "b", "agreement": 1}), protocol=PROTOCOL, case_ids=CASES)


@pytest.mark.parametrize("number", [0.75, {"mean": 0.75, "std": 0.1}])
def test_aggregates_alone_are_the_number_of_every_case(number):
    raw = json.dumps({"aggregates": {"agreement": number, "other": 1}}).encode()
    assert {case: rows(raw, case)["agreement", ""] for case in CASES} == {"a": (0.75, ""), "b": (0.75, "")}


def test_results_that_name_no_case_leave_the_aggregates_to_count():
    """As grand-challenge's template writes them, in the order in which its jobs ended."""
    raw = said({"agreement": 1}, {"agreement": 0.5}, aggregates={"agreement": 0.75})
    assert {case: rows(raw, case)["agreement", ""] for case in CASES} == {"a": (0.75, ""), "b": (0.75, "")}
    named = said({"image": "a", "agreement": 1}, {"agreement": 0.5}, aggregates={"agreement": 0.75})
    for refused in (said({"agreement": 1}, {"agreement": 0.5}), named):
        with pytest.raises(MetricsInvalid, match="as a case"):
            parse_metrics(refused, protocol=PROTOCOL, case_ids=CASES)


def test_what_is_left_out_is_worth_what_a_failed_case_is_and_says_so():
    raw = said({"case": "a", "metrics": {"topology": {"arch": 1}}})
    assert rows(raw, "a") == {
        ("agreement", ""): (0.0, LEFT_OUT),
        ("topology", "ring"): (9.0, LEFT_OUT),
        ("topology", "arch"): (1.0, ""),
    }
    assert set(rows(raw, "b").values()) == {(0.0, LEFT_OUT), (9.0, LEFT_OUT)}


def test_a_case_that_failed_keeps_its_own_reason_whatever_the_image_says():
    raw = said({"case": "a", "metrics": {"agreement": 1.0}})
    assert rows(raw, "a", failure="timeout")["agreement", ""] == (0.0, "timeout")


def test_where_no_image_ran_nothing_is_measured():
    found = [*external_rows(PROTOCOL, None, failure=None, diagonal_mm=1.0)]
    assert [(row.value, row.reason) for row in found] == [(None, "not_measured")] * 3


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"results": [], "results": []}', "a key twice"),
        (b'{"results": NaN}', "NaN"),
        (b"[]", "neither a list `results` nor `aggregates`"),
        (b'{"results": {}}', "neither a list `results` nor `aggregates`"),
        (b'{"aggregates": {"dice": 1}}', "none of the metrics"),
        (said("a"), "None as a case"),
        (said({"case": "c", "metrics": {}}), "'c' as a case"),
        (said({"case": ["a"], "metrics": {}}), "as a case"),
        (said({"case": "a", "metrics": {}}, {"case": "a", "metrics": {}}), "'a' as a case"),
        (said({"case": "a"}), "no `metrics`"),
        (said({"case": "a", "metrics": {"dice": 1}}), "the metric 'dice'"),
        (said({"case": "a", "metrics": {"agreement": True}}), "True for agreement"),
        (said({"case": "a", "metrics": {"agreement": "1"}}), "'1' for agreement"),
        (said({"case": "a", "metrics": {"agreement": {"": 1}}}), "for agreement"),
        (b'{"results": [{"case": "a", "metrics": {"agreement": 1e999}}]}', "inf for agreement"),
        (b'{"results": [{"case": "a", "metrics": {"agreement": 1' + b"0" * 400 + b"}}]}", "for agreement"),
        (b'{"results": [{"case": "a", "metrics": {"agreement": 1' + b"0" * 9000 + b"}}]}", "not JSON"),
        (said({"case": "a", "metrics": {"topology": 3}}), "3 for topology"),
        (said({"case": "a", "metrics": {"topology": {"liver": 3}}}), "{'liver': 3} for topology"),
        (b" " * (MAX_METRICS_BYTES + 1), "bytes of metrics"),
    ],
)
def test_anything_else_stops_the_scoring_in_words_for_the_organizers(raw, found):
    with pytest.raises(MetricsInvalid, match=r"expected|JSON") as problem:
        parse_metrics(raw, protocol=PROTOCOL, case_ids=CASES)
    assert found in str(problem.value)
    assert len(str(problem.value)) < 250


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"evaluation": None}, "agreement without an image"),
        ({"metrics": [{"name": "dice"}], "conventions": {}}, "without external metrics"),
        ({"conventions": {}}, "no worth of agreement"),
        ({"evaluation": {"image": "rings:latest"}}, "rings:latest"),
        ({"outputs": [{"name": "t", "kind": "table", "file": "t.csv"}]}, "tables"),
    ],
)
def test_a_protocol_says_which_image_and_what_a_failed_case_is_worth(changes, where):
    with pytest.raises(ProtocolError, match=where):
        load_protocol(document(**changes))


def test_the_image_and_its_limits_are_part_of_what_is_hashed():
    assert PROTOCOL.evaluation.image == IMAGE
    assert (PROTOCOL.evaluation.wall_seconds, PROTOCOL.evaluation.memory_mb, PROTOCOL.evaluation.cpus) == (3600, 512, 1)
    other = load_protocol(document(evaluation={"image": "sha256:" + "cd" * 32, "memory_mb": 512}))
    assert other.sha256 != PROTOCOL.sha256
    assert load_protocol(PROTOCOL.document).sha256 == PROTOCOL.sha256
