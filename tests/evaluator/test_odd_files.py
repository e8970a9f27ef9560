"""A corpus of odd files and what becomes of each: read to the same voxels as nibabel, or refused with its reason. Nothing else."""

import bz2
import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from evaluator.errors import InvalidVolume, Reason
from evaluator.volumes import canonicalise, read_label_map

SHAPE = (6, 5, 4)
LABELS = (np.arange(120).reshape(SHAPE) % 4).astype(np.uint8)
READ = "read"


def nifti(array=LABELS, *, kind=nibabel.Nifti1Image, affine=None, **fields) -> bytes:
    """A single NIfTI file. `fields` are (offset, format, values) written into it afterwards."""
    raw = bytearray(
        kind(array, np.diag([0.8, 0.7, 2.5, 1]) if affine is None else affine, dtype=array.dtype).to_bytes()
    )
    for offset, form, *values in fields.values():
        struct.pack_into(form, raw, offset, *values)
    return bytes(raw)


def meta(*, packed: bool = False, **lines: str) -> bytes:
    """A MetaImage with its voxels in it."""
    body = LABELS.tobytes(order="F")
    body = zlib.compress(body) if packed else body
    head = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(packed), **({"CompressedDataSize": str(len(body))} if packed else {}),
        "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0", "ElementSpacing": "0.8 0.7 2.5", "DimSize": "6 5 4",
        "ElementType": "MET_UCHAR", "ElementDataFile": "LOCAL", **lines,
    }  # fmt: skip
    return "".join(f"{key} = {value}\n" for key, value in head.items()).encode() + body


def nrrd(spacings: str = "spacings: 1 1 1\n") -> bytes:
    head = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 6 5 4\nencoding: raw\n{spacings}\n"
    return head.encode() + LABELS.tobytes(order="F")


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("c1.nii", nifti())
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("c1.nii")
        entry.size = len(nifti())
        archive.addfile(entry, io.BytesIO(nifti()))
    return buffer.getvalue()


def with_extension() -> bytes:
    """An extension of 32 bytes between header and voxels, as dcm2niix and AFNI write."""
    image = nibabel.Nifti1Image(LABELS, np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"written by a tool"))
    return image.to_bytes()


def big_endian() -> bytes:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.dtype(">i2"))
    return nibabel.Nifti1Image(LABELS.astype(np.int16), np.eye(4), header=header).to_bytes()


def oriented_by(code: str) -> bytes:
    image = nibabel.Nifti1Image(LABELS, np.diag([-0.8, 0.7, 2.5, 1]))
    image.set_qform(image.affine, code=int("q" in code))
    image.set_sform(image.affine, code=int("s" in code))
    return image.to_bytes()


FLOATS = LABELS.astype(np.float32)
SPOILED = FLOATS.copy()
SPOILED[1, 2, 3] = np.nan
ENDLESS = FLOATS.copy()
ENDLESS[1, 2, 3] = np.inf
HALF = FLOATS.copy()
HALF[1, 2, 3] = 0.5
PLAIN, PACKED = nifti(), gzip.compress(nifti(), mtime=0)

