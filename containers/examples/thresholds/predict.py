"""Two fixed intensity thresholds, found by grid search on the two public cases. They know one scanner, and it shows."""

import SimpleITK as sitk

INPUT = "/input/t1.nii.gz"
OUTPUT = "/output/segmentation.nii.gz"
GREY_FROM = 475
WHITE_FROM = 775


def main() -> None:
    """One case: /input/t1.nii.gz in, /output/segmentation.nii.gz out."""
    image = sitk.ReadImage(INPUT)
    labels = sitk.Cast((image > 0) + (image >= GREY_FROM) + (image >= WHITE_FROM), sitk.sitkUInt8)
    sitk.WriteImage(labels, OUTPUT, useCompression=True)


if __name__ == "__main__":
    main()
