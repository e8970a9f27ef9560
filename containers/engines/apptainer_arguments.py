"""Docker's container document → a plan for `container_launcher.py`. Pure, and strict: what cannot be carried over is refused.

Theory of operation. Apptainer is a program, not a service. It makes namespaces, mounts and the system call filter. It has no limits
on processes or files, no sized /tmp or /dev/shm, and it masks nothing in /proc. Those come from the launcher (cgroup, tmpfs, resource
limits) and from mounts that are written here. Measured with 1.4.5:

- values of `APPTAINERENV_…` and `--env` are evaluated by a shell, and HOME cannot be set: so the environment is a script of ours, quoted,
  which takes the place of the scripts that an image may bring;
- every action ERRNO of a filter answers EPERM, whatever the profile says, and one that repeats the default action is refused: `clone3`
  must answer ENOSYS for C libraries to fall back, which is what the action TRACE does where nobody traces;
- /etc/resolv.conf of the host is bound into every container: it is covered.
"""

import csv
import io
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from containers.engines import ContainerBody
from containers.engines.fixed_options import FIXED, refuse_untranslated
from containers.errors import EngineRefused

NOT_IMPLEMENTED = 38
OWN_TASKS = 32
"""Threads of Apptainer itself and of its init, which the kernel counts among the container's."""
LOG_BYTES = 20 * 2**20
"""As much as Docker's `local` driver is told to keep."""
COVERED = ("/etc/resolv.conf",)
"""Files of the host that Apptainer binds into every container."""
SET_BY_APPTAINER = ("LANG", "LD_LIBRARY_PATH", "PROMPT_COMMAND", "PS1", "TERM")
"""Not in any image's configuration. Its variables about itself (APPTAINER_NAME and others) cannot be removed."""
SCRIPTS = "/.singularity.d/env"
LIBRARIES_OF_THE_DRIVER = "/.singularity.d/libs"
NVIDIA_CONTROL = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")

ONLY = {**FIXED, "Init": True}
"""Every container of ours is so under Apptainer, whether the document says it or not."""

