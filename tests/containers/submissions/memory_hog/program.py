"""Take far more memory than was granted, in one process."""

from pathlib import Path

block = bytearray(400 * 2**20)
Path("/output/result.txt").write_text("escaped")
