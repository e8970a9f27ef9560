"""Dump core, again and again, into the output."""

import os
from pathlib import Path
import resource

try:
    resource.setrlimit(resource.RLIMIT_CORE, (2**30, 2**30))
    outcome = "escaped"
except (OSError, ValueError):
    outcome = "held"
Path("/output/result.txt").write_text(outcome)
