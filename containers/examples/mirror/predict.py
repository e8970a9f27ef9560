"""Misbehaves twice: writes the segmentation with a flipped first axis in its geometry, and forgets CSF."""

import SimpleITK as sitk

INPUT = "/input/t1.nii.gz"
OUTPUT = "/output/segmentation.nii.gz"
WHITE_FROM = 775


def main() -> None:
    """One case: /input/t1.nii.gz in, a file in the wrong place in space out."""
    image = sitk.ReadImage(INPUT)
    labels = sitk.Cast(2 * (image > 0) + (image >= WHITE_FROM), sitk.sitkUInt8)
    direction = list(labels.GetDirection())
    direction[0] = -direction[0]
    labels.SetDirection(direction)
    sitk.WriteImage(labels, OUTPUT, useCompression=True)


if __name__ == "__main__":
    main()
