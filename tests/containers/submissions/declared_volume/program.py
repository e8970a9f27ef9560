"""Write into a VOLUME of the image, which is writable even under a read-only root."""

from pathlib import Path

try:
    for number in range(8):
        Path(f"/scratch/fill{number}").write_bytes(bytes(4 * 2**20))
    outcome = "escaped"
except OSError:
    outcome = "held"
Path("/output/result.txt").write_text(outcome)
