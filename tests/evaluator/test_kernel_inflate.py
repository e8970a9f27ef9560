"""The kernel's gzip decoder against zlib: what one accepts the other accepts, with the same bytes."""

import gzip
import zlib

import numpy as np
import pytest

from evaluator.kernel.library import KernelError, Status, load_kernel

pytestmark = pytest.mark.skipif(load_kernel() is None, reason="the kernel was not built: no C compiler here")

STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED)


def inflate(stream: bytes, size: int) -> bytes:
    from evaluator.kernel.inflate import inflate_gzip

    return inflate_gzip(stream, size=size).tobytes()


def deflate(data: bytes, *, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    packer = zlib.compressobj(level=level, wbits=31, strategy=strategy)
    return packer.compress(data) + packer.flush()


def samples() -> dict[str, bytes]:
    generator = np.random.default_rng(1)
    runs = np.repeat(generator.integers(0, 5, 3000), generator.integers(1, 900, 3000)).astype(np.uint8)
    return {
        "nothing": b"",
        "one byte": b"\x07",
        "zeros": bytes(700_000),
        "runs": runs.tobytes(),
        "noise": generator.integers(0, 256, 200_000).astype(np.uint8).tobytes(),
        "few symbols": generator.integers(0, 3, 300_000).astype(np.uint8).tobytes(),
        "text": b"the quick brown fox jumps over the lazy dog. " * 4000,
        "sixteen bit": np.repeat(generator.integers(0, 4000, 900), 257).astype("<i2").tobytes(),
        "skewed": (generator.geometric(0.3, 300_000) % 256).astype(np.uint8).tobytes(),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", samples())
def test_every_level_and_strategy_comes_back_as_it_went_in(name):
    data = samples()[name]
    for level in (0, 1, 4, 6, 9):
        for strategy in STRATEGIES:
            assert inflate(deflate(data, level=level, strategy=strategy), len(data)) == data


@pytest.mark.parametrize("size", [0, 1, 257, 258, 259, 258 * 28, 258 * 29 + 1, 70_000])
def test_runs_of_any_length_between_other_bytes_come_back(size):
    """Many equal matches of 258 bytes are decoded at once: never one too many, whatever follows them."""
    data = b"".join(bytes([value]) * (size + step) + b"xyz" for step, value in enumerate((0, 7, 0, 255)))
    for strategy in STRATEGIES:
        stream = deflate(data, strategy=strategy)
        assert inflate(stream, len(data)) == data
        for end in range(max(18, len(stream) - 30), len(stream)):
            with pytest.raises(KernelError):
                inflate(stream[:end], len(data))


def test_a_stream_flushed_often_comes_back_as_it_went_in():
    data = samples()["runs"]
    packer = zlib.compressobj(wbits=31)
    stream = b""
    for start in range(0, len(data), 997):
        stream += packer.compress(data[start : start + 997])
        stream += packer.flush((zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_PARTIAL_FLUSH)[start % 3])
    assert inflate(stream + packer.flush(), len(data)) == data


def test_every_field_of_a_gzip_header_is_skipped():
    plain = deflate(b"some voxels" * 100)
    fields = b"\x05\x00extra" + b"name.nii\x00" + b"a comment\x00"
    head = b"\x1f\x8b\x08" + bytes([4 | 8 | 16 | 2]) + plain[4:10] + fields
    stream = head + (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little") + plain[10:]
    assert gzip.decompress(stream) == b"some voxels" * 100
    assert inflate(stream, 1100) == b"some voxels" * 100


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda stream: stream[:-1], Status.TRUNCATED),
        (lambda stream: stream[: len(stream) // 2], Status.TRUNCATED),
        (lambda stream: stream[:5], Status.TRUNCATED),
        (lambda stream: stream + b"more", Status.TOO_LONG),
        (lambda stream: stream[:-5] + bytes([stream[-5] ^ 1]) + stream[-4:], Status.CORRUPT),
        (lambda stream: b"PK" + stream[2:], Status.CORRUPT),
    ],
    ids=["last byte missing", "half missing", "only a start", "something behind", "other checksum", "not gzip"],
)
def test_an_unsound_stream_is_refused_with_what_is_wrong(change, status):
    data = samples()["runs"]
    with pytest.raises(KernelError) as problem:
        inflate(change(deflate(data)), len(data))
    assert problem.value.status is status


def test_more_or_fewer_bytes_than_announced_are_refused():
    stream = deflate(bytes(1000))
    for announced, status in ((999, Status.TOO_LONG), (500, Status.TOO_LONG), (1001, Status.TRUNCATED)):
        with pytest.raises(KernelError) as problem:
            inflate(stream, announced)
        assert problem.value.status is status


def test_damaged_streams_are_accepted_exactly_when_zlib_accepts_them():
    """Checksums are made to match, so that the decoder itself has to notice."""
    generator = np.random.default_rng(20)
    agreed = {True: 0, False: 0}
    bases = [
        (data[:4000], level, strategy)
        for data in samples().values()
        if data
        for level, strategy in ((0, 0), (6, 0), (6, zlib.Z_FIXED), (9, zlib.Z_HUFFMAN_ONLY))
    ]
    for round_number in range(1500):
        data, level, strategy = bases[round_number % len(bases)]
        raw = bytearray(deflate(data, level=level, strategy=strategy)[10:-8])
        for _ in range(int(generator.integers(1, 4))):
            raw[int(generator.integers(0, min(len(raw), 120)))] = int(generator.integers(0, 256))
        expected = zlib_answer(bytes(raw))
        agreed[expected is not None] += 1
        if expected is None:
            for announced in (len(data), 65_536):
                with pytest.raises(KernelError):
                    inflate(wrap(bytes(raw), b""), announced)
        else:
            assert inflate(wrap(bytes(raw), expected), len(expected)) == expected
    assert agreed[True] > 50
    assert agreed[False] > 50


def zlib_answer(raw: bytes) -> bytes | None:
    """What zlib makes of a bare deflate stream, or None if it refuses it or does not use it up."""
    unpacker = zlib.decompressobj(wbits=-15)
    try:
        data = unpacker.decompress(raw)
    except zlib.error:
        return None
    return data if unpacker.eof and not unpacker.unused_data else None


def wrap(raw: bytes, data: bytes) -> bytes:
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    return header + raw + zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
