"""The same inputs for the published scripts and for our evaluator, on every machine: whole numbers and `random.Random.random` only."""

import hashlib
import json
import random
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]
SHAPE = (24, 20, 16)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A reference and a prediction: label maps of the axes (x, y, z)."""

    name: str
    reference: Mask
    prediction: Mask | None
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin_of_prediction: tuple[float, float, float] = (0.0, 0.0, 0.0)


def ball(value: int, centre: tuple[int, int, int], radius: int, *, on: Mask | None = None) -> Mask:
    """A ball of voxels, decided in whole numbers. `on` is drawn over and stays as it was elsewhere."""
    x, y, z = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 <= radius**2
    drawn = np.zeros(SHAPE, np.uint8) if on is None else on.copy()
    drawn[inside] = value
    return drawn


def speckled(mask: Mask, *, seed: int, share: float) -> Mask:
    """The mask with a share of its voxels, and of those beside it, changed to the value of a neighbour."""
    source = random.Random(seed)
    changed = mask.copy()
    shifted = np.roll(mask, 1, axis=seed % 3)
    for position in np.argwhere((mask != shifted) | (mask > 0)):
        if source.random() < share:
            changed[tuple(position)] = shifted[tuple(position)]
    return changed


def tumours() -> list[Case]:
    """Primary tumour (1) and nodes (2) at different voxel sizes, missed, invented, absent and perfect ones among them."""
    both = ball(2, (17, 12, 9), 3, on=ball(1, (7, 8, 7), 5))
    primary = ball(1, (10, 9, 8), 6)
    nodes = ball(2, (6, 6, 5), 2, on=ball(2, (16, 13, 10), 4))
    nothing = np.zeros(SHAPE, np.uint8)
    return [
        Case(name="MDA-001", reference=both, prediction=speckled(both, seed=1, share=0.3), spacing_mm=(1.0, 1.0, 3.0)),
        Case(name="MDA-002", reference=primary, prediction=speckled(both, seed=2, share=0.2), spacing_mm=(0.5, 0.5, 1.0)),
        Case(name="MDA-003", reference=nodes, prediction=speckled(nodes, seed=3, share=0.5), spacing_mm=(2.0, 2.0, 2.0)),
        Case(name="MDA-004", reference=both, prediction=nothing, spacing_mm=(1.0, 1.0, 1.0)),
        Case(name="MDA-005", reference=nothing, prediction=primary, spacing_mm=(0.75, 0.75, 1.5)),
        Case(name="MDA-006", reference=nodes, prediction=nodes, spacing_mm=(1.25, 1.0, 2.5)),
    ]  # fmt: skip


def volumes() -> list[Case]:
    """One structure per file: noise, both empty, one empty, values other than 1, another origin."""
    tumour = ball(1, (11, 9, 8), 6)
    nothing = np.zeros(SHAPE, np.uint8)
    return [
        Case(
            name="p1",
            reference=tumour,
            prediction=speckled(ball(1, (13, 9, 7), 5), seed=4, share=0.4),
            spacing_mm=(0.75, 0.75, 3.0),
        ),
        Case(name="p2", reference=tumour, prediction=ball(1, (14, 10, 8), 4), spacing_mm=(0.5, 1.0, 2.0)),
        Case(name="p3", reference=nothing, prediction=nothing),
        Case(name="p4", reference=nothing, prediction=tumour),
        Case(name="p5", reference=tumour, prediction=nothing),
        Case(name="p6", reference=tumour, prediction=tumour * np.uint8(7)),
        Case(name="p7", reference=tumour, prediction=ball(1, (11, 9, 10), 6), origin_of_prediction=(5.0, 0.0, 0.0)),
        Case(name="p8", reference=ball(1, (0, 0, 0), 4), prediction=ball(1, (1, 1, 0), 4), spacing_mm=(1.0, 2.0, 1.0)),
    ]


def scores_of_images(rows: int, columns: int, *, seed: int, digits: int = 3) -> list[list[float]]:
    """A table of probabilities rounded so that ties occur. Its rows do not add up to 1."""
    source = random.Random(seed)
    return [[round(source.random(), digits) for _ in range(columns)] for _ in range(rows)]


def classes_of_images(rows: int, columns: int, *, seed: int) -> list[int]:
    """One class per image, every class at least once."""
    source = random.Random(seed)
    return [row if row < columns else int(source.random() * columns) for row in range(rows)]


def findings_of_images(rows: int, columns: int, *, seed: int, absent: tuple[int, ...] = ()) -> list[list[int]]:
    """Findings of images that may occur together. The columns `absent` have none."""
    source = random.Random(seed)
    table = [[int(source.random() < 0.4) for _ in range(columns)] for _ in range(rows)]
    return [[0 if column in absent else value for column, value in enumerate(row)] for row in table]


OPTIONS = {"A": "Polyp", "B": "Normal mucosa", "C": "Adenocarcinoma", "D": "Ulcer", "E": "Diverticulum"}
TWO = {"A": "Benign", "B": "Malignant"}
ANSWERS: tuple[tuple[str, dict[str, str]], ...] = tuple(
    (text, options)
    for options in (OPTIONS, TWO)
    for text in (
        "A", "B", "C", "(C)", "B.", "a", "C: Adenocarcinoma", "D) Ulcer", "**B**", "Answer: D", "The answer is B", "the answer is b.",
        "The correct answer is **B**. Here is why: the mucosa looks smooth and even", "The answer is (C).", "The answer is: D",
        "The answer is E because of the outpouching that can be seen on the left side", "answer is Certainly unclear",
        "A polyp can be seen", "A polyp can be seen, so B", "I think it is A or B", "Polyp", "polyp and ulcer", "normal mucosa", "Ulcer.",
        "it is an ulcer", "This image shows an adenocarcinoma", "Option B, since the wall is thickened in this place here", "B or not B",
        "B, which is the option that fits the picture that was given here", "Sorry, I can't help with images of people yet. B",
        "I'm sorry, but without the image provided I choose C", "Cannot determine the answer", "cannot determine the answer, B",
        "I cannot process this file. B", "I can't process this file.", "Failed to obtain answer via API", "Z", "", "  ", "?", "F", "H",
        "[B]", "{C}", "#D", "B!", "A;B", "A,", "The options A and B are wrong, C is right", "Not A", "Benign", "benign or malignant",
        "The lesion is malignant", "malignant", "The lesion that is seen in the picture on the right side is in my opinion malignant",
        "Answer is \"B\"", "Final answer: \\boxed{B}", "answer is\nB", "The answer is **b**", "The answer is **(B)**",
        "My answer is A. It could have been B.", "Unable to determine, but B", "answer is Both", "ANSWER IS D", "A.B", "B B B",
    )
)  # fmt: skip
"""What language models write, and the options of the question."""


def fingerprint(thing: Any) -> str:
    """The SHA-256 of inputs, so that golden numbers are never compared over other inputs."""
    digest = hashlib.sha256()
    for part in thing if isinstance(thing, list | tuple) else [thing]:
        if isinstance(part, Case):
            digest.update(f"{part.name} {part.spacing_mm} {part.origin_of_prediction}".encode())
            for mask in (part.reference, part.prediction):
                digest.update(b"-" if mask is None else mask.tobytes())
        else:
            digest.update(json.dumps(asdict(part) if isinstance(part, BoxCase) else part).encode())
    return digest.hexdigest()


def medfm_tables() -> dict[str, tuple[Any, list[list[float]]]]:
    """Name → the classes or findings of images, and their scores."""
    sums = [[round(row[0], 2), round(1 - round(row[0], 2), 2)] for row in scores_of_images(40, 1, seed=11)]
    return {
        "colon, rows add up to 1": (classes_of_images(40, 2, seed=12), sums),
        "colon, rows do not add up": (classes_of_images(40, 2, seed=12), scores_of_images(40, 2, seed=13)),
        "colon, logits": (
            classes_of_images(40, 2, seed=12),
            [[round(9 * value - 4, 3) for value in row] for row in scores_of_images(40, 2, seed=14)],
        ),
        "chest": (findings_of_images(60, 19, seed=15), scores_of_images(60, 19, seed=16, digits=1)),
        "endo": (findings_of_images(30, 4, seed=17), scores_of_images(30, 4, seed=18, digits=2)),
        "endo, second class absent": (
            findings_of_images(30, 4, seed=17, absent=(1,)),
            scores_of_images(30, 4, seed=18),
        ),
        "endo, first class absent": (findings_of_images(30, 4, seed=17, absent=(0,)), scores_of_images(30, 4, seed=18)),
    }


def hecktor_folders() -> dict[str, list[Case]]:
    """Name → the cases of a folder, sound or with one fault."""
    cases = tumours()
    unknown = replace(cases[0], prediction=np.where(cases[0].prediction == 2, 3, cases[0].prediction).astype(np.uint8))
    larger = replace(cases[0], prediction=np.pad(cases[0].prediction, ((0, 4), (0, 3), (0, 2))))
    return {
        "whole": cases,
        "one case not predicted": [replace(cases[0], prediction=None), *cases[1:]],
        "one prediction on a larger grid": [larger, *cases[1:]],
        "one value that is no label": [unknown, *cases[1:]],
    }


def segrap_folders() -> dict[str, list[Case]]:
    """Name → the cases of a folder, sound or with one fault."""
    cases = volumes()
    return {
        "whole": cases,
        "one case not predicted": [replace(cases[0], prediction=None), *cases[1:]],
        "one slice less": [replace(cases[0], prediction=cases[0].prediction[:, :, 1:]), *cases[1:]],
    }


def lesions() -> list[Case]:
    """Lesions that are found, missed, invented, split, joined, and touch by a corner."""
    three = ball(1, (18, 14, 11), 3, on=ball(1, (6, 13, 4), 2, on=ball(1, (6, 5, 5), 4)))
    halves = three.copy()
    halves[6] = 0
    joined = three.copy()
    joined[4:8, 5:14, 4:6] = 1
    corner = np.zeros(SHAPE, np.uint8)
    corner[3:6, 3:6, 3:6] = corner[6:9, 6:9, 6:9] = 1
    cut = corner.copy()
    cut[5, 5, 5] = 0
    nothing = np.zeros(SHAPE, np.uint8)
    return [
        Case(name="moved", reference=three, prediction=np.roll(three, 2, axis=0)),
        Case(name="far", reference=three, prediction=np.roll(three, 5, axis=2)),
        Case(name="split", reference=three, prediction=halves),
        Case(name="joined", reference=three, prediction=joined),
        Case(name="corner", reference=corner, prediction=cut),
        Case(name="invented", reference=nothing, prediction=three),
        Case(name="missed", reference=three, prediction=nothing),
        Case(name="healthy", reference=nothing, prediction=nothing),
        Case(name="chain", reference=_bars((0, 10), (11, 15)), prediction=_bars((0, 3), (4, 14))),
        Case(name="one of two", reference=corner, prediction=ball(1, (4, 4, 4), 2)),
    ]


def _bars(*spans: tuple[int, int]) -> Mask:
    """Bars along the first axis. A chain of them overlaps so that taking the largest overlap first leaves one without a partner."""
    drawn = np.zeros(SHAPE, np.uint8)
    for start, stop in spans:
        drawn[start:stop, 8:10, 8:10] = 1
    return drawn


def confidences() -> list[float]:
    """How sure the algorithm is of the lesions of each case: multiples of 1/8, which every float holds."""
    return [0.5, 0.25, 0.75, 0.125, 0.875, 0.375, 0.5, 0.25, 1.0, 0.625]


Box = tuple[int, int, int, int, int, int]
"""The lower corner, and the upper one, which is not part of it."""


@dataclass(frozen=True, kw_only=True)
class BoxCase:
    """Boxes of a case: what is there, and what was answered, with how many hundredths of confidence."""

    name: str
    reference: list[Box]
    answer: list[tuple[Box, int]]


def box_cases() -> list[BoxCase]:
    """Boxes of whole numbers that touch none of their own kind, so that each is one component where they are drawn."""
    source = random.Random(16)
    sure = sorted(range(5, 100), key=lambda _: source.random())
    cases = []
    for number in range(14):
        reference = _apart(source, [])[: number % 4]
        near = [part for box in reference if source.random() < 0.75 for part in _answers(source, box)]
        answer = _apart(source, near)[: len(near) + number % 3]
        said = [(box, sure.pop()) for box in answer]
        cases.append(BoxCase(name=f"case{number:02}", reference=reference, answer=said))
    return cases


def _apart(source: random.Random, first: list[Box]) -> list[Box]:
    """Up to six boxes of which no two touch, the given ones first."""
    kept: list[Box] = []
    drawn = [_drawn(source) for _ in range(12)]
    for box in [*first, *drawn]:
        if len(kept) < 6 and not any(_touch(box, other) for other in kept):
            kept.append(box)
    return kept


def _drawn(source: random.Random) -> Box:
    low = [int(source.random() * (length - 8)) for length in SHAPE]
    size = [4 + int(source.random() * 5) for _ in SHAPE]
    return (*low, *(a + b for a, b in zip(low, size, strict=True)))  # type: ignore[return-value]  # three of each


def _answers(source: random.Random, box: Box) -> list[Box]:
    """The box a little beside its place, or two parts of it."""
    x, y, z, a, b, c = box
    middle = x + (a - x) // 3
    if a - x > 4 and source.random() < 0.4:
        return [(x, y, z, middle, b, c), (middle + 1, y, z, a, b, c)]
    return [_moved(source, box)]


def _moved(source: random.Random, box: Box) -> Box:
    by = [int(source.random() * 3) - 1 for _ in SHAPE]
    low = [max(0, a + b) for a, b in zip(box[:3], by, strict=True)]
    high = [min(length, a + b) for a, b, length in zip(box[3:], by, SHAPE, strict=True)]
    return (*low, *high)  # type: ignore[return-value]  # three of each


def _touch(one: Box, other: Box) -> bool:
    return all(one[axis] <= other[axis + 3] and other[axis] <= one[axis + 3] for axis in range(3))


def drawn_boxes(boxes: list[tuple[Box, int]]) -> Mask:
    """Each box with its value."""
    mask = np.zeros(SHAPE, np.uint8)
    for (x, y, z, a, b, c), value in boxes:
        mask[x:a, y:b, z:c] = value
    return mask
