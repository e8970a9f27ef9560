"""When the last backup was made, for operators: `assay backup make` leaves a note beside the installation's other files."""

import json
from datetime import datetime
from pathlib import Path

from django.conf import settings

NOTE = "last-backup.json"


def note_backup(folder: Path, *, now: datetime) -> None:
    """Write down that a backup is whole."""
    note = {"at": now.isoformat(timespec="seconds"), "folder": str(folder)}
    (Path(settings.VAR) / NOTE).write_text(json.dumps(note))


def last_backup() -> tuple[datetime, str] | None:
    """When and where. None where none was made, or the note cannot be read."""
    try:
        found = json.loads((Path(settings.VAR) / NOTE).read_text())
        return datetime.fromisoformat(found["at"]), str(found["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
