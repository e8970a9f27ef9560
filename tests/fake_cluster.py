"""A Kubernetes cluster for tests: an API server, a registry, a scheduler and one kubelet, in this process.

What is true to Kubernetes, as its documentation and its API description say: names and types of fields (strict), 409 for a name that is
taken, resource versions, watches that start at a version, bookmarks, 410 for a version that is forgotten, merge patches, what of a Pod may
be changed after it was made, scheduling gates, deletion with a grace period that the kubelet confirms, preconditions, deadlines,
`$(NAME)` in variables and commands, whole seconds, the words of pull failures, evictions, preemptions and lost machines. The registry
refuses a blob whose digest is wrong, and the kubelet fetches an image by its manifest's digest or not at all.

What is not: nothing is confined. A Pod's programs are processes of this machine, with the paths of its volumes put in place of its own.
They must be the tests' own programs. No limit holds, so a test says itself who runs out of memory.
"""

import copy
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes_schema import problems

Document = dict[str, Any]
NODE = "machine-1"
TICK_SECONDS = 0.01
REPOSITORY = "assay/node"


class Refusal(Exception):
    """An answer that is not 2xx, as a `Status`."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }
        self.code = code


class Registry:
    """One registry's blobs and manifests."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.tags: dict[str, str] = {}
        self.page = 1000

    def config_of(self, reference: str) -> Document | None:
        manifest = self.manifests.get(reference.rpartition("@")[2])
        return None if manifest is None else json.loads(self.blobs[json.loads(manifest)["config"]["digest"]])


