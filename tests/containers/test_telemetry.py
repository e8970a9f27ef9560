"""Areas, maxima and gaps on curves small enough to draw, and both cgroup versions from folders that look like the kernel's."""

import pytest

from containers.engines import EngineFacts
from containers.spec import Curve
from containers.usage.cgroups import CgroupV1, CgroupV2, cgroup_of_process, parent_cgroup
from containers.usage.telemetry import Meter, area, largest_gap, stable_maximum, thin_out


def facts(version, driver="cgroupfs"):
    return EngineFacts(version="x", cpu_count=1, memory_bytes=1, cgroup_version=version, cgroup_driver=driver)


# A GPU that holds 1000 MB for one second, climbs to 3000 MB within the next, and stays there for two more.
SECONDS = [0.0, 1.0, 2.0, 4.0]
MEGABYTES = [1000.0, 1000.0, 3000.0, 3000.0]


def test_the_area_under_a_curve_by_hand():
    # 1·1000 + 1·(1000 + 3000)/2 + 2·3000
    assert area(seconds=SECONDS, values=MEGABYTES) == 9000.0


def test_flares_tolerance_forgives_what_lies_below_it():
    # above 2048: 0, 0, 952, 952 → 0 + 952/2 + 2·952
    assert area(seconds=SECONDS, values=MEGABYTES, tolerance=2048.0) == 2380.0


def test_flares_value_for_a_container_that_got_stuck_is_reproduced():
    # 10 GB held for 3600 s with a tolerance of 2048 MB: the worst value of FLARE22
    assert area(seconds=[0.0, 3600.0], values=[10240.0, 10240.0], tolerance=2048.0) == 29_491_200.0


def test_uneven_sampling_does_not_change_the_area_of_a_straight_line():
    even = area(seconds=[0.0, 1.0, 2.0], values=[0.0, 1.0, 2.0])
    uneven = area(seconds=[0.0, 0.3, 1.9, 2.0], values=[0.0, 0.3, 1.9, 2.0])
    assert even == pytest.approx(2.0)
    assert uneven == pytest.approx(2.0)


def test_one_sample_has_no_area():
    assert area(seconds=[1.0], values=[5.0]) == area(seconds=[], values=[]) == 0.0


def test_a_peak_in_two_percent_of_the_samples_is_not_stable():
    assert stable_maximum([10.0] * 98 + [99.0] * 2) == 10.0
    assert stable_maximum([10.0] * 97 + [99.0] * 3) == 99.0
    assert stable_maximum([]) == 0.0


def test_a_gap_counts_at_the_start_and_the_end_too():
    assert largest_gap([0.5, 0.75], start=0.0, end=1.0) == 0.5
    assert largest_gap([0.0, 0.25], start=0.0, end=2.0) == 1.75
    assert largest_gap([], start=0.0, end=3.0) == 3.0


def test_thinning_keeps_the_peaks():
    values = [1.0] * 1000
    values[333] = 7.0
    curve = thin_out(seconds=[float(at) for at in range(1000)], values=values, points=100)
    assert len(curve.values) == len(curve.seconds) == 100
    assert max(curve.values) == 7.0
    assert curve.seconds[curve.values.index(7.0)] == 333.0


def test_a_short_curve_is_kept_whole():
    assert thin_out(seconds=SECONDS, values=MEGABYTES) == Curve(seconds=tuple(SECONDS), values=tuple(MEGABYTES))


