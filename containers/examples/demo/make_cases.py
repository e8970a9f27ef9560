"""Makes the demo's cases: real anatomy, seeded warps, two scanners that differ as scanners do.

Theory of operation: the nilearn wheel carries the skull-stripped MNI152 T1 average with its grey- and white-matter
probability maps. Each case is one seeded rotation, scaling and smooth displacement of all three maps *together*,
sampled on the scanner's grid. The reference is the argmax of the warped probabilities inside the warped brain (CSF is
what is neither grey nor white), never a nearest-neighbour copy of labels. Only then the T1 goes through the scanner:
gamma, gain, a smooth bias field, Rician noise. Site A is a quiet isotropic 1.5 T scanner. Site B a 3 T scanner with
thick slices, more bias and another gain, so thresholds tuned on A fail on B: the ranking per site differs from the
pooled one, and that is the point.

The same seed gives the same case on the same library versions. Across versions expect Dice to agree, not hashes.
"""

import argparse
import csv
import gzip
import importlib.util
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, ndimage

Array = NDArray[np.floating]

NOTICE = Path(__file__).with_name("NOTICE")
FULL_SCALE = 1000.0
"""T1 intensity of the template's brightest voxel before gain, bias and noise."""
CROP_MARGIN_MM = 10.0
DISPLACEMENT_SD_MM = 3.5
CONTROL_POINTS = 6
FWHM_PER_SD = 2.3548
FIELDS = ("case_id", "site", "scanner", "input:t1", "reference")


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """What one site's scanner does to anatomy."""

    site: str
    title: str
    spacing_mm: tuple[float, float, float]
    noise: float
    """Standard deviation of the Gaussian behind the Rician noise, as a share of full scale."""
    bias: float
    """Largest logarithm of the multiplicative field."""
    gain: float
    gamma: tuple[float, float]


SCANNERS = {
    "A": Scanner(
        site="A", title="1.5 T, isotropic", spacing_mm=(2, 2, 2), noise=0.02, bias=0.08, gain=1.0, gamma=(0.97, 1.03)
    ),
    "B": Scanner(
        site="B",
        title="3 T, thick slices",
        spacing_mm=(1.5, 1.5, 3),
        noise=0.03,
        bias=0.20,
        gain=1.12,
        gamma=(0.85, 0.95),
    ),
}
HIDDEN = tuple((site, seed) for site in "AB" for seed in range(4))
PUBLIC = (("A", 10), ("A", 11))


@dataclass(frozen=True, kw_only=True)
class Template:
    """The MNI152 maps on their 1 mm grid, each 0…1."""

    t1: Array
    grey: Array
    white: Array
    affine: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One scan and its reference on one grid. `t1` is exactly 0 outside the brain, 1 CSF, 2 grey, 3 white."""

    case_id: str
    scanner: Scanner
    t1: NDArray[np.int16]
    reference: NDArray[np.uint8]
    affine: NDArray[np.float64]


def read_template() -> Template:
    """The maps out of the installed nilearn wheel, which is located but never imported."""
    spec = importlib.util.find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("nilearn is not installed, but its MNI152 maps are needed; run `make setup`")
    folder = Path(spec.submodule_search_locations[0], "datasets", "data")
    images: list[Any] = [
        nibabel.load(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz") for name in ("t1", "gm", "wm")
    ]
    t1, grey, white = (np.asarray(image.dataobj, dtype=np.float32) / 255 for image in images)
    return Template(t1=t1, grey=grey, white=white, affine=images[0].affine)


def scanner_view(*, template: Template, scanner: Scanner) -> Template:
    """The template as blurred by the scanner's voxels: a voxel averages what lies in it."""
    sigma = [size / FWHM_PER_SD for size in scanner.spacing_mm]
    brain = (template.t1 > 0).astype(np.float32)

    def blur(volume: Array) -> Array:
        return ndimage.gaussian_filter(volume * brain, sigma, truncate=3)

    coverage = np.maximum(blur(brain), 1e-3)
    inside = coverage > 0.5
    t1, grey, white = (np.where(inside, blur(v) / coverage, 0) for v in (template.t1, template.grey, template.white))
    return Template(t1=t1, grey=grey, white=white, affine=template.affine)


def make_case(*, view: Template, scanner: Scanner, seed: int) -> Case:
    """One case of this scanner. `view` is the template as `scanner_view` returns it."""
    rng = np.random.default_rng([ord(scanner.site), seed])
    centre_mm = view.affine[:3, :3] @ ((np.array(view.t1.shape) - 1) / 2) + view.affine[:3, 3]
    extent_mm = np.array(view.t1.shape) + 2 * CROP_MARGIN_MM
    shape = np.ceil(extent_mm / scanner.spacing_mm).astype(int)
    affine = np.diag([*scanner.spacing_mm, 1.0])
    affine[:3, 3] = centre_mm - (shape - 1) / 2 * np.array(scanner.spacing_mm)

    coordinates = _warped_coordinates(shape=shape, affine=affine, centre_mm=centre_mm, view=view, rng=rng)
    t1, grey, white = (ndimage.map_coordinates(v, coordinates, order=1) for v in (view.t1, view.grey, view.white))
    brain = t1 > 0.05
    reference = np.where(brain, np.argmax([1 - grey - white, grey, white], axis=0) + 1, 0).astype(np.uint8)
    scan = _scan(t1=t1, scanner=scanner, rng=rng)
    t1_stored = np.where(brain, np.clip(np.rint(scan), 1, 32767), 0).astype(np.int16)

    box, corner = _brain_box(brain=brain, spacing_mm=scanner.spacing_mm)
    affine[:3, 3] += affine[:3, :3] @ corner
    return Case(
        case_id=f"{scanner.site}{seed}", scanner=scanner, t1=t1_stored[box], reference=reference[box], affine=affine
    )


