"""Fill the host's disk through the log."""

import sys
from pathlib import Path

line = "x" * 1023 + "\n"
for _ in range(60 * 1024):
    sys.stdout.write(line)
sys.stderr.write("y" * (20 * 2**20))
sys.stdout.flush()
Path("/output/result.txt").write_text("held")
