"""nnU-Net v2 raw data sets and the Medical Segmentation Decathlon: a folder with `dataset.json`.

nnU-Net v2 (documentation/dataset_format.md of MIC-DKFZ/nnUNet): `channel_names`, `labels` (name → value, or values of a region),
`file_ending`. Images `CASE_0000<ending>` per channel, references `CASE<ending>`. The Decathlon (and nnU-Net v1): `modality`, `labels`
(value → name), `training` with pairs of paths. The channels of an image are its fourth axis.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.client.errors import ClientError
from assay.client.importing.datasets import case_id_of, challenge_around, refuse_unpaired, volumes_in
from assay.client.importing.draft import (
    VOLUME_ENDINGS,
    Channel,
    Draft,
    DraftCase,
    File,
    Notes,
    ending_of,
    name_of,
    without_ending,
)
from assay.client.importing.options import Options
from assay.client.importing.sources import Place, inside, read_document

FILE = "dataset.json"
BACKGROUND = "background"
CHANNEL_DIGITS = 4
TRAINING_WARNING = (
    "the training cases became the hidden test set, because there is no folder of test references. Everybody with the data set "
    "knows these references: use them for a rehearsal, not for a competition"
)


def recognises(source: Path) -> bool:
    """Whether this is a folder with a `dataset.json`."""
    return (source / FILE).is_file()


def read_nnunet(source: Path, *, options: Options) -> Draft:
    """Read either form. The keys of `dataset.json` say which it is."""
    root = read_document(source / FILE)
    is_decathlon = root.get("modality") is not None and root.get("channel_names") is None
    return _decathlon(source, root, options) if is_decathlon else _nnunet(source, root, options)


def _nnunet(source: Path, root: Place, options: Options) -> Draft:
    notes = Notes()
    channels = _channel_names(root.need("channel_names", expected='{"0": "CT"}'))
    ending = root.need("file_ending", expected='".nii.gz"').text()
    if ending not in VOLUME_ENDINGS:
        raise root.need("file_ending", expected="").error(
            "is no volume format that Assay reads", expected=".nii.gz, .nii, .mha or .nrrd",
            what_to_do="convert the images; 2-D pictures are not taken",
        )  # fmt: skip
    labels = _labels_by_name(root.need("labels", expected='{"background": 0, "liver": 1}'), notes=notes)
    cases = (
        _listed_cases(source, root, channels=channels, notes=notes)
        if root.get("dataset") is not None
        else _folder_cases(source, channels=channels, ending=ending, options=options, notes=notes)
    )
    _count(root, len(cases), notes)
    for key in set(root.mapping()) - {"channel_names", "labels", "file_ending", "dataset", "numTraining", "name", "description",
                                      "licence", "license", "reference", "citation", "release"}:  # fmt: skip
        notes.missing(f"{FILE}: {key}", "says how nnU-Net trains or reads, which scoring does not use")
    inputs = [
        {"name": name, "file": "{case}_" + f"{number:0{CHANNEL_DIGITS}d}.nii.gz"}
        for number, name in enumerate(channels)
    ]
    if ending != ".nii.gz":
        notes.changed(f"{FILE}: file_ending", f"algorithms are given .nii.gz; the files stay {ending} in the test set")
    notes.taken(f"{FILE}: channel_names", f"inputs {', '.join(channels)}, named as an nnU-Net container expects them")
    return challenge_around(
        format_name="nnU-Net v2",
        options=options,
        notes=notes,
        cases=cases,
        labels=labels,
        inputs=inputs,
        output="{case}.nii.gz",
        **_about(root, source, notes=notes),
    )


def _channel_names(place: Place) -> list[str]:
    by_number: dict[int, str] = {}
    for key, value in place.mapping().items():
        if not key.isascii() or not key.isdigit():
            raise value.error("has a key that is no channel number", expected='"0", "1", …')
        by_number[int(key)] = value.text()
    if sorted(by_number) != list(range(len(by_number))) or not by_number:
        raise place.error("does not number the channels from 0", expected='{"0": "T1", "1": "T2"}')
    names = [name_of(by_number[number], fallback=f"channel{number}") for number in range(len(by_number))]
    if len({name.lower() for name in names}) != len(names):
        names = [f"{name}_{number}" for number, name in enumerate(names)]
    return names


def _labels_by_name(place: Place, *, notes: Notes) -> dict[str, Any]:
    """nnU-Net v2: name → value, or the values that make up a region."""
    labels: dict[str, Any] = {}
    for name, value in place.mapping().items():
        values = [item.whole() for item in value.sequence()] if isinstance(value.value, list) else [value.whole()]
        if name.lower() == BACKGROUND or values == [0]:
            continue
        if name.lower() == "ignore":
            notes.missing(f"{FILE}: labels.ignore",
                          f"voxels of value {values[0]} would be left out of the score; Assay scores every voxel")  # fmt: skip
            continue
        labels[name[:80]] = {"values": values}
    if not labels:
        raise place.error("names no structure", expected='{"background": 0, "liver": 1}')
    notes.taken(f"{FILE}: labels", f"{len(labels)} structures: {', '.join(list(labels)[:8])}")
    return labels


def _listed_cases(source: Path, root: Place, *, channels: list[str], notes: Notes) -> list[DraftCase]:
    cases, seen = [], set[str]()
    listed = root.need("dataset", expected="{case: {images: […], label: …}}")
    for name, entry in listed.mapping().items():
        images = entry.need("images", expected="a list of paths").sequence()
        if len(images) != len(channels):
            raise entry.error(
                "has not one image per channel", expected=f"{len(channels)} images: {', '.join(channels)}"
            )
        paths = [inside(source, image) for image in images]
        label = inside(source, entry.need("label", expected="a path"))
        cases.append(
            DraftCase(
                case_id=case_id_of(name, seen=seen),
                inputs=dict(zip(channels, paths, strict=True)),
                references={"": label},
            )
        )
    if not cases:
        raise listed.error("lists no case", expected="{case: {images: […], label: …}}")
    notes.taken(f"{FILE}: dataset", f"{len(cases)} cases as listed")
    notes.changed(f"{FILE}: dataset", TRAINING_WARNING)
    return cases


def _folder_cases(source: Path, *, channels: list[str], ending: str, options: Options, notes: Notes) -> list[DraftCase]:
    has_test = (
        (source / "imagesTs").is_dir() and (source / "labelsTs").is_dir() and any((source / "labelsTs").iterdir())
    )
    if options.cases == "test" and not has_test:
        raise ClientError(
            "There are no test references",
            found=", ".join(sorted(path.name for path in source.iterdir() if path.is_dir())) or "no folder",
            expected="imagesTs and labelsTs",
            what_to_do="put the references into labelsTs, or say --cases training",
        )
    which = "Ts" if has_test and options.cases != "training" else "Tr"
    images, labels = source / f"images{which}", source / f"labels{which}"
    for folder in (images, labels):
        if not folder.is_dir():
            raise ClientError(
                f"{folder.name} is missing", found=source.name, expected=f"{images.name} and {labels.name}"
            )
    cases = paired_channels(
        volumes_in(images), volumes_in(labels), channels=channels, where=f"{images.name}, {labels.name}"
    )
    notes.taken(f"{images.name}, {labels.name}", f"{len(cases)} cases")
    if which == "Tr":
        notes.changed(labels.name, TRAINING_WARNING)
    elif (source / "imagesTr").is_dir():
        notes.missing("imagesTr, labelsTr", "training cases stay where they are; publish them beside the challenge")
    if any(ending_of(path) != ending for case in cases for path in case.references.values() if isinstance(path, Path)):
        notes.changed(labels.name, f"some files do not end in {ending} as {FILE} says; they are taken by name")
    return cases


def paired_channels(
    images: Mapping[str, Path], references: Mapping[str, Path], *, channels: list[str], where: str
) -> list[DraftCase]:
    """Cases from images `CASE_0000` and references `CASE`. Raises `ClientError` where one lacks the other or a channel."""
    by_case: dict[str, dict[int, Path]] = {}
    for name, path in images.items():
        case, _, number = name.rpartition("_")
        if not case or len(number) != CHANNEL_DIGITS or not (number.isascii() and number.isdigit()):
            raise ClientError(
                f"{where}: {path.name} is not named as an image of a case",
                expected="CASE_0000 with the ending of the data set",
            )
        by_case.setdefault(case, {})[int(number)] = path
    refuse_unpaired(
        where, without_reference=set(by_case) - set(references), without_image=set(references) - set(by_case)
    )
    if not by_case:
        raise ClientError(f"{where}: there is no image", expected="CASE_0000.nii.gz")
    cases, seen = [], set[str]()
    for case, found in sorted(by_case.items()):
        if set(found) != set(range(len(channels))):
            raise ClientError(
                f"{where}: case {case} has not one image per channel",
                found=", ".join(f"{number:04d}" for number in sorted(found)),
                expected=f"{len(channels)} channels: {', '.join(channels)}",
            )
        inputs: dict[str, File] = {channels[number]: path for number, path in sorted(found.items())}
        cases.append(DraftCase(case_id=case_id_of(case, seen=seen), inputs=inputs, references={"": references[case]}))
    return cases


def _count(root: Place, found: int, notes: Notes) -> None:
    stated = root.get("numTraining")
    if stated is not None and stated.whole() != found:
        notes.changed(f"{FILE}: numTraining", f"says {stated.whole()}; {found} cases were taken")


def _about(root: Place, source: Path, *, notes: Notes) -> dict[str, str]:
    """The descriptive keys, in either form's spelling."""
    texts = {}
    for key, names in {
        "name": ("name",),
        "description": ("description",),
        "licence": ("licence", "license"),
        "citation": ("citation", "reference"),
    }.items():
        place = next((found for name in names if (found := root.get(name)) is not None), None)
        texts[key] = "" if place is None or not str(place.value).strip() else place.text()
        if texts[key] and key != "name":
            notes.taken(f"{FILE}: {key}", texts[key][:80])
    texts["name"] = texts["name"] or source.resolve().name
    return texts


