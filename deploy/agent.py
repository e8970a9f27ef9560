"""`make agent`: a hospital's program in one file, and as a container image.

    python deploy/agent.py             # dist/assay-site-VERSION-….pyz for the Python and the machine of this environment
    python deploy/agent.py --image     # also assay/site:VERSION, on the locally made base (--base names another one)

Theory of operation. The file is a zip with the wheels of the lock, hashes checked when they were fetched, and a `__main__.py`. Compiled
modules cannot be imported from a zip. So the first start unpacks the wheels into a folder that carries the file's hash in its name,
under a name that nobody else uses, and renames it when it is whole. Later starts find it there. Nothing is fetched at the hospital.
The file notes the Python and the machine it was built for, and refuses others before it unpacks anything.
"""

import argparse
import hashlib
import json
import platform
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from image import HERE, ROOT, ImageError, build, build_wheel, fetch_wheels, python_of, run, server_lock

WANTED = "assay[ingest]"
"""The client, the node and the site's program, and SimpleITK for formats that hospitals have."""
MAIN = Path(__file__).with_name("agent_main.py")
STAMP = (1980, 1, 1, 0, 0, 0)
"""One date for every entry, so that the same wheels make the same file."""


def gather(folder: Path, *, python: str) -> str:
    """Put the program's wheel and those of the lock into a folder. Returns the version."""
    folder.mkdir()
    version = build_wheel(folder).name.split("-")[1]
    lock = folder.with_suffix(".lock")
    text = server_lock((ROOT / "requirements.lock").read_text("utf-8"), python=python, wanted=WANTED)
    lock.write_text(text, encoding="utf-8")
    fetch_wheels(folder, lock=lock, python=python)
    return version


def write_file(destination: Path, *, wheels: Path, python: str) -> None:
    """The file: a line for the shell, then a zip with the wheels, what they were built for, and the program that unpacks them."""
    built_for = json.dumps({"python": python, "machine": platform.machine()})
    destination.parent.mkdir(exist_ok=True)
    with destination.open("wb") as stream:
        stream.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(stream, "w", compression=zipfile.ZIP_STORED) as archive:
            for wheel in sorted(wheels.glob("*.whl")):
                archive.writestr(zipfile.ZipInfo(f"wheels/{wheel.name}", date_time=STAMP), wheel.read_bytes())
            archive.writestr(zipfile.ZipInfo("built_for.json", date_time=STAMP), built_for)
            archive.writestr(zipfile.ZipInfo("__main__.py", date_time=STAMP), MAIN.read_bytes())
    destination.chmod(0o755)


def build_image(*, base: str) -> str:
    """The program as a container image. Returns its name."""
    with tempfile.TemporaryDirectory(prefix="assay-site-") as scratch:
        context = Path(scratch)
        version = gather(context / "wheels", python=python_of(base))
        (context / "wheels.lock").rename(context / "server.lock")
        shutil.copy(HERE / "site.Dockerfile", context / "Dockerfile")
        name = f"assay/site:{version}"
        build(context, "--network=none", "--build-arg", f"BASE={base}", "--tag", name, "--tag", "assay/site:latest")
    return name


def main() -> int:
    """Build what is asked for and print what there is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image", action="store_true", help="also build the container image assay/site")
    parser.add_argument("--base", default="", help="the image to build on: Debian with python3; the locally made one")
    wanted = parser.parse_args()
    found = sys.version_info
    try:
        with tempfile.TemporaryDirectory(prefix="assay-site-") as scratch:
            wheels = Path(scratch) / "wheels"
            version = gather(wheels, python=f"{found[0]}.{found[1]}.{found[2]}")
            destination = ROOT / "dist" / f"assay-site-{version}-py{found[0]}{found[1]}.pyz"
            write_file(destination, wheels=wheels, python=f"{found[0]}.{found[1]}")
        digest = hashlib.sha256(destination.read_bytes()).hexdigest()
        print(f"{destination.relative_to(ROOT)}  {destination.stat().st_size} bytes  sha256 {digest}")
        if wanted.image:
            base = wanted.base or run([sys.executable, "-m", "containers.base.build"]).strip()
            print(build_image(base=base))
    except ImageError as error:
        print(f"agent: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
