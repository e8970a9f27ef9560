"""Classes, probabilities, grades, measurements and survival in tables: equal to scikit-learn and to definitions written out."""

import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn import metrics as oracle

from evaluator.commands.evaluate import evaluate
from evaluator.errors import InvalidReference
from evaluator.metrics.classification import (
    brier_of_rows,
    calibration_of_rows,
    concordance_of_rows,
    delong_interval,
    kappa_of_rows,
    log_loss_of_rows,
    mean_over_rows,
)
from evaluator.protocol import load_protocol
from evaluator.scoring.case import summarise
from evaluator.scoring.tables import score_table


def columns(seed: int, *, grades: bool = False):
    random = np.random.default_rng(seed)
    n = int(random.integers(20, 80))
    if grades:
        return random.integers(0, 5, n).astype(float).tolist(), random.integers(0, 5, n).astype(float).tolist()
    y = random.integers(0, 2, n).astype(float)
    return y.tolist(), np.round(np.clip(0.3 * y + random.random(n) * 0.7, 0, 1), 2).tolist()


@pytest.mark.parametrize("seed", range(10))
def test_probabilities_score_as_scikit_learn_says(seed: int) -> None:
    y, p = columns(seed)
    assert mean_over_rows(brier_of_rows(y, p)) == pytest.approx(oracle.brier_score_loss(y, p), abs=1e-12)
    assert mean_over_rows(log_loss_of_rows(y, p)) == pytest.approx(oracle.log_loss(y, p), abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_quadratic_kappa_is_scikit_learns(seed: int) -> None:
    r, p = columns(seed, grades=True)
    expected = oracle.cohen_kappa_score(r, p, weights="quadratic")
    assert mean_over_rows(kappa_of_rows(r, p)) == pytest.approx(expected, abs=1e-9)


def test_kappa_is_one_for_equal_grades_and_undefined_where_nothing_varies() -> None:
    assert mean_over_rows(kappa_of_rows([0, 1, 2], [0, 1, 2])) == 1
    assert kappa_of_rows([1, 1], [1, 1]) == [None, None]
    worst = mean_over_rows(kappa_of_rows([0, 0, 4, 4], [None] * 4))
    assert worst == pytest.approx(oracle.cohen_kappa_score([0, 0, 4, 4], [4, 4, 0, 0], weights="quadratic"))


@pytest.mark.parametrize("seed", range(6))
def test_the_calibration_error_is_the_weighted_gap_of_ten_bins(seed: int) -> None:
    y, p = map(np.array, columns(seed))
    expected = 0.0
    for number in range(10):
        inside = (p >= number / 10) & ((p < (number + 1) / 10) | (number == 9))
        # The bins are those of floor(10 p): a probability of 0.3 belongs to 0.3 … 0.4.
        inside = np.minimum((p * 10).astype(int), 9) == number
        if inside.any():
            expected += inside.mean() * abs(p[inside].mean() - y[inside].mean())
    assert mean_over_rows(calibration_of_rows(y.tolist(), p.tolist())) == pytest.approx(expected, abs=1e-12)


def harrell(time, event, risk) -> float:
    """Every pair, as the definition reads."""
    right = pairs = 0.0
    for i, j in product(range(len(time)), repeat=2):
        if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
            pairs += 1
            right += 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
    return right / pairs


@pytest.mark.parametrize("seed", range(10))
def test_the_concordance_counts_every_comparable_pair(seed: int) -> None:
    random = np.random.default_rng(seed)
    time = random.integers(1, 15, 40).astype(float)
    event = random.integers(0, 2, 40).astype(bool)
    risk = np.round(random.random(40), 1)
    found = mean_over_rows(concordance_of_rows(np.where(event, time, -time).tolist(), risk.tolist()))
    assert found == pytest.approx(harrell(time, event, risk), abs=1e-12)


def test_a_row_without_a_risk_is_wrong_in_every_pair() -> None:
    assert mean_over_rows(concordance_of_rows([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])) == 1
    assert mean_over_rows(concordance_of_rows([1.0, 2.0, 3.0], [None, 2.0, 1.0])) == pytest.approx(1 / 3)
    assert concordance_of_rows([-1.0, -2.0], [1.0, 2.0]) == [None, None]


def test_the_delong_interval_is_that_of_the_definition() -> None:
    y, p = map(np.array, columns(3))
    ones, zeros = p[y == 1], p[y == 0]
    wins = (ones[:, None] > zeros[None]) + (ones[:, None] == zeros[None]) / 2
    variance = wins.mean(axis=1).var(ddof=1) / len(ones) + wins.mean(axis=0).var(ddof=1) / len(zeros)
    low, high = delong_interval(y.tolist(), p.tolist())
    assert (high - low) / 2 == pytest.approx(1.959963984540054 * math.sqrt(variance), rel=1e-9)
    assert (low + high) / 2 == pytest.approx(oracle.roc_auc_score(y, p), rel=1e-12)
    assert delong_interval([1, 0, 0], [0.5, 0.1, 0.2]) is None


def protocol(labels, *metrics):
    return load_protocol({
        "protocol": 1, "name": "t", "labels": {label: {} for label in labels}, "metrics": list(metrics),
        "outputs": [{"name": "answers", "kind": "table", "file": "answers.csv"}],
        "conventions": {"failed": {"absolute_error": 100, "squared_error": 10000}}
        if any(m["name"] == "absolute_error" for m in metrics) else {},
    })  # fmt: skip


def summary(folder: Path, labels, metrics, reference: str, prediction: str):
    (folder / "r.csv").write_text(reference)
    (folder / "p.csv").write_text(prediction)
    chosen = protocol(labels, *({"name": name} for name in metrics))
    return summarise(chosen, score_table(protocol=chosen, reference=folder / "r.csv", prediction=folder / "p.csv"))


def test_balanced_accuracy_over_classes_is_scikit_learns(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    truth = random.choice(3, 60, p=[0.6, 0.3, 0.1])
    scores = random.random((60, 3)) + np.eye(3)[truth] * 0.3
    header = "case,a,b,c\n"
    reference = header + "".join(f"x{i},{','.join(str(int(t == k)) for k in range(3))}\n" for i, t in enumerate(truth))
    prediction = header + "".join(f"x{i},{','.join(f'{s:.6f}' for s in row)}\n" for i, row in enumerate(scores))
    found = summary(tmp_path, "abc", ["balanced_accuracy"], reference, prediction)["balanced_accuracy"]
    expected = oracle.balanced_accuracy_score(truth, np.round(scores, 6).argmax(axis=1))
    assert found["mean"] == pytest.approx(expected, abs=1e-12)


def test_errors_of_measurements_are_means_over_cases(tmp_path: Path) -> None:
    found = summary(
        tmp_path, ["size"], ["absolute_error", "squared_error"], "case,size\na,10\nb,0\n", "case,size\na,12\nb,1\n"
    )
    assert found["absolute_error"]["mean"] == oracle.mean_absolute_error([10, 0], [12, 1])
    assert found["squared_error"]["mean"] == oracle.mean_squared_error([10, 0], [12, 1])


def test_survival_needs_a_column_of_events(tmp_path: Path) -> None:
    reference = "case,risk,event\na,1,1\nb,2,1\nc,3,0\n"
    prediction = "case,risk\na,0.9\nb,0.5\nc,0.7\n"
    found = summary(tmp_path, ["risk"], ["concordance"], reference, prediction)
    assert found["concordance"]["mean"] == pytest.approx(harrell([1, 2, 3], [1, 1, 0], [0.9, 0.5, 0.7]))
    with pytest.raises(InvalidReference, match="expected a time, and 0 or 1 in a column event"):
        summary(tmp_path, ["risk"], ["concordance"], "case,risk\na,1\nb,2\n", prediction)


def test_the_command_gives_auc_its_interval(tmp_path: Path) -> None:
    y, p = columns(5)
    (tmp_path / "r.csv").write_text("case,x\n" + "".join(f"c{i},{int(v)}\n" for i, v in enumerate(y)))
    (tmp_path / "p.csv").write_text("case,x\n" + "".join(f"c{i},{v}\n" for i, v in enumerate(p)))
    (tmp_path / "t.yaml").write_text(
        "protocol: 1\nname: t\nlabels: {x: {}}\nmetrics: [{name: macro_auc}]\n"
        "outputs: [{name: a, kind: table, file: a.csv}]\n"
    )
    result = CliRunner().invoke(
        evaluate,
        ["--protocol", str(tmp_path / "t.yaml"), "--references", str(tmp_path / "r.csv"), "--predictions",
         str(tmp_path / "p.csv"), "-o", str(tmp_path / "o.csv"), "--json", str(tmp_path / "o.json")],
        catch_exceptions=False,
    )  # fmt: skip
    assert result.exit_code == 0
    found = json.loads((tmp_path / "o.json").read_text())["summary"]["macro_auc"]["per_label"]["x"]
    assert found["interval"] == pytest.approx(delong_interval(y, p))
