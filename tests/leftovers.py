"""What a test session left on the machine. Looked for by the session's own names: others use the same engine and the same disk."""

import subprocess
from pathlib import Path

from containers.engine import Engine

OWNERS: set[str] = set()
"""Every owner that this session's tests have used."""
IMAGES: set[str] = set()
"""Every image that this session's tests have built."""


def left_behind(*, engine: Engine, folder: Path) -> list[str]:
    """Containers, volumes, images, loop devices, mounts and workspaces; `folder` holds all of the session's files."""
    loops = subprocess.run(["losetup", "-n", "-O", "BACK-FILE"], capture_output=True, text=True, check=True).stdout
    mounts = Path("/proc/mounts").read_text("utf-8", errors="replace")
    images = engine.image_ids()
    return [
        *(f"container {found.name}" for owner in OWNERS for found in engine.containers_of(owner)),
        *(f"volume {name}" for owner in OWNERS for name in engine.volumes_of(owner)),
        *(f"image {image_id}" for image_id in IMAGES & images),
        *(f"loop device on {line}" for line in loops.splitlines() if str(folder) in line),
        *(f"mount {line.split()[1]}" for line in mounts.splitlines() if str(folder) in line),
        *(f"workspace {path}" for path in folder.glob("*/scratch/**/runs/*")),
    ]
