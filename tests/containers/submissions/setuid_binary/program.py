"""Become root through a file of the image that is owned by root and setuid."""

import subprocess
from pathlib import Path

effective = subprocess.run(["/become-root", "-u"], capture_output=True, text=True).stdout.strip()
Path("/output/result.txt").write_text("escaped" if effective == "0" else "held")
