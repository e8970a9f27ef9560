"""The protocol document: errors name the line, the normal form is stable, and what ships can be used."""

import json
from functools import partial
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import pytest

from evaluator.documentation import readme
from evaluator.documentation.protocol_table import TESTS, read_checks
from evaluator.errors import ProtocolError
from evaluator.protocol import hash_document, load_named_protocol, load_protocol, named_protocols
from evaluator.protocol.conventions import Situation
from evaluator.protocol.diff import diff_documents
from evaluator.protocol.modes import Mode
from evaluator.protocol.source import read_source

LIVER = dedent("""\
    protocol: 1
    name: liver
    labels:
      liver: {values: 1, tolerance_mm: 5}
    outputs:
      - {name: segmentation, kind: label_map, file: segmentation.nii.gz}
    metrics:
      - {name: dice}
      - {name: nsd}
    """)


def problem_in(text) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        load_protocol(text)
    return caught.value


def test_a_small_protocol_gets_every_default_written_out():
    protocol = load_protocol(LIVER)
    assert protocol.labels[0].values == (1,)
    assert protocol.resources.run_mode == "case"
    assert protocol.document["conventions"]["failed"] == {"dice": 0.0, "nsd": 0.0}
    assert protocol.document["metrics"][1]["options"]["tie_rule"] == "reference"


def test_the_normal_form_reads_back_to_itself_even_with_keys_in_another_order():
    protocol = load_protocol(LIVER)
    assert load_protocol(protocol.document).sha256 == protocol.sha256
    assert load_protocol(json.loads(json.dumps(protocol.document, sort_keys=True))).sha256 == protocol.sha256


def test_writing_a_default_out_does_not_change_the_hash():
    explicit = LIVER + "preset: deepmind\nrelease: per_case\ngeometry: {corner_voxels: 0.1}\n"
    assert load_protocol(explicit).sha256 == load_protocol(LIVER).sha256


def test_whole_and_decimal_numbers_hash_alike():
    whole = LIVER + "conventions: {failed: {dice: 0}}\n"
    decimal = LIVER.replace("tolerance_mm: 5", "tolerance_mm: 5.0") + "conventions: {failed: {dice: 0.0}}\n"
    assert load_protocol(whole).sha256 == load_protocol(decimal).sha256


def test_another_tolerance_is_another_hash():
    assert load_protocol(LIVER.replace("5}", "4}")).sha256 != load_protocol(LIVER).sha256


def test_the_order_of_labels_is_part_of_the_protocol():
    two = LIVER.replace("metrics:", "ranking: {version: 1}\nmetrics:")
    assert [label["name"] for label in load_protocol(two).document["labels"]] == ["liver"]


@pytest.mark.parametrize(
    ("change", "line", "found", "expected"),
    [
        (("kind: label_map", "kind: labelmap"), 6, '"labelmap"', "one of"),
        (("{name: dice}", "{name: dise}"), 8, "'dise'", "one of dice, iou"),
        (("values: 1", "values: 0"), 4, "0", "background"),
        (("values: 1", "value: 1"), 4, "", "keys channel, name, tolerance_mm, values, z_crop"),
        (("tolerance_mm: 5", "tolerance_mm: -5"), 4, "-5", "minimum 0"),
        (("{name: nsd}", "{name: nsd, tie_rule: lenient}"), 9, '"lenient"', "one of reference, tolerant"),
        (("{name: nsd}", "{name: nsd, percentile: 5}"), 9, "the option 'percentile'", "min_dice"),
        (("{name: nsd}", "{name: dice}"), 9, "the id 'dice' again", "set `id`"),
        (("file: segmentation.nii.gz", "file: ../escape.nii.gz"), 6, '"../escape.nii.gz"', "no path outside"),
        (("name: liver", "name: liver\nname: spleen"), 3, "the key 'name' again", "each once"),
        (("protocol: 1", "protocol: 2"), 1, "2", "const 1"),
        ((", tolerance_mm: 5", ""), 9, "nsd without a tolerance for liver", "`tolerance_mm`"),
        (("metrics:", "resources: {wall_seconds: soon}\nmetrics:"), 7, '"soon"', "type number"),
        (("metrics:", "conventions: {failed: {dise: 0}}\nmetrics:"), 7, "'dise'", "a metric id"),
        (("{name: dice}", "{name: euler_difference}"), 1, "no worth of euler_difference", "null (left out)"),
        (("metrics:", "ranking: {scheme: {type: lottery}}\nmetrics:"), 7, "lottery", "mean_of_ranks"),
        (
            ("metrics:", "ranking: {metrics: [{id: dice, direction: min}]}\nmetrics:"),
            7,
            "min for dice",
            "max, or another name",
        ),
        (
            ("metrics:", "ranking: {missing: {any: {dise: 0}}}\nmetrics:"),
            7,
            "dise",
            "one of dice, nsd; did you mean dice?",
        ),
        (("metrics:", "ranking: {missing: {dice: 0}}\nmetrics:"), 7, "the metric dice", "any: {dice: rank_last}"),
        (("values: 1", "values: .nan"), 4, "'.nan'", "a finite number"),
        (("protocol: 1", "protocol: [1"), 2, "", "YAML"),
    ],
)
def test_an_error_names_the_line_what_was_found_and_what_is_expected(change, line, found, expected):
    problem = problem_in(LIVER.replace(*change, 1))
    assert problem.line == line
    assert found in problem.found
    assert expected in problem.expected


