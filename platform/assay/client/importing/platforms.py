"""What the importers of whole competitions share: unpacking, finding the description, and cases from reference data of any kind."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from assay.client.errors import ClientError
from assay.client.importing.datasets import case_id_of, volumes_in
from assay.client.importing.draft import (
    DEFAULT_SCORING,
    DraftCase,
    DraftPhase,
    Notes,
    named_protocol,
    segmentation_protocol,
    slug_of,
)
from assay.client.importing.options import Options
from assay.client.importing.sources import Place, inside, unpack_zip, visible_files
from assay.client.importing.tables import read_table, table_cases, table_protocol
from evaluator.volumes import is_left_behind

MOST_VALUES = 1000
LARGEST_PAGE_BYTES = 1 << 20


@contextmanager
def opened(source: Path) -> Iterator[Path]:
    """The source as a folder: itself, or an unpacked zip. One folder that wraps everything is entered."""
    if source.is_dir():
        yield _unwrapped(source)
        return
    if source.suffix.lower() != ".zip":
        raise ClientError(
            f"{source.name} is neither a folder nor a zip", expected="a folder, a .zip, or a description file"
        )
    with TemporaryDirectory(prefix="assay-import-", dir=source.resolve().parent) as scratch:
        unpack_zip(source, Path(scratch))
        yield _unwrapped(Path(scratch))


def _unwrapped(folder: Path) -> Path:
    entries = [path for path in folder.iterdir() if not is_left_behind(path.name)]
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


def read_page(place: Place, folder: Path) -> str:
    """The Markdown or HTML file that a description names."""
    path = inside(folder, place)
    if path.is_dir():
        raise place.error("names a folder and not a page", expected="Markdown or HTML in UTF-8")
    if path.stat().st_size > LARGEST_PAGE_BYTES:
        raise place.error("names a page that is too long", expected=f"at most {LARGEST_PAGE_BYTES} bytes")
    try:
        return path.read_text("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise place.error("names a page that is not UTF-8 text", expected="Markdown or HTML in UTF-8") from None


def cases_from(
    *, references: Path | None, inputs: Path | None, options: Options, name: str, title: str, notes: Notes, where: str
) -> tuple[tuple[DraftCase, ...], dict[str, Any]]:
    """Cases and rules from a folder of reference data: masks, or one table. Raises `ClientError` where it is neither."""
    chosen = named_protocol(options.protocol) if options.protocol else None
    masks = volumes_in(references) if references is not None else {}
    tables = (
        [path for path in visible_files(references) if path.suffix.lower() == ".csv"] if references is not None else []
    )
    if masks:
        return _mask_cases(masks, inputs=inputs, chosen=chosen, name=name, title=title, notes=notes, where=where)
    if len(tables) == 1:
        table = read_table(tables[0])
        notes.taken(f"{where}: {tables[0].name}", f"{len(table.rows)} cases with {', '.join(table.columns[1:])}")
        rules = chosen or table_protocol(table, table.columns[1:], name=name, title=title, notes=notes)
        return table_cases(table, table.columns[1:], notes=notes), rules
    if chosen is not None:
        notes.missing(where, "holds neither masks nor one table of answers: push a test set of your own")
        return (), chosen
    found = (
        ", ".join(path.name for path in visible_files(references))[:200]
        if references is not None
        else "no reference data"
    )
    raise ClientError(
        f"{where}: the reference data do not say how answers are scored",
        found=found or "no file",
        expected="masks (.nii.gz, .mha, .nrrd) or one CSV of true values",
        what_to_do="give --protocol NAME",
    )


def _mask_cases(
    masks: dict[str, Path],
    *,
    inputs: Path | None,
    chosen: dict[str, Any] | None,
    name: str,
    title: str,
    notes: Notes,
    where: str,
) -> tuple[tuple[DraftCase, ...], dict[str, Any]]:
    images = volumes_in(inputs) if inputs is not None else {}
    paired = {case: next((images[n] for n in (case, f"{case}_0000") if n in images), None) for case in masks}
    has_images = bool(images) and all(paired.values())
    if images and not has_images:
        lacking = sorted(case for case, image in paired.items() if image is None)
        notes.missing(
            f"{where}: input data", f"{len(lacking)} references have no image of their name, such as {lacking[0]}"
        )
    seen: set[str] = set()
    cases = tuple(
        DraftCase(
            case_id=case_id_of(case, seen=seen),
            inputs={"image": image} if has_images and (image := paired[case]) is not None else {},
            references={"": path},
        )
        for case, path in sorted(masks.items())
    )
    notes.taken(where, f"{len(cases)} reference masks" + (" with their images" if has_images else ""))
    if chosen is not None:
        return cases, chosen
    values = values_in(list(masks.values()))
    notes.changed(
        f"{where}: labels",
        f"the values {', '.join(map(str, values))} of the references: give them names in challenge.yaml",
    )
    notes.changed("rules", DEFAULT_SCORING)
    rules = segmentation_protocol(
        name=name,
        title=title[:200],
        labels={f"value {value}": {"values": [value]} for value in values},
        inputs=[{"name": "image", "file": "{case}.nii.gz"}] if has_images else [],
        output="{case}.nii.gz",
    )
    return cases, rules


def values_in(masks: Sequence[Path]) -> list[int]:
    """The values above 0 of some label maps. Raises `ClientError` for files that are no label map."""
    import numpy as np

    from evaluator.errors import EvaluatorError
    from evaluator.volumes import read_channels_of

    found: set[int] = set()
    for path in masks:
        try:
            arrays = read_channels_of(path).arrays
        except EvaluatorError as problem:
            raise ClientError(f"{path.name} cannot be read", found=str(problem)) from problem
        for array in arrays:
            values = np.unique(array)
            if not np.all(np.equal(np.mod(values, 1), 0)) or len(values) > MOST_VALUES:
                raise ClientError(
                    f"{path.name} is no label map", found=f"{len(values)} values", expected="whole numbers"
                )
            found |= {int(value) for value in values if value > 0}
    if not found:
        raise ClientError("No reference mask holds a structure", found=f"only 0 in {len(masks)} files")
    return sorted(found)


def unique_phases(phases: Sequence[DraftPhase], *, where: str) -> tuple[DraftPhase, ...]:
    """Phases with slugs of their own."""
    seen: set[str] = set()
    for phase in phases:
        if phase.slug in seen:
            raise ClientError(
                f"{where}: two phases have one name", found=phase.title, expected="a name of its own for each"
            )
        seen.add(phase.slug)
    if not phases:
        raise ClientError(f"{where}: there is no phase", expected="one phase or more")
    return tuple(phases)


def phase_slug(title: str, number: int) -> str:
    """An address for a phase."""
    return slug_of(title, fallback=f"phase-{number}")
