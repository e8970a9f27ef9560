"""RunSpec → the engine's container options. Pure: the same arguments always make the same document.

This file *is* the sandbox: every line of `container_body` takes something away from somebody else's program. The
documents it makes for typical runs are committed under `tests/containers/options/`, so a weakened sandbox shows up as
a diff.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any

from containers.engines import ImageFacts
from containers.sandbox.seccomp import seccomp_profile
from containers.spec import Limits, RunSpec

ALGORITHM_UID = 65532
LEGACY = "legacy"
LOOPBACK = "loopback"
IMAGE_USER = "image-user"
OWN_USER = re.compile(r"([1-9][0-9]{0,9}):([1-9][0-9]{0,9})")
"""A user as intake writes it: two numbers, neither of them root's."""
ROOT_USERS = ("", "0", "root", "0:0", "root:root")
"""They run as 65532 under the profile `image-user` as well."""
OPEN_FILES = 65536
COVERED_VOLUME_BYTES = 16 * 2**20
IMAGE_VARIABLES_REMOVED = ("LD_PRELOAD", "LD_AUDIT", "LD_DEBUG", "LD_PROFILE")
"""Hooks of the engine run as root and inherit the container's environment (CVE-2025-23266)."""

# Arbitrary uids have no home and `/` is read-only: every cache that would go there goes to /tmp instead.
WRITABLE_PLACES = (
    "HOME",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "MPLCONFIGDIR",
    "TORCH_HOME",
    "NUMBA_CACHE_DIR",
    "TRITON_CACHE_DIR",
)
FOUND_IN_HOME = ("XDG_CACHE_HOME", "TORCH_HOME")
"""Left alone where an image runs as its own user: what it downloaded while it was built lies below its HOME."""
KERNEL_PLACES = ("/dev", "/proc", "/sys")
"""Made by the runtime, never mounted on: it masks the kernel's files with the /dev/null it finds (CVE-2025-31133)."""
MASKED_BY_RUNTIMES = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
    "/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
)  # fmt: skip
"""What Docker masks by itself. A list of our own replaces its list, so these are repeated."""
HOST_FACTS = (
    "/proc/buddyinfo", "/proc/cmdline", "/proc/config.gz", "/proc/diskstats", "/proc/interrupts", "/proc/ioports", "/proc/key-users",
    "/proc/locks", "/proc/mdstat", "/proc/pagetypeinfo", "/proc/partitions", "/proc/pressure", "/proc/schedstat", "/proc/softirqs",
    "/proc/swaps", "/proc/sys/kernel/random/boot_id", "/proc/vmstat", "/proc/zoneinfo", "/sys/devices/virtual/dmi",
)  # fmt: skip
"""They say which host this is, or what its other tenants do. No library we know of reads them. A path that a kernel lacks is skipped."""
TMP = "/tmp"  # noqa: S108 - the path inside the container, a tmpfs of its own


@dataclass(frozen=True, kw_only=True)
class Mount:
    """One host folder (`bind`) or engine volume (`volume`) inside the container."""

    kind: str
    source: str
    target: str
    is_read_only: bool = False
    is_filled_by_image: bool = False
    """A volume starts with what the image has at its target, instead of empty."""

    def to_json(self) -> dict[str, Any]:
        """As the engine's API wants it."""
        document: dict[str, Any] = {
            "Type": self.kind,
            "Source": self.source,
            "Target": self.target,
            "ReadOnly": self.is_read_only,
        }
        if self.kind == "bind":
            document["BindOptions"] = {"Propagation": "rprivate"}
        if self.kind == "volume":
            document["VolumeOptions"] = {"NoCopy": not self.is_filled_by_image}
        return document


def is_kernel_place(path: str) -> bool:
    """Whether a mount at `path` would cover something the runtime makes for itself."""
    folder = PurePosixPath(normpath("/" + path.lstrip("/")))
    return any(folder.is_relative_to(place) for place in KERNEL_PLACES)


@dataclass(frozen=True, kw_only=True)
class RunUser:
    """Who a container runs as. `home` is empty unless it is the image's own user."""

    uid: int
    gid: int
    home: str = ""

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


def user_of(profile: str, image: ImageFacts) -> RunUser | None:
    """Who the algorithm runs as. What the image says counts under `image-user` only: None when it is no number there.

    Named by number, the engine gives the user no supplementary groups, whatever /etc/group says.
    """
    if profile == LEGACY:
        return RunUser(uid=0, gid=0)
    everybody = RunUser(uid=ALGORITHM_UID, gid=ALGORITHM_UID)
    if profile != IMAGE_USER or image.user in ROOT_USERS or (image.user == str(everybody) and not image.home):
        return everybody
    numbers = OWN_USER.fullmatch(image.user)
    return RunUser(uid=int(numbers[1]), gid=int(numbers[2]), home=image.home or TMP) if numbers else None


def writable_working_dir(*, spec: RunSpec, image: ImageFacts, user: RunUser) -> str:
    """The folder of which the image gets a copy it may write into. Empty where it gets none, or where something of ours lies."""
    folder = normpath("/" + (spec.working_dir or image.working_dir).lstrip("/"))
    ours = {"/", TMP, *map(normpath, (spec.input_mount, *spec.input_aliases, spec.output_mount))}
    has_copy = spec.profile == LEGACY or bool(user.home)
    return folder if has_copy and folder not in ours else ""