@pytest.fixture
def v1(tmp_path):
    memory, processors = tmp_path / "memory" / "assay-k", tmp_path / "cpuacct" / "assay-k"
    memory.mkdir(parents=True)
    processors.mkdir(parents=True)
    (memory / "memory.usage_in_bytes").write_text("7000\n")
    (memory / "memory.max_usage_in_bytes").write_text("9000\n")
    (memory / "memory.failcnt").write_text("3\n")
    (memory / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    (memory / "memory.stat").write_text("cache 1\ntotal_cache 3000\ntotal_shmem 500\ntotal_rss 4000\n")
    (processors / "cpuacct.usage").write_text("1500000000\n")
    return CgroupV1(name="assay-k", root=tmp_path)


@pytest.fixture
def v2(tmp_path):
    folder = tmp_path / "assay-k"
    folder.mkdir()
    (folder / "memory.current").write_text("7000\n")
    (folder / "memory.peak").write_text("9000\n")
    (folder / "memory.stat").write_text("anon 4000\nfile 3000\nshmem 500\n")
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n")
    (folder / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1000000\n")
    return CgroupV2(name="assay-k", root=tmp_path)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_both_cgroup_versions_tell_the_same_story(request, version):
    cgroup = request.getfixturevalue(version)
    assert cgroup.memory_bytes() == 7000 - (3000 - 500), "page cache can be dropped, shared memory cannot"
    assert cgroup.totals().peak_memory_bytes == 9000
    assert cgroup.totals().cpu_seconds == 1.5


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_kills_and_reached_limits_are_counted(request, version):
    totals = request.getfixturevalue(version).totals()
    assert (totals.oom_kills, totals.limit_hits) == (2, 3)


def test_a_kernel_without_memory_peak_falls_back_to_the_curve(v2):
    (v2.root / v2.name / "memory.peak").unlink()
    meter = Meter()
    meter.look(v2, at_seconds=0.1)
    assert meter.usage(wall_seconds=0.2, startup_seconds=0.0, cpus=1).peak_memory_bytes == 4500


def test_a_cgroup_that_has_gone_leaves_the_last_reading(v2):
    meter = Meter()
    meter.look(v2, at_seconds=0.1)
    for file in (v2.root / v2.name).iterdir():
        file.unlink()
    v2.remove()
    meter.look(v2, at_seconds=0.2)
    meter.close(v2)
    assert len(meter.samples) == 1
    assert meter.totals.cpu_seconds == 1.5


def test_a_gap_of_more_than_a_second_makes_the_measurement_invalid(v2):
    meter = Meter()
    for at in (0.1, 0.9, 2.0):
        meter.look(v2, at_seconds=at)
    assert not meter.usage(wall_seconds=2.1, startup_seconds=0.0, cpus=1).is_valid
    meter.look(v2, at_seconds=2.1)
    meter.samples.insert(2, meter.samples[1].__class__(at_seconds=1.5, memory_bytes=0, cpu_seconds=0.0))
    assert meter.usage(wall_seconds=2.1, startup_seconds=0.0, cpus=1).is_valid


def test_cpu_area_is_percent_of_the_granted_cpus_times_seconds(v2):
    meter = Meter()
    meter.look(v2, at_seconds=0.1)
    assert meter.usage(wall_seconds=1.0, startup_seconds=0.0, cpus=2).cpu_area_percent_seconds == 75.0


@pytest.fixture
def hierarchy(tmp_path):
    """An empty place that looks like the root of the cgroups."""
    (tmp_path / "cgroup").mkdir()
    return tmp_path / "cgroup"


@pytest.mark.parametrize(
    ("engine", "is_root"),
    [(facts(1), False), (facts(2), False), (facts(2, "systemd"), True), (facts(1, "systemd"), True)],
)
def test_no_parent_cgroup_where_we_could_not_remove_it_again(hierarchy, engine, is_root):
    with parent_cgroup(key="k", facts=engine, memory_bytes=2**30, is_root=is_root, root=hierarchy) as parent:
        assert parent is None
    assert list(hierarchy.iterdir()) == []


def test_the_parent_of_version_2_is_made_by_the_engine_and_removed_by_us(hierarchy):
    with parent_cgroup(key="k", facts=facts(2), memory_bytes=2**30, is_root=True, root=hierarchy) as parent:
        assert parent == CgroupV2(name="assay-k", root=hierarchy)
        (hierarchy / "assay-k").mkdir()
    assert list(hierarchy.iterdir()) == []


@pytest.mark.parametrize(
    ("version", "line", "found"),
    [
        (1, "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n", CgroupV1(name="docker/abc")),
        (2, "0::/system.slice/docker-abc.scope\n", CgroupV2(name="system.slice/docker-abc.scope")),
        (2, "0::/\n", None),
        (1, "3:cpu:/docker/abc\n", None),
    ],
)
def test_the_cgroup_of_a_running_container_is_read_from_its_process(tmp_path, version, line, found):
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "cgroup").write_text(line)
    assert cgroup_of_process(process_id=77, facts=facts(version), proc=tmp_path) == found
    assert cgroup_of_process(process_id=78, facts=facts(version), proc=tmp_path) is None
