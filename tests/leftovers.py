"""What a test session left on the machine. Looked for by the session's own names: others use the same engine and the same disk."""

import subprocess
import time
from pathlib import Path

from containers.engines import Engine

OWNERS: set[str] = set()
"""Every owner that this session's tests have used."""
IMAGES: set[str] = set()
"""Every image that this session's tests have built."""


LETTING_GO_SECONDS = 300.0


def loop_devices_on(folder: Path) -> list[str]:
    """Files below `folder` that loop devices still hold.

    The kernel lets go of one by itself once nobody has it mounted. A container that anybody starts meanwhile copies every mount of the
    host for a moment, so that this may come a little after the last umount.
    """
    deadline = time.monotonic() + LETTING_GO_SECONDS
    while True:
        held = loop_devices_now(folder)
        if not held or time.monotonic() > deadline:
            return held
        time.sleep(0.1)


def loop_devices_now(folder: Path) -> list[str]:
    """Files below `folder` that loop devices hold at this moment."""
    command = ["losetup", "--list", "--noheadings", "--output", "BACK-FILE"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line]


def left_behind(*, engine: Engine, folder: Path) -> list[str]:
    """Containers, volumes, images, loop devices, mounts and workspaces. `folder` holds all of the session's files."""
    mounts = Path("/proc/mounts").read_text("utf-8", errors="replace")
    images = engine.image_ids()
    return [
        *(f"container {found.name}" for owner in OWNERS for found in engine.containers_of(owner)),
        *(f"volume {name}" for owner in OWNERS for name in engine.volumes_of(owner)),
        *(f"image {image_id}" for image_id in IMAGES & images),
        *(f"loop device on {file}" for file in loop_devices_on(folder)),
        *(f"mount {line.split()[1]}" for line in mounts.splitlines() if str(folder) in line),
        *(f"workspace {path}" for path in folder.glob("*/scratch/**/runs/*")),
    ]
