"""`make vendor`: copy the browser libraries named in package.json into static/vendor, with licences and hashes.

Only a developer who changes a version runs this (it needs npm). The copies are committed, so users need neither Node nor a network.
"""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

SOURCE_MAP = re.compile(rb"\n?//# sourceMappingURL=[^\n]*")
HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "static" / "vendor"
FILES = {
    "htmx.org": ["dist/htmx.min.js"],
    "idiomorph": ["dist/idiomorph-ext.min.js"],
    "tus-js-client": ["dist/tus.min.js"],
    "uplot": ["dist/uPlot.iife.min.js", "dist/uPlot.min.css"],
    "@picocss/pico": ["css/pico.min.css"],
    "@niivue/niivue": ["dist/niivue.umd.js"],
}


def refresh() -> None:
    """Fetch, copy, and write `manifest.json` (package, version, licence, file, sha256)."""
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=HERE, check=True)
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    for licence in (HERE / "licences").glob("*.txt"):  # for packages that ship none
        shutil.copy(licence, TARGET / licence.name)
    manifest = []
    for package, files in FILES.items():
        folder = HERE / "node_modules" / package
        about = json.loads((folder / "package.json").read_text())
        own = next(iter(sorted(folder.glob("LICENSE*"))), None)
        if own is not None:
            shutil.copy(own, TARGET / f"{package.split('/')[-1]}.LICENSE.txt")
        for name in files:
            copy = TARGET / Path(name).name
            copy.write_bytes(SOURCE_MAP.sub(b"", (folder / name).read_bytes()))  # the maps are not shipped
            digest = hashlib.sha256(copy.read_bytes()).hexdigest()
            manifest.append(
                {
                    "package": package,
                    "version": about["version"],
                    "licence": about["license"],
                    "file": copy.name,
                    "sha256": digest,
                }
            )
    (TARGET / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    refresh()
