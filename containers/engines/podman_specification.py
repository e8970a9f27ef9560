"""Docker's container document → Podman's own. Pure, and strict: what cannot be carried over is refused, never dropped.

Theory of operation. Podman also serves Docker's own create call, and it is not our sandbox. Measured with 4.3.1 on the document
of `arguments.container_body`, that call

- takes the text of the system call filter for the name of a file, and refuses;
- leaves out the private cgroup namespace: the whole host's cgroups are visible inside (version 1);
- adds two writable places without a size, /run and /var/tmp, to a container whose root is read-only;
- copies what the image has below /tmp into our /tmp, with the engine's rights;
- sets limits of processes and open files that a host may not grant (a container, most virtual machines), and refuses.

So a container is created through Podman's own interface, where nothing is added that was not asked for, and everything else
(start, inspect, kill, remove, logs, volumes, images) goes through the calls that it shares with Docker.
"""

from collections.abc import Mapping
from typing import Any

from containers.engines import ContainerBody
from containers.engines.fixed_options import FIXED, refuse_untranslated
from containers.errors import EngineRefused

SIGKILL = 9
LOG_BYTES = 20 * 2**20
"""As much as Docker's `local` driver is told to keep: two files of 10 MB."""

PRIVATE = {"nsmode": "private"}
ALWAYS: dict[str, Any] = {
    "netns": {"nsmode": "none"},
    "ipcns": PRIVATE,
    "pidns": PRIVATE,
    "utsns": PRIVATE,
    "cgroupns": PRIVATE,
    "cgroups_mode": "no-conmon",
    "cap_drop": ["ALL"],
    "no_new_privileges": True,
    "read_only_filesystem": True,
    "image_volume_mode": "ignore",
    "create_working_dir": True,
    "systemd": "false",
    "terminal": False,
    "stdin": False,
    "stop_signal": SIGKILL,
    "healthconfig": {"Test": ["NONE"]},
    "log_configuration": {"driver": "k8s-file", "size": LOG_BYTES},
}
"""Every container of ours under Podman, whether the document says so or not."""

PLAIN = {
    "Image": "image",
    "User": "user",
    "Labels": "labels",
    "Hostname": "hostname",
    "Entrypoint": "entrypoint",
    "Cmd": "command",
    "WorkingDir": "work_dir",
    "ShmSize": "shm_size",
    "OomScoreAdj": "oom_score_adj",
    "Init": "init",
    "CgroupParent": "cgroup_parent",
}
"""Same value, other name."""

TRANSLATED = {
    "Env",
    "HostConfig",
    "SecurityOpt",
    "PidsLimit",
    "Memory",
    "MemorySwap",
    "CpusetCpus",
    "Ulimits",
    "Tmpfs",
    "Mounts",
    "DeviceRequests",
    "MaskedPaths",
}


def podman_specification(
    *, name: str, body: ContainerBody, seccomp_file: str, ceilings: Mapping[str, int]
) -> dict[str, Any]:
    """The document for `POST /libpod/containers/create`. `ceilings` stand where the document has no ulimit of its own."""
    host = body.get("HostConfig", {})
    for part in (body, host):
        _refuse_unknown(part)
    options = {**body, **host}
    mounts, volumes = _mounts(options)
    return {
        "name": name,
        **ALWAYS,
        **{theirs: options[ours] for ours, theirs in PLAIN.items() if ours in options},
        **_environment(options.get("Env", [])),
        **_security(options.get("SecurityOpt", []), seccomp_file=seccomp_file),
        "resource_limits": _resource_limits(options),
        "r_limits": _ulimits(options.get("Ulimits", []), ceilings=ceilings),
        "mounts": [*mounts, *_tmpfs(options.get("Tmpfs", {}))],
        "volumes": volumes,
        "devices": _gpus(options.get("DeviceRequests", [])),
        "mask": list(options.get("MaskedPaths", [])),
    }


def seccomp_text(body: ContainerBody) -> str:
    """The system call filter that the document carries. Empty when it leaves the choice to the engine."""
    options = body.get("HostConfig", {}).get("SecurityOpt", [])
    return next((option.removeprefix("seccomp=") for option in options if option.startswith("seccomp=")), "")


def _refuse_unknown(part: Mapping[str, Any]) -> None:
    known = PLAIN.keys() | TRANSLATED
    refuse_untranslated(part, fixed=FIXED, translated=known, engine="Podman", file="podman_specification.py")


def _environment(lines: list[str]) -> dict[str, Any]:
    """Docker removes a variable of the image by its bare name; Podman has a list for that."""
    pairs = [line.partition("=") for line in lines]
    return {
        "env": {name: value for name, sign, value in pairs if sign},
        "unsetenv": [name for name, sign, _ in pairs if not sign],
    }


def _security(options: list[str], *, seccomp_file: str) -> dict[str, str]:
    for option in options:
        if option != "no-new-privileges" and not option.startswith("seccomp="):
            raise EngineRefused(f"The security option {option[:60]!r} has no translation for Podman.")
    return {"seccomp_profile_path": seccomp_file} if seccomp_file else {}


def _resource_limits(options: Mapping[str, Any]) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if "Memory" in options:
        limits["memory"] = {"limit": options["Memory"], "swap": options["MemorySwap"]}
    if "CpusetCpus" in options:
        limits["cpu"] = {"cpus": options["CpusetCpus"]}
    if "PidsLimit" in options:
        limits["pids"] = {"limit": options["PidsLimit"]}
    return limits


def _ulimits(ulimits: list[Mapping[str, Any]], *, ceilings: Mapping[str, int]) -> list[dict[str, Any]]:
    """Where a document leaves `nofile` or `nproc` out, Podman would put numbers that the host may not grant."""
    wanted = {name: (most, most) for name, most in ceilings.items()}
    wanted |= {entry["Name"]: (entry["Soft"], entry["Hard"]) for entry in ulimits}
    return [{"type": name, "soft": soft, "hard": hard} for name, (soft, hard) in wanted.items()]


def _mounts(options: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Host folders, and the engine's volumes. `bind`, not `rbind`: what is mounted below a folder stays outside.

    Filling a volume that is too small for what the image has there hangs Podman 4.3, with the container locked.
    """
    folders, volumes = [], []
    for mount in options.get("Mounts", []):
        access = "ro" if mount["ReadOnly"] else "rw"
        if mount["Type"] == "bind":
            folders.append(
                {
                    "type": "bind",
                    "source": mount["Source"],
                    "destination": mount["Target"],
                    "options": ["bind", "rprivate", access],
                }
            )
        elif mount["VolumeOptions"]["NoCopy"]:
            volumes.append({"Name": mount["Source"], "Dest": mount["Target"], "Options": [access, "nocopy"]})
        else:
            raise EngineRefused(
                "Podman cannot fill a volume of limited size: the profiles `legacy` and `image-user` need Docker Engine."
            )
    return folders, volumes


def _tmpfs(places: Mapping[str, str]) -> list[dict[str, Any]]:
    """Empty, as under Docker: `notmpcopyup` keeps the image's files out."""
    return [
        {"type": "tmpfs", "source": "tmpfs", "destination": place, "options": [*options.split(","), "notmpcopyup"]}
        for place, options in places.items()
    ]


def _gpus(requests: list[Mapping[str, Any]]) -> list[dict[str, str]]:
    """By the names of the Container Device Interface, which `nvidia-ctk cdi generate` writes down on the host."""
    return [{"path": f"nvidia.com/gpu={uuid}"} for request in requests for uuid in request["DeviceIDs"]]
