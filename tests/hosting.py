"""Phases of any protocol, with references and predictions made to measure in the protocol's own form.

Label maps, 4-D masks and masks per structure hold one block per value or structure. Tables hold classes, numbers or choices.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import SimpleITK as sitk

import factories
import people
import testset_folders
from assay.challenges.models import Phase
from assay.submissions.models import Submission, Upload
from assay.testsets import storage
from assay.testsets.services import ingest_testset
from evaluator.protocol import OutputKind, Protocol
from evaluator.volumes.tables import delimiter_of, table_text

STEP = 8
SIGNIFICANT = 6
"""As many cases as a paired test needs to tell two algorithms apart."""


def cases_needed(protocol: Protocol) -> int:
    """One is enough, except where the ranking tests for significance or a score needs rows of both classes."""
    tests_significance = protocol.ranking.get("preset") == "msd"
    return SIGNIFICANT if tests_significance else 4 if protocol.table_form else 1


def blocks(protocol: Protocol, *, share: float) -> list[np.ndarray]:
    """One array (z, y, x) per channel, a block for every value or structure. `share` of each block's length is filled.

    Flat ones have no y.
    """
    kind = protocol.output.kind
    if kind is OutputKind.LABEL_MAP:
        values = sorted({value for label in protocol.labels for value in label.values})
        arrays, placed = [np.zeros((10, 10, STEP * len(values) + 2), np.uint8)], [(0, value) for value in values]
    else:
        channels = protocol.channels if kind is OutputKind.MULTICHANNEL else len(protocol.labels)
        arrays, placed = [np.zeros((10, 10, 12), np.uint8) for _ in range(channels)], [(n, 1) for n in range(channels)]
    for place, (channel, value) in enumerate(placed):
        start = 2 + (STEP * place if kind is OutputKind.LABEL_MAP else 0)
        arrays[channel][2 : 2 + round(6 * share), 2:8, start : start + 6] = value
    return [array[:, 5] for array in arrays] if is_flat(protocol) else arrays


def is_flat(protocol: Protocol) -> bool:
    """Whether masks are TIFF files, which have no depth."""
    return protocol.output.file.endswith((".tif", ".tiff"))


def volume(arrays: list[np.ndarray], path: Path) -> Path:
    """One array as a volume, several as the channels of a 4-D one, in the format of the name."""
    images = [sitk.GetImageFromArray(array) for array in arrays]
    for image in images:
        image.SetSpacing((1.0, 1.0, 2.0)[: image.GetDimension()])
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(images[0] if len(images) == 1 else sitk.JoinSeries(images), str(path), useCompression=True)
    return path


def finding(protocol: Protocol, *, place: int, is_right: bool, is_answer: bool) -> str:
    """Something in every other case: a box, or a point with a diameter. An answer has a confidence, and may be far away."""
    at = 10 * place + (0 if is_right or place < 2 else 500)
    size = {"boxes_3d": f" {at + 5} 9 9", "boxes_2d": f" {at + 5} 9"}.get(protocol.output.cells, "")
    third = " 1" if protocol.output.cells.endswith("3d") else ""
    more = " 0.5" if is_answer else "" if size else " 8"
    return f"{at} 2{third}{size}{more}" if place % 2 == 0 else ""


def cell(protocol: Protocol, *, place: int, column: int, is_right: bool, is_answer: bool = False) -> str:
    """What a reference (or a good answer) holds, or a poorer answer: a choice, a number, findings, or a class of two."""
    metrics = {spec.metric.name for spec in protocol.metrics}
    if protocol.output.cells != "text":
        return finding(protocol, place=place, is_right=is_right, is_answer=is_answer)
    if "concordance" in metrics:
        return str((-place if is_right else place) if is_answer else 40 + place)
    if "choice_accuracy" in metrics:
        return "ABCD"[(place if is_right or place == 0 else place + 1) % 4]
    if "mape" in metrics:
        return str(40 + place + column + (0 if is_right else 3))
    truth = (place + column) % 2
    return str(truth if is_right or place < 2 else 1 - truth)


def table(protocol: Protocol, case_ids: Sequence[str], *, is_right: bool, path: Path, is_answer: bool = False) -> Path:
    columns = [label.name for label in protocol.labels]
    rows = [
        [
            case_id,
            *(
                cell(protocol, place=place, column=column, is_right=is_right, is_answer=is_answer)
                for column in range(len(columns))
            ),
            "1",
        ]
        for place, case_id in enumerate(case_ids)
    ]
    columns.append("event")  # every event has happened, where a protocol looks at it
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(table_text(columns=["case", *columns], rows=rows, delimiter=delimiter_of(path.name)))
    return path


def reference_folder(protocol: Protocol, folder: Path, case_ids: Sequence[str]) -> Path:
    """A test set as an organizer would push it."""
    folder.mkdir()
    header, cells = ["reference"], {case_id: ["references.csv"] for case_id in case_ids}
    if protocol.output.kind is OutputKind.TABLE:
        table(protocol, case_ids, is_right=True, path=folder / "references.csv")
    elif protocol.output.kind is OutputKind.MASK_PER_STRUCTURE:
        header = [f"reference:{label.name}" for label in protocol.labels]
        for case_id in case_ids:
            arrays = blocks(protocol, share=1.0)
            paths = [volume([a], folder / f"{case_id}-{n}.nii.gz").name for n, a in enumerate(arrays)]
            cells[case_id] = paths
    else:
        suffix = (
            ".mha" if protocol.output.kind is OutputKind.MULTICHANNEL else ".tif" if is_flat(protocol) else ".nii.gz"
        )
        for case_id in case_ids:
            cells[case_id] = [volume(blocks(protocol, share=1.0), folder / f"{case_id}{suffix}").name]
    lines = [",".join(["case_id", "site", *header])]
    lines += [",".join([case_id, "A", *cells[case_id]]) for case_id in case_ids]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def predictions_zip(protocol: Protocol, folder: Path, case_ids: Sequence[str], *, share: float) -> bytes:
    """What a team hands in, named as the protocol says. `share` 1 is perfect."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for case_id in case_ids:
            arrays = [] if protocol.table_form else blocks(protocol, share=share)
            for place, (_, name) in enumerate(protocol.archive_files(case_id).items()):
                if name in archive.namelist():
                    continue
                if protocol.table_form:
                    path = table(protocol, case_ids, is_right=share == 1.0, path=folder / name, is_answer=True)
                elif protocol.output.kind is OutputKind.MASK_PER_STRUCTURE:
                    path = volume([arrays[place]], folder / name)
                else:
                    path = volume(arrays, folder / name)
                archive.write(path, name)
    return content.getvalue()


