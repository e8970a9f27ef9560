"""Nothing grows with the number of cases. `make bench` does the same with a thousand, and measures what the sandbox costs."""

import pytest

from containers.bench import sandbox as bench

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("engine")]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "input").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "input" / "scan.txt").write_text("a scan")
    return tmp_path


def test_thirty_tiny_cases_leave_nothing_behind_and_take_no_memory(docker_engine, base_image, folder):
    warm, end, _ = bench.measure_leaks(engine=docker_engine, image_id=base_image, folder=folder, cases=30)
    assert (end.containers, end.volumes, end.loop_devices, end.mounts) == (0, 0, 0, 0)
    assert end.descriptors == warm.descriptors
    assert end.resident_mib - warm.resident_mib < 2.0
