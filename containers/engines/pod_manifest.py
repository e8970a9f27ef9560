"""Docker's container document → a Pod. Pure, and strict: what a cluster cannot carry over is refused, or named in `LEFT_TO_THE_CLUSTER`.

Theory of operation. A Pod has two containers. `algorithm` is the participant's. `courier` is ours: it carries the output out once the
algorithm has ended (`output_courier.py`). A bare Pod, not a Job: a Job starts another Pod when its machine goes away, and
trying again is the platform's, which counts attempts. The Pod is made with a scheduling gate. It exists, its name is the mutex that the
port promises, and it does not begin. Taking the gate away is the port's `start`.

- The places of limited size are `emptyDir` volumes in memory. Their size is that of a tmpfs, so it is a hard limit, and their pages
  count towards the memory of the container. Those on disk are only looked at now and then by the kubelet.
- `$(NAME)` in variables, commands and arguments is replaced by Kubernetes. Every `$` is doubled, which it turns back into one.
- Variables of an image cannot be taken away. Those that are to go are set to nothing, the same to the loader and to NVIDIA's hooks.
- NVIDIA_VISIBLE_DEVICES of the document would hide the GPUs that the device plug-in gives, so it is left out where there are any.
"""

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path, PurePosixPath
from typing import Any

from containers.engines import OWNER_LABEL, STORES_LABEL, WALL_LABEL, ContainerBody
from containers.engines.fixed_options import FIXED, refuse_untranslated
from containers.errors import EngineRefused

ALGORITHM, COURIER = "algorithm", "courier"
GATE = "assay/start"
MANAGED_BY, OWNER_HASH = "app.kubernetes.io/managed-by", "assay/owner"
SELECTOR = f"{MANAGED_BY}=assay-agent"
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SETUP_SECONDS = 1800
"""What the second guard, the Pod's own deadline, allows for fetching images and carrying output out."""
LOST_MACHINE_SECONDS = 60
OUTPUT, EXCHANGE = "/assay-output", "/assay-exchange"
"""Where the courier sees the output, and the folder it shares with the agent."""
COURIER_RESOURCES = {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "64Mi"}
LOG_STORAGE = "2Gi"
"""What the algorithm may leave on its machine's disk: its log, which the kubelet turns over every few seconds."""
SET_BY_THE_DEVICE_PLUGIN = ("NVIDIA_VISIBLE_DEVICES",)

LEFT_TO_THE_CLUSTER = {
    "PidsLimit": "the number of processes is limited by the kubelet's podPidsLimit, for all Pods of a machine alike",
    "Ulimits": "the largest file, core dumps and open files are limited by the container runtime's own settings",
    "MaskedPaths": "the container runtime masks its own list of files; those that tell about the host stay readable without gVisor or Kata",
    "OomScoreAdj": "the kubelet sets it by the Pod's class",
    "Init": "the program is process 1 itself: zombies are not collected, and an ordinary SIGTERM may be ignored",
    "StopSignal": "the kubelet sends SIGTERM first, and SIGKILL after the grace period, which is one second here",
    "CgroupnsMode": "the container runtime's own choice; private with cgroup version 2",
    "LogConfig": "the kubelet turns logs over at containerLogMaxSize",
    "MemorySwap": "the kubelet gives Pods of this class no swap",
    "CpusetCpus": "as many whole processors are asked for; they are bound with the kubelet's static policy only",
    "NetworkMode": "the Pod has a network device; a NetworkPolicy that the cluster's network plug-in enforces keeps it silent",
}
"""What the document says and no Pod can say. The doctor repeats it, and docs/operators/kubernetes.md."""

