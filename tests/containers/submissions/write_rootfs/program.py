"""Write where the image allows everybody to write. Then into the places that are meant for it."""

import os
from pathlib import Path

try:
    Path("/var/tmp/persist").write_text("x")
    outcome = "escaped"
except OSError:
    outcome = "held"
Path(os.environ["TMPDIR"], "cache").write_text("x")
Path(os.environ["TMPDIR"], "scratch").write_text("x")
Path("/output/result.txt").write_text(outcome)
