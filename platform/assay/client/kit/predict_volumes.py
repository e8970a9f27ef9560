"""A sample algorithm: bands of brightness. It shows the contract. Put your own into `segment` and leave the rest as it is."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

CONTRACT: dict[str, Any] = json.loads(Path(__file__).with_name("contract.json").read_text())
INPUTS = Path(os.environ.get("KIT_INPUTS", CONTRACT["input_folder"]))
OUTPUTS = Path(os.environ.get("KIT_OUTPUTS", CONTRACT["output_folder"]))
IMAGES = (".nii.gz", ".nii", ".mha", ".tif", ".tiff")


def segment(images: dict[str, Any], *, count: int) -> Any:
    """Classes 0 (background) to `count` for every voxel, from the images of one case by name. Arrays are z, y, x."""
    image = next(iter(images.values())).astype(np.float32)
    edges = np.quantile(image, 0.5 + 0.5 * np.arange(count) / count)
    return np.digitize(image, np.unique(edges))


def main() -> None:
    """Every case in the input folder."""
    for case, files in cases():
        images = {name: sitk.ReadImage(str(path)) for name, path in files.items() if path.name.endswith(IMAGES)}
        if not images:
            raise SystemExit(f"case {case}: no image among {CONTRACT['inputs']} in {INPUTS}")
        arrays = {name: sitk.GetArrayFromImage(image) for name, image in images.items()}
        grid = next(iter(images.values()))
        write(case, segment(arrays, count=class_count()), grid=grid)


def cases() -> Iterator[tuple[str, dict[str, Path]]]:
    """The cases there are and their files by input name. Optional ones may be missing."""
    templates: dict[str, str] = CONTRACT["inputs"]
    named = [(name, template) for name, template in templates.items() if "{case}" in template]
    certain = [template for name, template in named if name not in CONTRACT["optional_inputs"]][:1]
    ids = {case for template in certain or dict(named).values() for case in matching(template)}
    for case in sorted(ids) if named else ["case"]:
        paths = {name: INPUTS / template.replace("{case}", case) for name, template in templates.items()}
        yield case, {name: path for name, path in paths.items() if path.is_file()}


def matching(template: str) -> list[str]:
    """What stands for `{case}` in the names of the files that are there."""
    before, _, after = template.partition("{case}")
    return [
        path.relative_to(INPUTS).as_posix()[len(before) : -len(after) or None]
        for path in INPUTS.glob(f"{before}*{after}")
    ]


def class_count() -> int:
    """How many classes `segment` tells apart: the voxel values of a label map, or the structures of masks."""
    return len(CONTRACT["values"]) if CONTRACT["kind"] == "label_map" else len(CONTRACT["structures"])


def write(case: str, classes: Any, *, grid: Any) -> None:
    """The segmentation of one case in the form the challenge asks for, on the grid of its image."""
    template: str = CONTRACT["output"].replace("{case}", case)
    if CONTRACT["kind"] == "label_map":
        values = np.array([0, *CONTRACT["values"]], np.uint16 if max(CONTRACT["values"]) > 255 else np.uint8)
        save(like(grid, values[classes]), template)
        return
    masks = [like(grid, (classes == number).astype(np.uint8)) for number in range(1, class_count() + 1)]
    if CONTRACT["kind"] == "multichannel":
        save(sitk.JoinSeries(masks), template)
        return
    for name, mask in zip(CONTRACT["structures"], masks, strict=True):
        save(mask, template.replace("{structure}", name))


def like(grid: Any, array: Any) -> Any:
    """An image of these voxels where `grid` lies."""
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(grid)
    return image


def save(image: Any, name: str) -> None:
    """Write below the output folder."""
    path = OUTPUTS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=True)


if __name__ == "__main__":
    main()
