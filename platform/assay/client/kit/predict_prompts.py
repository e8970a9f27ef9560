"""A sample algorithm that believes its prompts: it fills boxes and mends a cube around each click. Put your own into `segment`.

The container is started anew for every round. What it is told, and its own answer of the round before, lie in its input folder.
"""

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
REACH = 1


def segment(image: Any, *, structures: list[dict[str, Any]], previous: Any) -> Any:  # the image is there for yours
    """The label map of one round. Arrays are z, y, x. Prompts count x, y, z from 0. `previous` is None in the first round."""
    labels = np.zeros(image.shape, np.uint16) if previous is None else previous.copy()
    for structure in structures:
        value = structure["values"][0]
        if previous is None and structure["box"]:
            low, high = structure["box"]
            labels[tuple(slice(a, b + 1) for a, b in zip(reversed(low), reversed(high), strict=True))] = value
        for click in structure["clicks"][-1:]:
            cube = tuple(slice(max(0, at - REACH), at + REACH + 1) for at in reversed(click["at"]))
            if click["foreground"]:
                labels[cube] = value
            else:
                labels[cube][labels[cube] == value] = 0
    return labels


def main() -> None:
    """One round of every case in the input folder."""
    for case in cases():
        files = {name: INPUTS / template.replace("{case}", case) for name, template in CONTRACT["inputs"].items()}
        image = sitk.ReadImage(str(next(iter(files.values()))))
        told = json.loads((INPUTS / CONTRACT["prompts_file"].replace("{case}", case)).read_text())
        before = INPUTS / CONTRACT["previous_file"].replace("{case}", case)
        previous = sitk.GetArrayFromImage(sitk.ReadImage(str(before))) if before.is_file() else None
        labels = segment(sitk.GetArrayFromImage(image), structures=told["structures"], previous=previous)
        answer = sitk.GetImageFromArray(labels)
        answer.CopyInformation(image)
        path = OUTPUTS / CONTRACT["output"].replace("{case}", case)
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(answer, str(path), useCompression=True)


def cases() -> Iterator[str]:
    """The cases there are, by the files of the first input. An answer of the round before is no case."""
    before, _, after = next(iter(CONTRACT["inputs"].values())).partition("{case}")
    _, _, of_previous = CONTRACT["previous_file"].partition("{case}")
    for path in sorted(INPUTS.glob(f"{before}*{after}")):
        if not path.name.endswith(of_previous):
            yield path.relative_to(INPUTS).as_posix()[len(before) : -len(after) or None]


if __name__ == "__main__":
    main()
