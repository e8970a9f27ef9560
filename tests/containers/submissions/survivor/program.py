"""Leave a process behind that changes the result once the run seems over."""

import os
import time
from pathlib import Path

RESULT = Path("/output/result.txt")
RESULT.write_text("held")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(0.5)
        while True:
            RESULT.write_text("escaped")
    os._exit(0)
os.wait()
