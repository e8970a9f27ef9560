"""Resumable uploads by tus 1.0: killed, cut off or asleep, the same file goes on where it stopped.

Theory of operation. The file is hashed first. The server lists our unfinished uploads with size and SHA-256, so finding one to
continue needs no state on this machine: another laptop with the same file can finish the job. Then HEAD asks how many bytes
the server has on disk, and PATCH sends the next chunk from there. Whatever goes wrong in a chunk, the next HEAD says what
arrived. Memory stays constant: a chunk is streamed from the file in small blocks. The server compares the hash at the end.
"""

import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from assay.client.errors import ClientError, RefusedError, UnreachableError
from assay.client.http import Connection

TUS = {"Tus-Resumable": "1.0.0"}
CHUNK_BYTES = 32 * 2**20
"""Small enough that a proxy which buffers whole requests still passes them on one by one."""
BLOCK_BYTES = 2**20
RETRY_SECONDS = (1, 2, 4, 8, 16, 32, 60, 60)
"""Pauses between attempts without progress. Any progress starts them anew."""

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in total."""


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """A file as it will be uploaded."""

    path: Path
    bytes: int
    sha256: str


def describe_file(*, path: Path, on_progress: Progress) -> LocalFile:
    """Hash a file block by block."""
    if not path.is_file():
        raise ClientError(f"{path} is not a file", what_to_do="give the path of an existing file")
    total = path.stat().st_size
    if total == 0:
        raise ClientError(f"{path} is empty", found="0 bytes", what_to_do="make the file again")
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            on_progress(done, total)
    return LocalFile(path=path, bytes=total, sha256=digest.hexdigest())


def upload_file(*, connection: Connection, file: LocalFile, purpose: str, on_progress: Progress) -> str:
    """Send a file, or the rest of it, and return the upload's id."""
    upload_id = _unfinished_upload(connection=connection, file=file, purpose=purpose) or _create_upload(
        connection=connection, file=file, purpose=purpose
    )
    pauses = iter(RETRY_SECONDS)
    offset = -1
    while offset < file.bytes:
        try:
            arrived = _offset(connection=connection, upload_id=upload_id)
            if arrived > offset:
                pauses = iter(RETRY_SECONDS)
            offset = arrived
            on_progress(offset, file.bytes)
            if offset < file.bytes:
                _send_chunk(
                    connection=connection, upload_id=upload_id, file=file, offset=offset, on_progress=on_progress
                )
        except (UnreachableError, RefusedError) as error:
            pause = next(pauses, None)
            if pause is None or (isinstance(error, RefusedError) and not _may_pass(error)):
                raise
            time.sleep(pause)
    return upload_id


def _may_pass(refusal: RefusedError) -> bool:
    """Whether asking again can help: another sender moved the offset, a piece was damaged, or the server is busy."""
    return refusal.may_pass or refusal.status in (409, 423, 460)


def _unfinished_upload(*, connection: Connection, file: LocalFile, purpose: str) -> str | None:
    """The id of an upload of exactly this file for this purpose that somebody with our account began."""
    for upload in connection.get("uploads"):
        same = (upload["sha256"], upload["total_bytes"], upload["purpose"]) == (file.sha256, file.bytes, purpose)
        if same:
            return str(upload["id"])
    return None


def _create_upload(*, connection: Connection, file: LocalFile, purpose: str) -> str:
    metadata = {"filename": file.path.name, "purpose": purpose, "sha256": file.sha256}
    encoded = ",".join(f"{name} {base64.b64encode(text.encode()).decode()}" for name, text in metadata.items())
    headers = {**TUS, "Upload-Length": str(file.bytes), "Upload-Metadata": encoded}
    response = connection.send("POST", "uploads", headers=headers)
    return response.headers["Location"].rstrip("/").rsplit("/", 1)[-1]


def _offset(*, connection: Connection, upload_id: str) -> int:
    """How many bytes the server has safely stored."""
    return int(connection.send("HEAD", f"uploads/{upload_id}", headers=TUS).headers["Upload-Offset"])


def _send_chunk(*, connection: Connection, upload_id: str, file: LocalFile, offset: int, on_progress: Progress) -> None:
    size = min(CHUNK_BYTES, file.bytes - offset)
    headers = {
        **TUS,
        "Upload-Offset": str(offset),
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(size),
    }
    blocks = _blocks(file=file, offset=offset, size=size, on_progress=on_progress)
    connection.send("PATCH", f"uploads/{upload_id}", headers=headers, content=blocks)


def _blocks(*, file: LocalFile, offset: int, size: int, on_progress: Progress) -> Iterator[bytes]:
    with file.path.open("rb") as stream:
        stream.seek(offset)
        done = 0
        while done < size:
            block = stream.read(min(BLOCK_BYTES, size - done))
            if not block:
                raise ClientError(
                    f"{file.path} became shorter while it was sent", what_to_do="make it again and submit again"
                )
            yield block
            done += len(block)
            on_progress(offset + done, file.bytes)
