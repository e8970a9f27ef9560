"""Look for other people's data: the engine's socket, secrets in the environment, folders of the host, case names."""

import os
from pathlib import Path

everything = " ".join(
    [
        Path("/proc/self/mountinfo").read_text(),
        Path("/proc/self/cgroup").read_text(),
        os.uname().nodename,
        str(os.environ),
    ]
)
found = [
    "secret-case-42" in everything,
    any(Path(place).exists() for place in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd", "/host")),
    any(word in name for name in os.environ for word in ("TOKEN", "SECRET", "PASSWORD", "DATABASE", "ASSAY")),
    os.listdir("/input") != ["scan.txt"],
]
Path("/output/result.txt").write_text("escaped" if any(found) else "held")
