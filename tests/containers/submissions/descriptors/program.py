"""Open files until the kernel refuses."""

import os
from pathlib import Path

opened = []
try:
    while len(opened) < 5000:
        opened.append(os.open("/dev/null", os.O_RDONLY))
    outcome = "escaped"
except OSError:
    outcome = "held"
for descriptor in opened:
    os.close(descriptor)
Path("/output/result.txt").write_text(outcome)
