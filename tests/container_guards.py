"""The switches that take one guard away each. They exist only here: production code has no way to weaken itself.

`python -m pytest -m docker tests/containers --guards` (`make guards`) runs every attack of `submissions/` a second time with
its guard off and demands that it succeeds: a guard whose absence nobody notices guards nothing.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import apptainer_guards
from containers.engines import podman as podman_engine
from containers.engines.apptainer import ApptainerEngine
from containers.engines.docker import DockerEngine
from containers.engines.fixed_options import FIXED
from containers.sandbox import arguments, collect, runner, watchdog, workspace
from containers.sandbox.seccomp import seccomp_profile
from containers.usage import cgroups
from containers.verdicts import Reason


@dataclass(frozen=True, kw_only=True)
class Guard:
    """One thing that protects, and how to take it away for one test."""

    name: str
    says: str
    take_away: Callable[[pytest.MonkeyPatch, Path], None]


GUARDS: dict[str, Guard] = {}


def guard(says: str):
    """Register a function `(monkeypatch, tmp_path)` under its own name."""

    def register(function):
        GUARDS[function.__name__] = Guard(name=function.__name__, says=says, take_away=function)
        return function

    return register


def change_body(patch: pytest.MonkeyPatch, change: Callable[[dict], None]) -> None:
    """Let `change` weaken the container's options on their way to the engine."""
    specify = podman_engine.podman_specification

    for kind in (DockerEngine, ApptainerEngine):

        def weakened(self, *, name, body, create=kind.create):
            body = {**body, "HostConfig": {**body["HostConfig"]}}
            change(body)
            return create(self, name=name, body=body)

        patch.setattr(kind, "create", weakened)
    apptainer_guards.tolerate_weak_documents(patch)

    def weakly_specified(*, name, body, seccomp_file, ceilings):
        body = {**body, "HostConfig": {**body["HostConfig"]}}
        change(body)
        strong = without_what_podman_refuses(body)
        return weaken(specify(name=name, body=strong, seccomp_file=seccomp_file, ceilings=ceilings), body)

    patch.setattr(podman_engine, "podman_specification", weakly_specified)


def without_what_podman_refuses(body: dict) -> dict:
    """The document as the strict translation takes it: a weakened option is as it always is, or left out."""
    host = {key: FIXED.get(key, value) for key, value in body["HostConfig"].items() if key != "Binds"}
    options = [option for option in host.get("SecurityOpt", []) if option != "seccomp=unconfined"]
    return {key: FIXED.get(key, value) for key, value in body.items()} | {"HostConfig": host | {"SecurityOpt": options}}


def weaken(specification: dict, body: dict) -> dict:
    """What is weak in the document, in Podman's words: the translation itself never says such things."""
    host = body["HostConfig"]
    limits = specification["resource_limits"]
    if not host.get("ReadonlyRootfs", True):
        specification["read_only_filesystem"] = False
    if not host.get("CapDrop", True):
        specification |= {"cap_drop": [], "cap_add": ["CAP_MKNOD"]}  # which Docker gives everybody, and Podman does not
    if host.get("NetworkMode") == "bridge":
        specification["netns"] = {"nsmode": "bridge"}
    if host.get("LogConfig", {}).get("Type") == "json-file":
        specification["log_configuration"] = {"driver": "k8s-file", "size": -1}
    if "no-new-privileges" not in host.get("SecurityOpt", []):
        specification["no_new_privileges"] = False
    if "seccomp=unconfined" in host.get("SecurityOpt", []):
        specification["seccomp_profile_path"] = "unconfined"
    if list(host.get("Tmpfs", {})) == ["/tmp"]:
        specification["image_volume_mode"] = "anonymous"  # a second guard of Podman's: volumes of images are never made
    if not host.get("Memory", 1):
        del limits["memory"]
    if host.get("PidsLimit") == -1:
        limits["pids"] = {"limit": 0}
    for source, target in (bind.split(":") for bind in host.get("Binds", ())):
        folder = {"type": "bind", "source": source, "destination": target, "options": ["bind", "rw"]}
        specification["mounts"].append(folder)
    return specification


def set_host(patch: pytest.MonkeyPatch, **options) -> None:
    change_body(patch, lambda body: body["HostConfig"].update(options))


def without_ulimit(patch: pytest.MonkeyPatch, name: str) -> None:
    def change(body):
        kept = [entry for entry in body["HostConfig"]["Ulimits"] if entry["Name"] != name]
        body["HostConfig"]["Ulimits"] = kept

    change_body(patch, change)


def change_state(patch: pytest.MonkeyPatch, is_out_of_memory) -> None:
    for kind in (DockerEngine, ApptainerEngine):

        def changed(self, container_id, state=kind.state):
            found = state(self, container_id)
            return dataclasses.replace(found, is_out_of_memory=is_out_of_memory(found))

        patch.setattr(kind, "state", changed)


def no_excess(patch: pytest.MonkeyPatch) -> None:
    for module in (watchdog, runner):
        patch.setattr(module, "excess", lambda *, occupancy, limits: Reason.NONE)


@guard("cgroup pids limit")
def pids_limit(patch, tmp_path):
    set_host(patch, PidsLimit=-1)


@guard("cgroup memory limit, no swap")
def memory_limit(patch, tmp_path):
    set_host(patch, Memory=0, MemorySwap=0)
    patch.setattr(cgroups, "BELOW_THE_CONTAINERS_OWN_BYTES", -(2**34))