def _decathlon(source: Path, root: Place, options: Options) -> Draft:
    notes = Notes()
    channels = _channel_names(root.need("modality", expected='{"0": "CT"}'))
    labels: dict[str, Any] = {}
    place = root.need("labels", expected='{"0": "background", "1": "liver"}')
    for key, name in place.mapping().items():
        if not key.lstrip("-").isascii() or not key.lstrip("-").isdigit():
            raise name.error("has a key that is no voxel value", expected='"1": "liver"')
        if int(key) != 0:
            labels[name.text()[:80]] = {"values": [int(key)]}
    if not labels:
        raise place.error("names no structure", expected='{"0": "background", "1": "liver"}')
    notes.taken(f"{FILE}: labels", f"{len(labels)} structures: {', '.join(list(labels)[:8])}")
    if options.cases == "test":
        raise ClientError("The Decathlon gives no test references", expected="--cases training")
    cases = _decathlon_cases(
        source, root.need("training", expected="[{image: …, label: …}]"), channels=channels, notes=notes
    )
    _count(root, len(cases), notes)
    notes.changed(f"{FILE}: training", TRAINING_WARNING)
    if root.get("test") is not None:
        notes.missing(f"{FILE}: test", "test images have no references, so they cannot be scored")
    inputs = [{"name": name, "file": f"{name}.nii.gz"} for name in channels]
    return challenge_around(
        format_name="Medical Segmentation Decathlon",
        options=options,
        notes=notes,
        cases=cases,
        labels=labels,
        inputs=inputs,
        output="segmentation.nii.gz" if len(cases) == 1 else "{case}.nii.gz",
        modality=", ".join(channels),
        **_about(root, source, notes=notes),
    )


def _decathlon_cases(source: Path, place: Place, *, channels: list[str], notes: Notes) -> list[DraftCase]:
    cases, seen = [], set[str]()
    for entry in place.sequence():
        image = inside(source, entry.need("image", expected="./imagesTr/…"))
        label = inside(source, entry.need("label", expected="./labelsTr/…"))
        inputs: dict[str, File] = (
            {channels[0]: image}
            if len(channels) == 1
            else {name: Channel(path=image, index=number) for number, name in enumerate(channels)}
        )
        cases.append(
            DraftCase(case_id=case_id_of(without_ending(label), seen=seen), inputs=inputs, references={"": label})
        )
    if not cases:
        raise place.error("lists no case", expected="[{image: …, label: …}]")
    notes.taken(f"{FILE}: training", f"{len(cases)} cases")
    if len(channels) > 1:
        notes.changed("images", f"the fourth axis was split into {len(channels)} files per case: {', '.join(channels)}")
    return cases