TRANSLATED = {
    "Image", "User", "Env", "Labels", "Hostname", "Entrypoint", "Cmd", "WorkingDir", "HostConfig", "SecurityOpt", "MaskedPaths",
    "PidsLimit", "Memory", "MemorySwap", "ShmSize", "CpusetCpus", "OomScoreAdj", "Ulimits", "Tmpfs", "Mounts", "CgroupParent",
    "DeviceRequests",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What the plan stands on: the image, this machine, and where the container's own folder is."""

    folder: Path
    image: Path
    """A folder, or a squashfs file."""
    image_environment: Mapping[str, str]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_dir: str = ""
    is_root: bool = True
    cgroup_version: int = 1
    has_cgroup: bool = True
    """Whether the container gets a cgroup of ours. Under Slurm it is in the job's."""
    masked: tuple[str, ...] = ()
    """Those of the masked paths that this kernel has."""
    masked_folders: frozenset[str] = frozenset()
    volumes: Mapping[str, Path] = field(default_factory=dict)
    gpu_devices: Mapping[str, str] = field(default_factory=dict)
    """GPU UUID → its file in /dev."""
    program: str = "apptainer"


def launch_plan(*, name: str, body: ContainerBody, ground: Ground, mark: str) -> dict[str, Any]:
    """What the launcher reads. Raises EngineRefused for what has no translation."""
    host = body.get("HostConfig", {})
    for part in (body, host):
        refuse_unknown(part)
    options = {**body, **host}
    tmpfs, places = _tmpfs(options, folder=ground.folder)
    requests = options.get("DeviceRequests", [])
    gpus = [uuid for request in requests for uuid in request.get("DeviceIDs", [])]
    is_counted = any("Count" in request for request in requests)
    mounts = [
        *_mounts(options, ground=ground),
        *places,
        *_masks(ground),
        _bind(ground.folder / "env", SCRIPTS, is_read_only=True),
    ]
    mounts.sort(key=lambda found: found[0].count("/"))
    command = _command(options, ground=ground)
    return {
        "program": ground.program,
        "arguments": [
            "--quiet",
            "exec",
            *confinement(options, ground=ground),
            *(["--nv"] if gpus or is_counted else []),
            *(word for _, text in mounts for word in ("--mount", text)),
            str(ground.image),
            *command,
        ],
        "environment": {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/",
            "LC_ALL": "C",
        },
        "mark": mark,
        "cgroup": _cgroup(name=name, options=options, ground=ground),
        "rlimits": {entry["Name"]: entry["Hard"] for entry in options.get("Ulimits", [])},
        "oom_score_adj": options.get("OomScoreAdj", 0),
        "tmpfs": tmpfs,
        "copies": _copies(options, ground=ground),
        "devices": None
        if is_counted
        else [*NVIDIA_CONTROL, *(_device(uuid, ground=ground) for uuid in gpus)]
        if gpus
        else [],
        "stores": [],
        "log_bytes": LOG_BYTES,
    }


def confinement(options: Mapping[str, Any], *, ground: Ground) -> list[str]:
    """The options that take something away."""
    security = [f"seccomp:{ground.folder / 'seccomp.json'}"] if filter_text(options) else []
    uid, _, gid = options.get("User", "0:0").partition(":")
    if ground.is_root and uid != "0":
        security += [f"uid:{uid}", f"gid:{gid or uid}"]
    return [
        "--containall",
        "--no-home",
        "--no-mount", "home,tmp,hostfs,bind-paths,cwd",
        "--no-eval",
        "--no-privs",
        "--net", "--network", "none",
        "--uts", "--hostname", options.get("Hostname", "sandbox"),
        *(["--userns"] if not ground.is_root else []),
        *(["--security", ",".join(security)] if security else []),
        "--pwd", options.get("WorkingDir") or ground.working_dir or "/",
    ]  # fmt: skip


def filter_text(options: Mapping[str, Any]) -> str:
    """The system call filter as Apptainer reads it. Empty when the document has none."""
    text = ""
    for option in options.get("SecurityOpt", []):
        if option.startswith("seccomp="):
            text = option.removeprefix("seccomp=")
        elif option != "no-new-privileges":
            raise EngineRefused(f"The security option {option[:60]!r} has no translation for Apptainer.")
    if not text:
        return ""
    profile = json.loads(text)
    rules = []
    for rule in profile["syscalls"]:
        if rule["action"] != "SCMP_ACT_ERRNO":
            rules.append(rule)
        elif rule.get("errnoRet") == NOT_IMPLEMENTED:
            rules.append(
                {**{key: value for key, value in rule.items() if key != "errnoRet"}, "action": "SCMP_ACT_TRACE"}
            )
    profile["syscalls"] = rules  # other refusals are the default action
    return json.dumps(profile, separators=(",", ":"))


def environment_script(options: Mapping[str, Any], *, ground: Ground, mark: str) -> str:
    """Sourced inside the container by Apptainer's own shell, as the last thing before the program starts.

    A variable whose name no shell can express is left out.
    """
    options = {**options, **options.get("HostConfig", {})}
    variables = dict(ground.image_environment)
    for line in options.get("Env", []):
        name, sign, value = line.partition("=")
        if sign:
            variables[name] = value
        else:
            variables.pop(name, None)
    if options.get("DeviceRequests"):
        paths = [variables.get("LD_LIBRARY_PATH", ""), LIBRARIES_OF_THE_DRIVER]
        variables["LD_LIBRARY_PATH"] = ":".join(path for path in paths if path)
    usable = {name: value for name, value in variables.items() if name.isidentifier() and name.isascii()}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(usable.items())]
    lines += [f"unset {name}" for name in SET_BY_APPTAINER if name not in usable]
    return "\n".join([*lines, f"echo {shlex.quote(mark)} >&2", ""])


def refuse_unknown(part: Mapping[str, Any]) -> None:
    """Raise for an option that would be dropped."""
    refuse_untranslated(part, fixed=ONLY, translated=TRANSLATED, engine="Apptainer", file="apptainer_arguments.py")


def _command(options: Mapping[str, Any], *, ground: Ground) -> list[str]:
    if "Entrypoint" in options:
        command = [*options["Entrypoint"], *options.get("Cmd", [])]
    else:
        command = [*ground.entrypoint, *options.get("Cmd", ground.command)]
    if not command:
        raise EngineRefused("no command specified: the image names no program to start")
    return command


