"""Look at what of the image's environment came through."""

import os
from pathlib import Path

came_through = [name for name in ("LD_PRELOAD", "LD_AUDIT", "NVIDIA_REQUIRE_CUDA") if name in os.environ]
if os.environ.get("NVIDIA_VISIBLE_DEVICES") != "void" or os.environ["NVIDIA_DRIVER_CAPABILITIES"] == "all":
    came_through.append("NVIDIA")
if os.environ["LD_LIBRARY_PATH"] != "/opt/algorithm/lib":
    came_through.append("LD_LIBRARY_PATH is the algorithm's own business")
Path("/output/result.txt").write_text("escaped" if came_through else "held")
