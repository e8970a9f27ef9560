"""Spin on more processors than were granted."""

import os, time
from pathlib import Path

children = []
for _ in range(8):
    child = os.fork()
    if child == 0:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            pass
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
spent = sum(os.times()[:4])
processors = len(os.sched_getaffinity(0))
Path("/output/result.txt").write_text("escaped" if processors > 1 or spent > 1.4 else "held")
