"""DICOM segmentations and structure sets for tests, written by the standard's tables and not with the reader under test."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

LONG = {b"OB", b"OW", b"SQ", b"UN"}


def element(tag: tuple[int, int], form: bytes, value: bytes | list[bytes], *, is_explicit: bool = True) -> bytes:
    """One element. A list is the items of a sequence."""
    if isinstance(value, list):
        value = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in value)
    value += (b"\0" if form in LONG or form == b"UI" else b" ") * (len(value) % 2)
    head = struct.pack("<HH", *tag)
    if not is_explicit:
        return head + struct.pack("<I", len(value)) + value
    return (
        head
        + form
        + (b"\0\0" + struct.pack("<I", len(value)) if form in LONG else struct.pack("<H", len(value)))
        + value
    )


def words(values: Sequence[float]) -> bytes:
    return "\\".join(f"{value:.6g}" for value in values).encode()


def write_file(path: Path, body: bytes, *, is_explicit: bool = True) -> None:
    syntax = b"1.2.840.10008.1.2.1" if is_explicit else b"1.2.840.10008.1.2"
    meta = element((0x0002, 0x0010), b"UI", syntax)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(128) + b"DICM" + meta + body)


def write_segmentation(
    path: Path,
    masks: dict[str, np.ndarray],
    *,
    origin: Sequence[float],
    spacing: Sequence[float],
    kind: bytes = b"BINARY",
    is_explicit: bool = True,
) -> None:
    """A SEG of masks (x, y, z) on axial slices: a frame for each slice that holds some of a segment."""

    def made(tag, form, value):
        return element(tag, form, value, is_explicit=is_explicit)

    frames, pictures = [], []
    for number, mask in enumerate(masks.values(), start=1):
        for z in np.flatnonzero(mask.any(axis=(0, 1))):
            place = made((0x0020, 0x0032), b"DS", words([*origin[:2], origin[2] + z * spacing[2]]))
            which = made((0x0062, 0x000B), b"US", struct.pack("<H", number))
            frames.append(made((0x0020, 0x9113), b"SQ", [place]) + made((0x0062, 0x000A), b"SQ", [which]))
            pictures.append(mask[:, :, z].T)
    segments = [
        made((0x0062, 0x0004), b"US", struct.pack("<H", number)) + made((0x0062, 0x0005), b"LO", name.encode())
        for number, name in enumerate(masks, start=1)
    ]
    plane = made((0x0020, 0x0037), b"DS", words([1, 0, 0, 0, 1, 0]))
    measures = made((0x0028, 0x0030), b"DS", words([spacing[1], spacing[0]]))
    shared = made((0x0020, 0x9116), b"SQ", [plane]) + made((0x0028, 0x9110), b"SQ", [measures])
    shape = next(iter(masks.values())).shape
    body = made((0x0008, 0x0060), b"CS", b"SEG")
    body += made((0x0028, 0x0008), b"IS", str(len(frames)).encode())
    body += made((0x0028, 0x0010), b"US", struct.pack("<H", shape[1]))
    body += made((0x0028, 0x0011), b"US", struct.pack("<H", shape[0]))
    body += made((0x0028, 0x0100), b"US", struct.pack("<H", 1))
    body += made((0x0062, 0x0001), b"CS", kind) + made((0x0062, 0x0002), b"SQ", segments)
    body += made((0x5200, 0x9229), b"SQ", [shared]) + made((0x5200, 0x9230), b"SQ", frames)
    packed = np.packbits(np.array(pictures, dtype=np.uint8).ravel(), bitorder="little").tobytes()
    write_file(path, body + made((0x7FE0, 0x0010), b"OB", packed), is_explicit=is_explicit)


def write_structures(
    path: Path, contours: dict[str, list[list[Sequence[float]]]], *, kind: bytes = b"CLOSED_PLANAR"
) -> None:
    """An RTSTRUCT: structure → polygons of points in the patient's space."""
    names = [
        element((0x3006, 0x0022), b"IS", str(number).encode()) + element((0x3006, 0x0026), b"LO", name.encode())
        for number, name in enumerate(contours, start=1)
    ]
    shapes = []
    for number, polygons in enumerate(contours.values(), start=1):
        drawn = [
            element((0x3006, 0x0042), b"CS", kind)
            + element((0x3006, 0x0050), b"DS", words([value for point in polygon for value in point]))
            for polygon in polygons
        ]
        shapes.append(element((0x3006, 0x0040), b"SQ", drawn) + element((0x3006, 0x0084), b"IS", str(number).encode()))
    body = element((0x0008, 0x0060), b"CS", b"RTSTRUCT")
    body += element((0x3006, 0x0020), b"SQ", names) + element((0x3006, 0x0039), b"SQ", shapes)
    write_file(path, body)
