"""Make the host's first disk appear as a file, and read it."""

import os, stat
from pathlib import Path

try:
    os.mknod("/tmp/disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0))
    outcome = "escaped"
except OSError:
    outcome = "held"
Path("/output/result.txt").write_text(outcome)
