"""Three tissues by two thresholds. Replace `segment` with your own algorithm."""

import SimpleITK as sitk

INPUT = "/input/t1.nii.gz"
OUTPUT = "/output/segmentation.nii.gz"


def segment(image: sitk.Image) -> sitk.Image:
    """1, 2 and 3 from dark to bright, 0 outside the brain. On the grid of the input."""
    brain = image > 0
    tissues = sitk.OtsuMultipleThresholds(image, numberOfThresholds=3)
    return sitk.Cast(tissues, sitk.sitkUInt8) * brain


image = sitk.ReadImage(INPUT, sitk.sitkFloat32)
sitk.WriteImage(segment(image), OUTPUT, useCompression=True)