def test_a_metric_with_a_name_of_its_own_is_not_turned_round_either():
    ranking = "ranking: {metrics: [{id: overlap, direction: min}, nsd]}\nmetrics:"
    text = LIVER.replace("metrics:", ranking, 1).replace("{name: dice}", "{name: dice, id: overlap}")
    assert problem_in(text).found == "min for overlap"
    assert problem_in(text).expected == "max, or another name for what is not overlap"


def test_a_stored_protocol_is_taken_as_it_stands():
    document = json.loads(json.dumps(load_protocol(LIVER).document))
    document["ranking"]["metrics"][0]["direction"] = "min"
    assert load_protocol(document).ranking["metrics"][0]["direction"] == "min"
    with pytest.raises(ProtocolError, match="found min for dice"):
        load_protocol(document, written={"ranking": {}})


def test_rules_of_a_preset_for_metrics_that_are_not_ranked_stay():
    preset = "ranking: {preset: brats-lesion, metrics: [dice]}\nmetrics:"
    assert load_protocol(LIVER.replace("metrics:", preset, 1)).ranking["preset"] == "brats-lesion"


def test_a_document_that_unfolds_without_end_is_refused():
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    names = "abcdefgh"
    for before, after in pairwise(names):
        bomb += f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
    with pytest.raises(ProtocolError, match="unfolds"):
        read_source(bomb)


@pytest.mark.parametrize(
    "text", ["", "just text", "- a list", "!!python/object:os.system {}", "a: 2026-01-01", "a: 1e999"]
)
def test_text_that_is_no_protocol_is_a_protocol_error(text):
    assert problem_in(text).expected


def test_dates_and_versions_stay_text():
    document, _ = read_source("a: 2026-01-01\nb: 'yes'\nc: no\nd: 0x10\ne: 1_000\nf: ~\n")
    assert document == {"a": "2026-01-01", "b": "yes", "c": False, "d": 16, "e": 1000, "f": None}


def test_every_shipped_protocol_loads_and_says_where_its_rules_were_read():
    names = named_protocols()
    assert len(names) >= 16
    for name in names:
        protocol = load_named_protocol(name)
        assert protocol.name == name
        assert protocol.document["sources"]


def test_an_unknown_protocol_name_lists_the_known_ones():
    with pytest.raises(ProtocolError, match="flare22"):
        load_named_protocol("flare99")
    with pytest.raises(ProtocolError):
        load_named_protocol("../protocols/flare22")


