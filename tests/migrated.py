"""A database that has every migration: made once for each state of the migrations, copied wherever a test needs an empty one.

A migration of a hundred steps takes longer than most tests, and a copy of the server's folder takes a moment.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from assay.config.embedded import DATABASE_NAME, Home, home_under, prepare, running_postgres

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "var" / "tests" / "databases"
TEMPLATE = DATABASE_NAME
"""The database in such a folder that is migrated."""


def lay_database(home: Home) -> None:
    """Give a server that has never run its folder, with the migrated database in it."""
    home.path.parent.mkdir(parents=True, exist_ok=True)
    prepare(home)
    subprocess.run(["cp", "-a", migrated_folder(uid=home.uid), home.path / "data"], check=True)


def migrated_folder(*, uid: int | None) -> Path:
    """The folder of a server that was stopped in good order. It belongs to `uid`, and nobody ever serves it."""
    state = hashlib.sha256(f"{uid} {os.environ.get('FAKETIME', '')}".encode())
    for file in [ROOT / "requirements.lock", *sorted((ROOT / "platform").rglob("migrations/*.py"))]:
        state.update(str(file).encode() + file.read_bytes())
    folder = KEPT / state.hexdigest()[:16]
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            for old in KEPT.glob("[0-9a-f]*"):
                shutil.rmtree(old)
            _make(folder)
    return folder


def _make(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="assay-") as var:
        Path(var).chmod(0o711)  # as root the server runs as `nobody`, who has to pass through
        home = home_under(var=Path(var))
        with running_postgres(home=home, is_durable=False):
            own = {
                "DATABASE_URL": home.database_url,
                "ASSAY_VAR": var,
                "DJANGO_SETTINGS_MODULE": "assay.config.settings",
            }
            migrate = [sys.executable, "-W", "ignore", "-m", "django", "migrate", "--verbosity=0"]
            subprocess.run(migrate, env=os.environ | own, check=True)
        partial = folder.with_name(f"new-{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        subprocess.run(["cp", "-a", home.path / "data", partial], check=True)
        partial.rename(folder)
        shutil.rmtree(home.path)