class FakeCluster:
    """One namespace. Methods that name a Pod are what the control plane, a machine or a person does to it."""

    def __init__(self, *, folder: Path, claim_root: Path) -> None:
        self.folder, self.claim_root = folder, claim_root
        self.registry = Registry()
        self.pods: dict[str, Document] = {}
        self.changes: list[tuple[int, str, Document]] = []
        self.forgotten = 0
        self.version = 100
        self.changed = threading.Condition(threading.RLock())
        self.kubelets: dict[str, _Kubelet] = {}
        self.requests: list[tuple[str, str]] = []
        self.is_down = False
        self.has_room = True
        self.pull_error = ""
        self.denied: set[str] = set()
        self.policies: list[Document] = []
        self.metrics: Callable[[str], Document | None] = lambda _: None
        self.patience_of_watches = 3600.0
        self.url = ""
        self.is_open = True

    def options(self, *more: str) -> str:
        """The operators' words for it. The courier's image is never fetched: its program runs with this machine's python3."""
        registry = f"--registry={self.url}/{REPOSITORY}"
        words = [
            "--namespace=cases",
            registry,
            "--claim=assay",
            f"--claim-root={self.claim_root}",
            "--courier-image=python@sha256:0",
        ]
        return " ".join([*words, *more])

    # ---- the store -------------------------------------------------------------------------------------------------

    def _changed(self, kind: str, pod: Document) -> Document:
        self.version += 1
        pod["metadata"]["resourceVersion"] = str(self.version)
        self.changes.append((self.version, kind, copy.deepcopy(pod)))
        self.changed.notify_all()
        return copy.deepcopy(pod)

    def create(self, pod: Document, *, strict: bool) -> Document:
        found = problems(pod)
        if found and strict:
            raise Refusal(
                400,
                "BadRequest",
                f"Pod in version v1 cannot be handled as a Pod: strict decoding error: {', '.join(found)}",
            )
        name = pod["metadata"]["name"]
        self._validate(pod)
        with self.changed:
            if name in self.pods:
                raise Refusal(409, "AlreadyExists", f'pods "{name}" already exists')
            pod = copy.deepcopy(pod)
            pod["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "namespace": "cases"}
            gated = [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]
            pod["status"] = {
                "phase": "Pending",
                "qosClass": "Guaranteed",
                "conditions": gated if pod["spec"].get("schedulingGates") else [],
            }
            self.pods[name] = pod
            answer = self._changed("ADDED", pod)
        self._schedule(name)
        return answer

    def _validate(self, pod: Document) -> None:
        """What an API server checks beyond names and types, as far as our Pods have it."""
        wrong = []
        name = pod["metadata"]["name"]
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name) or len(name) > 253:
            wrong.append(
                "metadata.name: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters"
            )
        value_of_a_label = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]?")
        labels = pod["metadata"].get("labels", {}).values()
        wrong += [
            f"metadata.labels: Invalid value: {value!r}" for value in labels if not value_of_a_label.fullmatch(value)
        ]
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        for container in pod["spec"]["containers"]:
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            wrong += [
                f"spec.containers.volumeMounts.mountPath: must be unique: {path}"
                for path in paths
                if paths.count(path) > 1
            ]
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    wrong.append(f"spec.containers.volumeMounts.name: Not found: {mount['name']!r}")
                if mount.get("subPath", "").startswith("/") or ".." in mount.get("subPath", "").split("/"):
                    wrong.append("spec.containers.volumeMounts.subPath: must be a relative path")
        if pod["spec"].get("dnsPolicy") == "None" and not pod["spec"].get("dnsConfig", {}).get("nameservers"):
            wrong.append("spec.dnsConfig.nameservers: Required value")
        deadline = pod["spec"].get("activeDeadlineSeconds", 1)
        if not 1 <= deadline <= 2**31 - 1:
            wrong.append("spec.activeDeadlineSeconds: must be between 1 and 2147483647")
        if wrong:
            raise Refusal(422, "Invalid", f'Pod "{name}" is invalid: {"; ".join(wrong)}')

    def patch(self, name: str, change: Document) -> Document:
        with self.changed:
            before = self._found(name)
            after = merged(before, change)
            if found := problems(after):
                raise Refusal(400, "BadRequest", f"strict decoding error: {', '.join(found)}")
            allowed = copy.deepcopy(before["spec"])
            for field in ("schedulingGates", "activeDeadlineSeconds"):
                allowed.pop(field, None)
                if field in after["spec"]:
                    allowed[field] = after["spec"][field]
            if allowed != after["spec"]:
                raise Refusal(422, "Invalid", "spec: Forbidden: pod updates may not change fields other than a few")
            if not {str(gate) for gate in after["spec"].get("schedulingGates", [])} <= {
                str(gate) for gate in before["spec"].get("schedulingGates", [])
            }:
                raise Refusal(422, "Invalid", "spec.schedulingGates: Forbidden: only deletion is allowed")
            old, new = before["spec"].get("activeDeadlineSeconds"), after["spec"].get("activeDeadlineSeconds")
            if old is not None and (new is None or new > old):
                raise Refusal(
                    422, "Invalid", "spec.activeDeadlineSeconds: must be less than or equal to previous value"
                )
            self.pods[name] = after
            answer = self._changed("MODIFIED", after)
        self._schedule(name)
        return answer

    def delete(self, name: str, options: Document) -> Document:
        with self.changed:
            pod = self._found(name)
            wanted = options.get("preconditions", {}).get("uid")
            if wanted and wanted != pod["metadata"]["uid"]:
                raise Refusal(
                    409, "Conflict", f"the UID in the precondition ({wanted}) does not match the UID in record"
                )
            grace = options.get("gracePeriodSeconds", pod["spec"].get("terminationGracePeriodSeconds", 30))
            if grace == 0 or not pod["spec"].get("nodeName"):
                return self._gone(name)
            if "deletionTimestamp" not in pod["metadata"]:
                pod["metadata"] |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": grace}
                self._changed("MODIFIED", pod)
            return copy.deepcopy(pod)

    def _gone(self, name: str) -> Document:
        pod = self.pods.pop(name)
        return self._changed("DELETED", pod)

    def _found(self, name: str) -> Document:
        if name not in self.pods:
            raise Refusal(404, "NotFound", f'pods "{name}" not found')
        return self.pods[name]

    def _schedule(self, name: str) -> None:
        with self.changed:
            pod = self.pods.get(name)
            if pod is None or pod["spec"].get("schedulingGates") or pod["spec"].get("nodeName"):
                return
            if not self.has_room:
                pod["status"]["conditions"] = [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
                    }
                ]
                self._changed("MODIFIED", pod)
                return
            pod["spec"]["nodeName"] = NODE
            pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
            self._changed("MODIFIED", pod)
            self.kubelets[name] = _Kubelet(cluster=self, name=name, uid=pod["metadata"]["uid"])
            self.kubelets[name].start()

    # ---- what happens to Pods ----------------------------------------------------------------------------------------

    def make_room(self) -> None:
        """A machine comes up."""
        self.has_room = True
        for name in list(self.pods):
            self._schedule(name)

    def tell(self, name: str, **status: Any) -> None:
        """Somebody writes into a Pod's status."""
        with self.changed:
            pod = self.pods[name]
            pod["status"] |= status
            self._changed("MODIFIED", pod)

    def compact(self) -> None:
        """The server forgets its history, and watches of before end with 410."""
        with self.changed:
            self.changes.clear()
            self.version += 10
            self.forgotten = self.version
            self.changed.notify_all()

    def kill_for_memory(self, name: str) -> None:
        """The kernel kills the algorithm."""
        self.kubelets[name].end("algorithm", reason="OOMKilled")

    def evict(self, name: str, message: str) -> None:
        """The kubelet does, for this reason. The Pod's record stays."""
        kubelet = self.kubelets[name]
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": message}
        kubelet.end_all(phase="Failed", reason="Evicted", message=message, conditions=[condition])

    def preempt(self, name: str) -> None:
        """The scheduler takes its place for a more important Pod: a condition first, then the Pod is deleted."""
        with self.changed:
            pod = self.pods[name]
            why = "Preempted in order to admit critical pod"
            self.tell(
                name,
                conditions=[
                    {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": why}
                ],
            )
            self.delete(name, {"gracePeriodSeconds": 1, "preconditions": {"uid": pod["metadata"]["uid"]}})

    def lose_machine(self, name: str) -> None:
        """Its kubelet is heard of no more. The taint manager deletes the Pod, and nobody confirms."""
        self.kubelets[name].is_silent = True
        why = "Taint manager: deleting due to NoExecute taint"
        with self.changed:
            self.tell(
                name,
                conditions=[
                    {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": why}
                ],
            )
            self.delete(name, {"gracePeriodSeconds": 30})

    def say_waiting(self, name: str, reason: str, message: str) -> None:
        """What the kubelet says while it cannot create the container."""
        self.tell(name, containerStatuses=[status_of("algorithm", {"waiting": {"reason": reason, "message": message}})])

    def close(self) -> None:
        """Everything ends."""
        self.is_open = False
        with self.changed:
            self.changed.notify_all()
        for kubelet in self.kubelets.values():
            kubelet.end_all()


class _Kubelet(threading.Thread):
    """One Pod's life on its machine."""

    def __init__(self, *, cluster: FakeCluster, name: str, uid: str) -> None:
        super().__init__(name=f"kubelet {name}", daemon=True)
        self.cluster, self.pod_name, self.uid = cluster, name, uid
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.states: dict[str, Document] = {}
        self.reasons: dict[str, str] = {}
        self.is_silent = False
        self.is_over = False
        self.log_file = cluster.folder / f"{uid}.log"

    @property
    def pod(self) -> Document | None:
        found = self.cluster.pods.get(self.pod_name)
        return found if found is not None and found["metadata"]["uid"] == self.uid else None

    def run(self) -> None:
        pod = self.pod
        if pod is None:
            return
        begun = time.monotonic()
        self.cluster.tell(self.pod_name, startTime=now())
        while not self.is_over and not self._has_images(pod):
            time.sleep(TICK_SECONDS)
            if self._is_deleted() or (pod := self.pod) is None:
                return
        for container in pod["spec"]["containers"]:
            self._start(pod, container)
        self._say()
        while self.cluster.is_open and not self.is_over:
            time.sleep(TICK_SECONDS)
            if self.is_silent:
                continue
            if self._is_deleted() or (pod := self.pod) is None:
                return
            deadline = pod["spec"].get("activeDeadlineSeconds")
            if deadline and time.monotonic() - begun > deadline and pod["status"]["phase"] in {"Pending", "Running"}:
                self.end_all(
                    phase="Failed",
                    reason="DeadlineExceeded",
                    message="Pod was active on the node longer than the specified deadline",
                )
            self._look()

    def _is_deleted(self) -> bool:
        """Ends the programs of a Pod that is to go, and confirms it. By force it may have gone already."""
        pod = self.pod
        if pod is not None and "deletionTimestamp" not in pod["metadata"]:
            return False
        self._kill()
        with self.cluster.changed:
            if self.pod is not None:
                self.cluster._gone(self.pod_name)
        return True

    def _has_images(self, pod: Document) -> bool:
        for container in pod["spec"]["containers"]:
            config = self.cluster.registry.config_of(container["image"])
            if container["name"] == "algorithm" and (config is None or self.cluster.pull_error):
                why = self.cluster.pull_error or f'failed to pull and unpack image "{container["image"]}": not found'
                if self.states.get("algorithm", {}).get("waiting", {}).get("message") != why:
                    self.states["algorithm"] = {"waiting": {"reason": "ErrImagePull", "message": why}}
                    self._say()
                return False
        return True

    def _start(self, pod: Document, container: Document) -> None:
        config = (self.cluster.registry.config_of(container["image"]) or {}).get("config", {})
        variables = {entry["name"]: entry["value"] for entry in container.get("env", [])}
        known: dict[str, str] = {}
        for name, value in variables.items():
            known[name] = expanded(value, known)
        command = [expanded(word, known) for word in container.get("command", config.get("Entrypoint") or [])]
        arguments = container.get("args") or ([] if "command" in container else config.get("Cmd") or [])
        words = [
            self._here(pod, container, word) for word in [*command, *(expanded(word, known) for word in arguments)]
        ]
        try:
            with self.log_file.open("ab") as log:
                output = log if container["name"] == "algorithm" else subprocess.DEVNULL
                self.processes[container["name"]] = subprocess.Popen(
                    words,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={"PATH": os.defpath, **known},
                    start_new_session=True,
                )
            self.states[container["name"]] = {"running": {"startedAt": now()}}
        except OSError:
            message = (
                f'failed to create containerd task: exec: "{words[0]}": executable file not found in $PATH: unknown'
            )
            end = {
                "exitCode": 128,
                "reason": "StartError",
                "message": message,
                "startedAt": "1970-01-01T00:00:00Z",
                "finishedAt": now(),
            }
            self.states[container["name"]] = {"terminated": end}

    def _here(self, pod: Document, container: Document, word: str) -> str:
        """A word with this machine's paths in place of the container's."""
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        places = {}
        for mount in container.get("volumeMounts", []):
            place = self.cluster.claim_root / mount.get("subPath", "")
            if "emptyDir" in volumes[mount["name"]]:
                place = self.cluster.folder / self.uid / mount["name"]
                place.mkdir(parents=True, exist_ok=True)
                place.chmod(0o777)
            places[mount["mountPath"]] = str(place)
        if not places:
            return word
        any_of = "|".join(re.escape(path) for path in sorted(places, key=len, reverse=True))
        return re.sub(rf"(?<![\w/-])({any_of})(?![\w-])", lambda found: places[found[1]], word)

    def _look(self) -> None:
        changed = False
        for name, process in self.processes.items():
            state = self.states[name]
            if "running" in state and process.poll() is not None:
                code = process.returncode if process.returncode >= 0 else 128 - process.returncode
                reason = self.reasons.get(name) or ("Completed" if code == 0 else "Error")
                end = {
                    "exitCode": code,
                    "reason": reason,
                    "startedAt": state["running"]["startedAt"],
                    "finishedAt": now(),
                }
                self.states[name] = {"terminated": end}
                changed = True
        if changed:
            self._say()

    def _say(self) -> None:
        with self.cluster.changed:
            pod = self.pod
            if pod is None or self.is_silent:
                return
            ends = [state.get("terminated") for state in self.states.values()]
            phase = "Running" if any("running" in state for state in self.states.values()) else "Pending"
            if ends and all(ends):
                phase = "Succeeded" if all(end and end["exitCode"] == 0 for end in ends) else "Failed"
            if pod["status"]["phase"] in {"Failed", "Succeeded"}:
                phase = pod["status"]["phase"]
            statuses = [status_of(name, copy.deepcopy(state)) for name, state in self.states.items()]
            self.cluster.tell(self.pod_name, phase=phase, containerStatuses=statuses)

    def end(self, container: str, *, reason: str = "") -> None:
        """SIGKILL to one of them."""
        self.reasons[container] = reason
        process = self.processes[container]
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def end_all(self, **status: Any) -> None:
        """SIGKILL to all, and the kubelet's word about it."""
        self._kill()
        if status and self.pod is not None:
            self.cluster.tell(self.pod_name, **status)
            self._look()

    def _kill(self) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def status_of(name: str, state: Document) -> Document:
    """One entry of `containerStatuses`."""
    return {"name": name, "state": state, "ready": "running" in state, "restartCount": 0, "image": "…", "imageID": "…"}


def now() -> str:
    """As Kubernetes writes it: whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def merged(document: Document, change: Document) -> Document:
    """A JSON merge patch (RFC 7386)."""
    result = copy.deepcopy(document)
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merged(result.get(name) or {}, value)
        else:
            result[name] = value
    return result


def expanded(text: str, variables: dict[str, str]) -> str:
    """`$(NAME)` replaced where NAME is known, and `$$` by one `$`."""

    def one(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return variables.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)


# ---- the wire ------------------------------------------------------------------------------------------------------


def handler_of(cluster: FakeCluster) -> type[BaseHTTPRequestHandler]:
    """Requests of the API and of the registry."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, code: int, body: Document | bytes = b"", **headers: str) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def _handle(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            asked = {name: values[-1] for name, values in parse_qs(url.query).items()}
            cluster.requests.append((self.command, self.path))
            if url.path.startswith("/v2/"):
                return self._registry(url.path, asked, data)
            if cluster.is_down:
                away = Refusal(503, "ServiceUnavailable", "etcdserver: no leader")
                return self._answer(away.code, away.status)
            try:
                return self._api(url.path, asked, json.loads(data) if data else {})
            except Refusal as refusal:
                return self._answer(refusal.code, refusal.status, Content_Type="application/json")

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _handle

        def _api(self, path: str, asked: dict[str, str], body: Document) -> None:
            if path == "/version":
                return self._answer(200, {"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
            if path.endswith("/selfsubjectaccessreviews"):
                wanted = body["spec"]["resourceAttributes"]
                word = " ".join(
                    filter(
                        None, (wanted["verb"], "/".join(filter(None, (wanted["resource"], wanted.get("subresource")))))
                    )
                )
                return self._answer(201, {"status": {"allowed": word not in cluster.denied}})
            if path.endswith("/networkpolicies"):
                if "list networkpolicies" in cluster.denied:
                    raise Refusal(403, "Forbidden", "networkpolicies is forbidden")
                return self._answer(200, {"items": cluster.policies})
            if path.startswith("/apis/metrics.k8s.io/"):
                found = cluster.metrics(path.rpartition("/")[2])
                if found is None:
                    raise Refusal(404, "NotFound", "podmetrics not found")
                return self._answer(200, found)
            name, _, part = path.removeprefix("/api/v1/namespaces/cases/pods").lstrip("/").partition("/")
            if self.command == "POST":
                return self._answer(201, cluster.create(body, strict=asked.get("fieldValidation") == "Strict"))
            if self.command == "PATCH":
                assert self.headers["Content-Type"] == "application/merge-patch+json"
                return self._answer(200, cluster.patch(name, body))
            if self.command == "DELETE":
                return self._answer(200, cluster.delete(name, body))
            if part == "log":
                kubelet = cluster.kubelets.get(name)
                with cluster.changed:
                    uid = cluster._found(name)["metadata"]["uid"]
                if kubelet is None or kubelet.uid != uid or not kubelet.log_file.exists():
                    raise Refusal(
                        400, "BadRequest", 'container "algorithm" in pod is waiting to start: ContainerCreating'
                    )
                return self._answer(200, kubelet.log_file.read_bytes())
            if name:
                with cluster.changed:
                    return self._answer(200, copy.deepcopy(cluster._found(name)))
            if asked.get("watch") == "true":
                return self._watch(asked)
            with cluster.changed:
                items = [
                    copy.deepcopy(pod) for pod in cluster.pods.values() if chosen(pod, asked.get("labelSelector", ""))
                ]
                return self._answer(
                    200, {"kind": "PodList", "metadata": {"resourceVersion": str(cluster.version)}, "items": items}
                )

        def _watch(self, asked: dict[str, str]) -> None:
            version, selector = int(asked["resourceVersion"]), asked.get("labelSelector", "")
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            give_up_at = time.monotonic() + min(float(asked["timeoutSeconds"]), cluster.patience_of_watches)
            try:
                while cluster.is_open and not cluster.is_down and time.monotonic() < give_up_at:
                    with cluster.changed:
                        if version < cluster.forgotten:
                            gone = Refusal(410, "Expired", f"too old resource version: {version} ({cluster.forgotten})")
                            self._event("ERROR", gone.status)
                            break
                        due = [change for change in cluster.changes if change[0] > version]
                        if not due:
                            cluster.changed.wait(0.05)
                    for number, kind, pod in due:
                        version = number
                        if chosen(pod, selector):
                            self._event(kind, pod)
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True

        def _event(self, kind: str, pod: Document) -> None:
            line = json.dumps({"type": kind, "object": pod}).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()

        def _registry(self, path: str, asked: dict[str, str], data: bytes) -> None:
            registry = cluster.registry
            rest = path.removeprefix(f"/v2/{REPOSITORY}/")
            if rest == "tags/list":
                tags = sorted(registry.tags)
                first = tags.index(asked["last"]) + 1 if asked.get("last") in tags else 0
                page = tags[first : first + registry.page]
                more = (
                    {}
                    if first + registry.page >= len(tags)
                    else {"Link": f'</v2/{REPOSITORY}/tags/list?last={page[-1]}>; rel="next"'}
                )
                return self._answer(200, {"tags": page}, **more)
            kind, _, reference = rest.partition("/")
            if kind == "manifests":
                digest = registry.tags.get(reference, reference)
                if self.command == "PUT":
                    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
                    parts = json.loads(data)
                    if not {entry["digest"] for entry in (parts["config"], *parts["layers"])} <= registry.blobs.keys():
                        return self._answer(400, {"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]})
                    registry.manifests[digest], registry.tags[reference] = data, digest
                    return self._answer(201, b"", Docker_Content_Digest=digest)
                if digest not in registry.manifests:
                    return self._answer(404, {"errors": [{"code": "MANIFEST_UNKNOWN"}]})
                if self.command == "DELETE":
                    del registry.manifests[digest]
                    registry.tags = {tag: found for tag, found in registry.tags.items() if found != digest}
                    return self._answer(202)
                return self._answer(200, registry.manifests[digest], Docker_Content_Digest=digest)
            if reference == "uploads/":
                return self._answer(202, b"", Location=f"/v2/{REPOSITORY}/blobs/uploads/1?state=x")
            if reference.startswith("uploads/"):
                if asked["state"] != "x" or f"sha256:{hashlib.sha256(data).hexdigest()}" != asked["digest"]:
                    return self._answer(400, {"errors": [{"code": "DIGEST_INVALID"}]})
                registry.blobs[asked["digest"]] = data
                return self._answer(201)
            found = registry.blobs.get(reference)
            return self._answer(404) if found is None else self._answer(200, found)

    return Handler


class QuietServer(ThreadingHTTPServer):
    """A client that ends in the middle of a watch is nothing to report."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def chosen(pod: Document, selector: str) -> bool:
    """Whether a label selector of equalities chooses it."""
    labels = pod["metadata"].get("labels", {})
    pairs = (term.partition("=") for term in selector.split(",") if term)
    return all(labels.get(name) == value for name, _, value in pairs)


@contextmanager
def running_fake_cluster(*, folder: Path, claim_root: Path) -> Iterator[FakeCluster]:
    """A cluster, for as long as the context lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = FakeCluster(folder=folder, claim_root=claim_root)
    server = QuietServer(("127.0.0.1", 0), handler_of(cluster))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    cluster.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield cluster
    finally:
        cluster.close()
        server.shutdown()
        server.server_close()
        thread.join()
