"""BIDS with segmentations under `derivatives/` (BIDS 1.10, "Derivatives: imaging data types").

A case is a subject, or a session of one. Inputs are the images of the chosen suffixes (`T1w`, `FLAIR`, …). The reference is a
discrete segmentation `*_dseg.nii.gz` with its table of values, or one binary mask per structure, `*_label-NAME_mask.nii.gz`.
Columns of `participants.tsv` become attributes of the case. Probabilistic segmentations are refused.
"""

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from assay.client.errors import ClientError
from assay.client.importing.datasets import case_id_of, challenge_around, refuse_unpaired
from assay.client.importing.draft import Draft, DraftCase, File, Notes, name_of
from assay.client.importing.options import Options
from assay.client.importing.sources import read_document, visible_files

FILE = "dataset_description.json"
ENTITY = re.compile(r"(?:^|_)([a-z]+)-([A-Za-z0-9+]+)")
ENDINGS = (".nii.gz", ".nii")
LARGEST_TABLE_BYTES = 16 << 20


def recognises(source: Path) -> bool:
    """Whether this is a folder with a `dataset_description.json`."""
    return (source / FILE).is_file()


def read_bids(source: Path, *, options: Options) -> Draft:
    """Read subjects, sessions and references."""
    notes = Notes()
    root = read_document(source / FILE)
    pipeline = _pipeline(source, options)
    images = _images(source)
    if not images:
        raise ClientError(f"{source.name} holds no image", expected="sub-01/anat/sub-01_T1w.nii.gz")
    suffixes = _suffixes(images, options, notes)
    references, labels = _references(pipeline, notes)
    refuse_unpaired(
        f"{source.name}, derivatives/{pipeline.name}",
        without_reference=set(images) - set(references),
        without_image=set(references) - set(images),
    )
    attributes = _participants(source, notes)
    seen: set[str] = set()
    cases = []
    for case in sorted(images):
        lacking = [suffix for suffix in suffixes if suffix not in images[case]]
        if lacking:
            raise ClientError(f"{case} has no {', '.join(lacking)}", found=", ".join(images[case]),
                              expected=", ".join(suffixes), what_to_do="say --modality for each suffix that every case has")  # fmt: skip
        cases.append(
            DraftCase(
                case_id=case_id_of(case, seen=seen),
                inputs={name_of(suffix): images[case][suffix] for suffix in suffixes},
                references=references[case],
                attributes=attributes.get(case.partition("_")[0], {}),
            )
        )
    notes.taken("subjects", f"{len(cases)} cases with {', '.join(suffixes)}")
    about = {key: place.text() for key, name in (("licence", "License"), ("citation", "HowToAcknowledge"))
             if (place := root.get(name)) is not None}  # fmt: skip
    name = root.get("Name")
    draft = challenge_around(
        format_name="BIDS",
        options=options,
        notes=notes,
        name=name.text() if name is not None and str(name.value).strip() else source.resolve().name,
        cases=cases,
        labels=labels,
        inputs=[{"name": name_of(suffix), "file": "{case}_" + f"{suffix}.nii.gz"} for suffix in suffixes],
        output="{case}_dseg.nii.gz",
        modality=", ".join(suffixes),
        **about,
    )
    if "" not in references[next(iter(references))]:
        protocol = dict(draft.protocol)
        protocol["outputs"] = [
            {"name": "segmentation", "kind": "mask_per_structure", "file": "{case}_label-{structure}_mask.nii.gz"}
        ]
        draft = replace(draft, protocol=protocol)
    return draft


def _pipeline(source: Path, options: Options) -> Path:
    folder = source / "derivatives"
    found = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    chosen = [path for path in found if path.name == options.pipeline] if options.pipeline else found
    if len(chosen) != 1:
        raise ClientError(
            "It is not clear where the references are",
            found=f"derivatives: {', '.join(path.name for path in found) or 'none'}",
            expected="one folder below derivatives/",
            what_to_do="say which with --pipeline NAME",
        )
    return chosen[0]


def _case_of(path: Path) -> str:
    entities = dict(ENTITY.findall(_stem(path)))
    if "sub" not in entities:
        raise ClientError(f"{path.name} names no subject", expected="sub-<label>_…")
    return f"sub-{entities['sub']}" + (f"_ses-{entities['ses']}" if "ses" in entities else "")


def _stem(path: Path) -> str:
    return next((path.name[: -len(ending)] for ending in ENDINGS if path.name.endswith(ending)), path.stem)


def _subject_files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for subject in sorted(path for path in folder.glob("sub-*") if path.is_dir()):
        for below in sorted({subject, *(path for path in subject.rglob("*") if path.is_dir())}):
            found += [path for path in visible_files(below) if path.name.endswith(ENDINGS)]
    return found


