"""From an organizer's folder to canonical cases: every file read by a trusted reader, checked, and written again our way.

An organizer vouches for the data, but anybody may become one, so a header may not lead the reader to other files: detached
headers are refused, and the folder is unpacked without links, outside paths or devices. What an algorithm and the scorer later
open is never what was uploaded, only what we wrote.
"""

import functools
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from assay.testsets.identifying import identifying_fields, is_dicom
from assay.testsets.manifest import FILE_NAME, ManifestCase, parse_manifest
from evaluator.documents import read_json
from evaluator.errors import EvaluatorError
from evaluator.protocol import InputKind
from evaluator.volumes import (
    CASE_COLUMN,
    Channels,
    Grid,
    TableRow,
    chosen_rows,
    grids_match,
    nonfinite_voxels,
    read_channels_of,
    read_table,
    spacing_contradiction,
    write_canonical,
)

HEAD_BYTES = 1 << 16
IMAGE_SUFFIXES = (".nii", ".nii.gz", ".mha", ".nrrd", ".hdr", ".img", ".tif", ".tiff")
TABLE_SUFFIXES = (".csv", ".tsv")
FILE_SUFFIXES = (
    *TABLE_SUFFIXES, ".json", ".txt", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy", ".npz", ".zip"
)  # fmt: skip
"""Inputs that are handed to algorithms as they came, where no protocol says what an input is."""
MAX_VALUE_BYTES = 1 << 20
NOTICE_NAMES = ("notice", "license", "licence")
LONGEST_NOTICE = 20_000
Tables = Callable[[Path], Mapping[str, TableRow]]


@dataclass(frozen=True, kw_only=True)
class CanonicalPart:
    """One file of a case as we wrote it."""

    name: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class CanonicalCase:
    """One case, checked and written our way."""

    source: ManifestCase
    inputs: tuple[CanonicalPart, ...]
    references: tuple[CanonicalPart, ...]
    grid: Grid | None
    """Where the case lies; None when nothing of it is a volume."""
    facts: Mapping[str, Any] = field(default_factory=dict)


def read_folder(folder: Path) -> tuple[ManifestCase, ...]:
    """The folder's manifest."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise InvalidError(
            _("The test set has no %(file_name)s at its top.") % {"file_name": FILE_NAME},
            expected=_("%(file_name)s, and the files it names") % {"file_name": FILE_NAME},
            field="archive",
        )
    try:
        return parse_manifest(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidError(_("%(file_name)s is not UTF-8 text.") % {"file_name": FILE_NAME}, field="archive") from error


def read_notice(folder: Path) -> str:
    """Licence texts at the top of the folder: they travel with the data."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name.lower().startswith(NOTICE_NAMES))
    return "\n\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files)[:LONGEST_NOTICE]


def ingest_cases(*, folder: Path, target: Path, kinds: Mapping[str, InputKind] | None = None) -> list[CanonicalCase]:
    """Read, check and rewrite every case of `folder` into `target`. All problems are told at once.

    `kinds` says what each input is to the protocols the cases serve. The suffix decides for an input that they do not name.
    """
    cases, problems = [], []
    tables = functools.cache(read_table)  # one table may serve every case
    for position, case in enumerate(read_folder(folder)):
        place = target / str(position)
        place.mkdir(parents=True)
        try:
            cases.append(ingest_case(case=case, folder=folder, target=place, tables=tables, kinds=kinds or {}))
        except CaseError as error:
            problems.append(f"{case.case_id}: {error}")
    if problems:
        raise InvalidError(
            _("%(problems)s of %(problems_2)s cases cannot be used.")
            % {"problems": len(problems), "problems_2": len(problems) + len(cases)},
            code="testset_invalid",
            found="; ".join(problems[:20]) + (f"; and {len(problems) - 20} more" if len(problems) > 20 else ""),
            what_to_do=_("Correct what is named and push again; nothing was changed."),
            field="archive",
        )
    return cases


class CaseError(Exception):
    """What is wrong with one case, for its organizer."""