FILES: dict[str, tuple[bytes, str]] = {
    # what people have, and is sound
    "plain": (PLAIN, READ),
    "gzip": (PACKED, READ),
    "gzip of several members, as pigz and bgzip write": (gzip.compress(PLAIN[:300], mtime=0) + gzip.compress(PLAIN[300:], mtime=0), READ),
    "gzip that ends with an empty member, as bgzip writes": (PACKED + gzip.compress(b"", mtime=0), READ),
    "gzip with the file's name": (gzip.compress(PLAIN, mtime=0)[:3] + b"\x08" + PACKED[4:10] + b"c1.nii\0" + PACKED[10:], READ),
    "an extension": (with_extension(), READ),
    "big endian": (big_endian(), READ),
    "qform only": (oriented_by("q"), READ),
    "sform only": (oriented_by("s"), READ),
    "neither form": (oriented_by(""), READ),
    "both forms": (oriented_by("qs"), READ),
    "NIfTI-2": (nifti(kind=nibabel.Nifti2Image), READ),
    "floats that are whole": (nifti(FLOATS), READ),
    "doubles that are whole": (nifti(LABELS.astype(np.float64)), READ),
    "signed bytes": (nifti(LABELS.astype(np.int8)), READ),
    "shorts": (nifti(LABELS.astype(np.int16)), READ),
    "unsigned longs": (nifti(LABELS.astype(np.uint32)), READ),
    "64-bit integers": (nifti(LABELS.astype(np.int64)), READ),
    "negative labels": (nifti(LABELS.astype(np.int16) - 1), READ),
    "a fourth axis of one": (nifti(LABELS[..., None]), READ),
    "a fifth axis of one": (nifti(LABELS[..., None, None]), READ),
    "a slope of nought, which means none": (nifti(slope=(112, "<2f", 0.0, 0.0)), READ),
    "slope one": (nifti(slope=(112, "<2f", 1.0, 0.0)), READ),
    "twice as large after scaling": (nifti(slope=(112, "<2f", 2.0, 0.0)), READ),
    "a description": (nifti(text=(148, "<10s", b"FSL5.0 out")), READ),
    "units in micrometres, which nobody scales by": (nifti(units=(123, "<b", 3)), READ),
    "an intent code": (nifti(intent=(68, "<h", 1002)), READ),
    "a cal_max": (nifti(calibration=(124, "<2f", 255.0, 0.0)), READ),
    "an affine of a mirrored patient": (nifti(affine=np.diag([-0.8, -0.7, 2.5, 1])), READ),
    "an oblique affine": (nifti(affine=np.array([[0.96, -0.28, 0, 3], [0.28, 0.96, 0, 4], [0, 0, 2, 5], [0, 0, 0, 1.0]])), READ),
    "one voxel": (nifti(np.ones((1, 1, 1), np.uint8)), READ),
    "a plane": (nifti(LABELS[:, :, 0]), READ),
    "MetaImage": (meta(), READ),
    "MetaImage, deflated": (meta(packed=True), READ),
    "MetaImage of shorts": (meta(ElementType="MET_SHORT", DimSize="6 5 2"), READ),
    "NRRD": (nrrd(), READ),
    # what cannot be used, and why
    "nothing": (b"", Reason.FORMAT_UNSUPPORTED),
    "text": (b"case,liver\nc1,0.9\n", Reason.FORMAT_UNSUPPORTED),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(400), Reason.FORMAT_UNSUPPORTED),
    "DICOM": (bytes(128) + b"DICM" + bytes(400), Reason.FORMAT_UNSUPPORTED),
    "NRRD without the size of a voxel": (nrrd(spacings=""), Reason.SPACING_INVALID),
    "MGZ": (gzip.compress(struct.pack(">7i", 1, 6, 5, 4, 1, 0, 0) + bytes(400), mtime=0), Reason.FORMAT_UNSUPPORTED),
    "a zip called .nii.gz": (zipped(), Reason.FORMAT_UNSUPPORTED),
    "a tar.gz called .nii.gz": (tarred(), Reason.FORMAT_UNSUPPORTED),
    "bzip2": (bz2.compress(PLAIN), Reason.FORMAT_UNSUPPORTED),
    "NumPy": (b"\x93NUMPY\x01\x00" + bytes(400), Reason.FORMAT_UNSUPPORTED),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(400), Reason.FORMAT_UNSUPPORTED),
    "gzip within gzip": (gzip.compress(PACKED + os.urandom(400), mtime=0), Reason.FORMAT_UNSUPPORTED),
    "the header of a pair": (nifti(magic=(344, "<4s", b"ni1\0")), Reason.EXTERNAL_DATA),
    "Analyze 7.5": (nifti(magic=(344, "<4s", b"\0\0\0\0")), Reason.FORMAT_UNSUPPORTED),
    "an upload that broke off": (PACKED[:-40], Reason.TRUNCATED),
    "voxels that broke off": (PLAIN[:-1], Reason.TRUNCATED),
    "half a header": (PLAIN[:200], Reason.TRUNCATED),
    "a byte changed": (PACKED[:-12] + bytes([PACKED[-12] ^ 255]) + PACKED[-11:], Reason.GZIP_CORRUPT),
    "a wrong checksum": (PACKED[:-8] + bytes(4) + PACKED[-4:], Reason.GZIP_CORRUPT),
    "something after the voxels": (PLAIN + b"x", Reason.TRAILING_DATA),
    "something after the gzip stream": (PACKED + b"x" * 20, Reason.TRAILING_DATA),
    "a second image after the first": (PACKED + PACKED, Reason.TRAILING_DATA),
    "half a second member": (gzip.compress(PLAIN[:300], mtime=0) + gzip.compress(PLAIN[300:], mtime=0)[:-9], Reason.TRUNCATED),
    "line ends converted by a mail program": (PLAIN.replace(b"\0\0", b"\0\r\n\0")[:-9], None),
    "not a number": (nifti(SPOILED), Reason.NOT_FINITE),
    "infinity": (nifti(ENDLESS), Reason.NOT_FINITE),
    "probabilities": (nifti(HALF), Reason.NOT_INTEGRAL),
    "a scaling that leaves fractions": (nifti(slope=(112, "<2f", 0.3, 0.0)), Reason.SCALED),
    "colours": (nifti(kind_of_voxel=(70, "<2h", 128, 24)), Reason.DATA_TYPE_UNSUPPORTED),
    "complex numbers": (nifti(LABELS.astype(np.complex64)), Reason.DATA_TYPE_UNSUPPORTED),
    "another number of bits": (nifti(bits=(72, "<h", 16)), Reason.HEADER_INVALID),
    "voxels inside the header": (nifti(offset=(108, "<f", 100.0)), Reason.HEADER_INVALID),
    "a time series": (nifti(np.stack([LABELS] * 3, axis=-1)), Reason.SHAPE_MISMATCH),
    "vectors": (nifti(np.zeros((6, 5, 4, 1, 3), np.uint8)), Reason.DIMENSIONS_INVALID),
    "an axis of nought": (nifti(dim=(42, "<h", 0)), Reason.DIMENSIONS_INVALID),
    "a negative axis": (nifti(dim=(42, "<h", -6)), Reason.DIMENSIONS_INVALID),
    "no axes": (nifti(dim=(40, "<h", 0)), None),
    "a spacing of nought": (nifti(pixdim=(80, "<f", 0.0)), Reason.SPACING_INVALID),
    "a negative spacing": (nifti(pixdim=(80, "<f", -1.0)), Reason.SPACING_INVALID),
    "a spacing that is no number": (nifti(pixdim=(80, "<f", float("nan"))), Reason.SPACING_INVALID),
    "an affine that is no number": (nifti(row=(280, "<f", float("nan"))), Reason.AFFINE_INVALID),
    "MetaImage with voxels elsewhere": (meta(ElementDataFile="c1.raw"), Reason.EXTERNAL_DATA),
    "MetaImage that broke off": (meta()[:-5], Reason.TRUNCATED),
    "MetaImage of colours": (meta(ElementNumberOfChannels="3"), None),
    "MetaImage without sizes": (meta().replace(b"DimSize = 6 5 4\n", b""), None),
}  # fmt: skip
"""Name → content, and what becomes of it: `None` for any reason, where several fit."""


