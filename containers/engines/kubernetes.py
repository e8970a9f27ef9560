"""Containers as Pods of a Kubernetes cluster: an agent in the cluster or beside it, one namespace, a claim that both see, a registry.

`pod_manifest.py` says what a Pod of ours is, `pod_state.py` what its status means, `pod_watch.py` how it is followed. Here is the port.

Images go into the registry, and the cluster fetches them by digest. Input lies in the claim, and a Pod sees only its own folder of it.
Output is written into memory of a hard size. When the algorithm has ended, the courier in the same Pod archives it into the container's own
folder of the claim, and the agent recreates it where it is wanted. So no container needs a network, and a NetworkPolicy may deny all.

To kill is to set the Pod's deadline to one second: the kubelet ends it, and its status and log stay readable. A Pod that no machine has
taken yet is deleted. The agent remembers what it did to a Pod for as long as it has not removed it.
"""

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from containers.engines import (
    OWNER_LABEL,
    ContainerBody,
    ContainerState,
    EngineFacts,
    ImageFacts,
    Measured,
    OwnedContainer,
    output_courier,
)
from containers.engines.cluster_api import SERVICE_ACCOUNT, ClusterApi, Document
from containers.engines.image_registry import ImageRegistry
from containers.engines.output_archive import recreate_all
from containers.engines.pod_manifest import (
    ALGORITHM,
    COURIER,
    LEFT_TO_THE_CLUSTER,
    OWNER_HASH,
    SELECTOR,
    ClusterOptions,
    Place,
    output_folder,
    owner_hash,
    pod_manifest,
)
from containers.engines.pod_state import (
    Order,
    has_overrun,
    is_disrupted,
    is_fetching,
    killed,
    lost,
    moment,
    state_of,
    status_of,
)
from containers.engines.pod_watch import PodWatch
from containers.engines.volume_names import VolumeNames
from containers.errors import ContainerStuck, EngineRefused, EngineUnreachable

log = logging.getLogger(__name__)
IN_CLUSTER = "https://kubernetes.default.svc"
PROGRAM = Path(output_courier.__file__)
MOST_PROCESSORS = 4096
FETCH_PATIENCE_SECONDS = 600.0
"""How long an image may fail to be fetched before the run is given back."""
COURIER_SECONDS = 600.0
REMOVAL_SECONDS = 90.0
METRICS_SECONDS = 15.0
NEEDED = (
    ("create", "pods"),
    ("get", "pods"),
    ("list", "pods"),
    ("watch", "pods"),
    ("patch", "pods"),
    ("delete", "pods"),
    ("get", "pods/log"),
)
CLOSED = b"\n[... %d bytes left out ...]\n"


@dataclass(kw_only=True)
class _Seen:
    """What this agent knows of a container it has made."""

    body: ContainerBody
    uid: str
    created_at: datetime
    order: Order = field(default_factory=Order)
    first_running: float | None = None
    fetching_since: float | None = None
    ended: ContainerState | None = None
    samples: list[tuple[float, int, float]] = field(default_factory=list)
    measured_at: float = 0.0


