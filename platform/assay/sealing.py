"""Sealing a file for the holder of one key: X25519, HKDF-SHA256, and ChaCha20-Poly1305 in chunks. No Django here.

A sealed file begins with a line that names the form, and a public key that was made for this file alone. The shared secret of that
key and the receiver's gives the key of the chunks. Each chunk is authenticated under its place, and the last one says that it is the
last: a file that was cut, extended or put together anew does not open. (age, v1, does it in the same way.)

What it protects against: who carries or stores the file, and has not the receiver's key. It says nothing about who sealed it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from assay.private_files import write_once

MAGIC = b"assay-sealed-1\n"
KEY_BYTES, TAG_BYTES = 32, 16
CHUNK_BYTES = 64 * 1024
HEAD_BYTES = len(MAGIC) + KEY_BYTES


class SealBroken(Exception):
    """The file is not what was sealed for this key."""


def sealed_size(size: int) -> int:
    """How many bytes a file of `size` bytes has once it is sealed."""
    return HEAD_BYTES + size + TAG_BYTES * max(1, -(-size // CHUNK_BYTES))


def kept_sealing_key(path: Path) -> X25519PrivateKey:
    """The private key in this file, made at the first use."""
    if not path.exists():
        write_once(path, X25519PrivateKey.generate().private_bytes_raw())
    return X25519PrivateKey.from_private_bytes(path.read_bytes())


def seal(source: IO[bytes], *, receiver: bytes, own: X25519PrivateKey | None = None, start: int = 0) -> Iterator[bytes]:
    """The sealed file, piece by piece. `receiver` is the raw public key of who may open it. Raises ValueError for one that is none.

    `own`: the key of this file. The same one gives the same sealed file again, so it must never serve for other content. `start`: bytes of
    the sealed file that are there already.
    """
    own = own or X25519PrivateKey.generate()
    public = own.public_key().public_bytes_raw()
    cipher = _cipher(own.exchange(X25519PublicKey.from_public_bytes(receiver)), file_key=public, receiver=receiver)
    yield (MAGIC + public)[start:]
    first, skip = divmod(max(0, start - HEAD_BYTES), CHUNK_BYTES + TAG_BYTES)
    if first:
        source.seek(first * CHUNK_BYTES)
    for place, (chunk, is_last) in enumerate(_chunks(source, CHUNK_BYTES), start=first):
        yield cipher.encrypt(_nonce(place, is_last=is_last), chunk, None)[skip:]
        skip = 0


def unseal(source: IO[bytes], *, key: X25519PrivateKey) -> Iterator[bytes]:
    """What was sealed. Pieces may be used only once all have come: a cut file is noticed at its end. Raises SealBroken."""
    head = source.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES or not head.startswith(MAGIC):
        raise SealBroken("it does not begin like a sealed file")
    file_key = head[len(MAGIC) :]
    try:
        shared = key.exchange(X25519PublicKey.from_public_bytes(file_key))
    except ValueError as error:
        raise SealBroken("its key is none") from error
    cipher = _cipher(shared, file_key=file_key, receiver=key.public_key().public_bytes_raw())
    for place, (chunk, is_last) in enumerate(_chunks(source, CHUNK_BYTES + TAG_BYTES)):
        try:
            yield cipher.decrypt(_nonce(place, is_last=is_last), chunk, None)
        except InvalidTag as error:
            raise SealBroken("it was sealed for another key, cut, or changed") from error


def _cipher(shared: bytes, *, file_key: bytes, receiver: bytes) -> ChaCha20Poly1305:
    derived = HKDF(algorithm=SHA256(), length=32, salt=file_key + receiver, info=MAGIC).derive(shared)
    return ChaCha20Poly1305(derived)


def _nonce(place: int, *, is_last: bool) -> bytes:
    return place.to_bytes(11, "big") + bytes([is_last])


def _chunks(source: IO[bytes], length: int) -> Iterator[tuple[bytes, bool]]:
    """Pieces of exactly `length` bytes, and whether each is the last. An empty file has one empty piece."""
    chunk = _read(source, length)
    while True:
        following = _read(source, length)
        yield chunk, not following
        if not following:
            return
        chunk = following


def _read(source: IO[bytes], length: int) -> bytes:
    """`length` bytes, fewer only at the end of the file."""
    content = b""
    while len(content) < length and (piece := source.read(length - len(content))):
        content += piece
    return content
