"""Cases as a hospital exports them: a folder per case, with a folder per DICOM image series and one SEG or RTSTRUCT file.

References become label maps in the site's own folder (`references/`), once for each content of series, reference and names. Their names
hold a hash of all that, so that a changed file makes a new one and the root of the data changes.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from assay.client.importing.datasets import case_id_of
from assay.node.dicom_file import modality_of
from assay.node.dicom_references import read_reference
from assay.node.folder import REFERENCE, FolderCase, FolderInvalid
from evaluator.volumes import read_channels_of, write_canonical

REFERENCES = frozenset({"SEG", "RTSTRUCT"})
IMAGE = "image"


def holds_dicom_cases(source: Path) -> bool:
    """Whether a folder below `source` holds a DICOM segmentation or structure set."""
    return any(modality_of(path) in REFERENCES for path in _files(source))


def read_dicom_cases(
    source: Path, *, values: Mapping[str, int], names: Mapping[str, str], cache: Path
) -> list[FolderCase]:
    """The cases. Raises FolderInvalid."""
    folders = [folder for folder in sorted(source.iterdir()) if folder.is_dir()]
    found = {folder: _sorted_out(folder) for folder in folders}
    is_single = all(len(series) == 1 for series, _ in found.values())
    seen: set[str] = set()
    cases = []
    for folder, (series, reference) in found.items():
        case_id = case_id_of(folder.name, seen=seen)
        inputs = {IMAGE if is_single else place.name: place for place in series}
        written = _written(reference, series=series, case_id=case_id, values=values, names=names, cache=cache)
        cases.append(FolderCase(case_id=case_id, inputs=inputs, references={REFERENCE: written}, attributes={}))
    if not cases:
        raise FolderInvalid(f"{source} holds no folder per case")
    return cases


def _sorted_out(folder: Path) -> tuple[list[Path], Path]:
    """The folders of the image series, and the reference."""
    kinds = {path: modality_of(path) for path in _files(folder)}
    references = [path for path, kind in kinds.items() if kind in REFERENCES]
    series = sorted({path.parent for path, kind in kinds.items() if kind and kind not in REFERENCES})
    if len(references) != 1 or not series:
        raise FolderInvalid(
            f"{folder} holds {len(references)} segmentations or structure sets and {len(series)} folders with images; expected one "
            "reference, and a folder per image series"
        )
    if references[0].parent in series:
        raise FolderInvalid(f"{references[0]} lies among the slices of a series; put it into a folder of its own")
    return series, references[0]


def _written(
    reference: Path,
    *,
    series: Sequence[Path],
    case_id: str,
    values: Mapping[str, int],
    names: Mapping[str, str],
    cache: Path,
) -> Path:
    digest = hashlib.sha256(repr((sorted(values.items()), sorted(names.items()))).encode())
    for path in [reference, *(file for place in series for file in _files(place))]:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    destination = cache / f"{case_id}-{digest.hexdigest()[:32]}.nii.gz"
    if not destination.exists():
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        grid = read_channels_of(series[0]).grid
        volume = read_reference(reference, grid=grid, values=values, names=names)
        fresh = destination.with_name(f"unfinished-{destination.name}")
        write_canonical(volume, fresh)
        fresh.rename(destination)
    return destination


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
