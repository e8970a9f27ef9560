"""An archive of what a container has written, recreated entry by entry in a folder of ours.

Nothing of the container runs any more. Links and special files are kept as what they are, pointing nowhere, so that
`collect` names them as always.
"""

import io
import os
import tarfile
from pathlib import Path, PurePosixPath

from containers.errors import EngineRefused

NOWHERE = "/nowhere"
CHUNK_BYTES = 1 << 20
MOST_ENTRIES = 100_000


def recreate_all(stream: io.RawIOBase | io.BufferedIOBase, *, destination: Path, most_bytes: int) -> bool:
    """Recreate a tar stream whose first level is one folder. False when it claims to hold more than `most_bytes`."""
    left = most_bytes
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for count, entry in enumerate(tar):
            left -= entry.size
            if left < 0 or count > MOST_ENTRIES:
                return False
            _recreate(tar=tar, entry=entry, destination=destination)
    return True


def _recreate(*, tar: tarfile.TarFile, entry: tarfile.TarInfo, destination: Path) -> None:
    parts = PurePosixPath(entry.name).parts[1:]  # the first is the output's own folder
    if ".." in parts:
        raise EngineRefused("The engine's archive names a place outside itself; expected names below the volume only.")
    path = destination.joinpath(*parts)
    if entry.isdir():
        path.mkdir(exist_ok=True, mode=0o700)
    elif entry.isreg():
        source = tar.extractfile(entry)
        with path.open("xb") as target:
            while source is not None and (chunk := source.read(CHUNK_BYTES)):
                target.write(chunk)
    elif entry.islnk():
        path.touch(exist_ok=False)
        os.link(path, path.with_name(path.name + ".link"))
    elif entry.issym():
        path.symlink_to(NOWHERE)
    else:
        os.mkfifo(path)