def _warped_coordinates(
    *, shape: NDArray[np.int64], affine: NDArray[np.float64], centre_mm: NDArray[np.float64], view: Template,
    rng: np.random.Generator,
) -> NDArray[np.float64]:  # fmt: skip
    """Where in the template each voxel comes from: rotation ±6°, scale 0.95–1.06, smooth displacement of 3.5 mm sd."""
    angles = np.deg2rad(rng.uniform(-6, 6, 3))
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ turn
    linear = rotation / rng.uniform(0.95, 1.06)
    voxels = np.indices(tuple(shape)).reshape(3, -1)
    points_mm = affine[:3, :3] @ voxels + affine[:3, 3:4]
    control_mm = rng.normal(0, DISPLACEMENT_SD_MM, (3, CONTROL_POINTS, CONTROL_POINTS, CONTROL_POINTS))
    # The voxels lie on a grid, so the cubic spline through the control points is one small matrix per axis.
    spline = interpolate.make_interp_spline(np.arange(CONTROL_POINTS), np.eye(CONTROL_POINTS), k=3)
    x, y, z = (spline(np.linspace(0, CONTROL_POINTS - 1, n)) for n in shape)
    displacement_mm = np.einsum("cijk,xi,yj,zk->cxyz", control_mm, x, y, z, optimize=True).reshape(3, -1)
    source_mm = linear @ (points_mm - centre_mm[:, None]) + centre_mm[:, None] + displacement_mm
    source = np.linalg.inv(view.affine) @ np.vstack([source_mm, np.ones(source_mm.shape[1])])
    return source[:3].reshape(3, *shape)


def _scan(*, t1: Array, scanner: Scanner, rng: np.random.Generator) -> NDArray[np.float64]:
    """What the scanner measures: gamma, gain, bias field (exponential of a quadratic form), Rician noise."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in t1.shape], indexing="ij", sparse=True)
    linear, quadratic = rng.normal(size=3), rng.normal(size=3)
    field = sum(a * x + b * (x**2 - 1 / 3) for a, b, x in zip(linear, quadratic, axes, strict=True))
    field = scanner.bias * field / np.abs(field).max()
    signal = FULL_SCALE * scanner.gain * np.maximum(t1, 0) ** rng.uniform(*scanner.gamma) * np.exp(field)
    sd = FULL_SCALE * scanner.noise
    return np.hypot(signal + rng.normal(0, sd, t1.shape), rng.normal(0, sd, t1.shape))


def _brain_box(
    *, brain: NDArray[np.bool_], spacing_mm: tuple[float, ...]
) -> tuple[tuple[slice, ...], NDArray[np.int64]]:
    """The smallest box around the brain with a margin of 10 mm, and its first voxel."""
    margin = np.ceil(CROP_MARGIN_MM / np.array(spacing_mm)).astype(int)
    where = ndimage.find_objects(brain.astype(np.uint8))[0]
    box = tuple(
        slice(max(s.start - m, 0), min(s.stop + m, n)) for s, m, n in zip(where, margin, brain.shape, strict=True)
    )
    return box, np.array([s.start for s in box])


def make_cases(*, wanted: Iterable[tuple[str, int]], template: Template) -> Iterable[Case]:
    """The wanted (site, seed) pairs, one after the other. The template is blurred once per site."""
    views: dict[str, Template] = {}
    for site, seed in wanted:
        scanner = SCANNERS[site]
        if site not in views:
            views[site] = scanner_view(template=template, scanner=scanner)
        yield make_case(view=views[site], scanner=scanner, seed=seed)


def write_testset(*, folder: Path, wanted: Iterable[tuple[str, int]], template: Template) -> None:
    """One test set as `assay testset push` takes it: manifest.csv, t1/, reference/ and the notice of the maps."""
    for name in ("t1", "reference"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        rows = csv.DictWriter(stream, fieldnames=FIELDS)
        rows.writeheader()
        for case in make_cases(wanted=wanted, template=template):
            files: dict[str, NDArray[Any]] = {"t1": case.t1, "reference": case.reference}
            for name, voxels in files.items():
                _write_nifti(path=folder / name / f"{case.case_id}.nii.gz", voxels=voxels, affine=case.affine)
            paths = {"input:t1": f"t1/{case.case_id}.nii.gz", "reference": f"reference/{case.case_id}.nii.gz"}
            rows.writerow({"case_id": case.case_id, "site": case.scanner.site, "scanner": case.scanner.title, **paths})
    shutil.copy(NOTICE, folder / "NOTICE")


def _write_nifti(*, path: Path, voxels: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """A NIfTI file in millimetres whose gzip header names neither a file nor a time, so equal cases are equal files."""
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))


def main() -> None:
    """`python -m containers.examples.demo.make_cases FOLDER` writes FOLDER/hidden and FOLDER/public."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    template = read_template()
    for name, wanted in (("hidden", HIDDEN), ("public", PUBLIC)):
        write_testset(folder=folder / name, wanted=wanted, template=template)


if __name__ == "__main__":
    main()
