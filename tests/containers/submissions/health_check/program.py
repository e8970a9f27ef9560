"""Have the engine run a second program in the sandbox once a second."""

import time
from pathlib import Path

time.sleep(2.5)
Path("/output/result.txt").write_text("escaped" if Path("/tmp/checked").exists() else "held")
