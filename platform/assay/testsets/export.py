"""A public test set as the tar `assay testset push` would take: manifest, files, notice. Streamed. Nothing is kept in memory.

The length is known before the first byte, so that a download shows its progress and a cut one is noticed.
"""

import csv
import io
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.testsets import storage
from assay.testsets.manifest import FILE_NAME, INPUT_PREFIX, REFERENCE, REFERENCE_PREFIX
from assay.testsets.models import Case, TestSet
from evaluator.spreadsheets import harmless_row

BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)
UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class Member:
    """One file of the archive: small ones carry their content, the others a storage key."""

    name: str
    length_bytes: int
    content: bytes = b""
    key: str = ""


def members_of(testset: TestSet) -> list[Member]:
    """What the archive holds, in order. One query."""
    cases = list(testset.cases.order_by("position"))
    rows = [row_of(case) for case in cases]
    texts = {FILE_NAME: manifest_text(rows)} | ({"NOTICE": testset.notice} if testset.notice else {})
    small = [Member(name=name, length_bytes=len(text.encode()), content=text.encode()) for name, text in texts.items()]
    return small + [
        Member(name=path_of(case, kind=kind, file=file), length_bytes=file["bytes"], key=file["key"])
        for case in cases
        for kind, files in (("images", case.inputs), ("labels", case.references))
        for file in files
    ]


def row_of(case: Case) -> dict[str, str]:
    """The case's line of the manifest."""
    row = {"case_id": case.case_id, **case.attributes}
    for file in case.inputs:
        row[f"{INPUT_PREFIX}{file['name']}"] = path_of(case, kind="images", file=file)
    for file in case.references:
        column = REFERENCE if file["name"] == REFERENCE else f"{REFERENCE_PREFIX}{file['name']}"
        row[column] = path_of(case, kind="labels", file=file)
    return row


def path_of(case: Case, *, kind: str, file: dict[str, Any]) -> str:
    """Where a file lies in the archive. Nothing of a name an organizer chose can lead out of it."""
    return f"{kind}/{case.case_id}_{UNSAFE.sub('_', file['name'])}{''.join(Path(file['key']).suffixes)}"


def manifest_text(rows: list[dict[str, str]]) -> str:
    """`manifest.csv`. A case without a modality has an empty cell.

    No cell is a formula for a spreadsheet. `parse_manifest` reads what was meant.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(harmless_row(columns))
    writer.writerows(harmless_row(row.get(name) for name in columns) for row in rows)
    return text.getvalue()


def archive_bytes(members: list[Member]) -> int:
    """How long the archive will be."""
    return sum(len(header_of(member)) + member.length_bytes + padding(member.length_bytes) for member in members) + len(
        END
    )


def stream_archive(members: list[Member], *, may_go_on: Callable[[], bool]) -> Iterator[bytes]:
    """The archive, piece by piece. `may_go_on` is asked before each file. A no ends it: the reader misses bytes that were promised."""
    for member in members:
        if not may_go_on():
            return
        yield header_of(member)
        if member.key:
            with storage.open_file(member.key) as file:
                yield from iter(lambda file=file: file.read(storage.CHUNK_BYTES), b"")  # type: ignore[misc]  # bound now
        else:
            yield member.content
        yield bytes(padding(member.length_bytes))
    yield END


def header_of(member: Member) -> bytes:
    """A tar header without owners or times."""
    info = tarfile.TarInfo(member.name)
    info.size, info.mode = member.length_bytes, 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def padding(length: int) -> int:
    """How many zeros fill the last block."""
    return -length % BLOCK_BYTES
