"""A FLARE folder: images `CASE_0000.nii.gz` and references `CASE.nii.gz`, without a description. A protocol says the structures."""

from pathlib import Path

from assay.client.errors import ClientError
from assay.client.importing.datasets import challenge_around, volumes_in
from assay.client.importing.draft import Draft, Notes, named_protocol
from assay.client.importing.nnunet import paired_channels
from assay.client.importing.options import Options

IMAGES = ("imagesTs", "images", "imagesVal", "imagesTr", "TestImage", "inputs")
REFERENCES = ("labelsTs", "labels", "labelsVal", "labelsTr", "TestMask", "gts")


def recognises(source: Path) -> bool:
    """Whether there is a folder of images and one of references, and no `dataset.json`."""
    return not (source / "dataset.json").exists() and _folders(source) is not None


def read_flare(source: Path, *, options: Options) -> Draft:
    """Read the folder. The labels are the protocol's."""
    folders = _folders(source)
    if folders is None:
        raise ClientError(
            f"{source.name} has no pair of folders that we know",
            found=", ".join(sorted(path.name for path in source.iterdir() if path.is_dir())) or "no folder",
            expected=" or ".join(f"{a} and {b}" for a, b in zip(IMAGES, REFERENCES, strict=True)),
        )
    if not options.protocol:
        raise ClientError(
            "A FLARE folder does not say what its values mean",
            expected="--protocol flare22, or another of `assay protocol list`, or a protocol file",
        )
    notes = Notes()
    protocol = named_protocol(options.protocol)
    inputs = [item for item in protocol.get("inputs", []) if item.get("kind", "image") == "image"]
    channels = [item["name"] for item in inputs] or ["image"]
    images, references = folders
    where = f"{images.name}, {references.name}"
    cases = paired_channels(volumes_in(images), volumes_in(references), channels=channels, where=where)
    notes.taken(where, f"{len(cases)} cases")
    return challenge_around(
        format_name="FLARE folder",
        options=options,
        notes=notes,
        name=source.resolve().name,
        cases=cases,
        labels={},
        inputs=inputs,
        output="{case}.nii.gz",
    )


def _folders(source: Path) -> tuple[Path, Path] | None:
    for images, references in zip(IMAGES, REFERENCES, strict=True):
        if (source / images).is_dir() and (source / references).is_dir():
            return source / images, source / references
    return None