def ingest_case(
    *, case: ManifestCase, folder: Path, target: Path, tables: Tables, kinds: Mapping[str, InputKind]
) -> CanonicalCase:
    """Read one case. Its references must lie on the grid of its first image, where it has one."""
    inputs, grid = [], None
    identifying: set[str] = set()
    notes: list[str] = []
    for number, (name, path) in enumerate(case.inputs.items()):
        kind = kinds.get(name) or (InputKind.FILE if path.lower().endswith(FILE_SUFFIXES) else InputKind.IMAGE)
        if kind is not InputKind.IMAGE:
            inputs.append(
                copy_part(existing_file(folder=folder, path=path), name=name, stem=target / f"input-{number}")
            )
            if is_dicom(inputs[-1].path):
                identifying.update(identifying_fields(inputs[-1].path, case_id=case.case_id))
            if kind is InputKind.VALUE:
                require_value(inputs[-1].path, name=path)
            continue
        volume = read_volume(folder=folder, path=path)
        identifying.update(identifying_fields(folder / path, case_id=case.case_id))
        notes += notes_on(volume, folder=folder, path=path)
        grid = grid or volume.grid
        inputs.append(write_part(volume, name=name, path=target / f"input-{number}.nii.gz"))
    references, labels = [], Counter[int]()
    for number, (name, path) in enumerate(case.references.items()):
        if path.lower().endswith(TABLE_SUFFIXES):
            table = existing(folder=folder, path=path)
            row = row_of_case(case.case_id, table=table, name=path, tables=tables)
            references.append(write_text(row, name=name, path=target / f"reference-{number}.csv"))
            continue
        masks = as_label_maps(read_volume(folder=folder, path=path), path=path)
        notes += notes_on(masks, folder=folder, path=path)
        identifying.update(identifying_fields(folder / path, case_id=case.case_id))
        grid = grid or masks.grid
        refuse_mismatch(grid, masks.grid, path=path)
        labels.update(count_voxels(masks))
        references.append(write_part(masks, name=name, path=target / f"reference-{number}.nii.gz"))
    facts = {
        "shape": list(grid.shape) if grid else [],
        "spacing_mm": [round(spacing, 4) for spacing in grid.spacing_mm] if grid else [],
        "voxels_per_label": {str(value): count for value, count in sorted(labels.items())},
        "identifying": sorted(identifying),
        **({"notes": notes} if notes else {}),
    }
    return CanonicalCase(source=case, inputs=tuple(inputs), references=tuple(references), grid=grid, facts=facts)


def notes_on(volume: Channels, *, folder: Path, path: str) -> list[str]:
    """What an organizer should look at in a file that can be used."""
    kept = sum(
        int(array.size - np.count_nonzero(np.isfinite(array))) for array in volume.arrays if array.dtype.kind == "f"
    )
    zeroed = nonfinite_voxels(folder / path)
    found = (
        [f"{path} holds {kept or zeroed} voxels that are no finite numbers (NaN or infinity)"] if kept or zeroed else []
    )
    found = [f"{line}; they are stored as 0" if zeroed and not kept else line for line in found]
    contradiction = spacing_contradiction(folder / path)
    used = " × ".join(f"{size:.4g}" for size in volume.grid.spacing_mm)
    return [*found, *([f"{path}: {contradiction}; {used} mm is used"] if contradiction else [])]


def refuse_mismatch(image: Grid, reference: Grid, *, path: str) -> None:
    """A reference elsewhere than its image would score everybody wrong."""
    mismatch = grids_match(image, reference)
    if mismatch is not None:
        raise CaseError(f"{path} does not lie on the input image: found {mismatch.found}, expected {mismatch.expected}")


