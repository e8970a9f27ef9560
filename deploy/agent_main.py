"""The start of `assay-site-….pyz`: unpack the wheels once, then run the program from there. Standard library only."""

import hashlib
import importlib
import io
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

FOLDER = "ASSAY_PROGRAM_FOLDER"
"""Where the program is unpacked. Below the home folder's cache when not set, below /var/lib as root."""
OF_A_WHEEL = re.compile(r"^[^/]+\.data/(?:purelib|platlib)/")
OTHER_DATA = re.compile(r"^[^/]+\.data/")
BUILT_FOR = "built_for.json"
"""What `make agent` notes in the file: the Python and the machine of its compiled modules."""


def usual_folder() -> Path:
    """Where the program lies when nobody says otherwise."""
    if os.environ.get(FOLDER):
        return Path(os.environ[FOLDER])
    return Path("/var/lib/assay/program") if os.geteuid() == 0 else Path.home() / ".cache" / "assay" / "program"


def refuse_another_python(source: Path) -> None:
    """Compiled modules fit one minor version of Python and one kind of processor. This runs on any Python that can start it."""
    with zipfile.ZipFile(source) as archive:
        expected = json.loads(archive.read(BUILT_FOR).decode("ascii"))
    version, machine = expected["python"], expected["machine"]
    found = ".".join(map(str, sys.version_info[:2]))
    if found == version and platform.machine() == machine:
        return
    remedy = f"start it with python{version}, or " if platform.machine() == machine else ""
    raise SystemExit(
        f"Found Python {found} on {platform.machine()}. Expected Python {version} on {machine}, for which this file was built. "
        f"What to do: {remedy}ask the organizers for a file that was built for Python {found} on {platform.machine()}."
    )


def unpack(source: Path, *, folder: Path) -> Path:
    """The unpacked program. It is made under another name and renamed when it is whole, so a broken start leaves nothing half."""
    with source.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    place = folder / digest[:32]
    if place.is_dir():
        return place
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder, prefix="unpacking-"))
    try:
        with zipfile.ZipFile(source) as archive:
            for name in archive.namelist():
                if name.startswith("wheels/"):
                    install(zipfile.ZipFile(io.BytesIO(archive.read(name))), folder=fresh)
        fresh.chmod(0o755)
        fresh.rename(place)
    except OSError:
        if not place.is_dir():  # else another start was faster
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return place


def install(wheel: zipfile.ZipFile, *, folder: Path) -> None:
    """Unpack one wheel: modules and metadata. Scripts and other data are not needed."""
    for entry in wheel.infolist():
        name = OF_A_WHEEL.sub("", entry.filename)
        if entry.is_dir() or OTHER_DATA.match(name):
            continue
        destination = (folder / name).resolve()
        if not destination.is_relative_to(folder.resolve()):
            raise SystemExit(f"{entry.filename} would be written outside {folder}: this file was changed")
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes(wheel.read(entry))


def main() -> None:
    """Run `assay` with the arguments that were given."""
    source = Path(sys.argv[0]).resolve()
    refuse_another_python(source)
    place = unpack(source, folder=usual_folder())
    sys.path.insert(0, str(place))
    os.environ["PYTHONPATH"] = str(place)  # programs that it starts find the same modules
    os.environ["ASSAY_PROGRAM"] = str(source)  # the service starts this file
    importlib.import_module("assay.client.cli").main()


if __name__ == "__main__":
    main()