TRANSLATED = {
    "Image", "User", "Env", "Labels", "Hostname", "Entrypoint", "Cmd", "WorkingDir", "HostConfig", "SecurityOpt", "Memory", "ShmSize",
    "Tmpfs", "Mounts", "DeviceRequests", *LEFT_TO_THE_CLUSTER,
}  # fmt: skip
ONLY = {**FIXED, "Init": True}


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """The operators' words, from `ASSAY_ENGINE_OPTIONS`."""

    registry: str
    """Where the agent puts images, such as https://registry.example.org/assay/node-1."""
    claim: str
    """The PersistentVolumeClaim that the agent and its Pods share (ReadWriteMany)."""
    courier_image: str
    """An image with python3 (3.9 or newer), by digest."""
    namespace: str = ""
    """Empty: the agent's own."""
    pull_from: str = ""
    """The same repository as the cluster's machines call it. Empty: as the agent does."""
    claim_root: str = ""
    """Where the agent sees the claim. Empty: the folder above the engine's folder."""
    runtime_class: str = ""
    service_account: str = ""
    priority_class: str = ""
    image_pull_secret: str = ""
    gpu_resource: str = "nvidia.com/gpu"
    seccomp_folder: str = "assay"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[str, ...] = ()
    """Keys of taints that these Pods may stand on."""
    token_file: str = ""
    ca_file: str = ""
    registry_account_file: str = ""
    registry_ca_file: str = ""
    user_namespaces: bool = False
    """Give each Pod users of its own (`hostUsers: false`)."""
    strict_groups: bool = False
    """Take no groups from the image (`supplementalGroupsPolicy: Strict`)."""

    @classmethod
    def parse(cls, text: str) -> "ClusterOptions":
        """From `--registry=… --claim=…`. Raises EngineRefused for a word that means nothing, and for what is missing."""
        found: dict[str, Any] = {}
        for word in shlex.split(text):
            name, sign, value = word.removeprefix("--").partition("=")
            name = name.replace("-", "_")
            kind = KINDS.get(name)
            if not word.startswith("--") or kind is None or bool(sign) is (kind == "flag"):
                known = " ".join(
                    f"--{key.replace('_', '-')}{'' if kind == 'flag' else '='}" for key, kind in KINDS.items()
                )
                raise EngineRefused(f"found the option {word!r} for Kubernetes; expected some of: {known}")
            if kind == "pairs":
                key, _, of_key = value.partition("=")
                found[name] = {**found.get(name, {}), key: of_key}
            elif kind == "words":
                found[name] = (*found.get(name, ()), value)
            else:
                found[name] = True if kind == "flag" else value
        missing = [
            f"--{name.replace('_', '-')}" for name in ("registry", "claim", "courier_image") if name not in found
        ]
        if missing:
            raise EngineRefused(f"Kubernetes needs {', '.join(missing)} in ASSAY_ENGINE_OPTIONS.")
        return cls(**found)


KINDS = {
    **dict.fromkeys(
        ("registry", "claim", "courier_image", "namespace", "pull_from", "claim_root", "runtime_class", "service_account", "priority_class",
         "image_pull_secret", "gpu_resource", "seccomp_folder", "token_file", "ca_file", "registry_account_file",
         "registry_ca_file"), "text"
    ),
    "node_selector": "pairs", "labels": "pairs", "tolerations": "words", "user_namespaces": "flag", "strict_groups": "flag",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a Pod stands on: the image as the cluster fetches it, and where our folders lie in the claim."""

    image: str
    claim_root: Path
    exchange: Path
    """The container's own folder, below `claim_root`."""


def pod_manifest(*, name: str, body: ContainerBody, place: Place, options: ClusterOptions) -> dict[str, Any]:
    """The document for `POST …/pods`. Raises EngineRefused for what has no translation."""
    if not NAME.fullmatch(name):
        raise EngineRefused(f"found the name {name[:80]!r}; expected at most 63 small letters, digits and hyphens")
    host = body.get("HostConfig", {})
    for part in (body, host):
        refuse_unknown(part)
    asked = {**body, **host}
    wall = float(asked.get("Labels", {}).get(WALL_LABEL, 0) or 0)
    volumes, mounts, output = _volumes(asked, place=place, options=options)
    algorithm = _algorithm(asked, image=place.image, mounts=mounts, options=options)
    containers = [algorithm]
    if output:
        containers.append(_courier(asked, options=options))
        exchange = {"name": "claim", "mountPath": EXCHANGE, "subPath": _below(place.exchange, place.claim_root)}
        containers[1]["volumeMounts"].append(exchange)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(asked, name=name, options=options),
        "spec": {
            "restartPolicy": "Never",
            "schedulingGates": [{"name": GATE}],
            "terminationGracePeriodSeconds": 1,
            **({"activeDeadlineSeconds": ceil(wall) + SETUP_SECONDS} if wall else {}),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "hostNetwork": False,
            "hostPID": False,
            "hostIPC": False,
            "shareProcessNamespace": False,
            "hostname": asked.get("Hostname", "sandbox"),
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["127.0.0.1"]},
            "securityContext": _pod_security(asked, options=options),
            **({"hostUsers": False} if options.user_namespaces else {}),
            **({"runtimeClassName": options.runtime_class} if options.runtime_class else {}),
            **({"serviceAccountName": options.service_account} if options.service_account else {}),
            **({"priorityClassName": options.priority_class} if options.priority_class else {}),
            **({"imagePullSecrets": [{"name": options.image_pull_secret}]} if options.image_pull_secret else {}),
            **({"nodeSelector": dict(options.node_selector)} if options.node_selector else {}),
            "tolerations": _tolerations(options),
            "containers": containers,
            "volumes": volumes,
        },
    }


