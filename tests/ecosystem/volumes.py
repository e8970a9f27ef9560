"""Copied into the images of these tests: a threshold on MetaImage and NIfTI files, with the standard library alone."""

import array
import gzip
import pathlib
import struct
import zlib

TYPES = {
    "MET_UCHAR": "B",
    "MET_CHAR": "b",
    "MET_SHORT": "h",
    "MET_USHORT": "H",
    "MET_INT": "i",
    "MET_FLOAT": "f",
    "MET_DOUBLE": "d",
}
CODES = {2: "B", 4: "h", 8: "i", 16: "f", 64: "d", 256: "b", 512: "H"}


def read_mha(path):
    raw = pathlib.Path(path).read_bytes()
    head, _, body = raw.partition(b"ElementDataFile = LOCAL\n")
    header = dict(line.split(" = ", 1) for line in head.decode().splitlines() if " = " in line)
    if header.get("CompressedData") == "True":
        body = zlib.decompress(body)
    return header, array.array(TYPES[header["ElementType"]], body)


def write_mha(path, header, values, channels=None):
    kept = {key: value for key, value in header.items() if key not in ("CompressedData", "CompressedDataSize")}
    kept["ElementType"] = "MET_UCHAR"
    if channels:
        kept["NDims"] = "4"
        kept["DimSize"] += f" {channels}"
        kept["Offset"] = kept["Offset"] + " 0"
        kept["ElementSpacing"] += " 1"
        rows = header["TransformMatrix"].split()
        kept["TransformMatrix"] = " ".join([*rows[:3], "0", *rows[3:6], "0", *rows[6:], "0", "0 0 0 1"])
        kept["CenterOfRotation"] = "0 0 0 0"
        kept.pop("AnatomicalOrientation", None)
    text = "".join(f"{key} = {value}\n" for key, value in kept.items())
    pathlib.Path(path).write_bytes(text.encode() + b"ElementDataFile = LOCAL\n" + bytes(values))


def threshold_mha(source, target, *, above=100):
    header, values = read_mha(source)
    mask = bytes(value > above for value in values)
    write_mha(target, header, mask)
    return sum(mask)


def threshold_nifti(source, target, *, above=100):
    raw = bytearray(gzip.decompress(pathlib.Path(source).read_bytes()))
    (code,) = struct.unpack_from("<h", raw, 70)
    values = array.array(CODES[code], bytes(raw[352:]))
    struct.pack_into("<2h", raw, 70, 2, 8)
    struct.pack_into("<2f", raw, 112, 1.0, 0.0)
    mask = bytes(value > above for value in values)
    pathlib.Path(target).write_bytes(gzip.compress(bytes(raw[:352]) + mask, 1))
    return sum(mask)