@guard("the kernel's OOM record counts whatever the exit code")
def oom_record(patch, tmp_path):
    change_state(patch, lambda state: False)
    for version in (cgroups.CgroupV1, cgroups.CgroupV2):
        totals = version.totals
        patch.setattr(version, "totals", lambda self, of=totals: dataclasses.replace(of(self), oom_kills=0))


@guard("an exit code of 137 alone proves nothing")
def only_the_kernel_says_oom(patch, tmp_path):
    change_state(patch, lambda state: state.exit_code == 137)


@guard("/dev/shm and /tmp have a size")
def sized_tmpfs(patch, tmp_path):
    set_host(patch, ShmSize=2**28, Tmpfs={"/tmp": "rw,mode=1777"})


@guard("SIGKILL, not SIGTERM")
def sigkill(patch, tmp_path):
    patch.setattr(DockerEngine, "kill", lambda self, container_id: self._api.kill(container_id, signal="SIGTERM"))
    patch.setattr(ApptainerEngine, "kill", apptainer_guards.ask_to_end)
    patch.setattr(watchdog, "DEATH_SECONDS", 2.0)


@guard("the watchdog's deadline")
def deadline(patch, tmp_path):
    kill = watchdog.Watch._kill

    def only_when_cancelled(self, *, elapsed):
        if self.is_cancelled:
            kill(self, elapsed=elapsed)

    patch.setattr(watchdog.Watch, "_kill", only_when_cancelled)


@guard("no network interface but lo")
def no_network(patch, tmp_path):
    change_body(patch, lambda body: body.update(NetworkDisabled=False))
    set_host(patch, NetworkMode="bridge")


@guard("read-only root file system")
def read_only_root(patch, tmp_path):
    set_host(patch, ReadonlyRootfs=False)


@guard("system call filter")
def system_call_filter(patch, tmp_path):
    set_host(patch, SecurityOpt=["no-new-privileges", "seccomp=unconfined"])


@guard("sockets are AF_UNIX only; the profile loopback opens the others")
def unix_sockets_only(patch, tmp_path):
    patch.setattr(arguments, "seccomp_profile", lambda *, has_loopback=False: seccomp_profile(has_loopback=True))


@guard("the kernel's files that describe the host are masked")
def masked_host_facts(patch, tmp_path):
    patch.setattr(arguments, "HOST_FACTS", ())


@guard("uid 65532 and no capabilities, whatever the image says")
def unprivileged_user(patch, tmp_path):
    change_body(patch, lambda body: body.update(User="0:0"))
    set_host(patch, CapDrop=[])


@guard("no_new_privs")
def no_new_privileges(patch, tmp_path):
    def change(body):
        options = body["HostConfig"]["SecurityOpt"]
        body["HostConfig"]["SecurityOpt"] = [option for option in options if option != "no-new-privileges"]

    change_body(patch, change)


@guard("read-only input mount")
def read_only_input(patch, tmp_path):
    def change(body):
        body["HostConfig"]["Mounts"] = [{**mount, "ReadOnly": False} for mount in body["HostConfig"]["Mounts"]]

    change_body(patch, change)


@guard("input staged under a random path")
def opaque_input(patch, tmp_path):
    patch.setattr(workspace, "_stage_input", lambda *, source, destination: source)


@guard("CPUs pinned by cpuset")
def cpuset(patch, tmp_path):
    set_host(patch, CpusetCpus="")


@guard("a fresh container and fresh places per case")
def fresh_places(patch, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)

    def change(body):
        body["HostConfig"]["Tmpfs"] = {}
        body["HostConfig"]["Binds"] = [f"{shared}:/tmp"]

    change_body(patch, change)


@guard("open files limit")
def open_files_limit(patch, tmp_path):
    without_ulimit(patch, "nofile")


@guard("core size 0")
def no_core_dumps(patch, tmp_path):
    without_ulimit(patch, "core")


@guard("largest file limit")
def largest_file(patch, tmp_path):
    without_ulimit(patch, "fsize")


@guard("output on a file system of its own, of this size")
def output_cap(patch, tmp_path):
    without_ulimit(patch, "fsize")
    patch.setattr(workspace, "capacity_bytes", lambda limit: 2**27)
    no_excess(patch)


@guard("output on a file system with this many inodes")
def inode_cap(patch, tmp_path):
    patch.setattr(workspace, "INODE_SLACK", 4096)
    no_excess(patch)


@guard("files are judged by the size they claim")
def apparent_size(patch, tmp_path):
    take = collect.collect_outputs

    def credulous(*, output_dir, expected, destination):
        expected = tuple(dataclasses.replace(output, max_bytes=2**40) for output in expected)
        return take(output_dir=output_dir, expected=expected, destination=destination)

    patch.setattr(runner, "collect_outputs", credulous)


@guard("the engine keeps 2 × 10 MB of log")
def log_cap(patch, tmp_path):
    set_host(patch, LogConfig={"Type": "json-file", "Config": {}})


@guard("declared volumes are covered by a 16 MiB tmpfs")
def covered_volumes(patch, tmp_path):
    def change(body):
        body["HostConfig"]["Tmpfs"] = {"/tmp": body["HostConfig"]["Tmpfs"]["/tmp"]}

    change_body(patch, change)


@guard("dangerous variables of the image are removed or overridden")
def environment(patch, tmp_path):
    def change(body):
        body["Env"] = [entry for entry in body["Env"] if "=" in entry and not entry.startswith("NVIDIA_")]

    change_body(patch, change)


@guard("health checks are switched off")
def no_health_check(patch, tmp_path):
    change_body(patch, lambda body: body.pop("Healthcheck"))


@guard("labels of the image are blanked, ours always set")
def labels(patch, tmp_path):
    change_body(patch, lambda body: body.update(Labels={}))
