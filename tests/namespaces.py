"""Whether this machine lets a test make network namespaces."""

import os
import shutil
import subprocess


def can_make_namespaces() -> bool:
    """Root, `ip` of iproute2, and a kernel that allows it."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"assay-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "del", name], check=True, capture_output=True)
    return made
