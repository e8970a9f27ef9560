"""Change the input, as root."""

from pathlib import Path

try:
    Path("/input/scan.txt").write_text("changed")
    outcome = "escaped"
except OSError:
    outcome = "held"
Path("/output/result.txt").write_text(outcome)
