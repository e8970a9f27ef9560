"""One picture per case: three planes through the worst surface error, contours, an error map and the scores of every label.

The worst error is the surface element furthest from the other surface, over all labels. The upper row shows contours (reference
solid, prediction dashed), the lower row where the two disagree, for all labels together. Colours are Okabe and Ito's, which
people with any colour vision can tell apart.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluator.arrays import Mask
from evaluator.backends import nearest_distances
from evaluator.backends.reference import surface_elements
from evaluator.errors import UnavailableBackend
from evaluator.protocol import LabelSpec, Protocol
from evaluator.results import CaseResult
from evaluator.scoring.pairing import CaseFiles
from evaluator.scoring.structures import for_reference, label_masks, reference_grid
from evaluator.volumes.geometry import Grid

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
_AGREE, _MISSED, _INVENTED = "#DDDDDD", "#0072B2", "#D55E00"
_AXES = "xyz"
MAX_TABLE_ROWS = 16


@dataclass(frozen=True)
class WorstError:
    """Where the two surfaces of any label are furthest apart."""

    label: str
    voxel: tuple[int, ...]
    distance_mm: float


@dataclass(frozen=True)
class LabelMasks:
    """Both masks of one label."""

    label: LabelSpec
    reference: Mask
    prediction: Mask


def draw_case(*, protocol: Protocol, case: CaseFiles, result: CaseResult, path: Path) -> None:
    """Write the PNG panel of one case that has a usable prediction."""
    grid = reference_grid(case.references)
    protocol = for_reference(protocol, case.references)
    masks = [
        LabelMasks(label, reference, prediction)
        for label, reference, prediction in label_masks(
            protocol=protocol, references=case.references, predictions=case.predictions
        )
    ]
    worst = find_worst_error(masks, grid=grid)
    figure = _new_figure()
    panels = figure.subplots(3, 3, height_ratios=[3, 3, 1 + 0.22 * min(len(protocol.labels), MAX_TABLE_ROWS)])
    for axis in range(3):
        if axis < len(grid.shape) - (len(grid.shape) == 2):
            _draw_plane(panels[0][axis], panels[1][axis], masks, axis=axis, worst=worst, grid=grid)
    for panel in panels.ravel():
        panel.set_axis_off()
    _draw_table(figure.add_subplot(3, 1, 3), protocol, result)
    figure.suptitle(
        f"{case.case_id}: largest surface error {worst.distance_mm:.1f} mm at {worst.label}",
        x=0.02,
        ha="left",
        fontsize=11,
    )
    figure.savefig(path, dpi=110)


def find_worst_error(masks: list[LabelMasks], *, grid: Grid) -> WorstError:
    """The surface element furthest from the other surface. The middle of the volume where no label has two surfaces."""
    worst = WorstError("no label", tuple(length // 2 for length in grid.shape), 0.0)
    for item in masks:
        in_reference, _ = surface_elements(item.reference)
        in_prediction, _ = surface_elements(item.prediction)
        for sources, targets in ((in_reference, in_prediction), (in_prediction, in_reference)):
            if not len(sources) or not len(targets):
                continue
            distances = nearest_distances(sources=sources, targets=targets, spacing_mm=grid.spacing_mm)
            furthest = int(distances.argmax())
            if distances[furthest] > worst.distance_mm:
                voxel = np.minimum(sources[furthest], np.array(grid.shape) - 1)
                worst = WorstError(item.label.name, tuple(int(index) for index in voxel), float(distances[furthest]))
    return worst


def _draw_plane(
    contours: Any, errors: Any, masks: list[LabelMasks], *, axis: int, worst: WorstError, grid: Grid
) -> None:
    """One plane through the worst error: contours above, agreement below."""
    kept = [other for other in range(len(grid.shape)) if other != axis]
    aspect = grid.spacing_mm[kept[1]] / grid.spacing_mm[kept[0]]
    where = f"{_AXES[axis]} = {worst.voxel[axis]}" if axis < len(grid.shape) else "the whole image"
    agreement = np.zeros(tuple(grid.shape[other] for other in kept), np.uint8)
    for index, item in enumerate(masks):
        reference, prediction = _plane(item.reference, axis, worst), _plane(item.prediction, axis, worst)
        colour = _COLOURS[index % len(_COLOURS)]
        for mask, style in ((reference, "solid"), (prediction, "dashed")):
            if mask.any() and not mask.all():
                contours.contour(mask.T.astype(float), levels=[0.5], colors=colour, linestyles=style, linewidths=1.0)
        agreement[reference & prediction & (agreement == 0)] = 1
        agreement[reference & ~prediction] = 2
        agreement[~reference & prediction & (agreement != 2)] = 3
    errors.imshow(_coloured(agreement).transpose(1, 0, 2), origin="lower", aspect=aspect, interpolation="nearest")
    contours.set_title(where, fontsize=9)
    (left, right), (low, high) = (
        _extent(np.flatnonzero(agreement.any(axis=1 - side)), worst.voxel[kept[side]]) for side in (0, 1)
    )
    for panel in (contours, errors):
        panel.set(aspect=aspect, xlim=(left, right), ylim=(low, high))
        panel.plot(worst.voxel[kept[0]], worst.voxel[kept[1]], marker="+", color="black", markersize=9)
    errors.set_title("grey: agree, blue: missed, orange: invented", fontsize=8)


def _extent(used: npt.NDArray[np.intp], marked: int) -> tuple[float, float]:
    """What to show along one axis: everything that is labelled, the marked voxel, and a margin."""
    inside = [*used.tolist(), marked]
    margin = 1 + (max(inside) - min(inside)) * 0.05
    return min(inside) - margin, max(inside) + margin


def _plane(mask: Mask, axis: int, worst: WorstError) -> Mask:
    if axis >= mask.ndim:
        return mask
    plane: Mask = np.take(mask, worst.voxel[axis], axis=axis)
    return plane


def _coloured(agreement: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    palette = [(255, 255, 255)]
    palette += [tuple(bytes.fromhex(colour[1:])) for colour in (_AGREE, _MISSED, _INVENTED)]  # type: ignore[misc]  # 3 bytes
    return np.array(palette, np.uint8)[agreement]


def _draw_table(panel: Any, protocol: Protocol, result: CaseResult) -> None:
    """Scores of every label. The labels with the lowest first metric when there are too many."""
    panel.set_axis_off()
    ids = [spec.id for spec in protocol.metrics if not spec.metric.pooled]
    rows: dict[str, list[str]] = {}
    for row in result.rows:
        if row.metric in ids:
            text = "–" if row.value is None else f"{row.value:.4g}"
            rows.setdefault(row.label, []).append(f"{text} {row.reason}".strip())
    shown = list(rows.items())[:MAX_TABLE_ROWS]
    if len(shown[0][1]) != len(ids):
        return
    table = panel.table(
        cellText=[cells for _, cells in shown],
        rowLabels=[label for label, _ in shown],
        colLabels=ids,
        loc="center",
        edges="horizontal",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    order = [label.name for label in sorted(protocol.labels, key=lambda label: label.channel or 0)]
    for number, (label, _) in enumerate(shown, start=1):
        table[number, -1].get_text().set_color(_COLOURS[order.index(label) % len(_COLOURS)])


def _new_figure() -> Any:
    """A figure of its own, without pyplot's global state or a display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UnavailableBackend("pictures need matplotlib: install `assay[reports]`") from None
    figure = Figure(figsize=(10, 9), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
