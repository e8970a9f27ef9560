"""One page per metric: picture, formula, options, edge cases, other libraries, and the protocols that use it.

Everything but the sentences of `metric_notes.yaml` comes from the registry, the conventions, the presets and the protocols. Every
number of a picture is computed by the evaluator.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pictures
import yaml
from markdown_text import code, contents, table
from pictures import Mask, boxes

import evaluator
from evaluator.metrics.classification import (
    brier_of_rows,
    calibration_of_rows,
    concordance_of_rows,
    kappa_of_rows,
    log_loss_of_rows,
    mean_over_rows,
    precisions_of_rows,
    wins_of_rows,
)
from evaluator.metrics.findings import CaseFindings
from evaluator.metrics.registry import REGISTRY, Direction, Metric, Scope
from evaluator.protocol import Protocol, load_named_protocol, named_protocols
from evaluator.protocol.conventions import Situation, Worth, default_value
from evaluator.protocol.definitions import PRESETS
from evaluator.volumes.findings import Finding

FOLDER = "reference/metrics"
NOTES = Path(__file__).with_name("metric_notes.yaml")
TOLERANCE_MM = 1.0
DIRECTIONS = {
    Direction.MAX: "higher is better",
    Direction.MIN: "lower is better",
    Direction.NONE: "not ranked by itself",
}
SCOPES = {
    Scope.LABEL: "one value per label and case",
    Scope.CASE: "one value per case, measured while the algorithm ran",
    Scope.COHORT: "one value per submission, a ratio of sums over all cases",
    Scope.TABLE: "one value per row of a table of answers",
    Scope.ROUNDS: "one value per label and case, over all rounds of an interactive case",
    Scope.EXTERNAL: "one value per case or label, from the organizers' metric image",
}
SITUATIONS = {
    Situation.BOTH_EMPTY: "the structure is absent, and nothing was predicted",
    Situation.REFERENCE_EMPTY: "the structure is absent, and something was predicted",
    Situation.PREDICTION_EMPTY: "the structure is there, and nothing was predicted",
    Situation.FAILED: "there is no usable prediction (missing, damaged, wrong grid, time-out …)",
}
SMALL, WIDE = (8, 12), (10, 26)
BOX = boxes(SMALL, (2, 6, 3, 9))
STRUCTURE = (
    ("shifted by one voxel", BOX, boxes(SMALL, (2, 6, 4, 10))),
    ("half of it missed", BOX, boxes(SMALL, (2, 4, 3, 9))),
    ("an island far away", BOX, boxes(SMALL, (2, 6, 3, 9), (7, 8, 11, 12))),
)
TWO_LESIONS = boxes(WIDE, (1, 5, 1, 6), (1, 4, 20, 23))
LESIONS = (
    ("one found, one missed, one false", TWO_LESIONS, boxes(WIDE, (1, 5, 2, 6), (8, 10, 10, 12))),
    ("both found", TWO_LESIONS, boxes(WIDE, (1, 5, 2, 6), (1, 4, 20, 23))),
)
RING = boxes(SMALL, (1, 7, 3, 9), emptied=[(3, 5, 5, 7)])
TOPOLOGY = (
    ("the same shape", RING, RING),
    ("ring opened", RING, boxes(SMALL, (1, 7, 3, 9), emptied=[(3, 5, 5, 9)])),
    ("fallen into two parts", RING, boxes(SMALL, (1, 3, 3, 9), (5, 7, 3, 9))),
)
LESION_NAMES = ("lesion_", "f1_at_iou", "matched_", "pooled_f1")
TOPOLOGY_NAMES = ("euler_", "betti")
TRUTH = (1.0, 1.0, 0.0, 1.0, 0.0, 0.0)
SCORES = (0.9, 0.7, 0.6, 0.55, 0.3, 0.2)


@cache
def notes() -> Mapping[str, Mapping[str, str]]:
    """What only people know: a formula as it is written by hand, when to use the metric, and what other libraries do."""
    read: Mapping[str, Mapping[str, str]] = yaml.safe_load(NOTES.read_text(encoding="utf-8"))
    return read


@cache
def protocols() -> tuple[Protocol, ...]:
    """Every protocol that ships."""
    return tuple(load_named_protocol(name) for name in named_protocols())


def pages() -> Iterator[tuple[str, str]]:
    """The overview and a page per metric."""
    rows = [
        (
            f"[{metric.title}]({metric.name}.md)",
            code(metric.name),
            metric.unit or "–",
            DIRECTIONS[metric.direction],
            metric.definition,
        )
        for metric in REGISTRY.values()
    ]
    yield (
        f"{FOLDER}/index.md",
        f"# Metrics\n\n{notes()['overview']['text']}\n\n"
        + table(("metric", "name in a protocol", "unit", "direction", "definition"), rows)
        + "\n\n"
        + contents(*REGISTRY)
        + "\n",
    )
    for metric in REGISTRY.values():
        yield f"{FOLDER}/{metric.name}.md", _page(metric)


def _page(metric: Metric) -> str:
    note = _note(metric)
    parts = [
        f"# {metric.title}",
        f"`{metric.name}`: {DIRECTIONS[metric.direction]}; {SCOPES[metric.scope]}.",
        note.get("words", ""),
        _picture(metric),
        "## Formula",
        _formula(note.get("formula") or metric.definition),
        f"In the registry: {_plain(metric.definition)}. Source: {metric.source}.",
        "R is the set of voxels of the reference and P that of the prediction." if "|R" in metric.definition else "",
        _facts(metric),
        "## Options" if metric.options else "",
        _options(metric),
        "## Edge cases",
        _edges(metric),
        "## In other libraries",
        _others(metric, note),
        "## Protocols that use it",
        _users(metric),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _note(metric: Metric) -> Mapping[str, str]:
    """The note of this metric, over the note of its family."""
    found: dict[str, str] = {}
    for name, note in notes().items():
        if name.endswith("*") and metric.name.startswith(name[:-1]):
            found |= note
    return found | notes().get(metric.name, {})


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def _formula(text: str) -> str:
    """A block whose long lines go on below (`.formula` in docs/assets/assay.css)."""
    return f"{{.formula}}\n```text\n{text.rstrip()}\n```"


def _facts(metric: Metric) -> str:
    low = "−∞" if metric.lower is None else f"{metric.lower:g}"
    high = "∞" if metric.upper is None else f"{metric.upper:g}"
    rows = [
        ("range", f"{low} … {high}"),
        ("unit", metric.unit or "none"),
        ("value of a perfect answer", _worth(metric.best)),
        ("value of no answer", _worth(metric.worst)),
        ("needs a tolerance per label", "yes" if metric.needs_tolerance else "no"),
    ]
    return table(("fact", "value"), rows)


def _options(metric: Metric) -> str:
    rows = [
        (code(name), "none" if option.default is None else code(option.default), option.expected)
        for name, option in metric.options.items()
    ]
    return table(("option", "default", "may be"), rows) if rows else ""


def _edges(metric: Metric) -> str:
    rows = [
        (code(situation), meaning, _worth(default_value(metric, situation)))
        for situation, meaning in SITUATIONS.items()
    ]
    return (
        "What the value is when the formula cannot say. A protocol may set each cell. These are the defaults:\n\n"
        + table(("situation", "means", "value"), rows)
        + "\n\n`computed` means that the formula itself gives the value. `diagonal` is the diagonal of the case in mm. Every value that "
        "comes from this table is stored with the situation as its reason."
    )


def _worth(worth: Worth) -> str:
    if worth is None:
        return "none: the protocol must state one"
    return {"compute": "computed", "diagonal": "diagonal"}.get(
        str(worth), f"{worth:g}" if isinstance(worth, float) else str(worth)
    )


def _others(metric: Metric, note: Mapping[str, str]) -> str:
    rows = []
    for preset in PRESETS.values():
        settings = preset.options.get(metric.name, {})
        worths = {
            str(situation): table[metric.name]
            for situation, table in preset.conventions.items()
            if metric.name in table
        }
        if settings or worths:
            said = [f"{key} {value}" for key, value in settings.items()]
            said += [f"{situation}: {'undefined' if worth is None else worth}" for situation, worth in worths.items()]
            rows.append((code(preset.name), "; ".join(said), preset.source))
    text = note.get("others", "")
    if rows:
        text += (
            "\n\nA protocol asks for the definition of another library or challenge by its preset. For this metric the presets set:\n\n"
            + table(("preset", "sets", "follows"), rows)
        )
    return text.strip() or "No difference is known. If you find one, please report it."


def _users(metric: Metric) -> str:
    users = [protocol for protocol in protocols() if any(spec.metric.name == metric.name for spec in protocol.metrics)]
    links = [f"[{protocol.name}](../protocols/{protocol.name}.md)" for protocol in users]
    return ", ".join(links) or "None of the protocols that ship uses it."


def _picture(metric: Metric) -> str:
    if metric.scope is Scope.LABEL:
        return _scenes(metric)
    if metric.scope is Scope.COHORT:
        return _pooled(metric)
    if metric.scope in (Scope.CASE, Scope.ROUNDS):
        return _curve(metric)
    return ANSWERS[metric.name]() if metric.name in ANSWERS else ""


def _setting(metric: Metric) -> tuple[Any, float]:
    """The scenes that show this metric, and the size of their voxels in mm."""
    if metric.name.startswith(LESION_NAMES):
        return LESIONS, 8.0
    return (TOPOLOGY if metric.name.startswith(TOPOLOGY_NAMES) else STRUCTURE), 1.0


def _score(names: tuple[str, ...], reference: Mask, prediction: Mask, spacing: float) -> list[float]:
    answer = evaluator.evaluate(
        reference=reference, prediction=prediction, spacing_mm=(spacing, spacing), labels={"structure": 1},
        metrics=names, tolerance_mm=TOLERANCE_MM,
    )  # fmt: skip
    assert not isinstance(answer, list)
    values = [answer.value("structure", name) for name in names]
    return [float("nan") if value is None else value for value in values]


def _scenes(metric: Metric) -> str:
    scenes, spacing = _setting(metric)
    drawn = []
    for title, reference, prediction in scenes:
        (value,) = _score((metric.name,), reference, prediction, spacing)
        drawn.append(
            (title, reference, prediction, f"{metric.title} = {value:.3g}{' ' + metric.unit if metric.unit else ''}")
        )
    caption = f"Filled: reference. Outlined: prediction. One cell is {spacing:g} mm wide"
    caption += f", tolerance {TOLERANCE_MM:g} mm" if metric.needs_tolerance else ""
    return (
        pictures.panels(drawn, label=f"{metric.title} of {len(drawn)} examples")
        + f"\n\n*{caption}. The evaluator computed the values.*"
    )


def _pooled(metric: Metric) -> str:
    assert metric.pooled is not None
    scenes, spacing = _setting(metric)
    names = tuple(dict.fromkeys([*metric.pooled.numerator, *metric.pooled.denominator]))
    sums = dict.fromkeys(names, 0.0)
    drawn = []
    for number, (title, reference, prediction) in enumerate(scenes[:2], start=1):
        counts = dict(zip(names, _score(names, reference, prediction, spacing), strict=True))
        sums = {name: sums[name] + counts[name] for name in names}
        drawn.append((f"case {number}: {title}", reference, prediction, ""))
    above = sum(weight * sums[name] for name, weight in metric.pooled.numerator.items())
    below = sum(weight * sums[name] for name, weight in metric.pooled.denominator.items())
    drawn = [(title, reference, prediction, f"together: {above:g} / {below:g} = {above / below:.3g}" if number == 0 else "")
             for number, (title, reference, prediction, _) in enumerate(drawn)]  # fmt: skip
    return (
        pictures.panels(drawn, label=f"{metric.title} of two cases")
        + "\n\n*Filled: reference. Outlined: prediction. The evaluator counted.*"
    )


def _curve(metric: Metric) -> str:
    if metric.scope is Scope.ROUNDS:
        values = (0.62, 0.74, 0.81, 0.85, 0.87, 0.88)
        return pictures.curve(values, floor=0, label="A metric after each interaction", marks=(), axis="interactions →")
    values = (0.2, 0.8, 1.6, 2.4, 2.4, 3.1, 2.9, 3.0, 2.2, 0.4)
    marks = {
        "peak_memory_mb": ((3.1, "peak"),), "gpu_memory_mb": ((3.1, "peak"),), "gpu_stable_memory_mb": ((3.0, "stable peak"),),
        "gpu_memory_mb_seconds": ((1.0, "free_mb"),),
    }.get(metric.name, ())  # fmt: skip
    is_area = metric.name.endswith("_seconds") and metric.name not in ("wall_seconds", "cpu_seconds")
    floor = 1.0 if metric.name == "gpu_memory_mb_seconds" else 0.0 if is_area else max(values)
    picture = pictures.curve(
        values, floor=floor, label="A reading over the time of one case run", marks=marks, axis="time of one case run →"
    )
    return picture + ("\n\n*The filled area is the value.*" if is_area else "")


def _auc() -> str:
    value = mean_over_rows(wins_of_rows(TRUTH, SCORES))
    return _table_picture("area under the ROC curve", value)


def _precision() -> str:
    return _table_picture("average precision", mean_over_rows(precisions_of_rows(TRUTH, SCORES)))


def _errors(power: int) -> str:
    lines = [("case 1", "20.0", "22.0", f"{2**power}"), ("case 2", "40.0", "39.0", "1")]
    picture = pictures.rows(("row", "reference", "prediction", "error"), lines, label="two measurements")
    return picture + f"\n\n*The mean of both errors: {(2**power + 1) / 2:g}.*"


def _of_rows(name: str, rows_of: Callable[[Sequence[float], Sequence[float | None]], list[float | None]]) -> str:
    return _table_picture(name, mean_over_rows(rows_of(TRUTH, SCORES)))


def _survival() -> str:
    lines = [("case 1", "event at 3", "0.9"), ("case 2", "event at 5", "0.4"), ("case 3", "none up to 8", "0.6")]
    value = mean_over_rows(concordance_of_rows([3.0, 5.0, -8.0], [0.9, 0.4, 0.6]))
    picture = pictures.rows(("row", "reference", "risk"), lines, label="two of three pairs are in the right order")
    return picture + f"\n\n*Three comparable pairs: concordance = {value:.4g}. The evaluator computed it.*"


def _grades() -> str:
    truth, graded = [0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 3.0, 3.0]
    lines = [(f"case {i}", f"{r:g}", f"{p:g}") for i, (r, p) in enumerate(zip(truth, graded, strict=True), 1)]
    value = mean_over_rows(kappa_of_rows(truth, list(graded)))
    picture = pictures.rows(("row", "reference", "grade"), lines, label="one of four grades is one too high")
    return picture + f"\n\n*Quadratic kappa = {value:.4g}. The evaluator computed it.*"


def _table_picture(name: str, value: float | None) -> str:
    lines = [
        (f"row {number}", "positive" if truth else "negative", f"{score:g}")
        for number, (truth, score) in enumerate(zip(TRUTH, SCORES, strict=True), 1)
    ]
    return (
        pictures.rows(("row", "reference", "score"), lines, label=name)
        + f"\n\n*One column of a table: {name} = {value:.4g}. The evaluator computed it.*"
    )


def _answers() -> str:
    lines = [("case 1", "B", "✓ B"), ("case 2", "D", "✗ A"), ("case 3", "A", "✓ A"), ("case 4", "C", "✓ C")]
    return (
        pictures.rows(("row", "reference", "answer"), lines, label="three of four answers are right")
        + "\n\n*Three of four rows are right: 0.75.*"
    )


def _measurements() -> str:
    lines = [("case 1", "20.0 mm", "22.0 mm", "10 %"), ("case 2", "40.0 mm", "38.0 mm", "5 %")]
    return (
        pictures.rows(("row", "reference", "prediction", "error"), lines, label="two measurements")
        + "\n\n*The mean of both errors: 7.5 %.*"
    )


def _findings(name: str) -> str:
    """Two cases: a nodule that is found, one that is missed, one false answer."""
    found = Finding((0.0, 0.0, 0.0), diameter=10.0)
    cases = [
        CaseFindings((found, Finding((40.0, 0.0, 0.0), diameter=6.0)), (Finding((1.0, 0.0, 0.0), 0.9),)),
        CaseFindings((), (Finding((7.0, 7.0, 7.0), 0.4),)),
    ]
    metric = REGISTRY[name]
    options = {key: option.default for key, option in metric.options.items()} | {"rule": "each"}
    assert metric.over_findings is not None
    value = mean_over_rows(metric.over_findings(cases, options))
    lines = [("case 1", "0 0 0 10; 40 0 0 6", "1 0 0 0.9"), ("case 2", "nothing", "7 7 7 0.4")]
    picture = pictures.rows(
        ("row", "reference", "answer"), lines, label="one finding found, one missed, one false answer"
    )
    return (
        picture
        + f"\n\n*Points with a diameter, answers with a confidence: {metric.title} = {value:.4g}. The evaluator computed it.*"
    )


def _landmarks() -> str:
    lines = [("case 1", "10 20 30", "11 22 32", "3 mm"), ("case 2", "12 21 30", "12 21 31", "1 mm")]
    picture = pictures.rows(("row", "reference", "answer", "error"), lines, label="one landmark in two cases")
    return picture + "\n\n*The mean error is 2 mm. One of two is within 2 mm.*"


ANSWERS: Mapping[str, Callable[[], str]] = {
    "macro_auc": _auc, "mean_average_precision": _precision, "accuracy": _answers, "choice_accuracy": _answers, "mape": _measurements,
    "balanced_accuracy": _answers, "absolute_error": lambda: _errors(1), "squared_error": lambda: _errors(2), "concordance": _survival,
    **{name: partial(_findings, name) for name in ("finding_precision", "froc", "finding_sensitivity", "finding_auc")},
    "landmark_error": _landmarks, "landmark_hit": _landmarks, "quadratic_kappa": _grades,
    "brier": lambda: _of_rows("Brier score", brier_of_rows),
    "log_loss": lambda: _of_rows("log loss", log_loss_of_rows),
    "calibration_error": lambda: _of_rows("calibration error", calibration_of_rows),
}  # fmt: skip
