"""Drives every part of the kernel, sound and damaged input alike. Run as a program, on a library built with a sanitizer.

python tests/evaluator/kernel_exercise.py LIBRARY [TIMES]

TIMES is how often each part is tried with other input. It is 12 unless said otherwise: under valgrind everything takes fifty times as long.
"""

import sys
import zlib
from pathlib import Path

import numpy as np

from evaluator.backends import measure_pair
from evaluator.kernel import library
from evaluator.kernel.inflate import inflate_gzip
from evaluator.kernel.labels import label_tables
from evaluator.kernel.scans import gzip_source, scan_volumes
from evaluator.metrics import distance
from tests.evaluator import label_maps


def main() -> None:
    library.LIBRARY = Path(sys.argv[1])
    sys.stdout.write(f"{library.describe()}\n")
    times = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    generator = np.random.default_rng(3)
    measure_arrays(generator, times=times)
    inflate_damaged_streams(generator, times=12 * times)
    scan_damaged_volumes(generator, times=12 * times)
    look_for_other_bytes(generator)
    sys.stdout.write("done\n")


def measure_arrays(generator: np.random.Generator, *, times: int) -> None:
    for reference, prediction, spacing_mm in label_maps.pairs(seed=5, count=times):
        for storage in ("u1", "i1", ">i2", "u4", "f4", ">f8"):
            measured = measure_pair(
                reference=reference.astype(storage),
                prediction=prediction.astype(storage),
                spacing_mm=spacing_mm,
                labels=[(1,), (2, 3), (0,), (99,), (1, 2)],
                backend="cpu",
                threads=3,
            )
            for label in measured.labels:
                distance.percentile_distance(label.surface, percent=95)
                distance.normalised_surface_dice(label.surface, tolerance_mm=1)
    far = np.zeros((90, 40, 30), np.uint8)
    far[:4, :4, :4] = far[80:, 30:, 20:] = 1
    near = np.zeros_like(far)
    near[1:5, 1:5, 1:5] = 1
    near[int(generator.integers(0, 90)), 0, 29] = 1
    measure_pair(reference=far, prediction=near, spacing_mm=(1, 1, 3), labels=[(1,)], backend="cpu")


def damaged(stream: bytes, generator: np.random.Generator) -> bytes:
    changed = bytearray(stream)
    for _ in range(int(generator.integers(0, 4))):
        changed[int(generator.integers(0, len(changed)))] = int(generator.integers(0, 256))
    return bytes(changed[: int(generator.integers(1, len(changed) + 1))] if generator.random() < 0.3 else changed)


def inflate_damaged_streams(generator: np.random.Generator, *, times: int) -> None:
    runs = np.repeat(generator.integers(0, 5, 300), generator.integers(1, 90, 300)).astype(np.uint8).tobytes()
    noise = generator.integers(0, 256, 3000).astype(np.uint8).tobytes()
    for data in (runs, noise, b"ab" * 2000, bytes(9000) + runs + bytes(20_000)):
        for level in (0, 1, 9):
            stream = zlib.compress(data, level=level, wbits=31)
            for _ in range(times):
                try:
                    inflate_gzip(damaged(stream, generator), size=len(data) + int(generator.integers(-300, 300)))
                except library.KernelError:
                    continue


def look_for_other_bytes(generator: np.random.Generator) -> None:
    allowed = bytes(value in (0, 3) for value in range(256))
    for size in range(200):
        voxels = generator.choice(np.array([0, 3, 7], np.uint8), size=size, p=[0.6, 0.39, 0.01])
        found = library.kernel().assay_holds_only(library.address(voxels), size, allowed)
        if bool(found) != bool(np.isin(voxels, (0, 3)).all()):
            raise AssertionError(f"found {found} for {voxels.tolist()}")


def scan_damaged_volumes(generator: np.random.Generator, *, times: int) -> None:
    shape = (33, 20, 9)
    (table,) = label_tables([(1,), (2, 3)])
    for storage in ("u1", "i2", "f4"):
        voxels = label_maps.random_label_map(shape=shape, labels=3, density=0.5, generator=generator).astype(storage)
        content = bytes(352) + voxels.tobytes(order="F")
        stream = zlib.compress(content, level=6, wbits=31)
        for _ in range(times):
            content = np.frombuffer(damaged(stream, generator), np.uint8)
            source = gzip_source(content, offset=352, shape=shape, stored_type=np.dtype(storage))
            try:
                with scan_volumes([source, source], table=table, is_planar=False, threads=2):
                    pass
            except library.KernelError:
                continue


if __name__ == "__main__":
    main()
