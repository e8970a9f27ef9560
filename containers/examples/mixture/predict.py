"""N4 bias-field correction, then a three-class Gaussian mixture of intensities, its posteriors smoothed in space."""

import numpy as np
import SimpleITK as sitk

INPUT = "/input/t1.nii.gz"
OUTPUT = "/output/segmentation.nii.gz"
CLASSES = 3
SHRINK = 6
ITERATIONS = 60
SMOOTHING_MM = 0.8


def main() -> None:
    """One case: /input/t1.nii.gz in, /output/segmentation.nii.gz out."""
    image = sitk.ReadImage(INPUT, sitk.sitkFloat32)
    brain = image > 0
    corrected = sitk.GetArrayFromImage(remove_bias(image=image, brain=brain))
    inside = sitk.GetArrayFromImage(brain) > 0
    posteriors = fit_mixture(values=corrected[inside])
    labels = smooth_argmax(posteriors=posteriors, inside=inside, like=image)
    output = sitk.GetImageFromArray(labels)
    output.CopyInformation(image)
    sitk.WriteImage(output, OUTPUT, useCompression=True)


def remove_bias(*, image: sitk.Image, brain: sitk.Image) -> sitk.Image:
    """The image divided by the smooth field N4 finds on a six times coarser copy."""
    size = [max(1, n // SHRINK) for n in image.GetSize()]
    factors = [n // s for n, s in zip(image.GetSize(), size, strict=True)]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([20, 10])
    n4.Execute(sitk.Shrink(image, factors), sitk.Shrink(brain, factors))
    return image / sitk.Exp(n4.GetLogBiasFieldAsImage(image))


def fit_mixture(*, values: np.ndarray) -> np.ndarray:
    """Posterior of each class for each value, darkest class first, by expectation maximisation on a histogram."""
    low, high = np.percentile(values, [0.1, 99.9])
    edges = np.linspace(low, high, 257)
    centres = (edges[:-1] + edges[1:]) / 2
    counts = np.histogram(values, edges)[0].astype(float)
    means = np.quantile(values, [0.1, 0.4, 0.85])
    sds = np.full(CLASSES, (high - low) / 8)
    shares = np.full(CLASSES, 1 / CLASSES)
    for _ in range(ITERATIONS):
        posterior = responsibilities(values=centres, means=means, sds=sds, shares=shares) * counts
        weights = posterior.sum(axis=1)
        means = posterior @ centres / weights
        sds = np.sqrt((posterior * (centres - means[:, None]) ** 2).sum(axis=1) / weights)
        shares = weights / weights.sum()
    order = np.argsort(means)
    return responsibilities(values=values, means=means[order], sds=sds[order], shares=shares[order])


def responsibilities(*, values: np.ndarray, means: np.ndarray, sds: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """classes × values: how much each class explains each value."""
    z = (values - means[:, None]) / sds[:, None]
    density = shares[:, None] / sds[:, None] * np.exp(-0.5 * z**2) + 1e-30
    return density / density.sum(axis=0)


def smooth_argmax(*, posteriors: np.ndarray, inside: np.ndarray, like: sitk.Image) -> np.ndarray:
    """The most probable class of each brain voxel once neighbours have had their say."""
    smoothed = []
    for posterior in posteriors:
        volume = np.zeros(inside.shape, dtype=np.float32)
        volume[inside] = posterior
        probability = sitk.GetImageFromArray(volume)
        probability.CopyInformation(like)
        smoothed.append(sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(probability, SMOOTHING_MM)))
    return np.where(inside, np.argmax(smoothed, axis=0) + 1, 0).astype(np.uint8)


if __name__ == "__main__":
    main()
