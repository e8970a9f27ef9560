"""Small test-set folders, packed as `assay testset push` packs them."""

import base64
import io
import locale
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SHAPE = (6, 5, 4)  # x, y, z


def image(
    *, seed: int = 1, spacing_mm: tuple[float, ...] = (1.0, 1.0, 2.0), origin_mm: tuple[float, ...] = (3.0, 4.0, 5.0)
) -> sitk.Image:
    voxels = np.random.default_rng(seed).integers(0, 1000, SHAPE[::-1]).astype(np.int16)
    return placed(voxels, spacing_mm=spacing_mm, origin_mm=origin_mm)


def labels(
    *,
    spacing_mm: tuple[float, ...] = (1.0, 1.0, 2.0),
    origin_mm: tuple[float, ...] = (3.0, 4.0, 5.0),
    values: tuple[int, ...] = (1, 2),
) -> sitk.Image:
    voxels = np.zeros(SHAPE[::-1], np.uint8)
    for number, value in enumerate(values):
        voxels[number, 1:3, 1:4] = value
    return placed(voxels, spacing_mm=spacing_mm, origin_mm=origin_mm)


def placed(voxels: np.ndarray, *, spacing_mm: tuple[float, ...], origin_mm: tuple[float, ...]) -> sitk.Image:
    result = sitk.GetImageFromArray(voxels)
    result.SetSpacing(spacing_mm)
    result.SetOrigin(origin_mm)
    return result


def write(picture: sitk.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(picture, str(path), useCompression=path.name.endswith(".gz"))


def write_dicom_series(picture: sitk.Image, folder: Path, *, tags: Mapping[str, str] | None = None) -> None:
    folder.mkdir(parents=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z in range(picture.GetSize()[2]):
        slice_ = picture[:, :, z]
        written = {
            "0008|0060": "CT",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.1",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.2",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.3.{z}",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0020|0013": str(z),
            "0020|0032": "\\".join(str(v) for v in picture.TransformIndexToPhysicalPoint((0, 0, z))),
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0018|0050": str(picture.GetSpacing()[2]),
        }
        for tag, value in {**written, **(tags or {})}.items():
            slice_.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{z}.dcm"))
        with kept_locale():
            writer.Execute(slice_)


@contextmanager
def kept_locale() -> Iterator[None]:
    """GDCM's writer (never its reader) leaves the whole process in the C locale, where Python reads files as ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


def good_folder(folder: Path, *, case_ids: tuple[str, ...] = ("A01", "B01")) -> Path:
    rows = ["case_id,site,input:t1,reference"]
    for number, case_id in enumerate(case_ids):
        write(image(seed=number), folder / f"images/{case_id}.nii.gz")
        write(labels(), folder / f"labels/{case_id}.nii.gz")
        rows.append(f"{case_id},{case_id[0]},images/{case_id}.nii.gz,labels/{case_id}.nii.gz")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    (folder / "NOTICE").write_text("Use as you like.\n")
    return folder


def packed(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, arcname=path.relative_to(folder).as_posix(), recursive=False)
    return buffer.getvalue()


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def zipped(folder: Path, *, within: str = "") -> bytes:
    """The folder as people zip it: on its own or inside another one, with what their system adds."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, f"{within}{path.relative_to(folder).as_posix()}")
        archive.writestr("__MACOSX/._manifest.csv", b"\0\5\x16\7")
        archive.writestr(f"{within}.DS_Store", b"Bud1")
    return buffer.getvalue()
