"""What intake costs does not grow with the archive: memory stays flat. How fast it reads, `python -m containers.bench.intake` says."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def bench(*arguments: str) -> dict:
    command = [sys.executable, "-m", "containers.bench.intake", "--json", *arguments]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def test_every_form_of_archive_is_read_in_flat_memory(tmp_path):
    for form, numbers in bench("--mebibytes", "64", "--folder", str(tmp_path)).items():
        assert numbers["peak_memory_bytes"] < 60e6, form


def test_an_archive_of_half_a_gigabyte_takes_no_more_memory(tmp_path):
    assert (
        bench("--mebibytes", "512", "--forms", "plain", "--folder", str(tmp_path))["plain"]["peak_memory_bytes"] < 60e6
    )