@pytest.mark.checked(
    "flare22",
    what="tolerances, crop, rounding, worst values",
    source="JunMa11/FLARE FLARE22_DSC_NSD_Eval.py, flare22.grand-challenge.org/Evaluation",
)
def test_flare22_is_what_its_organizers_published():
    protocol = load_named_protocol("flare22")
    tolerances = {label.name: label.tolerance_mm for label in protocol.labels}
    assert tolerances["liver"] == 5
    assert tolerances["duodenum"] == 7
    assert [label.name for label in protocol.labels if label.z_crop == "inclusive"] == [
        "aorta",
        "inferior vena cava",
        "esophagus",
    ]
    nsd = next(spec for spec in protocol.metrics if spec.id == "nsd")
    assert nsd.options["min_dice"] == 0.2
    assert nsd.rounding == 4
    assert protocol.geometry.shape_only
    assert protocol.document["conventions"]["failed"]["gpu_auc"] == 29491200
    assert protocol.input_files("FLARE22Ts_0001") == {"ct": "FLARE22Ts_0001_0000.nii.gz"}


@pytest.mark.checked(
    "segrap23",
    what="channels and tolerances",
    source="HiLab-git/SegRap2023 SegRap_Task001_DSC_NSD_Eval.py",
)
def test_segrap23_has_forty_five_channels_and_two_wider_tolerances():
    protocol = load_named_protocol("segrap23")
    assert protocol.channels == 45
    assert {label.name for label in protocol.labels if label.tolerance_mm != 1} == {"Larynx", "OralCavity"}


A_EVAL_VALUES = {
    "flare22": {1: 5, 2: 2, 3: 1, 4: 7, 7: 8, 8: 9, 9: 4, 10: 10, 11: 6, 13: 3},
    "amos22": {1: 1, 2: 2, 3: 3, 4: 4, 5: 10, 6: 5, 7: 6, 10: 7, 11: 8, 12: 9},
    "btcv": {1: 1, 2: 2, 3: 3, 4: 4, 5: 10, 6: 5, 7: 6, 11: 7, 12: 8, 13: 9},
}
"""Value in the source → value in A-Eval's shared system, as its authors list them."""


@pytest.mark.checked(
    "a-eval flare22 amos22 btcv",
    what="values of the organs the four have in common",
    source="uni-medical/A-Eval label_systems.py",
)
@pytest.mark.parametrize("name", A_EVAL_VALUES)
def test_organs_of_one_name_have_the_values_a_eval_maps_onto_each_other(name):
    shared = {label.name: label.values[0] for label in load_named_protocol("a-eval").labels}
    found = {label.values[0]: shared[label.name] for label in load_named_protocol(name).labels if label.name in shared}
    assert found == A_EVAL_VALUES[name]


@pytest.mark.checked(
    "a-eval@published",
    what="tolerances and crops are FLARE's by number",
    source="uni-medical/A-Eval calculate_dsc_nsd.py",
)
def test_a_evals_code_takes_flares_rules_by_number():
    flare = {label.values: label for label in load_named_protocol("flare22@published").labels}
    published = load_named_protocol("a-eval@published")
    scored = [label for label in published.labels if label.name in published.metrics[0].labels]
    assert [label.values for label in scored] == [(value,) for value in range(1, 9)]
    for label in scored:
        assert label.tolerance_mm == flare[label.values].tolerance_mm, label.name
        assert label.z_crop == flare[label.values].z_crop, label.name


@pytest.mark.checked(
    "flare23 flare24-task2 flare24-task3",
    what="organs, tolerances and crops are those of FLARE 2022",
    source="JunMa11/FLARE FLARE23_DSC_NSD_Eval.py, T2andT3_FLARE24_DSC_NSD_Eval.py",
)
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", ["flare23", "flare24-task2", "flare24-task3"])
def test_later_flares_keep_the_organs_of_2022(name, mode):
    organs = load_named_protocol(f"flare22@{mode}").labels
    assert load_named_protocol(f"{name}@{mode}").labels[: len(organs)] == organs


@pytest.mark.checked(
    "totalsegmentator",
    what="117 classes and their values",
    source="wasserth/TotalSegmentator totalsegmentator/map_to_binary.py",
)
def test_totalsegmentator_has_its_117_classes_where_version_2_has_them():
    labels = load_named_protocol("totalsegmentator").labels
    assert [label.values for label in labels] == [(value,) for value in range(1, 118)]
    known = {1: "spleen", 25: "sacrum", 27: "vertebrae_L5", 50: "vertebrae_C1", 51: "heart", 90: "brain", 92: "rib_left_1",
             115: "rib_right_12", 117: "costal_cartilages"}  # fmt: skip
    assert {value: labels[value - 1].name for value in known} == known


