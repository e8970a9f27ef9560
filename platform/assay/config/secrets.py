"""The installation's own secrets: made once, kept in a folder of mode 0700, never printed."""

import secrets
from pathlib import Path

from assay.private_files import write_once


def secret_key(*, folder: Path) -> str:
    """Django's secret key: read from `folder/django`, made there at the first start."""
    path = folder / "django"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_once(path, secrets.token_urlsafe(50).encode())
    return path.read_text(encoding="ascii")
