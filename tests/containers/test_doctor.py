"""The doctor's judgement on machines we do not have, and its report on this one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from containers.engines.choice import EngineChoice, EngineKind
from containers.engines.podman import PodmanEngine
from containers.machine.doctor import (
    ASSUMED,
    RUNC_ADVISORIES,
    TOOLKIT_ADVISORIES,
    Level,
    examine,
    is_fixed,
    judge,
    report,
    version_of,
)
from containers.machine.guards import Guard
from containers.machine.host_facts import HostFacts, clock_ahead_seconds
from containers.sandbox.workspace import OutputStore

GIB = 2**30
INFO = {
    "ServerVersion": "28.1.0",
    "Driver": "overlay2",
    "CgroupVersion": "2",
    "MemoryLimit": True,
    "SwapLimit": True,
    "PidsLimit": True,
    "CPUSet": True,
    "SecurityOptions": ["name=seccomp,profile=builtin"],
    "Runtimes": {"runc": {}},
}
HEALTHY = HostFacts(info=INFO, runtime_version="1.3.6", free_bytes={"images": 100 * GIB, "runs": 100 * GIB})


def findings(**changes) -> dict:
    return {finding.title: finding for finding in judge(replace(HEALTHY, **changes))}


def test_a_healthy_machine_passes_everything_and_has_nothing_to_mend():
    found = judge(HEALTHY)
    assert {finding.level for finding in found} == {Level.PASS}
    assert {finding.fix for finding in found} == {""}
    assert len(found) == 10


SICK = {
    "no engine installed": (
        {"info": {}, "has_engine_socket": False, "engine_error": "no such file"},
        ("container engine", Level.FAIL, "apt-get install docker.io"),
    ),
    "engine not running": ({"info": {}, "engine_error": "refused"}, ("container engine", Level.FAIL, "start docker")),
    "no permission": (
        {"info": {}, "engine_error": "Permission denied"},
        ("container engine", Level.FAIL, "usermod -aG docker"),
    ),
    "old engine": (
        {"info": INFO | {"ServerVersion": "19.3.1"}},
        ("container engine", Level.FAIL, "apt-get install docker.io"),
    ),
    "no limit on processes": ({"info": INFO | {"PidsLimit": False}}, ("resource limits", Level.FAIL, "cgroup_enable")),
    "swap without limit": (
        {"info": INFO | {"SwapLimit": False}, "has_swap": True},
        ("resource limits", Level.CAUTION, "swapaccount=1"),
    ),
    "no seccomp": ({"info": INFO | {"SecurityOptions": []}}, ("system call filter", Level.FAIL, "CONFIG_SECCOMP")),
    "old runc": ({"runtime_version": "1.1.5"}, ("runc", Level.FAIL, "--only-upgrade runc")),
    "unknown runtime": ({"runtime_version": ""}, ("runc", Level.CAUTION, "runc --version")),
    "GPU without toolkit": ({"has_gpu": True}, ("GPU", Level.FAIL, "nvidia-container-toolkit")),
    "old toolkit": (
        {"has_gpu": True, "toolkit_version": "1.17.7"},
        ("NVIDIA container toolkit", Level.FAIL, "--only-upgrade nvidia-container-toolkit"),
    ),
    "toolkit not configured": (
        {"has_gpu": True, "toolkit_version": "1.17.8"},
        ("GPU", Level.FAIL, "nvidia-ctk runtime configure"),
    ),
    "output in a folder": ({"store": OutputStore.DIRECTORY}, ("output cap", Level.CAUTION, "as root")),
    "no mkfs": ({"missing_programs": ("e2fsprogs",)}, ("programs", Level.FAIL, "apt-get install e2fsprogs")),
    "full disk": ({"free_bytes": {"images": 100 * GIB, "runs": 19 * GIB}}, ("disk", Level.CAUTION, "prune")),
    "Podman not installed": (
        {"engine": EngineKind.PODMAN, "info": {}, "has_engine_socket": False, "engine_error": "no such file"},
        ("container engine", Level.FAIL, "apt-get install podman crun catatonit"),
    ),
    "Podman of somebody else": (
        {"engine": EngineKind.PODMAN, "info": {}, "engine_error": "Permission denied"},
        ("container engine", Level.FAIL, "systemctl --user enable --now podman.socket"),
    ),
    "old Podman": (
        {"engine": EngineKind.PODMAN, "info": INFO | {"ServerVersion": "4.2.1"}},
        ("container engine", Level.FAIL, "apt-get install podman"),
    ),
    "Podman of a user without delegated cgroups": (
        {
            "engine": EngineKind.PODMAN,
            "info": INFO | {"ServerVersion": "4.3.1", "Rootless": True, "MemoryLimit": False},
        },
        ("resource limits", Level.FAIL, "Delegate=cpu cpuset memory pids"),
    ),
    "GPUs without names": (
        {"engine": EngineKind.PODMAN, "has_gpu": True, "toolkit_version": "1.17.8"},
        ("GPU", Level.FAIL, "nvidia-ctk cdi generate"),
    ),
    "socket memory is not counted": (
        {"info": INFO | {"CgroupVersion": "1"}},
        ("socket memory", Level.CAUTION, "cgroup v2"),
    ),
    "socket memory is switched off": ({"ignores_sockets": True}, ("socket memory", Level.CAUTION, "nosocket")),
    "clocks apart": ({"engine_clock_ahead_seconds": -3.0}, ("clock", Level.FAIL, "chrony")),
    "server's clock elsewhere": ({"server_clock_ahead_seconds": 2.5}, ("clock", Level.CAUTION, "chrony")),
    "a server without a time service": (
        {"is_clock_synchronised": False, "is_server": True},
        ("clock", Level.CAUTION, "chrony"),
    ),
}


@pytest.mark.parametrize("sickness", SICK)
def test_each_sickness_is_found_and_comes_with_what_mends_it(sickness):
    changes, (title, level, fix) = SICK[sickness]
    finding = findings(**changes)[title]
    assert finding.level is level
    assert fix in finding.fix


def test_what_holds_without_swap_limit_is_a_machine_without_swap():
    assert findings(info=INFO | {"SwapLimit": False})["resource limits"].level is Level.PASS


def test_a_gpu_with_a_patched_and_configured_toolkit_passes():
    runtimes = INFO | {"Runtimes": {"runc": {}, "nvidia": {}}}
    found = findings(has_gpu=True, toolkit_version="1.17.8", info=runtimes)
    assert (found["GPU"].level, found["NVIDIA container toolkit"].level) == (Level.PASS, Level.PASS)


@pytest.mark.parametrize(
    ("version", "is_closed"),
    [
        ("1.1.15", False),
        ("1.2.7", False),
        ("1.2.8", True),
        ("1.3.0", False),
        ("1.3.3", True),
        ("1.4.0", True),
        ("2.0", True),
    ],
)
def test_each_release_line_has_its_own_first_fixed_version(version, is_closed):
    advisory = next(advisory for advisory in RUNC_ADVISORIES if advisory.name == "CVE-2025-31133")
    assert is_fixed(advisory, version=version, changelog="") is is_closed


def test_holes_out_of_a_submissions_reach_pass_by_name_with_the_reason_and_what_it_rests_on():
    finding = findings(runtime_version="1.1.5+ds1", runc_changelog="  * CVE-2024-21626: leaked fds")["runc"]
    assert (finding.level, finding.fix) == (Level.PASS, "")
    for advisory in RUNC_ADVISORIES[1:]:
        assert f"{advisory.name}: {advisory.out_of_reach}" in finding.detail
    assert ASSUMED in finding.detail


def test_one_hole_within_reach_is_named_alone_however_many_are_out_of_it():
    finding = findings(runtime_version="1.1.5+ds1")["runc"]
    assert finding.level is Level.FAIL
    assert "CVE-2024-21626" in finding.detail
    assert "CVE-2025" not in finding.detail


def test_a_node_needs_no_time_service_and_is_told_who_does():
    finding = findings(is_clock_synchronised=False, server_clock_ahead_seconds=-1.0)["clock"]
    assert finding.level is Level.PASS
    assert "agrees with the engine's and the server's; no time service runs" in finding.detail
    assert "assay doctor --server" in finding.detail


@pytest.mark.parametrize(
    ("read", "ahead_seconds"),
    [("12:00:01.5", 0.0), ("12:00:04.000000123", 0.0), ("11:59:57.5", -2.5), ("12:00:07.25", 3.25)],
)
def test_an_engine_that_answers_slowly_has_no_wrong_clock(read, ahead_seconds):
    asked_at = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
    moments = {"asked_at": asked_at, "answered_at": asked_at + timedelta(seconds=4)}
    assert clock_ahead_seconds(f"2026-11-21T{read}Z", **moments) == ahead_seconds
    assert clock_ahead_seconds("", **moments) == 0.0


def test_a_fix_carried_back_by_the_distribution_counts():
    for advisory in (*RUNC_ADVISORIES, *TOOLKIT_ADVISORIES):
        assert not is_fixed(advisory, version="1.0.0", changelog="CVE-1999-0001")
        assert is_fixed(advisory, version="1.0.0", changelog=f"* fix {advisory.name}")


def test_versions_are_read_up_to_what_the_distribution_added():
    assert version_of("1.1.5+ds1-1+deb12u1") == (1, 1, 5)
    assert version_of("unknown") == ()


def test_the_report_puts_the_cure_under_the_complaint():
    text = report(judge(replace(HEALTHY, missing_programs=("e2fsprogs",))))
    assert "FAIL    programs: not installed: e2fsprogs\n          → sudo apt-get install e2fsprogs" in text
    assert text.startswith("PASS    container engine: Docker Engine 28.1.0, overlay2, cgroup v2")


def test_the_holes_of_runc_are_not_held_against_another_runtime():
    found = findings(engine=EngineKind.PODMAN, runtime="crun", runtime_version="1.8.1")
    assert found["crun"].level is Level.PASS
    assert "runc" not in found


def test_podman_gives_gpus_by_the_names_that_are_written_down():
    podman = {"engine": EngineKind.PODMAN, "has_gpu": True, "toolkit_version": "1.17.8", "has_gpu_names": True}
    assert findings(**podman)["GPU"].level is Level.PASS


def apptainer(**changes) -> dict:
    return findings(engine=EngineKind.APPTAINER, info=INFO | {"ServerVersion": "1.4.5"}, **changes)


def test_every_guard_of_apptainer_is_judged_by_what_was_seen():
    seen = (
        Guard(name="network", holds=True, seen="interfaces: lo"),
        Guard(name="user", holds=False, seen="containers run as uid 1000"),
        Guard(name="limit of memory", holds=False, seen="no limit"),
    )
    found = apptainer(guards=seen)
    assert "runc" not in found
    assert found["guards that hold"].detail == "network"
    assert (found["guard: user"].level, found["guard: limit of memory"].level) == (Level.CAUTION, Level.FAIL)
    assert "Slurm" in found["guard: limit of memory"].fix


def test_an_apptainer_that_starts_nothing_fails():
    assert apptainer(guards_error="no user namespaces")["guards"].level is Level.FAIL


def test_a_slurm_that_does_not_limit_memory_fails():
    info = INFO | {"ServerVersion": "22.05.8", "MemoryLimit": False}
    found = findings(engine=EngineKind.SLURM, info=info)
    assert found["resource limits"].level is Level.FAIL
    assert "ConstrainRAMSpace=yes" in found["resource limits"].fix
    assert found["guards"].level is Level.CAUTION


CLUSTER = {
    "namespace": "cases",
    "denied": [],
    "denies_all": True,
    "has_claim": True,
    "left": {"Ulimits": "the runtime's"},
}


def kubernetes(**changes):
    info = INFO | {"ServerVersion": "1.33.0", "Kubernetes": CLUSTER | changes}
    return findings(engine=EngineKind.KUBERNETES, info=info)


def test_a_cluster_says_what_it_lacks_and_what_no_pod_can_ask_for():
    found = kubernetes()
    assert (found["account"].level, found["claim"].level) == (Level.PASS, Level.PASS)
    assert found["network"].level is Level.CAUTION
    assert "Ulimits" in found["left to the cluster"].detail
    assert kubernetes(denies_all=False)["network"].level is Level.FAIL
    assert kubernetes(denies_all=None)["network"].level is Level.CAUTION
    assert "create pods" in kubernetes(denied=["create pods"])["account"].detail
    assert kubernetes(has_claim=False)["claim"].level is Level.FAIL


MARKS = {
    EngineKind.KUBERNETES: [],
    EngineKind.APPTAINER: [pytest.mark.cluster],
    EngineKind.SLURM: [pytest.mark.cluster],
}
KINDS = [pytest.param(kind, marks=MARKS.get(kind, [pytest.mark.docker])) for kind in EngineKind]


@pytest.mark.parametrize("kind", KINDS)
def test_this_machine_is_examined(kind, request, tmp_path):
    engine = request.getfixturevalue(f"{kind}_engine")
    if kind is EngineKind.DOCKER and isinstance(engine, PodmanEngine):
        pytest.skip("this run is Podman's, which has a line of its own")
    socket = {EngineKind.DOCKER: ""}.get(kind) or next(
        (getattr(engine, name) for name in ("program", "socket", "url") if hasattr(engine, name)), ""
    )
    is_cluster = kind is EngineKind.KUBERNETES
    options = request.getfixturevalue("fake_cluster").options() if is_cluster else ""
    choice = EngineChoice(kind=kind, socket=socket, folder=getattr(engine, "folder", None), options=options)
    found = {finding.title: finding for finding in examine(scratch=tmp_path, choice=choice)}
    assert found["container engine"].level is Level.PASS
    assert found["system call filter"].level is Level.PASS
    assert found["resource limits"].level is Level.PASS
    runtime = {EngineKind.DOCKER: "runc", EngineKind.PODMAN: "crun", EngineKind.APPTAINER: "guards that hold"}
    assert runtime.get(kind) is None or found[runtime[kind]].level is Level.PASS
    assert [title for title in found if title.startswith("guard: ")] == []
    assert all(finding.fix for finding in found.values() if finding.level is not Level.PASS)