def test_toothfairy3_has_32_teeth_each_with_its_pulp_a_hundred_above():
    values = {label.name: label.values[0] for label in load_named_protocol("toothfairy3").labels}
    pulps = {name: value for name, value in values.items() if name.endswith(" pulp")}
    assert len(values) == 77
    assert len(pulps) == 32
    assert all(value == values[name.removesuffix(" pulp")] + 100 for name, value in pulps.items())
    assert values["lower right third molar"] == 48


def test_one_file_per_structure_is_one_name_per_label():
    protocol = load_protocol(
        LIVER.replace(
            "kind: label_map, file: segmentation.nii.gz", 'kind: mask_per_structure, file: "{case}/{structure}.nii.gz"'
        )
    )
    assert protocol.output_files("c1") == {"liver": "c1/liver.nii.gz"}


def test_allowed_values_are_the_labels_background_and_what_is_ignored():
    protocol = load_protocol(LIVER + "ignored_values: [7]\n")
    assert protocol.allowed_values == frozenset({0, 1, 7})
    assert load_protocol(LIVER + "unknown_values: background\n").allowed_values is None


def test_a_pooled_metric_brings_its_counts_and_its_ranking_form():
    protocol = load_protocol(LIVER.replace("{name: dice}", "{name: pooled_dice}"))
    assert [spec.id for spec in protocol.metrics] == [
        "pooled_dice", "nsd", "intersection_voxels", "reference_voxels", "prediction_voxels",
    ]  # fmt: skip
    ranked = protocol.ranking["metrics"][0]
    assert ranked["pooled"] == {
        "numerator": "2*intersection_voxels",
        "denominator": "1*reference_voxels + 1*prediction_voxels",
    }


def test_a_diff_names_the_setting_and_both_values():
    before, after = (
        load_protocol(LIVER).document,
        load_protocol(LIVER.replace("tolerance_mm: 5", "tolerance_mm: 3")).document,
    )
    assert diff_documents(before, after) == ["~ labels.liver.tolerance_mm: 5.0 → 3.0"]
    assert diff_documents(before, before) == []


def test_the_published_schema_describes_every_key_that_has_a_default():
    schema = json.loads((Path(__file__).parents[2] / "evaluator" / "protocol" / "schema.json").read_text())
    only_where_set = {"labels_from_reference"}  # younger than stored hashes, so the normal form leaves it out
    assert set(load_protocol(LIVER).document) == set(schema["properties"]) - only_where_set


def test_the_hash_is_that_of_the_canonical_json():
    document = {"b": 1, "a": "é"}
    assert hash_document(document) == hash_document({"a": "é", "b": 1})


@pytest.mark.parametrize("page", readme.PAGES, ids=lambda page: page.parent.name)
def test_the_readmes_say_what_code_documents_and_tests_say(page):
    text = page.read_text()
    assert any(f"<!-- {name} -->" in text for name in readme.SECTIONS)
    assert readme.fill(text) == text


def test_every_check_names_a_protocol_that_ships():
    checks = [check for folder in TESTS for check in read_checks(folder)]
    assert len(checks) >= 30
    for name, words in checks:
        assert load_named_protocol(name).full_name == name
        assert len(words) > len(" ()")


def test_a_failure_is_named_with_its_reason_before_its_verdict():
    cells = "{output_invalid: {dice: 0.25}, 'output_invalid:shape_mismatch': {dice: 0.5}}"
    conventions = load_protocol(f"{LIVER}conventions: {{by_failure: {cells}}}\n").conventions
    worth = partial(conventions.worth, Situation.FAILED, metric_id="dice")
    assert worth(failure="output_invalid:shape_mismatch") == 0.5
    assert worth(failure="output_invalid:truncated") == 0.25
    assert worth(failure="timeout") == 0.0


def test_a_failure_that_cannot_happen_is_refused():
    cells = "{'output_invalid:shape_missmatch': {dice: 0}}"
    problem = problem_in(f"{LIVER}conventions: {{by_failure: {cells}}}\n")
    assert problem.found == "'shape_missmatch'"
    assert "shape_mismatch" in problem.expected