ENDINGS = {b"Obje": ".mha", b"NRRD": ".nrrd"}


def test_there_are_sixty_odd_files() -> None:
    assert len(FILES) + len(ODD_ENTRIES) > 60


def verdict(path: Path) -> str:
    """What becomes of a file."""
    try:
        read_label_map(path)
    except InvalidVolume as problem:
        return problem.reason
    return READ


@pytest.mark.parametrize("name", FILES)
def test_an_odd_file_is_read_or_refused_with_its_reason(tmp_path: Path, name: str) -> None:
    content, expected = FILES[name]
    path = tmp_path / ("x.nii.gz" if content[:2] == b"\x1f\x8b" else "x" + ENDINGS.get(content[:4], ".nii"))
    path.write_bytes(content)
    found = verdict(path)
    assert found == expected or (expected is None and found != READ)
    if expected is READ:
        array = read_label_map(path).array
        assert np.array_equal(array, np.rint(read_by_others(path)).astype(int))


def read_by_others(path: Path) -> np.ndarray:
    if path.suffix in ENDINGS.values():
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T
    array = np.asarray(nibabel.load(path).get_fdata())
    return array.reshape(array.shape[:3]) if array.ndim > 3 else array


def folder(path: Path) -> None:
    path.mkdir()


def link(path: Path) -> None:
    path.with_name("real.nii").write_bytes(PLAIN)
    path.symlink_to("real.nii")


def broken_link(path: Path) -> None:
    path.symlink_to("gone.nii")


ODD_ENTRIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda path: None, Reason.MISSING),
    "a folder": (folder, Reason.NOT_A_REGULAR_FILE),
    "a link": (link, Reason.NOT_A_REGULAR_FILE),
    "a link to nowhere": (broken_link, Reason.NOT_A_REGULAR_FILE),
    "a pipe": (os.mkfifo, Reason.NOT_A_REGULAR_FILE),
}


@pytest.mark.parametrize("name", ODD_ENTRIES)
def test_what_is_no_plain_file_is_never_opened(tmp_path: Path, name: str) -> None:
    make, expected = ODD_ENTRIES[name]
    make(tmp_path / "x.nii")
    assert verdict(tmp_path / "x.nii") == expected


def test_the_limited_child_says_the_same_as_the_reader(tmp_path: Path) -> None:
    """A sample, for each file costs a process: what a container writes is read there."""
    for name in list(FILES)[::9]:
        content, _ = FILES[name]
        (tmp_path / "x").write_bytes(content)
        try:
            canonicalise(source=tmp_path / "x", destination=tmp_path / "c.nii.gz", grid=None, allowed_values=None)
            found = READ
        except InvalidVolume as problem:
            found = problem.reason
        assert found == verdict(tmp_path / "x"), name