def count_voxels(masks: Channels) -> Counter[int]:
    """Voxels per value, or per channel (from 1) of a mask with several."""
    totals = Counter[int]()
    for number, array in enumerate(masks.arrays, start=1):
        values, counts = np.unique(array, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            if value:
                totals[value if len(masks.arrays) == 1 else number] += count
    return totals


def row_of_case(case_id: str, *, table: Path, name: str, tables: Tables) -> str:
    """The case's row of a reference table, as a table of its own."""
    try:
        rows = tables(table)
    except EvaluatorError as error:
        raise CaseError(f"{name}: {error}") from error
    if case_id not in rows:
        raise CaseError(f"{name} has no row of this case; expected one with {case_id} in the column `case`")
    columns = [column for column in rows[case_id].cells if column != CASE_COLUMN]
    return chosen_rows(rows, columns=columns, names={case_id: case_id})


def write_text(text: str, *, name: str, path: Path) -> CanonicalPart:
    """Write one table."""
    path.write_text(text, encoding="utf-8")
    return CanonicalPart(name=name, path=path)


def copy_part(source: Path, *, name: str, stem: Path) -> CanonicalPart:
    """Keep one file as it is. What is no image of ours never gets the suffix of one, which says how a file is handed over."""
    suffix = "".join(source.suffixes[-1:]).lower()
    path = stem.with_name(stem.name + (suffix if suffix in FILE_SUFFIXES else ".bin"))
    shutil.copyfile(source, path)
    return CanonicalPart(name=name, path=path)


def existing(*, folder: Path, path: str) -> Path:
    """The file or folder a manifest names."""
    found = folder / path
    if not found.exists() or not found.resolve().is_relative_to(folder.resolve()):
        raise CaseError(f"{path} is named in the manifest and not there")
    return found


def existing_file(*, folder: Path, path: str) -> Path:
    """The file a manifest names, where a folder would not do."""
    found = existing(folder=folder, path=path)
    if not found.is_file():
        raise CaseError(f"{path} is a folder; expected a file, as the protocol says of this input")
    return found


def require_value(path: Path, *, name: str) -> None:
    """A value is told to algorithms as JSON, so it has to be some."""
    if path.stat().st_size > MAX_VALUE_BYTES:
        raise CaseError(
            f"{name} has {path.stat().st_size} bytes; expected a JSON document of at most {MAX_VALUE_BYTES}"
        )
    try:
        read_json(path.read_bytes())
    except EvaluatorError as error:
        raise CaseError(f"{name}: {error}") from error


def read_volume(*, folder: Path, path: str) -> Channels:
    """Read one image by a trusted reader, after making sure that its header stays at home."""
    found = existing(folder=folder, path=path)
    if found.is_file():
        refuse_detached(found, name=path)
    try:
        return read_channels_of(found)
    except EvaluatorError as error:
        raise CaseError(str(error)) from error


def refuse_detached(found: Path, *, name: str) -> None:
    """A header that names other files could name any file of ours."""
    if not found.name.lower().endswith(IMAGE_SUFFIXES):
        raise CaseError(
            f"{name} is of no known kind; expected {', '.join(IMAGE_SUFFIXES)} or a folder with a DICOM series"
        )
    with found.open("rb") as file:
        head = file.read(HEAD_BYTES)
    is_meta = found.name.lower().endswith(".mha")
    if is_meta and not re.search(rb"^ElementDataFile\s*=\s*LOCAL\s*$", head, re.MULTILINE):
        raise CaseError(f"{name} keeps its voxels in another file; expected ElementDataFile = LOCAL")
    header = head.split(b"\n\n", 1)[0]
    if found.name.lower().endswith(".nrrd") and re.search(rb"^data ?file\s*:", header, re.MULTILINE | re.IGNORECASE):
        raise CaseError(f"{name} keeps its voxels in another file; expected one .nrrd with both")


def as_label_maps(masks: Channels, *, path: str) -> Channels:
    """A reference as whole numbers in the smallest type that holds them."""
    arrays = [as_labels(array, path=path) for array in masks.arrays]
    kind = np.result_type(*arrays)
    return Channels(arrays=[array.astype(kind, copy=False) for array in arrays], grid=masks.grid)


def as_labels(array: npt.NDArray[Any], *, path: str) -> npt.NDArray[Any]:
    """One channel of a reference."""
    if not np.issubdtype(array.dtype, np.integer):
        whole = np.rint(array)
        if not np.array_equal(whole, array):
            raise CaseError(f"{path} holds values that are not whole numbers; expected a label map")
        array = whole.astype(np.int64)
    if array.size == 0 or array.min() < 0 or array.max() > np.iinfo(np.uint16).max:
        raise CaseError(f"{path} holds labels outside 0 to 65535")
    narrow = np.uint8 if array.max() <= np.iinfo(np.uint8).max else np.uint16
    return array.astype(narrow)


def write_part(volume: Channels, *, name: str, path: Path) -> CanonicalPart:
    """Write one volume, with all its channels, our way."""
    write_canonical(volume, path)
    return CanonicalPart(name=name, path=path)


def refuse_identifying(cases: Sequence[CanonicalCase]) -> None:
    """Refuse headers that may say who a patient is. The values stay where they are."""
    named = [f"{case.source.case_id}: {', '.join(fields)}" for case in cases if (fields := case.facts["identifying"])]
    if named:
        raise InvalidError(
            _("Headers hold fields that may say who a patient is, in %(count)s of %(total)s cases.")
            % {"count": len(named), "total": len(cases)},
            code="testset_identifying",
            found="; ".join(named[:10]) + (f"; and {len(named) - 10} more" if len(named) > 10 else ""),
            expected=_("files without names, birth dates and addresses"),
            what_to_do=_(
                "Remove them where they came from and push again. Where they are pseudonyms, say so: tick the box of the form, or push "
                "with --accept-identifying. Images are stored without them in any case."
            ),
            field="accepts_identifying",
        )


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Where the image of a case is once more: some places by name, and how many there are."""

    named: tuple[str, ...] = ()
    count: int = 0

    @property
    def findings(self) -> list[str]:
        """One sentence for each place that is named, and one for the rest."""
        more = self.count - len(self.named)
        rest = [f"the same image as {more} more"] if more > 0 else []
        return [f"the same image as {place}" for place in self.named] + rest


def summarise(
    cases: Sequence[CanonicalCase], *, notice: str, twins: Mapping[str, Twins] | None = None
) -> dict[str, Any]:
    """The plain report: what was found, case by case, and what an organizer should look at.

    `twins`: case → where the same image is once more.
    """
    totals: Counter[str] = Counter()
    for case in cases:
        totals.update(case.facts["voxels_per_label"])
    rows = []
    for case in cases:
        empty = [value for value in totals if value not in case.facts["voxels_per_label"]]
        findings = [f"label {value} is empty here and present in other cases" for value in empty]
        findings += (twins or {}).get(case.source.case_id, Twins()).findings
        findings += case.facts.get("notes", ())
        findings += [f"its header held {field}" for field in case.facts["identifying"]]
        rows.append({"case_id": case.source.case_id, **case.facts, "findings": findings})
    warnings = [f"{row['case_id']}: {finding}" for row in rows for finding in row["findings"]]
    warnings += [] if notice else ["no NOTICE or LICENSE file came with the data"]
    return {
        "cases": rows,
        "attributes": sorted({name for case in cases for name in case.source.attributes}),
        "warnings": warnings,
    }
