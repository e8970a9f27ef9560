"""Write the result, then close standard output and error and go on."""

import os
from pathlib import Path

os.closerange(0, 3)
Path("/output/result.txt").write_text("held")
