"""A DICOM segmentation (SEG) or structure set (RTSTRUCT) as a label map on the grid of its image series. Exact or refused.

A frame of a segmentation has to lie on a slice of the image, voxel on voxel: nothing is interpolated. A contour is filled where the
centre of a voxel lies inside it. Where contours of one structure lie in each other, the inner one is a hole. Structures have the names
of the protocol's labels, or are assigned to them. Structures that share a voxel are refused, because a label map has one value there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.node.dicom_file import PIXELS, Elements, items, numbers, read_dicom, short, text
from assay.node.folder import FolderInvalid
from evaluator.volumes import Grid, Volume

MODALITY, ROWS, COLUMNS = (0x0008, 0x0060), (0x0028, 0x0010), (0x0028, 0x0011)
FRAMES, BITS = (0x0028, 0x0008), (0x0028, 0x0100)
KIND, SEGMENTS, SEGMENT_NUMBER, SEGMENT_LABEL = (0x0062, 0x0001), (0x0062, 0x0002), (0x0062, 0x0004), (0x0062, 0x0005)
SHARED, PER_FRAME = (0x5200, 0x9229), (0x5200, 0x9230)
PLACE, POSITION = (0x0020, 0x9113), (0x0020, 0x0032)
PLANE, ORIENTATION = (0x0020, 0x9116), (0x0020, 0x0037)
MEASURES, SPACING = (0x0028, 0x9110), (0x0028, 0x0030)
IDENTIFICATION, REFERENCED = (0x0062, 0x000A), (0x0062, 0x000B)
STRUCTURES, ROI_NUMBER, ROI_NAME = (0x3006, 0x0020), (0x3006, 0x0022), (0x3006, 0x0026)
ROI_CONTOURS, ROI_REFERENCED, CONTOURS = (0x3006, 0x0039), (0x3006, 0x0084), (0x3006, 0x0040)
GEOMETRY, POINTS = (0x3006, 0x0042), (0x3006, 0x0050)
OFF_GRID = 0.05
"""How far a frame or a contour may lie beside the image's slices, in voxels."""


def read_reference(path: Path, *, grid: Grid, values: Mapping[str, int], names: Mapping[str, str]) -> Volume:
    """The label map. `values`: label of the protocol → its value. `names`: label → structure, where they have other names.

    Raises FolderInvalid naming what was found and expected.
    """
    elements = read_dicom(path)
    modality = text(elements, MODALITY)
    try:
        masks = _segments(elements, grid=grid) if modality == "SEG" else _structures(elements, grid=grid)
    except (ValueError, LookupError) as problem:
        raise FolderInvalid(f"{path}: {problem}") from problem
    wanted = {label: _structure_of(label, masks=masks, names=names, path=path) for label in values}
    array: npt.NDArray[Any] = np.zeros(
        grid.shape, dtype=np.uint8 if max(values.values(), default=0) < 256 else np.uint16
    )
    for label, structure in wanted.items():
        mask = masks[structure]
        if (array[mask] != 0).any():
            raise FolderInvalid(
                f"{path}: {structure} shares voxels with another structure; a label map has one value there"
            )
        array[mask] = values[label]
    return Volume(array=array, grid=grid)


def _structure_of(label: str, *, masks: Mapping[str, Any], names: Mapping[str, str], path: Path) -> str:
    by_name = {name.lower(): name for name in masks}
    wanted = names.get(label, label)
    found = by_name.get(wanted.lower())
    if found is None:
        raise FolderInvalid(
            f"{path} has no structure {wanted} for the label {label}; it has {', '.join(masks) or 'none'}. Say which it is, as in "
            f"--label {label}=NAME"
        )
    return found


def _segments(elements: Elements, *, grid: Grid) -> dict[str, npt.NDArray[np.bool_]]:
    kind, bits = text(elements, KIND), short(elements, BITS)
    if kind != "BINARY" or bits != 1:
        raise ValueError(f"it is a segmentation of kind {kind or 'unknown'} with {bits} bits; expected BINARY with 1")
    names = {short(item, SEGMENT_NUMBER): text(item, SEGMENT_LABEL) for item in items(elements, SEGMENTS)}
    if len(set(names.values())) != len(names):
        raise ValueError("two of its segments have one name")
    rows, columns, count = short(elements, ROWS), short(elements, COLUMNS), int(text(elements, FRAMES) or 1)
    frames = items(elements, PER_FRAME)
    packed = elements.get(PIXELS, b"")
    if len(frames) != count or not isinstance(packed, bytes) or len(packed) * 8 < rows * columns * count:
        raise ValueError(f"it says it has {count} frames, and not all of them are there")
    pixels = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")[: rows * columns * count]
    masks = {name: np.zeros(grid.shape, dtype=np.bool_) for name in names.values()}
    shared = next(iter(items(elements, SHARED)), {})
    for frame, picture in zip(frames, pixels.reshape(count, rows, columns).astype(np.bool_), strict=True):
        number = short(_first(frame, IDENTIFICATION, or_in=shared), REFERENCED)
        _lay(picture, frame=frame, shared=shared, onto=masks[names[number]], grid=grid)
    return masks


