"""A median filter, two Otsu thresholds, and islands of fewer than twenty voxels given to their neighbours."""

import SimpleITK as sitk

INPUT = "/input/t1.nii.gz"
OUTPUT = "/output/segmentation.nii.gz"
SMALLEST_ISLAND_VOXELS = 20


def main() -> None:
    """One case: /input/t1.nii.gz in, /output/segmentation.nii.gz out."""
    image = sitk.ReadImage(INPUT, sitk.sitkFloat32)
    brain = image > 0
    labels = multi_otsu(image=sitk.Median(image, [1, 1, 1]), brain=brain)
    sitk.WriteImage(remove_islands(labels=labels, brain=brain), OUTPUT, useCompression=True)


def multi_otsu(*, image: sitk.Image, brain: sitk.Image) -> sitk.Image:
    """1, 2, 3 from dark to bright inside the brain. The thresholds look at brain voxels only."""
    values = sitk.GetArrayViewFromImage(image)[sitk.GetArrayViewFromImage(brain) > 0]
    line = sitk.GetImageFromArray(values[None, :])
    otsu = sitk.OtsuMultipleThresholdsImageFilter()
    otsu.SetNumberOfThresholds(2)
    otsu.Execute(line)
    dark, bright = otsu.GetThresholds()
    return sitk.Cast((image > -1) + (image > dark) + (image > bright), sitk.sitkUInt8) * brain


def remove_islands(*, labels: sitk.Image, brain: sitk.Image) -> sitk.Image:
    """Islands too small to be anatomy take the median label of their neighbourhood."""
    is_large = labels < 0
    for value in (1, 2, 3):
        islands = sitk.RelabelComponent(sitk.ConnectedComponent(labels == value), SMALLEST_ISLAND_VOXELS)
        is_large = is_large | (islands > 0)
    return (sitk.Mask(labels, is_large) + sitk.Mask(sitk.Median(labels, [2, 2, 2]), sitk.Not(is_large))) * brain


if __name__ == "__main__":
    main()
