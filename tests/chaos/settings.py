"""Assay's settings with a storage that can be made to fail: while the switch lies in `ASSAY_VAR`, every access does."""

from pathlib import Path

from django.core.files.storage import FileSystemStorage  # noqa: TID251  it is storage that is played here

from assay.config import settings as usual
from assay.config.settings import *  # noqa: F403  everything else is as usual

SWITCH = Path(usual.VAR) / "storage-fails"
STORAGES = usual.STORAGES | {
    "default": usual.STORAGES["default"] | {"BACKEND": f"{__name__}.FailingStorage"},
}


class FailingStorage(FileSystemStorage):
    """A folder behind a switch."""

    def path(self, name: str) -> str:
        """Every access asks for the path first."""
        if SWITCH.exists():
            raise OSError(f"503 Service Unavailable: {name}")
        return str(super().path(name))
