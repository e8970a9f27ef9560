"""Let a child be killed for memory and exit with 0, as data loaders do."""

import os
from pathlib import Path

child = os.fork()
if child == 0:
    block = bytearray(400 * 2**20)
    os._exit(0)
os.waitpid(child, 0)
Path("/output/result.txt").write_text("a partial result")
