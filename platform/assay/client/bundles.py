"""What organizers keep in folders: a challenge with its pages as one text, a test set as one tar.

The same test-set folder always gives the same bytes, so a killed upload can go on.
"""

import csv
import json
import tarfile
from pathlib import Path

from assay.client.errors import ClientError

MANIFEST = "manifest.csv"
FILE_COLUMNS = ("input:", "reference")
CHALLENGE = "challenge.yaml"
PAGES = ("description", "rules")


def bundle_source(folder: Path) -> str:
    """The challenge file with the pages beside it (`pages/rules.md`, …) as keys at its end, so its line numbers stay."""
    file = folder / CHALLENGE
    if not file.is_file():
        raise ClientError(
            f"{folder} has no {CHALLENGE}",
            expected="the folder of a bundle",
            what_to_do="`assay challenge new` makes one",
        )
    source = file.read_text("utf-8").rstrip() + "\n"
    for key in PAGES:
        page = folder / "pages" / f"{key}.md"
        if not page.is_file():
            continue
        if any(line.startswith(f"{key}:") for line in source.splitlines()):
            raise ClientError(
                f"{key} is written twice",
                found=f"a key in {CHALLENGE} and {page}",
                expected="one of the two",
                what_to_do=f"delete {page}, or the key",
            )
        source += f"{key}: {json.dumps(page.read_text('utf-8'), ensure_ascii=False)}\n"  # JSON is YAML
    return source


def check_folder(*, folder: Path) -> list[str]:
    """The files the manifest names, after checking that each exists inside the folder. The server checks what is in them."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise ClientError(
            f"{folder} has no {MANIFEST}",
            expected="columns case_id, reference and input:<name>, with paths relative to the folder",
            what_to_do="write one; containers/examples/demo makes a complete example",
        )
    with manifest.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        raise ClientError(f"{manifest} names no case", found="0 rows", expected="one row per case")
    columns = [column for column in rows[0] if column and column.startswith(FILE_COLUMNS)]
    files = [row[column] for row in rows for column in columns if row[column]]
    missing = [name for name in files if not _is_inside(folder=folder, name=name)]
    if missing:
        raise ClientError(
            f"{len(missing)} of {len(files)} files named in {manifest} do not exist in {folder}",
            found=", ".join(missing[:5]),
            what_to_do="mend the paths; they are relative to the folder",
        )
    return files


def _is_inside(*, folder: Path, name: str) -> bool:
    path = (folder / name).resolve()
    return path.exists() and path.is_relative_to(folder.resolve())


def pack_folder(*, folder: Path, archive: Path) -> None:
    """Write the manifest, what it names, and notices into a tar without owners or times."""
    names = {MANIFEST, *check_folder(folder=folder)}
    names |= {path.name for path in folder.iterdir() if path.name.startswith(("NOTICE", "LICENSE"))}
    members = sorted({path for name in names for path in _files_below(folder / name)})
    with tarfile.open(archive, "w") as tar:
        for path in members:
            tar.add(path, arcname=path.relative_to(folder).as_posix(), recursive=False, filter=_anonymous)


def _files_below(path: Path) -> list[Path]:
    """The file itself, or every file of a folder (a DICOM series)."""
    return [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member