def _lay(
    picture: npt.NDArray[np.bool_], *, frame: Elements, shared: Elements, onto: npt.NDArray[np.bool_], grid: Grid
) -> None:
    """Put one frame onto its slice, voxel on voxel."""
    position = numbers(_first(frame, PLACE, or_in=shared), POSITION)
    along = numbers(_first(frame, PLANE, or_in=shared), ORIENTATION)
    row_mm, column_mm = numbers(_first(frame, MEASURES, or_in=shared), SPACING)
    right, down = np.array(along[:3]) * column_mm, np.array(along[3:]) * row_mm
    first = _index([position], grid=grid)[0]
    steps = _index([np.array(position) + right, np.array(position) + down], grid=grid) - first
    if np.abs(steps - np.round(steps)).max() > OFF_GRID or np.abs(first - np.round(first)).max() > OFF_GRID:
        raise ValueError("a frame lies beside the image's voxels; expected every voxel of it on one of the image")
    start, (across, below) = np.round(first).astype(int), np.round(steps).astype(int)
    down_by, right_by = np.nonzero(picture)
    places = start + right_by[:, None] * across + down_by[:, None] * below
    if len(places) and ((places < 0).any() or (places >= np.array(grid.shape)).any()):
        raise ValueError("a frame reaches beyond the image")
    onto[tuple(places.T)] = True


def _structures(elements: Elements, *, grid: Grid) -> dict[str, npt.NDArray[np.bool_]]:
    names = {text(item, ROI_NUMBER): text(item, ROI_NAME) for item in items(elements, STRUCTURES)}
    if len(set(names.values())) != len(names):
        raise ValueError("two of its structures have one name")
    masks = {name: np.zeros(grid.shape, dtype=np.bool_) for name in names.values()}
    for of_structure in items(elements, ROI_CONTOURS):
        mask = masks[names[text(of_structure, ROI_REFERENCED)]]
        for contour in items(of_structure, CONTOURS):
            kind = text(contour, GEOMETRY)
            if kind == "POINT":
                continue
            if kind != "CLOSED_PLANAR":
                raise ValueError(f"a contour is {kind or 'of no kind'}; expected CLOSED_PLANAR")
            corners = _index(np.reshape(numbers(contour, POINTS), (-1, 3)), grid=grid)
            height = float(np.median(corners[:, 2]))
            place = round(height)
            if np.abs(corners[:, 2] - place).max() > OFF_GRID:
                raise ValueError("a contour lies between the image's slices; expected every contour on one")
            if not 0 <= place < grid.shape[2]:
                raise ValueError("a contour lies beyond the image")
            mask[:, :, place] ^= filled(corners[:, :2], shape=grid.shape[:2])
    return masks


def filled(corners: npt.NDArray[np.float64], *, shape: Sequence[int]) -> npt.NDArray[np.bool_]:
    """The pixels whose centre lies inside a polygon, by counting the edges that a line to the left crosses."""
    inside = np.zeros(tuple(shape), dtype=np.bool_)
    x, y = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if ay == by:
            continue
        crosses = (ay > y) != (by > y)
        inside ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return inside


def _first(frame: Elements, tag: tuple[int, int], *, or_in: Elements) -> Elements:
    found = items(frame, tag) or items(or_in, tag)
    if not found:
        raise ValueError(f"a frame does not say ({tag[0]:04x},{tag[1]:04x})")
    return found[0]


def _index(points: Any, *, grid: Grid) -> npt.NDArray[np.float64]:
    """Places in the array of points in the patient's space as DICOM has it: x to the left, y to the back."""
    world = np.array(points, dtype=np.float64) * (-1.0, -1.0, 1.0)
    affine = np.array(grid.affine)
    found: npt.NDArray[np.float64] = (world - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    return found
