"""Tables, classes, multiple choice, and scores followed over interactions."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn import metrics as oracle

from evaluator.commands import evaluate as cli
from evaluator.errors import EvaluatorError, InvalidReference, InvalidVolume, ProtocolError, Reason
from evaluator.metrics.choices import parse_choice
from evaluator.metrics.classification import mean_over_rows, precisions_of_rows, wins_of_rows
from evaluator.protocol import load_protocol
from evaluator.scoring.case import area_over_rounds, score_case, summarise
from evaluator.scoring.tables import score_table
from evaluator.volumes.tables import CHILD_LIMITS, TableForm, canonicalise_table
from tests.evaluator.volume_files import box, save_nifti

OPTIONS = {"A": "Pneumonia", "B": "Normal", "C": "Oedema", "D": "Fracture"}


def table_protocol(labels, *metrics, **conventions):
    return load_protocol({
        "protocol": 1,
        "name": "table",
        "labels": {label: {} for label in labels},
        "outputs": [{"name": "answers", "kind": "table", "file": "answers.csv"}],
        "metrics": list(metrics),
        "conventions": conventions,
    })  # fmt: skip


def scored(tmp_path, protocol, reference, prediction, **more):
    (tmp_path / "reference.csv").write_text(reference)
    path = None
    if prediction is not None:
        path = tmp_path / "prediction.csv"
        path.write_bytes(prediction.encode() if isinstance(prediction, str) else prediction)
    return score_table(protocol=protocol, reference=tmp_path / "reference.csv", prediction=path, **more)


def values(results, metric):
    return {
        (result.case_id, row.label): (row.value, row.reason)
        for result in results
        for row in result.rows
        if row.metric == metric
    }


# Classes


def area_under_roc(references, predictions):
    return mean_over_rows(wins_of_rows(references, predictions))


def average_precision(references, predictions):
    return mean_over_rows(precisions_of_rows(references, predictions))


def test_rows_are_found_by_case_and_a_missing_one_is_wrong(tmp_path):
    protocol = table_protocol(["grade"], {"name": "accuracy"})
    results = scored(tmp_path, protocol, "case,grade\na,1\nb,2\nc,3\n", "case,grade\nb,2\na,3\nx,9\n")
    assert values(results, "accuracy") == {
        ("a", "grade"): (0.0, ""), ("b", "grade"): (1.0, ""), ("c", "grade"): (0.0, "row_missing"),
    }  # fmt: skip
    assert summarise(protocol, results)["accuracy"]["mean"] == pytest.approx(1 / 3)


def test_the_column_with_the_largest_score_is_the_class_of_a_row(tmp_path):
    protocol = table_protocol(["benign", "tumour"], {"name": "accuracy", "decision": "largest"})
    reference = "case,benign,tumour\na,1,0\nb,0,1\nc,0,1\nd,1,0\n"
    prediction = "case,benign,tumour\na,0.7,0.3\nb,0.4,0.6\nc,0.5,0.5\nd,high,0.1\n"
    results = scored(tmp_path, protocol, reference, prediction)
    found = {case: cell for (case, label), cell in values(results, "accuracy").items() if label == "tumour"}
    assert found == {"a": (1.0, ""), "b": (1.0, ""), "c": (0.0, ""), "d": (0.0, "cell_invalid")}
    assert summarise(protocol, results)["accuracy"]["mean"] == 0.5


def test_each_positive_row_has_its_own_share_of_an_area(tmp_path):
    """Two of the three negatives score below 0.5, all three below 0.9: (2/3 + 1) / 2."""
    protocol = table_protocol(["x"], {"name": "macro_auc"}, {"name": "mean_average_precision"})
    reference, prediction = "case,x\na,1\nb,1\nc,0\nd,0\ne,0\n", "case,x\na,0.9\nb,0.5\nc,0.6\nd,0.2\ne,0.1\n"
    results = scored(tmp_path, protocol, reference, prediction)
    assert values(results, "macro_auc") == {
        ("a", "x"): (1.0, ""), ("b", "x"): (pytest.approx(2 / 3), ""),
        **{(case, "x"): (None, "class_absent") for case in "cde"},
    }  # fmt: skip
    assert summarise(protocol, results)["macro_auc"]["mean"] == pytest.approx(5 / 6)
    assert summarise(protocol, results)["mean_average_precision"]["mean"] == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.checked(
    "medfm-chest medfm-colon medfm-endo",
    what="AUC and average precision equal scikit-learn's",
    source="openmedlab/MedFM",
)
def test_auc_and_average_precision_are_scikit_learns(seed):
    generator = np.random.default_rng(seed)
    references = generator.integers(0, 2, 60)
    predictions = np.round(generator.random(60), 1)
    assert area_under_roc(references, predictions) == pytest.approx(oracle.roc_auc_score(references, predictions))
    assert average_precision(references, predictions) == pytest.approx(
        oracle.average_precision_score(references, predictions)
    )


def test_a_column_with_one_class_is_left_out_of_the_mean(tmp_path):
    protocol = table_protocol(["x", "y"], {"name": "macro_auc"}, {"name": "mean_average_precision"})
    results = scored(
        tmp_path, protocol, "case,x,y\na,1,0\nb,0,0\nc,1,0\n", "case,x,y\na,0.9,0.1\nb,0.2,0.1\nc,0.1,0.1\n"
    )
    summary = summarise(protocol, results)
    assert summary["macro_auc"]["per_label"]["x"]["mean"] == 0.5
    assert summary["macro_auc"]["per_label"]["y"]["mean"] is None
    assert summary["macro_auc"]["mean"] == 0.5
    assert summary["mean_average_precision"]["n_undefined"] == 1


def test_a_missing_score_is_the_most_wrong_there_is():
    assert area_under_roc([1, 1, 0, 0], [0.9, None, 0.1, 0.2]) == 0.5
    assert area_under_roc([1, 1, 0, 0], [0.9, 0.8, None, 0.2]) == 0.5


def test_measurements_are_off_by_so_many_percent(tmp_path):
    protocol = table_protocol(["LCC"], {"name": "mape"}, failed={"mape": 100})
    results = scored(tmp_path, protocol, "case,LCC\na,40\nb,50\nc,60\n", "case,LCC\na,42\nb,nan\nc,60\n")
    assert values(results, "mape") == {
        ("a", "LCC"): (5.0, ""), ("b", "LCC"): (100.0, "cell_invalid"), ("c", "LCC"): (0.0, ""),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("prediction", "reason"),
    [
        (b"\xff\xfe", "table_invalid"),
        ('case,grade\n"a,1\n', "table_invalid"),
        ("grade\n1\n", "table_columns"),
        ("case,case\na,1\n", "table_columns"),
        ("", "table_columns"),
        ("case," + ",".join(map(str, range(600))) + "\n", "table_columns"),
        ("case,grade\na,1\na,2\n", "table_rows"),
        ("case,grade\na\n", "table_rows"),
        ("case,grade\na," + "1" * 100_001 + "\n", "table_rows"),
    ],
)
def test_what_is_not_a_table_fails_every_row_with_a_reason(tmp_path, prediction, reason):
    results = scored(tmp_path, table_protocol(["grade"], {"name": "accuracy"}), "case,grade\na,1\n", prediction)
    assert values(results, "accuracy")["a", "grade"] == (0.0, f"output_invalid:{reason}")


def test_a_failed_run_fails_every_row_and_a_bad_reference_is_ours(tmp_path):
    protocol = table_protocol(["LCC"], {"name": "mape"}, failed={"mape": 100})
    results = scored(tmp_path, protocol, "case,LCC\na,40\n", None, failure="timeout")
    assert values(results, "mape")["a", "LCC"] == (100.0, "timeout")
    with pytest.raises(InvalidReference):
        scored(tmp_path, protocol, "case,LCC\na,0\n", "case,LCC\na,1\n")


def test_the_command_scores_tables_too(tmp_path):
    (tmp_path / "p.yaml").write_text(
        "protocol: 1\nname: t\nlabels: {grade: {}}\noutputs: [{name: a, kind: table, file: a.csv}]\nmetrics: [{name: accuracy}]\n"
    )
    for name in ("reference", "prediction"):
        (tmp_path / f"{name}.csv").write_text("case,grade\na,1\nb,2\n")
    ended = CliRunner().invoke(cli.evaluate, [
        "--protocol", str(tmp_path / "p.yaml"), "--references", str(tmp_path / "reference.csv"),
        "--predictions", str(tmp_path / "prediction.csv"), "-o", str(tmp_path / "s.csv"), "--strict",
    ])  # fmt: skip
    assert ended.exit_code == 0, ended.output
    assert "1.0000" in ended.output


# Multiple choice


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(C)", "C"),
        ("The answer is **D**.", "D"),
        ("I think the correct answer is A, since B and C are excluded by the findings.", "A"),
        ("B. Normal", "B"),
        ("Normal", "B"),
        ("It looks like oedema", "C"),
        ("Pneumonia or Normal", None),
        ("A or B", None),
        ("Sorry, I can't help with that. A", None),
        ("", None),
        ("A patient was seen and nothing at all was found that would explain the findings so I will not say", None),
    ],
)
@pytest.mark.checked(
    "gmai-mmbench",
    what="letters read from free text",
    source="VLMEvalKit vlmeval/utils/matching_util.py",
)
def test_free_text_becomes_a_letter_or_nothing(text, letter):
    assert parse_choice(text, options=OPTIONS) == letter


def test_answers_are_scored_against_the_options_of_their_question(tmp_path):
    protocol = table_protocol(["answer"], {"name": "choice_accuracy"})
    reference = "case,answer,A,B,C,D\nq1,B,Pneumonia,Normal,Oedema,Fracture\nq2,A,Liver,Spleen,,\nq3,A,x1,x2,,\n"
    results = scored(
        tmp_path, protocol, reference, 'case,answer\nq1,"I say: Normal"\nq2,the answer is (B)\nq3,who knows\n'
    )
    assert [value for value, _ in values(results, "choice_accuracy").values()] == [1.0, 0.0, 0.0]


# Interactions


@pytest.mark.checked(
    "cvpr25-interactive",
    what="areas over interactions by hand",
    source="CVPR25_iter_eval.py",
)
def test_the_area_over_five_interactions_is_at_most_four():
    assert area_over_rounds([1.0] * 5) == 4.0
    assert area_over_rounds([0.0, 0.5, 1.0]) == 1.0
    assert area_over_rounds([0.7]) == 0.0


def test_a_case_is_followed_over_its_interactions(tmp_path):
    """Dice 0 (nothing yet), 0.5, kept 0.5 where nothing was written, then 1: area 0.25 + 0.5 + 0.75."""
    shape = (12, 12, 12)
    full, third = (
        box(shape, (0, 9), (0, 4), (0, 4)).astype(np.uint8),
        box(shape, (0, 3), (0, 4), (0, 4)).astype(np.uint8),
    )
    protocol = load_protocol({
        "protocol": 1,
        "name": "clicks",
        "labels": {"lesion": 1},
        "outputs": [{"name": "mask", "kind": "label_map", "file": "mask.nii.gz"}],
        "metrics": [{"name": "dice"}, {"name": "dice_auc"}],
    })  # fmt: skip
    reference = {"r": save_nifti(tmp_path / "r.nii.gz", full)}
    partial = {"mask": save_nifti(tmp_path / "partial.nii.gz", third)}
    final = {"mask": save_nifti(tmp_path / "final.nii.gz", full)}
    result = score_case(
        protocol=protocol, case_id="c", references=reference, predictions=final, earlier_rounds=[None, partial, None]
    )
    found = {row.metric: row.value for row in result.rows}
    rounds = {"dice@0": 0.0, "dice@1": 0.5, "dice@2": 0.5}
    assert found == {"dice": 1.0, "dice_auc": pytest.approx(0.25 + 0.5 + 0.75), **rounds}


def test_an_area_needs_the_metric_it_follows():
    with pytest.raises(ProtocolError, match="dice_auc without dice"):
        load_protocol({
            "protocol": 1, "name": "x", "labels": {"a": 1}, "metrics": [{"name": "dice_auc"}],
            "outputs": [{"name": "m", "kind": "label_map", "file": "m.nii.gz"}],
        })  # fmt: skip


def test_a_table_is_not_scored_case_by_case(tmp_path):
    with pytest.raises(EvaluatorError, match="score_table"):
        score_case(protocol=table_protocol(["grade"], {"name": "accuracy"}), case_id="a", references={}, predictions={})


# Untrusted tables


FORM = TableForm(columns=("grade",))


def canonical(tmp_path, content, *, form=FORM, names=None):
    source, target = tmp_path / "untrusted", tmp_path / "ours.csv"
    source.write_bytes(content)
    made = canonicalise_table(source=source, destination=target, form=form, names=names or {"x1": "a", "x2": "b"})
    return made.path.read_text()


def test_an_untrusted_table_keeps_only_what_was_asked_for_under_our_names(tmp_path):
    content = b"\xef\xbb\xbfnotes,case,grade\nsecret,x2,2\nmore,x9,9\n=cmd(),x1, 1 \n"
    assert canonical(tmp_path, content) == "case,grade\na, 1 \nb,2\n"


def test_a_table_separated_by_tabs_may_hold_commas(tmp_path):
    form = TableForm(columns=("grade",), delimiter="\t")
    assert canonical(tmp_path, b"case\tgrade\nx1\tB, I think\n", form=form) == 'case,grade\na,"B, I think"\n'


def test_a_case_without_a_row_is_left_out(tmp_path):
    assert canonical(tmp_path, b"case,grade\nx1,5\n") == "case,grade\na,5\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"case,grade\nx1,1\nx1,2\n", Reason.TABLE_ROWS),
        (b"case,other\nx1,5\n", Reason.TABLE_COLUMNS),
        (b"\x00\xff", Reason.TABLE_INVALID),
        (b"PK\x03\x04" + bytes(100), Reason.TABLE_COLUMNS),
        (b"," * 40_000_000, Reason.READER_LIMIT),
        (b"case,grade\n" + b"x,1\n" * 2, Reason.TABLE_ROWS),
    ],
)
def test_an_untrusted_table_is_refused_by_a_process_of_its_own_with_a_reason(tmp_path, content, reason):
    limits = replace(CHILD_LIMITS, memory_bytes=400 << 20)
    (tmp_path / "untrusted").write_bytes(content)
    with pytest.raises(InvalidVolume) as refusal:
        canonicalise_table(
            source=tmp_path / "untrusted", destination=tmp_path / "ours.csv", form=FORM, names={}, limits=limits
        )
    assert refusal.value.reason == reason
    assert not (tmp_path / "ours.csv").exists()


def test_a_table_that_is_a_link_is_never_opened(tmp_path):
    (tmp_path / "hidden.csv").write_text("case,grade\nx1,1\n")
    (tmp_path / "untrusted").symlink_to(tmp_path / "hidden.csv")
    with pytest.raises(InvalidVolume) as refusal:
        canonicalise_table(source=tmp_path / "untrusted", destination=tmp_path / "o.csv", form=FORM, names={})
    assert refusal.value.reason == Reason.NOT_A_REGULAR_FILE


@pytest.mark.parametrize("text", ["1_000", "0x10", "infinity", "nan", "1e999", "１", "", "1 2", "1,5"])
def test_a_cell_that_is_no_plain_number_is_worth_nothing(tmp_path, text):
    protocol = table_protocol(["LCC"], {"name": "mape"}, failed={"mape": 100})
    (result,) = scored(tmp_path, protocol, "case,LCC\na,40\n", f'case,LCC\na,"{text}"\n')
    assert values([result], "mape")["a", "LCC"] == (100.0, "cell_invalid")
