"""Runs inside the sandbox: leaves one file per attack in /output. Standard library only. The image is attacker code anyway.

The honest file is `good`: 8 x 9 x 10 voxels of 1 x 1 x 2 mm, labels 0, 1 and 2.
"""

import gzip
import json
import os
import pickle
import socket
import struct
import zlib
from pathlib import Path

OUT = Path("/output")
SHAPE = (8, 9, 10)
VOXELS = bytes([0, 1, 2] * 240)
META = (
    b"ObjectType = Image\nNDims = 3\nDimSize = 8 9 10\nElementSpacing = 1 1 2\nElementType = MET_UCHAR\n"
    b"TransformMatrix = -1 0 0 0 -1 0 0 0 1\nOffset = 0 0 0\n"  # MetaImage counts from the other side
)


def nifti(
    *,
    dim=(3, *SHAPE, 1, 1, 1, 1),
    datatype=(2, 8),
    pixdim=(1.0, 1.0, 1.0, 2.0),
    vox_offset=352.0,
    slope=(1.0, 0.0),
    affine=((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 2, 0)),
    magic=b"n+1\0",
    voxels=VOXELS,
) -> bytes:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, *dim)
    struct.pack_into("<2h", header, 70, *datatype)
    struct.pack_into("<4f", header, 76, *pixdim)
    struct.pack_into("<3f", header, 108, vox_offset, *slope)
    struct.pack_into("<2h", header, 252, 0, 1)
    for row, values in enumerate(affine):
        struct.pack_into("<4f", header, 280 + 16 * row, *values)
    header[344:348] = magic
    return bytes(header) + voxels


def floats(value: float) -> bytes:
    return struct.pack("<720f", value, *([1.0] * 719))


def integers(value: int) -> bytes:
    return struct.pack("<720q", value, *([1] * 719))


good = gzip.compress(nifti())
nan = float("nan")
FILES = {
    "good": good,
    "mha_absolute": META + b"ElementDataFile = /etc/passwd\n",
    "mha_relative": META + b"ElementDataFile = ../../../../etc/passwd\n",
    "mha_header_size": META + b"HeaderSize = -1\nElementDataFile = /etc/passwd\n",
    "mha_list": META + b"ElementDataFile = LIST\n/etc/passwd\n",
    "mhd_external": META + b"ElementDataFile = reference.raw\n",
    "nrrd_external": b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 8 9 10\nencoding: raw\ndata file: /etc/passwd\n\n",
    "hdr_pair": nifti(magic=b"ni1\0", voxels=b""),
    "mha_format_string": META + b"ElementDataFile = x%s%n 1 4 1\n",
    "mha_empty_zlib": META + b"CompressedData = True\nElementDataFile = LOCAL\n" + zlib.compress(b""),
    "mha_bomb": META + b"CompressedData = True\nElementDataFile = LOCAL\n" + zlib.compress(bytes(1 << 28), 9),
    "terabyte_dims": gzip.compress(nifti(dim=(3, 30000, 30000, 30000, 1, 1, 1, 1))),
    "gz_bomb": gzip.compress(nifti(voxels=VOXELS + bytes(1 << 28)), 9),
    "truncated_body": gzip.compress(nifti(voxels=VOXELS[:300])),
    "truncated_gzip": good[:-20],
    "bad_crc": good[:-8] + bytes(4) + good[-4:],
    "trailing_junk": good + b"junk",
    "two_members": good + good,
    "zero_bytes": b"",
    "zero_dim": gzip.compress(nifti(dim=(3, 0, 9, 10, 1, 1, 1, 1))),
    "negative_dim": gzip.compress(nifti(dim=(3, -8, 9, 10, 1, 1, 1, 1))),
    "seven_dims": gzip.compress(nifti(dim=(7, 8, 9, 10, 2, 2, 2, 2))),
    "ninety_nine_dims": gzip.compress(nifti(dim=(99, *SHAPE, 1, 1, 1, 1))),
    "far_voxels": gzip.compress(nifti(vox_offset=1e9)),
    "voxels_before_the_file": gzip.compress(nifti(vox_offset=-1e9)),
    "nan_spacing": gzip.compress(nifti(pixdim=(1.0, nan, 1.0, 2.0))),
    "infinite_spacing": gzip.compress(nifti(pixdim=(1.0, float("inf"), 1.0, 2.0))),
    "zero_spacing": gzip.compress(nifti(pixdim=(1.0, 0.0, 1.0, 2.0))),
    "negative_spacing": gzip.compress(nifti(pixdim=(1.0, -1.0, 1.0, 2.0))),
    "other_affine": gzip.compress(nifti(affine=((1, 0, 0, 50), (0, 1, 0, 0), (0, 0, 2, 0)))),
    "flipped_affine": gzip.compress(nifti(affine=((-1, 0, 0, 7), (0, 1, 0, 0), (0, 0, 2, 0)))),
    "transposed_shape": gzip.compress(nifti(dim=(3, 10, 9, 8, 1, 1, 1, 1))),
    "half_label": gzip.compress(nifti(datatype=(16, 32), voxels=floats(0.5))),
    "nan_label": gzip.compress(nifti(datatype=(16, 32), voxels=floats(nan))),
    "huge_label": gzip.compress(nifti(datatype=(1024, 64), voxels=integers(1 << 40))),
    "negative_label": gzip.compress(nifti(datatype=(1024, 64), voxels=integers(-1))),
    "unknown_label": gzip.compress(nifti(voxels=bytes([9]) + VOXELS[1:])),
    "scaled": gzip.compress(nifti(slope=(1e30, 0.0))),
    "complex": gzip.compress(nifti(datatype=(32, 64), voxels=bytes(8 * 720))),
    "rgb": gzip.compress(nifti(datatype=(128, 24), voxels=bytes(3 * 720))),
    "pickle": pickle.dumps({"array": [1, 2, 3]}),
    "npy_object": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(128)
    + pickle.dumps([1]),
    "pt": b"PK\x03\x04" + bytes(100),
}

for name, content in FILES.items():
    (OUT / name).write_bytes(content)
(OUT / "plain_nifti").write_bytes(nifti())
(OUT / "symlink_absolute").symlink_to("/etc/passwd")
(OUT / "symlink_relative").symlink_to("../../../../../../etc/passwd")
(OUT / "symlink_loop").symlink_to("symlink_loop")
(OUT / "folder_link").symlink_to("/etc")
(OUT / "hard_link_1").write_bytes(good)
(OUT / "hard_link").hardlink_to(OUT / "hard_link_1")
os.mkfifo(OUT / "fifo")
listener = socket.socket(socket.AF_UNIX)
listener.bind("/output/socket")
(OUT / "setuid").write_bytes(good)
(OUT / "setuid").chmod(0o4755)
(OUT / "GOOD_CASE").write_bytes(good)
facts = {}
try:
    os.link("/etc/passwd", OUT / "outward")
except OSError as error:
    facts["outward_hard_link"] = error.strerror
(mount,) = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] == "/output"]
facts["mount_options"] = mount.split()[5]
(OUT / "facts").write_text(json.dumps(facts))
