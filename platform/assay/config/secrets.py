"""The installation's own secrets: made once, kept in a folder of mode 0700, never printed."""

import os
import secrets
from pathlib import Path


def secret_key(*, folder: Path) -> str:
    """Django's secret key: read from `folder/django`, made there at the first start."""
    path = folder / "django"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_once(path=path, content=secrets.token_urlsafe(50).encode())
    return path.read_text(encoding="ascii")


def write_once(*, path: Path, content: bytes) -> None:
    """Write a file of mode 0600 whole or not at all. When two processes try at once, the first one's content stays."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)  # of a process that had this number and died
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()