def refuse_unknown(part: Mapping[str, Any]) -> None:
    """Raise for an option that would be dropped."""
    refuse_untranslated(part, fixed=ONLY, translated=TRANSLATED, engine="Kubernetes", file="pod_manifest.py")


def owner_hash(owner: str) -> str:
    """An owner as a label's value, which may hold neither slashes nor more than 63 characters."""
    return hashlib.sha256(owner.encode()).hexdigest()[:40]


def profile_name(filter_text: str) -> str:
    """The file name of a system call filter on the cluster's machines: by its content, so that an old one is never taken for it."""
    return f"{hashlib.sha256(filter_text.encode()).hexdigest()[:16]}.json"


def _metadata(asked: Mapping[str, Any], *, name: str, options: ClusterOptions) -> dict[str, Any]:
    labels = asked.get("Labels", {})
    kept = {key: value for key, value in labels.items() if key.startswith("assay.") and value}
    strange = [key for key, value in labels.items() if value and key not in kept]
    if strange:
        raise EngineRefused(f"The label {strange[0][:80]!r} has no translation for Kubernetes.")
    of_owner = {OWNER_HASH: owner_hash(str(labels[OWNER_LABEL]))} if labels.get(OWNER_LABEL) else {}
    return {
        "name": name,
        "labels": {**options.labels, MANAGED_BY: "assay-agent", **of_owner},
        "annotations": {key: str(value) for key, value in sorted(kept.items())} | {"assay.image": str(asked["Image"])},
    }


def _pod_security(asked: Mapping[str, Any], *, options: ClusterOptions) -> dict[str, Any]:
    uid, gid = _user(asked)
    return {
        "runAsUser": uid,
        "runAsGroup": gid,
        "runAsNonRoot": uid != 0,
        **({"supplementalGroupsPolicy": "Strict"} if options.strict_groups else {}),
        "seccompProfile": _filter(asked, options=options),
    }


def _user(asked: Mapping[str, Any]) -> tuple[int, int]:
    """Root where the document names nobody, as under Docker."""
    uid, _, gid = str(asked.get("User", "0:0")).partition(":")
    return int(uid), int(gid or uid)


def _filter(asked: Mapping[str, Any], *, options: ClusterOptions) -> dict[str, str]:
    text = ""
    for option in asked.get("SecurityOpt", []):
        if option.startswith("seccomp="):
            text = option.removeprefix("seccomp=")
        elif option != "no-new-privileges":
            raise EngineRefused(f"The security option {option[:60]!r} has no translation for Kubernetes.")
    if not text:
        return {"type": "RuntimeDefault"}
    return {"type": "Localhost", "localhostProfile": f"{options.seccomp_folder}/{profile_name(text)}"}


