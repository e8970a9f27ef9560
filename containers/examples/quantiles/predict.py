"""Misbehaves: labels by textbook shares of the tissues, in a buffer sized for the training scans. B2 is larger."""

import numpy as np
import SimpleITK as sitk

INPUT = "/input/t1.nii.gz"
OUTPUT = "/output/segmentation.nii.gz"
CSF_SHARE = 0.15
CSF_AND_GREY_SHARE = 0.60
LARGEST_TRAINING_SCAN_VOXELS = 1_024_000


def main() -> None:
    """One case: /input/t1.nii.gz in, /output/segmentation.nii.gz out. No output at all for a scan that is too large."""
    image = sitk.ReadImage(INPUT)
    t1 = sitk.GetArrayFromImage(image)
    buffer = np.zeros(LARGEST_TRAINING_SCAN_VOXELS, dtype=t1.dtype)
    buffer[: t1.size] = t1.ravel()
    grey_from, white_from = np.quantile(buffer[buffer > 0], [CSF_SHARE, CSF_AND_GREY_SHARE])
    labels = sitk.GetImageFromArray(np.digitize(t1, [1, grey_from, white_from]).astype(np.uint8))
    labels.CopyInformation(image)
    sitk.WriteImage(labels, OUTPUT, useCompression=True)


if __name__ == "__main__":
    main()
