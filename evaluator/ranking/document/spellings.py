"""What people call the columns of a score table: `Model` is the algorithm, `HD95 (mm)` is hd95, and N/A is no value.

A column that could mean two things is never guessed: the caller gets an error that names both readings.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

from evaluator.ranking.document.known import KNOWN_METRICS
from evaluator.ranking.errors import TableError

_KEYS = {
    "algorithm": (
        ("algorithm",),
        ("algorithm_name", "algorithm_id", "alg_name", "algo"),
        ("model", "model_name", "method", "method_name", "username", "user_name", "participant"),
        ("team", "team_name"),
    ),
    "case": (
        ("case",),
        ("case_id", "caseid", "case_name"),
        (
            "subject",
            "subject_id",
            "subject_name",
            "image",
            "image_id",
            "filename",
            "file_name",
            "name",
            "scan",
            "scan_id",
        ),
    ),
}
"""Key → its spellings, the plainest first. A later group is looked at only where no earlier one is found."""
_OTHER_KEYS = ("label", "metric", "value", "reason", "detail", "team")
RATERS = ("rater", "rater_id", "annotator", "annotator_id", "reader", "reader_id", "observer", "observer_id")
"""Columns that name whose reference a value was measured against."""
_SAME_METRIC = (
    (
        *("dice", "dsc", "dice_score", "dice_coefficient", "dice_similarity", "dice_similarity_coefficient"),
        *("dice_sorensen_coefficient", "sorensen_dice"),
    ),
    ("nsd", "surface_dice", "normalized_surface_dice", "normalised_surface_dice", "normalized_surface_distance"),
    ("iou", "jaccard", "jaccard_index", "intersection_over_union"),
    ("recall", "sensitivity"),
    ("volume_similarity", "volumetric_similarity", "vs"),
    ("hd", "hausdorff", "hausdorff_distance"),
    ("hd95", "95_hd", "95hd", "hausdorff_95", "hausdorff_distance_95", "95_hausdorff_distance", "hausdorff95"),
)
"""Names of one and the same metric. ASD and ASSD are not in one group: they are different distances."""
_UNIT = re.compile(r"\s*[(\[]\s*([^()\[\]]*)\s*[)\]]\s*$")
_MISSING = frozenset({"", "na", "nan", "null", "none", "n/a", "#n/a", "<na>", "-", "–", "—"})


def is_missing(text: str) -> bool:
    """Whether a cell says that there is no value: empty, NA, N/A, #N/A, <NA>, NaN, null, none or a dash."""
    return text.strip().lower() in _MISSING


def find_keys(header: Sequence[str]) -> dict[str, str]:
    """Column → key (`algorithm`, `case`, `label`, `metric`, `value`, `reason`, `team`) of the columns that are keys.

    Raises `TableError` where two columns could be the same key.
    """
    spelled = {name: re.sub(r"[\s_-]+", "_", name.strip().lower()) for name in header}
    keys = {name: text for name, text in spelled.items() if text in _OTHER_KEYS}
    for key, groups in _KEYS.items():
        for group in groups:
            found = [name for name, text in spelled.items() if text in group]
            if len(found) > 1:
                raise TableError(
                    f"found columns {' and '.join(found)}, which can both be the {key}; expected one of them named {key}"
                )
            if found:
                keys[found[0]] = key
                break
    return keys


def find_metric(text: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is spelled `text`, or `None`. Raises `TableError` where the unit is another one."""
    names = tuple(names)
    if text in names:
        return text
    unit = _UNIT.search(text)
    bare = text[: unit.start()] if unit else text
    short = _squeezed(bare)
    found = next((name for name in names if _squeezed(name) == short), None)
    group = next((group for group in _SAME_METRIC if short in map(_squeezed, group)), ())
    found = found or next((name for name in group if name in names), None)
    if found is not None and unit and found in KNOWN_METRICS and unit.group(1).strip() not in _units(found):
        raise TableError(
            f"found {text!r}; expected {found} in {KNOWN_METRICS[found].unit or 'no unit, as a share'}, or a column of another "
            "name that --config declares"
        )
    return found


def is_same_metric(one: str, other: str) -> bool:
    """Whether two names stand for one metric, as dice and dsc do."""
    return one == other or any(one in group and other in group for group in _SAME_METRIC)


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """`; did you mean hd95?`, or nothing where no name is close."""
    by_short = {_squeezed(name): name for name in names}
    close = difflib.get_close_matches(_squeezed(text), by_short, n=1, cutoff=0.7)
    return f"; did you mean {by_short[close[0]]}?" if close else ""


def _units(name: str) -> tuple[str, ...]:
    unit = KNOWN_METRICS[name].unit
    return (unit,) if unit else ("", "-", "0-1", "1")


def _squeezed(text: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKC", text).lower() if letter.isalnum())