CONFINED = {
    "privileged": False,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _algorithm(
    asked: Mapping[str, Any], *, image: str, mounts: list[dict[str, Any]], options: ClusterOptions
) -> dict[str, Any]:
    command = {"command": [_literal(word) for word in asked["Entrypoint"]]} if "Entrypoint" in asked else {}
    arguments = {"args": [_literal(word) for word in asked["Cmd"]]} if asked.get("Cmd") else {}
    resources = _resources(asked, options=options)
    return {
        "name": ALGORITHM,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        **command,
        **arguments,
        **({"workingDir": asked["WorkingDir"]} if asked.get("WorkingDir") else {}),
        "env": _variables(asked),
        "resources": {"limits": resources, "requests": resources},
        "securityContext": CONFINED,
        "volumeMounts": mounts,
    }


def _courier(asked: Mapping[str, Any], *, options: ClusterOptions) -> dict[str, Any]:
    """Our own program, in the algorithm's place once it has ended. As the algorithm's user, who owns the output."""
    output_bytes, output_files, _ = map(int, str(asked["Labels"][STORES_LABEL]).split())
    return {
        "name": COURIER,
        "image": options.courier_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-I", "-S", f"{EXCHANGE}/output_courier.py"],
        "args": [OUTPUT, EXCHANGE, str(output_bytes), str(output_files)],
        "resources": {"limits": COURIER_RESOURCES, "requests": COURIER_RESOURCES},
        "securityContext": CONFINED,
        "volumeMounts": [{"name": "output", "mountPath": OUTPUT}],
    }


def _resources(asked: Mapping[str, Any], *, options: ClusterOptions) -> dict[str, str]:
    resources = {"cpu": str(len(str(asked.get("CpusetCpus", "0")).split(","))), "ephemeral-storage": LOG_STORAGE}
    if asked.get("Memory"):
        resources["memory"] = str(asked["Memory"])
    for request in asked.get("DeviceRequests", []):
        if "Count" not in request:
            raise EngineRefused("Under Kubernetes GPUs are asked for by number, never by name.")
        resources[options.gpu_resource] = str(request["Count"])
    return resources


def _variables(asked: Mapping[str, Any]) -> list[dict[str, str]]:
    pairs = [line.partition("=") for line in asked.get("Env", [])]
    left_out = SET_BY_THE_DEVICE_PLUGIN if asked.get("DeviceRequests") else ()
    return [{"name": name, "value": _literal(value)} for name, _, value in pairs if name not in left_out]


def _literal(text: str) -> str:
    """As it is, without Kubernetes replacing `$(NAME)` in it."""
    return text.replace("$", "$$")


def _volumes(
    asked: Mapping[str, Any], *, place: Place, options: ClusterOptions
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], bool]:
    """Volumes, the algorithm's mounts, and whether there is an output that a courier has to carry."""
    stores = str(asked.get("Labels", {}).get(STORES_LABEL, "")).split()
    volumes: list[dict[str, Any]] = [{"name": "claim", "persistentVolumeClaim": {"claimName": options.claim}}]
    mounts: list[dict[str, Any]] = []
    has_output = False
    for mount in asked.get("Mounts", []):
        if mount["Type"] != "bind":
            raise EngineRefused(
                "Kubernetes cannot fill a volume from an image: the profiles `legacy` and `image-user` need Docker or Apptainer."
            )
        if not mount["ReadOnly"] and stores:
            if has_output:
                raise EngineRefused("A Pod has one output; the document names two.")
            has_output = True
            volumes.append(_in_memory("output", size_bytes=int(stores[0])))
            mounts.append({"name": "output", "mountPath": mount["Target"]})
            continue
        where = _below(Path(mount["Source"]), place.claim_root)
        mounts.append(
            {"name": "claim", "mountPath": mount["Target"], "subPath": where, "readOnly": bool(mount["ReadOnly"])}
        )
    sized = {target: _tmpfs_bytes(text) for target, text in asked.get("Tmpfs", {}).items()}
    if "ShmSize" in asked:
        sized["/dev/shm"] = int(asked["ShmSize"])  # noqa: S108 - inside
    for number, (target, size) in enumerate(sorted(sized.items())):
        volumes.append(_in_memory(f"memory-{number}", size_bytes=size))
        mounts.append({"name": f"memory-{number}", "mountPath": target})
    return volumes, mounts, has_output


def output_folder(body: ContainerBody) -> Path | None:
    """Where the output of this document belongs on the agent's side. None where no courier carries it."""
    asked = {**body, **body.get("HostConfig", {})}
    if not asked.get("Labels", {}).get(STORES_LABEL):
        return None
    return next((Path(mount["Source"]) for mount in asked.get("Mounts", []) if not mount["ReadOnly"]), None)


def _in_memory(name: str, *, size_bytes: int) -> dict[str, Any]:
    return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": str(size_bytes)}}


def _tmpfs_bytes(text: str) -> int:
    words = dict(word.partition("=")[::2] for word in text.split(","))
    unknown = words.keys() - {"rw", "nosuid", "nodev", "exec", "noexec", "size", "mode"}
    if unknown or "size" not in words:
        raise EngineRefused(f"The tmpfs options {text!r} have no translation for Kubernetes.")
    return int(words["size"])


def _below(path: Path, root: Path) -> str:
    """A path of ours as a place in the claim."""
    if not path.is_relative_to(root) or ".." in PurePosixPath(path).parts:
        raise EngineRefused(
            f"{path} is not in the claim, which the agent sees at {root}: set ASSAY_NODE_FOLDER below it."
        )
    return str(path.relative_to(root))


def _tolerations(options: ClusterOptions) -> list[dict[str, Any]]:
    """A machine that is lost is given up soon: the server has other machines."""
    lost = [
        {
            "key": f"node.kubernetes.io/{word}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": LOST_MACHINE_SECONDS,
        }
        for word in ("not-ready", "unreachable")
    ]
    return [*lost, *({"key": key, "operator": "Exists"} for key in options.tolerations)]