class KubernetesEngine:
    """Implements `containers.engines.Engine`. `base_url` is the API server, where it is not the one this Pod runs in.

    Safe in several threads.
    """

    def __init__(self, *, base_url: str | None = None, folder: Path | None = None, options: str = "") -> None:
        self.options = ClusterOptions.parse(options)
        self.folder = folder or Path("/var/lib/assay/kubernetes")
        root = self.options.claim_root
        self._claim_root = Path(root) if root else self.folder.parent
        in_cluster = (SERVICE_ACCOUNT / "token").exists()
        self.url = base_url or (IN_CLUSTER if in_cluster else "")
        if not self.url:
            raise EngineUnreachable(
                "Name the cluster's API server in ASSAY_ENGINE_SOCKET, or run the agent in the cluster."
            )
        self.namespace = self.options.namespace or _namespace()
        api = ClusterApi(
            url=self.url,
            namespace=self.namespace,
            token_file=_file(self.options.token_file, "token", is_in_cluster=in_cluster and base_url is None),
            ca_file=_file(self.options.ca_file, "ca.crt", is_in_cluster=in_cluster and base_url is None),
        )
        self.images = ImageRegistry(
            self.options.registry,
            account_file=_file(self.options.registry_account_file),
            ca_file=_file(self.options.registry_ca_file),
        )
        self.volumes = VolumeNames(self.folder)
        self.watch = shared_watch(api)
        self.api = self.watch.api
        self._seen: dict[str, _Seen] = {}
        self._lock = threading.Lock()
        self._version = ""
        self._has_metrics = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the watch and the connections. Pods go on."""
        give_back(self.watch)
        self.images.close()

    def life(self) -> int:
        """An API server that ends and comes back ends no Pod."""
        return 1

    def facts(self) -> EngineFacts:
        """Of the cluster, as far as it matters here. What a Pod may have is its machines' business."""
        if not self._version:
            self._version = str(self.api.version()["gitVersion"]).removeprefix("v")
        return EngineFacts(
            version=self._version,
            cpu_count=MOST_PROCESSORS,
            memory_bytes=2**60,
            cgroup_version=2,
            cgroup_driver="kubernetes",
            has_volumes=False,
            is_batch=True,
        )

    def documents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the doctor asks, in Docker's words, and in `Kubernetes` what only a cluster has."""
        denied = [f"{verb} {resource}" for verb, resource in NEEDED if not self.api.may(verb=verb, resource=resource)]
        try:
            policies: list[Document] | None = self.api.network_policies()
        except EngineRefused:
            policies = None
        info = {
            "ServerVersion": self.facts().version,
            "Driver": "registry",
            "CgroupVersion": "2",
            "MemoryLimit": True,
            "PidsLimit": True,
            "CPUSet": True,
            "SwapLimit": True,
            "SecurityOptions": ["name=seccomp"],
            "DockerRootDir": str(self.folder if self.folder.exists() else Path("/")),
            "Kubernetes": {
                "namespace": self.namespace,
                "denied": denied,
                "denies_all": None if policies is None else any(denies_all(policy) for policy in policies),
                "runtime_class": self.options.runtime_class,
                "left": dict(LEFT_TO_THE_CLUSTER),
                "has_claim": self._claim_root.is_dir(),
            },
        }
        return info, {"Components": []}

    # ---- images ----------------------------------------------------------------------------------------------------

    def image_facts(self, image_id: str) -> ImageFacts:
        """From the configuration in the registry."""
        return self.images.facts(image_id)

    def image_ids(self) -> set[str]:
        """Of all images in the registry's repository, which is this agent's own."""
        return self.images.ids()

    def load_image(self, archive: Path) -> None:
        """Put it into the registry."""
        self.images.load(archive)

    def import_image(self, *, root_archive: bytes, entrypoint: tuple[str, ...], tag: str) -> str:
        """Make an image of a tar of ours in the registry."""
        return self.images.load_tree(root_archive, entrypoint=entrypoint, tag=tag)

    def remove_image(self, image_id: str) -> None:
        """From the registry. Machines of the cluster drop their copies by themselves."""
        self.images.remove(image_id)

    # ---- containers ------------------------------------------------------------------------------------------------

    def create(self, *, name: str, body: ContainerBody) -> str:
        """A Pod behind a gate. Nothing is started. The folder for its output is made first, and only by who gets the name."""
        digest = self.images.manifest_digest(str(body["Image"]))
        exchange = self.folder / "containers" / name
        place = Place(image=f"{self._repository()}@{digest}", claim_root=self._claim_root, exchange=exchange)
        manifest = pod_manifest(name=name, body=body, place=place, options=self.options)
        pod = self.api.create_pod(manifest)
        try:
            self._make_exchange(exchange)
        except OSError:
            self.api.delete_pod(name, uid=pod["metadata"]["uid"], grace_seconds=1)
            raise
        metadata = pod["metadata"]
        with self._lock:
            self._seen[name] = _Seen(body=body, uid=metadata["uid"], created_at=moment(metadata["creationTimestamp"]))
        self.watch.put(pod)
        return name

    def _make_exchange(self, folder: Path) -> None:
        """What an earlier container of this name has left goes first."""
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        _forget(folder)
        folder.mkdir(mode=0o700)
        (folder / PROGRAM.name).write_bytes(PROGRAM.read_bytes())
        (folder / PROGRAM.name).chmod(0o444)
        folder.chmod(0o777)  # the courier has the algorithm's user, and sees nothing else of the claim

    def start(self, container_id: str) -> None:
        """Take the gate away. Returns once the cluster knows that."""
        seen = self._known(container_id)
        pod = self.api.patch_pod(container_id, {"spec": {"schedulingGates": None}})
        if pod is None:
            raise EngineRefused(f"No such container: {container_id}")
        seen.order = replace(seen.order, is_started=True)
        self.watch.put(pod)

    def state(self, container_id: str) -> ContainerState:
        """The cluster's word. When the algorithm has ended, its output has been brought here before this returns."""
        with self._lock:
            seen = self._seen.get(container_id)
        if seen is None:
            pod = self.api.pod(container_id)
            if pod is None:
                raise EngineRefused(f"No such container: {container_id}")
            return state_of(pod)
        if seen.ended is not None:
            return seen.ended
        pod = self.watch.pod(container_id)
        state = self._state(seen, pod=pod)
        if state.is_running:
            seen.first_running = seen.first_running or time.monotonic()
            self._measure(container_id, seen=seen)
        elif seen.order.is_started and not state.is_waiting:
            if not state.is_lost and not seen.order.is_killed and pod is not None and not has_overrun(pod):
                state = self._carried_out(container_id, seen=seen, state=state)
            seen.ended = state
            if state.is_lost:
                log.warning("kubernetes.pod_lost", extra={"container": container_id, "why": state.error})
        return state

    def _state(self, seen: _Seen, *, pod: Document | None) -> ContainerState:
        if pod is None or pod["metadata"]["uid"] != seen.uid:
            if seen.order.is_killed:
                return killed(created=seen.created_at, started=None, order=seen.order)
            return lost(created=seen.created_at, started=None, why="the Pod is gone: somebody deleted it")
        state = state_of(pod, order=seen.order)
        why = is_fetching(pod) if state.is_waiting else ""
        if not why:
            seen.fetching_since = None
            return state
        seen.fetching_since = seen.fetching_since or time.monotonic()
        if time.monotonic() - seen.fetching_since < FETCH_PATIENCE_SECONDS:
            return state
        return lost(created=seen.created_at, started=None, why=why)

    def _carried_out(self, name: str, *, seen: _Seen, state: ContainerState) -> ContainerState:
        """The output at its place. What the courier cannot bring is the cluster's fault, except where there is too much of it."""
        destination = output_folder(seen.body)
        if destination is None:
            return state
        exchange = self.folder / "containers" / name
        (exchange / "collect").touch()
        told = self._told(name, exchange=exchange)
        if told is None and (pod := self.watch.asked(name)) is not None and has_overrun(pod):
            return state
        if told is None or "error" in told:
            why = "the courier ended without the output" if told is None else str(told["error"])
            return replace(state, is_lost=True, error=why)
        if told["too_large"]:
            with (destination / "too-large").open("wb") as claims:
                claims.truncate(int(told["bytes"]))
        with (exchange / "output.tar").open("rb") as stream:
            recreate_all(stream, destination=destination, most_bytes=int(told["bytes"]))
        return state

    def _told(self, name: str, *, exchange: Path) -> dict[str, Any] | None:
        """The courier's last word. None when it has ended without one, or the Pod was taken away."""
        give_up_at = time.monotonic() + COURIER_SECONDS
        while time.monotonic() < give_up_at:
            pod = self.watch.pod(name)
            has_ended = pod is None or is_disrupted(pod) or "terminated" in status_of(pod, COURIER)
            with contextlib.suppress(FileNotFoundError):
                return dict(json.loads((exchange / "told.json").read_text(encoding="utf-8")))
            if has_ended:
                give_up_at = min(give_up_at, time.monotonic() + LATE_WORD_SECONDS)
            time.sleep(0.1)
        return None

    def kill(self, container_id: str) -> None:
        """A deadline of one second. A Pod that no machine has yet is deleted: nobody would end it."""
        seen = self._known(container_id)
        pod = self.api.pod(container_id)
        if pod is None or pod["metadata"]["uid"] != seen.uid or seen.ended is not None:
            return
        if not seen.order.is_killed:
            ran = 0.0 if seen.first_running is None else time.monotonic() - seen.first_running
            seen.order = replace(seen.order, is_killed="terminated" not in status_of(pod, ALGORITHM), ran_seconds=ran)
        if pod["spec"].get("nodeName"):
            self.api.patch_pod(container_id, {"spec": {"activeDeadlineSeconds": 1}})
        else:
            self.api.delete_pod(container_id, uid=seen.uid, grace_seconds=1)

    def remove(self, container_id: str) -> None:
        """Delete, wait until the cluster has none of it any more, then the folder goes.

        A machine that is lost never says that a Pod has ended. Only where the cluster has given the Pod up is it not waited for.
        """
        with self._lock:
            seen = self._seen.get(container_id)
        uid = seen.uid if seen else ""
        give_up_at = time.monotonic() + REMOVAL_SECONDS
        asked = False
        while (pod := self.api.pod(container_id)) is not None and uid in ("", pod["metadata"]["uid"]):
            uid = pod["metadata"]["uid"]
            if not asked:
                self.api.delete_pod(container_id, uid=uid, grace_seconds=1)
                asked = True
            elif time.monotonic() > give_up_at:
                if not is_given_up(pod):
                    raise ContainerStuck(f"The cluster still has the Pod {REMOVAL_SECONDS:.0f} s after it was deleted.")
                self.api.delete_pod(container_id, uid=uid, grace_seconds=0)
            time.sleep(0.05)
        self.watch.forget(container_id)
        with self._lock:
            self._seen.pop(container_id, None)
        if uid:
            _forget(self.folder / "containers" / container_id)

    def read_log(self, container_id: str, *, max_bytes: int) -> bytes:
        """From the kubelet. Nothing of a Pod that is gone: its log went with it."""
        head, tail, left_out = bytearray(), bytearray(), 0
        head_bytes = max_bytes // 4
        for piece in self.api.log(container_id, container=ALGORITHM):
            taken = piece[: head_bytes - len(head)]
            head += taken
            tail += piece[len(taken) :]
            if len(tail) > 2 * max_bytes:
                left_out += len(tail) - (max_bytes - head_bytes)
                del tail[: len(tail) - (max_bytes - head_bytes)]
        surplus = max(0, len(tail) - (max_bytes - head_bytes))
        left_out += surplus
        return bytes(head) + (CLOSED % left_out if left_out else b"") + bytes(tail[surplus:])

    def logged_memory_kill(self, container_id: str) -> bool:  # noqa: ARG002 - the port's signature
        """The status says it: `OOMKilled`."""
        return False

    def _measure(self, name: str, *, seen: _Seen) -> None:
        """A sample of the metrics server, where the cluster has one. It measures every fifteen seconds."""
        now = time.monotonic()
        if not self._has_metrics or now - seen.measured_at < METRICS_SECONDS or seen.first_running is None:
            return
        with contextlib.suppress(EngineUnreachable):
            found = self.api.metrics(name)
            at = now - seen.first_running
            if found is None:
                self._has_metrics = at < 4 * METRICS_SECONDS or bool(seen.samples)
            else:
                usage = next((entry["usage"] for entry in found["containers"] if entry["name"] == ALGORITHM), None)
                before = seen.samples[-1] if seen.samples else (0.0, 0, 0.0)
                if usage is not None:
                    cpu = before[2] + quantity(usage["cpu"]) * (at - before[0])
                    seen.samples.append((at, int(quantity(usage["memory"])), cpu))
        seen.measured_at = now

    def usage_of(self, container_id: str) -> Measured | None:
        """What the metrics server measured. Nothing where there is none, or the run was shorter than its interval."""
        with self._lock:
            seen = self._seen.get(container_id)
        return Measured(samples=tuple(seen.samples)) if seen and seen.samples else None

    def containers_of(self, owner: str) -> list[OwnedContainer]:
        """By label, and by the annotation that has the owner in full."""
        pods, _ = self.api.pods(f"{SELECTOR},{OWNER_HASH}={owner_hash(owner)}")
        names = [
            pod["metadata"]["name"] for pod in pods if pod["metadata"].get("annotations", {}).get(OWNER_LABEL) == owner
        ]
        return [OwnedContainer(container_id=name, name=name) for name in names]

    # ---- volumes ---------------------------------------------------------------------------------------------------

    def create_volume(self, *, name: str, options: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """A name, and nothing behind it: a Pod takes no volume of ours."""
        self.volumes.create(name=name, options=options, labels=labels)

    def remove_volume(self, name: str) -> None:
        """The name is forgotten."""
        self.volumes.remove(name)

    def volumes_of(self, owner: str) -> list[str]:
        """By our label."""
        return self.volumes.of(owner)

    def read_archive(self, container_id: str, path: str) -> Iterator[bytes]:
        """Refused: the courier brings the output."""
        raise EngineRefused(f"Kubernetes gives no archives (asked for {path} of {container_id}).")

    def _known(self, container_id: str) -> _Seen:
        with self._lock:
            seen = self._seen.get(container_id)
        if seen is None:
            raise EngineRefused(f"No such container of this agent: {container_id}")
        return seen

    def _repository(self) -> str:
        address = self.options.pull_from or self.options.registry
        return address.partition("://")[2] or address


_WATCHES: dict[tuple[str, str], tuple[PodWatch, int]] = {}
_WATCHES_LOCK = threading.Lock()


def shared_watch(api: ClusterApi) -> PodWatch:
    """One for all slots of this process that ask the same cluster about the same namespace. `give_back` ends the last use."""
    with _WATCHES_LOCK:
        watch, users = _WATCHES.get(api.key, (None, 0))
        if watch is None:
            watch = PodWatch(api, selector=SELECTOR)
        _WATCHES[api.key] = watch, users + 1
    return watch


def give_back(watch: PodWatch) -> None:
    """This user of the watch is done with it."""
    with _WATCHES_LOCK:
        _, users = _WATCHES[watch.key]
        if users > 1:
            _WATCHES[watch.key] = watch, users - 1
        else:
            del _WATCHES[watch.key]
            watch.close()


LATE_WORD_SECONDS = 10.0
"""How long a shared file system may take to show what the courier has written."""


def denies_all(policy: Mapping[str, Any]) -> bool:
    """Whether this NetworkPolicy lets our Pods reach nobody, and nobody reach them."""
    spec = policy["spec"]
    chosen = spec.get("podSelector", {})
    ours = SELECTOR.partition("=")
    is_ours = not chosen or chosen == {"matchLabels": {ours[0]: ours[2]}}
    return (
        is_ours
        and set(spec.get("policyTypes", ())) == {"Ingress", "Egress"}
        and not spec.get("ingress")
        and not spec.get("egress")
    )


def is_given_up(pod: Mapping[str, Any]) -> bool:
    """Whether the cluster itself does not expect to hear of it any more."""
    status = pod.get("status", {})
    return is_disrupted(pod) or status.get("reason") == "NodeLost" or status.get("phase") in {"Unknown", "Failed"}


def quantity(text: str) -> float:
    """Kubernetes' numbers: "250m", "128974848", "123Mi", "12345678n"."""
    units = {
        "n": 1e-9,
        "u": 1e-6,
        "m": 1e-3,
        "k": 1e3,
        "M": 1e6,
        "G": 1e9,
        "Ki": 2**10,
        "Mi": 2**20,
        "Gi": 2**30,
        "Ti": 2**40,
    }
    number = text.rstrip("numkKMGTi")
    unit = text[len(number) :]
    if unit and unit not in units:
        raise EngineRefused(f"found the quantity {text!r}; expected one of Kubernetes'")
    return float(number) * units.get(unit, 1.0)


def _namespace() -> str:
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text(encoding="ascii").strip()
    except OSError:
        return "default"


def _file(name: str, usual: str = "", *, is_in_cluster: bool = False) -> Path | None:
    if name:
        return Path(name)
    return SERVICE_ACCOUNT / usual if is_in_cluster else None


def _forget(folder: Path) -> None:
    """The files in it are ours or the courier's, one level deep. The folder is ours."""
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
        folder.rmdir()
