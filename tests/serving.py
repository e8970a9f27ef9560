"""A whole installation of its own for a test: `with installation() as served:` starts `assay.config.serve` in a folder of its own."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT_SECONDS = 90.0


@dataclass(frozen=True, kw_only=True)
class Served:
    """Where it answers, where its files are, and its supervising process."""

    url: str
    var: Path
    process: subprocess.Popen[bytes]


@contextmanager
def installation(**environment: str) -> Iterator[Served]:
    """Run one until the block ends; `environment` is added to its surroundings."""
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        var = Path(folder)
        var.chmod(0o711)  # as root its servers run as `nobody`, who has to pass through
        surroundings = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "BROKER_URL")}
        command = [sys.executable, "-m", "assay.config.serve", "--ready-file", str(var / "ready")]
        with (
            (var / "serve.log").open("wb") as log,
            subprocess.Popen(
                command,
                env={**surroundings, "ASSAY_VAR": str(var), **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                yield Served(url=wait_until_ready(var=var, process=process), var=var, process=process)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(120)


def wait_until_ready(*, var: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not (var / "ready").exists():
        assert process.poll() is None, (var / "serve.log").read_text()
        assert time.monotonic() < deadline, (var / "serve.log").read_text()
        time.sleep(0.1)
    return (var / "ready").read_text().strip()
