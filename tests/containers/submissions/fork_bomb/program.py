"""Fork until the kernel refuses."""

import os, signal, time
from pathlib import Path

children = []
try:
    while len(children) < 200:
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
    outcome = "escaped"
except OSError:
    outcome = "held"
for child in children:
    os.kill(child, signal.SIGKILL)
for child in children:
    os.waitpid(child, 0)
Path("/output/result.txt").write_text(outcome)
