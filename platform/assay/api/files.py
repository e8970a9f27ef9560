"""Sending stored files by signed addresses: whole, or from where a broken download stopped."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, BinaryIO

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from django.core import signing
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.utils.translation import gettext as _

from assay.accounts.errors import NotFoundError
from assay.sealing import seal, sealed_size
from assay.testsets import storage

CHUNK_BYTES = 2**20
RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def read_ticket(signed: str, *, salt: str, good_for: timedelta) -> dict[str, Any]:
    """What a signed address was made for. One that was changed or is too old names nothing."""
    try:
        ticket: dict[str, Any] = signing.loads(signed, salt=salt, max_age=good_for)
    except signing.BadSignature:
        raise no_such_file() from None
    return ticket


def no_such_file() -> NotFoundError:
    """The same answer for everything that may not be had."""
    return NotFoundError(_("There is no such file."), what_to_do=_("Claim again to get fresh addresses."))


def send_file(*, key: str, wanted: str) -> HttpResponse | StreamingHttpResponse:
    """A stored file, or the rest of it from where a broken download stopped."""
    size, file = storage.size(key), storage.open_file(key)
    match = RANGE.fullmatch(wanted)
    if match is None:
        return FileResponse(file, content_type="application/octet-stream", headers={"Accept-Ranges": "bytes"})
    start, end = int(match[1]), min(int(match[2] or size - 1), size - 1)
    if start > end:
        file.close()
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    file.seek(start)
    answer = StreamingHttpResponse(
        pieces(file, length=end - start + 1), status=206, content_type="application/octet-stream"
    )
    answer.headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    answer.headers["Content-Length"] = str(end - start + 1)
    return answer


def send_sealed(
    *, key: str, wanted: str, receiver: bytes, own: X25519PrivateKey
) -> HttpResponse | StreamingHttpResponse:
    """A stored file sealed for one receiver, or the rest of it from where a broken download stopped. `own` is this file's key."""
    size = sealed_size(storage.size(key))
    match = RANGE.fullmatch(wanted)
    start = int(match[1]) if match else 0
    if start >= size:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})

    def sealed() -> Iterator[bytes]:
        with storage.open_file(key) as file:
            yield from seal(file, receiver=receiver, own=own, start=start)

    headers = {"Content-Length": str(size - start), "Accept-Ranges": "bytes"}
    if match:
        headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
    return StreamingHttpResponse(
        sealed(), status=206 if match else 200, content_type="application/octet-stream", headers=headers
    )


def pieces(file: BinaryIO, *, length: int) -> Iterator[bytes]:
    """`length` bytes of a file, piece by piece."""
    with file:
        while length > 0 and (piece := file.read(min(CHUNK_BYTES, length))):
            length -= len(piece)
            yield piece
