"""A client killed at three quarters of a large upload goes on where it stopped, against a real server."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import installation
from assay.client.uploads import CHUNK_BYTES

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("installation")]
TOTAL_BYTES = 4 * 10**8
KILL_AT_PERCENT = 75
MOST_MEMORY_BYTES = 256 * 2**20
PASSWORD = "correct horse battery"
SUBMIT = """
import sys
from pathlib import Path
from assay.client.http import Connection
from assay.client.uploads import describe_file, upload_file
path, url, token = sys.argv[1:]
file = describe_file(path=Path(path), on_progress=lambda done, total: None)
print("hashed", file.sha256, flush=True)
report = lambda done, total: print("sent", done, flush=True)
print("id", upload_file(connection=Connection(url=url, token=token), file=file, purpose="image", on_progress=report), flush=True)
"""


@pytest.fixture
def large_file(tmp_path) -> Path:
    """Four hundred megabytes that no compression helps with, from one random block written many times with a counter."""
    path, block = tmp_path / "image.tar", os.urandom(2**20 - 8)
    with path.open("wb") as stream:
        for number in range(TOTAL_BYTES // 2**20):
            stream.write(number.to_bytes(8, "little") + block)
    return path


def upload(path: Path, url: str, token: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SUBMIT, str(path), url, token]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def sent_bytes(line: str) -> int:
    return int(line.split()[1]) if line.startswith("sent") else -1


def peak_memory_bytes(folder: Path) -> int:
    """The largest resident size any web process of this installation ever had."""
    peaks = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                b"gunicorn" in (entry / "cmdline").read_bytes()
                and str(folder).encode() in (entry / "environ").read_bytes()
            ):
                line = next(line for line in (entry / "status").read_text().splitlines() if line.startswith("VmHWM"))
                peaks.append(int(line.split()[1]) * 1024)
        except (OSError, StopIteration):
            continue
    return max(peaks)


def test_a_client_killed_at_three_quarters_of_a_large_file_sends_only_the_rest(tmp_path, large_file):
    tmp_path.chmod(0o711)
    total = large_file.stat().st_size
    with installation.running_installation(folder=tmp_path) as url:
        home = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config"), "ASSAY_PASSWORD": PASSWORD}
        assay = Path(sys.executable).with_name("assay")
        account = ["--username", "pia", "--email", "pia@example.org"]
        subprocess.run([assay, "signup", url, *account], env=home, check=True, capture_output=True)
        token = json.loads((tmp_path / "config" / "assay" / "config.json").read_text())["token"]

        with upload(large_file, url, token) as first:
            for line in first.stdout:
                if sent_bytes(line) > total * KILL_AT_PERCENT // 100:
                    first.send_signal(signal.SIGKILL)
                    break

        with upload(large_file, url, token) as second:
            lines = second.stdout.read().splitlines()
        assert second.returncode == 0
        assert peak_memory_bytes(tmp_path) < MOST_MEMORY_BYTES
        resumed_at = next(sent_bytes(line) for line in lines if sent_bytes(line) >= 0)
        assert total * KILL_AT_PERCENT // 100 - CHUNK_BYTES < resumed_at < total
        upload_id = lines[-1].removeprefix("id ")

        stored = [
            path
            for path in (tmp_path / "var").rglob(f"*{upload_id}*")
            if path.is_file() and path.stat().st_size == total
        ]
        assert len(stored) == 1
        with stored[0].open("rb") as stream:
            assert hashlib.file_digest(stream, "sha256").hexdigest() == lines[0].removeprefix("hashed ")
