"""What intake costs does not grow with the archive: memory stays flat, and it reads faster than uploads arrive."""

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


@pytest.mark.slow
def test_two_gigabytes_take_no_more_memory_and_go_at_two_hundred_megabytes_per_processor_second(tmp_path):
    numbers = bench("--mebibytes", "2048", "--forms", "plain", "--folder", str(tmp_path))["plain"]
    assert numbers["peak_memory_bytes"] < 60e6
    assert numbers["megabytes_per_cpu_second"] > 200
