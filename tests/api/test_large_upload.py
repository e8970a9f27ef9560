"""Two gigabytes through the real server: the client is killed at 1.5, goes on, and nobody's memory grows with the file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from serving import installation

pytestmark = pytest.mark.slow
SIZE_BYTES = 2 * 2**30
KILLED_AT_BYTES = int(1.5 * 2**30)
MOST_MEMORY_BYTES = 256 * 2**20

CLIENT = """
import sys
from pathlib import Path
from assay.client.http import Connection
from assay.client.uploads import describe_file, upload_file
url, token, path, mark = sys.argv[1:]
def show(done, total):
    Path(mark).write_text(str(done))
with Connection(url=url, token=token) as connection:
    file = describe_file(path=Path(path), on_progress=lambda done, total: None)
    Path(mark).write_text("0")
    print(upload_file(connection=connection, file=file, purpose="image", on_progress=show))
"""


def token_for(url: str) -> str:
    account = {"username": "pia", "email": "pia@example.org", "password": "pia likes brains"}
    assert httpx.post(f"{url}/api/v1/users", json=account).status_code == 201
    return httpx.post(f"{url}/api/v1/tokens", json=account).json()["token"]


def peak_memory_bytes(var: Path) -> int:
    """The largest resident size any web process of this installation ever had."""
    peaks = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                b"gunicorn" in (entry / "cmdline").read_bytes()
                and str(var).encode() in (entry / "environ").read_bytes()
            ):
                line = next(line for line in (entry / "status").read_text().splitlines() if line.startswith("VmHWM"))
                peaks.append(int(line.split()[1]) * 1024)
        except (OSError, StopIteration):
            continue
    return max(peaks)


def test_a_killed_client_goes_on_and_memory_stays_constant(tmp_path):
    source, mark = tmp_path / "image.tar", tmp_path / "done"
    with source.open("wb") as file:
        for number in range(64):
            file.seek(number * SIZE_BYTES // 64)
            file.write(os.urandom(4096))
        file.truncate(SIZE_BYTES)
    with installation(ASSAY_WEB_PROCESSES="1") as served:
        token = token_for(served.url)
        command = [sys.executable, "-c", CLIENT, served.url, token, str(source), str(mark)]
        with subprocess.Popen(command) as client:
            while int(mark.read_text() or 0 if mark.exists() else 0) < KILLED_AT_BYTES:
                assert client.poll() is None
                time.sleep(0.02)
            client.send_signal(signal.SIGKILL)
        headers = {"Authorization": f"Bearer {token}"}
        (unfinished,) = httpx.get(f"{served.url}/api/v1/uploads", headers=headers).json()
        assert KILLED_AT_BYTES - 64 * 2**20 <= unfinished["offset_bytes"] < SIZE_BYTES

        upload_id = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        assert upload_id == unfinished["id"], "the second client goes on with the first one's upload"
        assert httpx.get(f"{served.url}/api/v1/uploads", headers=headers).json() == []
        (stored,) = (served.var / "files/uploads").iterdir()
        assert stored.stat().st_size == SIZE_BYTES
        assert peak_memory_bytes(served.var) < MOST_MEMORY_BYTES
