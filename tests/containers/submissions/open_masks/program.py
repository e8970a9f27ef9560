"""Read a file that the runtime masks."""

from pathlib import Path

outcome = "escaped" if Path("/proc/timer_list").read_bytes() else "held"
Path("/output/result.txt").write_text(outcome)