def hosted(*, scene: people.Scene, protocol: Protocol, folder: Path, now: datetime) -> Phase:
    """An open phase of the protocol, with the test set in `folder` taken in as an organizer's push is."""
    storage.save_file(key="testset.tar", stream=io.BytesIO(testset_folders.packed(folder)), max_bytes=2**26)
    testset = ingest_testset(
        challenge=scene.challenge, user=scene.olga, archive_key="testset.tar", name="own", is_public=False,
        phase_slugs=[], now=now,
    )  # fmt: skip
    return factories.phase(
        challenge=scene.challenge,
        slug="own",
        testset=testset,
        protocol=factories.protocol(challenge=scene.challenge, document=protocol.document),
        opens_at=now - timedelta(days=1),
        closes_at=now + timedelta(days=1),
        leaderboard_shows="all",
    )


def handed_in(phase: Phase, *, scene: people.Scene, name: str, content: bytes) -> Submission:
    """A submission of predictions, as the API leaves it."""
    stored = storage.save_file(key=f"uploads/{name}", stream=io.BytesIO(content), max_bytes=2**26)
    upload = factories.complete_upload(
        user=scene.pia,
        key=stored.key,
        purpose=Upload.Purpose.PREDICTIONS,
        total_bytes=stored.bytes,
        sha256=stored.sha256,
    )
    return factories.submission(phase=phase, team=scene.team, predictions=upload, image=None, name=name)


def write_manifest(folder: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """`manifest.csv` of these rows."""
    lines = [[row[column] for column in rows[0]] for row in rows]
    (folder / "manifest.csv").write_text(table_text(columns=list(rows[0]), rows=lines))
    return folder