def _cgroup(*, name: str, options: Mapping[str, Any], ground: Ground) -> dict[str, Any] | None:
    if not ground.has_cgroup:
        return None
    parent = options.get("CgroupParent", "").strip("/")
    return {
        "name": f"{parent}/{name}" if parent else f"assay-{name}",
        "version": ground.cgroup_version,
        "memory_bytes": options.get("Memory", 0),
        "pids": options["PidsLimit"] + OWN_TASKS if options.get("PidsLimit", 0) > 0 else 0,
        "cpus": options.get("CpusetCpus", ""),
    }


def _tmpfs(options: Mapping[str, Any], *, folder: Path) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Sized places in memory: the launcher mounts them, and the container sees them bound."""
    wanted = {place: _tmpfs_options(text) for place, text in options.get("Tmpfs", {}).items()}
    if "ShmSize" in options:
        wanted["/dev/shm"] = {"bytes": options["ShmSize"], "mode": "1777", "executable": False}  # noqa: S108 - inside
    made = [{"at": f"tmpfs/{number}", **wanted[place]} for number, place in enumerate(sorted(wanted))]
    binds = [
        _bind(folder / entry["at"], place, is_read_only=False)
        for entry, place in zip(made, sorted(wanted), strict=True)
    ]
    return made, binds


def _tmpfs_options(text: str) -> dict[str, Any]:
    words = dict(word.partition("=")[::2] for word in text.split(","))
    unknown = words.keys() - {"rw", "nosuid", "nodev", "exec", "noexec", "size", "mode"}
    if unknown:
        raise EngineRefused(f"The tmpfs option {min(unknown)!r} has no translation for Apptainer.")
    if "size" not in words:
        raise EngineRefused("A tmpfs needs a size.")
    return {"bytes": int(words["size"]), "mode": words.get("mode", "1777"), "executable": "exec" in words}


def _mounts(options: Mapping[str, Any], *, ground: Ground) -> list[tuple[str, str]]:
    found = []
    for mount in options.get("Mounts", []):
        source = Path(mount["Source"])
        if mount["Type"] == "volume":
            if mount["Source"] not in ground.volumes:
                raise EngineRefused(f"There is no volume {mount['Source']}.")
            source = ground.volumes[mount["Source"]]
        found.append(_bind(source, mount["Target"], is_read_only=mount["ReadOnly"]))
    return found


def _copies(options: Mapping[str, Any], *, ground: Ground) -> list[dict[str, str]]:
    """Volumes that begin with what the image has at their place."""
    filled = [
        mount
        for mount in options.get("Mounts", [])
        if mount["Type"] == "volume" and not mount.get("VolumeOptions", {}).get("NoCopy", True)
    ]
    if filled and not ground.image.is_dir() and ground.image.suffix:
        raise EngineRefused("A working directory can be copied from an image that is a folder only.")
    return [
        {"root": str(ground.image), "path": mount["Target"], "to": str(ground.volumes[mount["Source"]])}
        for mount in filled
    ]


def _masks(ground: Ground) -> list[tuple[str, str]]:
    """An empty file or folder over each: a device such as /dev/null could not be opened, because Apptainer binds with `nodev`."""
    empty = {True: ground.folder / "empty", False: ground.folder / "nothing"}
    masks = [_bind(empty[path in ground.masked_folders], path, is_read_only=True) for path in ground.masked]
    return [*masks, *(_bind(empty[False], path, is_read_only=True) for path in COVERED)]


def _bind(source: Path, target: str, *, is_read_only: bool) -> tuple[str, str]:
    """Where it appears, and the option's text: comma-separated values, quoted where a path has a comma or a quote."""
    for path in (str(source), target):
        if any(ord(letter) < ord(" ") for letter in path):
            raise EngineRefused(f"A mount has a control character in its path: {path!r}.")
    text = io.StringIO()
    fields = ["type=bind", f"source={source}", f"destination={target}", *(["ro"] if is_read_only else [])]
    csv.writer(text, lineterminator="").writerow(fields)
    return target, text.getvalue()


def _device(uuid: str, *, ground: Ground) -> str:
    if uuid not in ground.gpu_devices:
        raise EngineRefused(f"The driver knows no GPU {uuid}.")
    return ground.gpu_devices[uuid]