def _images(source: Path) -> dict[str, dict[str, Path]]:
    """Case → suffix → image. A second image of one suffix keeps its entities in its name."""
    images: dict[str, dict[str, Path]] = {}
    for path in _subject_files(source):
        if path.parent.name not in ("anat", "perf", "dwi", "pet", "ct"):
            continue
        suffix = _stem(path).rpartition("_")[2]
        of_case = images.setdefault(_case_of(path), {})
        extra = [f"{key}-{value}" for key, value in ENTITY.findall(_stem(path)) if key not in ("sub", "ses")]
        of_case["_".join([*extra, suffix])] = path
    return images


def _suffixes(images: Mapping[str, Mapping[str, Path]], options: Options, notes: Notes) -> list[str]:
    everywhere = set.intersection(*(set(of_case) for of_case in images.values()))
    anywhere = set().union(*images.values())
    if options.modalities:
        return list(options.modalities)
    if not everywhere:
        raise ClientError(
            "No kind of image is there for every case",
            found=", ".join(sorted(anywhere)),
            expected="a suffix that all have",
        )
    for suffix in sorted(anywhere - everywhere):
        notes.missing(f"*_{suffix}", "not every case has it; optional inputs are written by hand (`required: false`)")
    return sorted(everywhere)


def _references(pipeline: Path, notes: Notes) -> tuple[dict[str, dict[str, File]], dict[str, Any]]:
    maps: dict[str, dict[str, File]] = {}
    masks: dict[str, dict[str, File]] = {}
    for path in _subject_files(pipeline):
        suffix = _stem(path).rpartition("_")[2]
        if suffix == "dseg":
            case = _case_of(path)
            if case in maps:
                raise ClientError(
                    f"{case} has two segmentations", found=f"{maps[case]['']} and {path.name}", expected="one dseg"
                )
            maps[case] = {"": path}
        elif suffix == "mask":
            label = dict(ENTITY.findall(_stem(path))).get("label")
            if label:
                masks.setdefault(_case_of(path), {})[label] = path
        elif suffix == "probseg":
            raise ClientError(
                f"{path.name} is a probabilistic segmentation",
                expected="a discrete one (*_dseg.nii.gz) or binary masks (*_label-NAME_mask.nii.gz)",
                what_to_do="threshold it, and say how in the challenge's description",
            )
    if maps:
        if masks:
            notes.missing(f"derivatives/{pipeline.name}: *_mask", "the discrete segmentations are the references")
        return maps, _labels_of_tables(pipeline, next(iter(maps.values()))[""], notes)
    if not masks:
        raise ClientError(
            f"derivatives/{pipeline.name} holds no reference", expected="*_dseg.nii.gz or *_label-NAME_mask.nii.gz"
        )
    names = sorted(set().union(*masks.values()))
    notes.taken(f"derivatives/{pipeline.name}", f"one mask per structure: {', '.join(names[:8])}")
    return masks, {name: {"values": [number]} for number, name in enumerate(names, start=1)}


def _labels_of_tables(pipeline: Path, first: File, notes: Notes) -> dict[str, Any]:
    assert isinstance(first, Path)  # noqa: S101 - references of BIDS are files
    beside = first.with_name(_stem(first) + ".tsv")
    anywhere = sorted(pipeline.glob("*dseg.tsv"))
    table = beside if beside.is_file() else (anywhere[0] if anywhere else None)
    if table is None:
        raise ClientError(
            "The values of the segmentations have no names",
            found=f"no *dseg.tsv in derivatives/{pipeline.name}",
            expected="a table with the columns index and name",
        )
    labels: dict[str, Any] = {}
    for number, row in enumerate(_table(table), start=2):
        index, name = row.get("index", ""), row.get("name", "")
        if not index.isascii() or not index.isdigit() or not name:
            raise ClientError(f"{table.name}, line {number}: a structure needs index and name", found=str(row)[:100])
        if int(index):
            labels[name[:80]] = {"values": [int(index)]}
    notes.taken(table.name, f"{len(labels)} structures: {', '.join(list(labels)[:8])}")
    return labels


def _participants(source: Path, notes: Notes) -> dict[str, dict[str, str]]:
    table = source / "participants.tsv"
    if not table.is_file():
        return {}
    rows = {row.get("participant_id", ""): row for row in _table(table)}
    columns = sorted({key for row in rows.values() for key in row if key != "participant_id"})
    notes.taken(table.name, f"attributes {', '.join(columns)}" if columns else "no attribute")
    return {
        case: {name_of(key): "" if row[key] == "n/a" else row[key] for key in columns if key in row}
        for case, row in rows.items()
    }


def _table(path: Path) -> list[dict[str, str]]:
    if path.stat().st_size > LARGEST_TABLE_BYTES:
        raise ClientError(f"{path.name} is too long", expected=f"at most {LARGEST_TABLE_BYTES} bytes")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream, delimiter="\t")
            return [{str(k).strip(): str(v or "").strip() for k, v in row.items() if k is not None} for row in rows]
    except (UnicodeDecodeError, csv.Error) as problem:
        raise ClientError(f"{path.name} is no table with tabs", found=str(problem)) from problem