def capacity_bytes(limit_bytes: int) -> int:
    """How large a store for `limit_bytes` is made. The slack is what tells "reached the limit" from "went over it"."""
    return limit_bytes + max(4 * 2**20, limit_bytes // 32)


def container_body(
    *,
    spec: RunSpec,
    image: ImageFacts,
    mounts: tuple[Mount, ...],
    labels: Mapping[str, str],
    cpu_ids: tuple[int, ...],
    user: RunUser,
    open_files: int = OPEN_FILES,
    cgroup_parent: str = "",
) -> dict[str, Any]:
    """The document for `POST /containers/create`: image by ID, no network, no privileges, every resource capped."""
    body: dict[str, Any] = {
        "Image": spec.image_id,
        "User": str(user),
        "Env": environment(spec=spec, image=image, user=user),
        "Labels": dict.fromkeys(image.labels, "") | dict(labels),
        "Hostname": "sandbox",
        "NetworkDisabled": True,
        "AttachStdin": False,
        "OpenStdin": False,
        "Tty": False,
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGKILL",
        "HostConfig": host_config(
            spec=spec,
            image=image,
            mounts=mounts,
            cpu_ids=cpu_ids,
            open_files=open_files,
            cgroup_parent=cgroup_parent,
        ),
    }
    if spec.command is not None:
        body["Entrypoint"] = list(spec.command)
        body["Cmd"] = []
    if spec.working_dir is not None:
        body["WorkingDir"] = spec.working_dir
    return body


def host_config(
    *,
    spec: RunSpec,
    image: ImageFacts,
    mounts: tuple[Mount, ...],
    cpu_ids: tuple[int, ...],
    open_files: int,
    cgroup_parent: str,
) -> dict[str, Any]:
    """The half of the document that takes things away."""
    limits = spec.limits
    config: dict[str, Any] = {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "Privileged": False,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp_profile(has_loopback=spec.profile == LOOPBACK)}"],
        "MaskedPaths": [*MASKED_BY_RUNTIMES, *HOST_FACTS],
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "PidsLimit": limits.pids,
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "ShmSize": limits.shm_bytes,
        "CpusetCpus": ",".join(str(cpu) for cpu in cpu_ids),
        "OomScoreAdj": 500,
        "Ulimits": ulimits(limits, open_files=open_files),
        "Tmpfs": tmpfs_mounts(limits=limits, image=image, mounts=mounts),
        "Mounts": [mount.to_json() for mount in mounts],
        "Init": True,
        "AutoRemove": False,
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "LogConfig": {"Type": "local", "Config": {"max-size": "10m", "max-file": "2"}},
    }
    if cgroup_parent:
        config["CgroupParent"] = cgroup_parent
    if spec.gpu_uuids:
        config["DeviceRequests"] = [
            {"Driver": "nvidia", "DeviceIDs": list(spec.gpu_uuids), "Capabilities": [["gpu", "compute", "utility"]]}
        ]
    return config


def environment(*, spec: RunSpec, image: ImageFacts, user: RunUser) -> list[str]:
    """Organizer's variables, then ours, which win. A bare name removes the variable that the image sets."""
    places = dict.fromkeys(WRITABLE_PLACES, TMP)
    if user.home:
        places = {name: TMP for name in places if name not in FOUND_IN_HOME} | {"HOME": user.home}
    organizers = {name: value for name, value in spec.environment.items() if name not in IMAGE_VARIABLES_REMOVED}
    set_by_us = {
        **organizers,
        **places,
        "USER": "algo",
        "NVIDIA_VISIBLE_DEVICES": ",".join(spec.gpu_uuids) or "void",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    }
    dangerous = {name for name in image.variables if name in IMAGE_VARIABLES_REMOVED or name.startswith("NVIDIA_")}
    return [f"{name}={value}" for name, value in sorted(set_by_us.items())] + sorted(dangerous - set_by_us.keys())


def ulimits(limits: Limits, *, open_files: int) -> list[dict[str, Any]]:
    """Open files, no core dumps, and a largest file. The last also caps what a sparse file may claim to hold."""
    largest = max(capacity_bytes(limits.output_bytes), limits.tmp_bytes, limits.shm_bytes, limits.working_dir_bytes)
    caps = {"nofile": open_files, "core": 0, "fsize": largest}
    return [{"Name": name, "Soft": cap, "Hard": cap} for name, cap in caps.items()]


def tmpfs_mounts(*, limits: Limits, image: ImageFacts, mounts: tuple[Mount, ...]) -> dict[str, str]:
    """A sized /tmp (executable: JIT compilers need it), and a small cover over every VOLUME the image declares.

    Without the cover a declared volume is a writable, unlimited, anonymous place under a read-only root.
    """
    taken = {mount.target.rstrip("/") for mount in mounts} | {TMP, ""}
    covers = {
        path: f"rw,nosuid,nodev,noexec,size={COVERED_VOLUME_BYTES},mode=1777"
        for path in image.volumes
        if path.rstrip("/") not in taken
    }
    return {TMP: f"rw,nosuid,nodev,exec,size={limits.tmp_bytes},mode=1777", **covers}
