"""What a Pod's status means for the run: still waiting, running, ended by its own doing, or taken away. Pure.

Whose fault an ending is depends on who ended it. The algorithm's own: it ended, it was killed for its memory, it wrote more log than its
place holds. The cluster's: eviction from a machine that ran short, preemption, a machine that was drained or lost, an image that could
not be fetched, a Pod that somebody deleted. Those are `is_lost`: tried again, and nobody is charged. What the runtime says when a
program cannot be started goes into `error`, where the runner reads whether the image is why.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from containers.engines import WALL_LABEL, ContainerState
from containers.engines.pod_manifest import ALGORITHM, COURIER

Document = Mapping[str, Any]

FETCHING = {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"}
"""Tried again by the kubelet: a registry may be away for a moment."""
HOPELESS = {
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CreatePodSandboxError",
}
NOT_STARTED = {"StartError", "ContainerCannotRun"}
"""Terminated, but no program ever ran."""
OWN_LIMITS = (
    "Usage of EmptyDir volume",
    "exceeded its local ephemeral storage limit",
    "ephemeral local storage usage exceeds",
)
"""The kubelet evicts for these as well, and they are the Pod's own doing."""
DISRUPTED = "DisruptionTarget"
KILLED = 137
NEVER = datetime(1971, 1, 1, tzinfo=UTC)
"""Kubernetes dates what did not happen to the beginning of 1970."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What this agent did to the Pod."""

    is_started: bool = False
    """The gate was taken away. An older word of the cluster may not know that yet."""
    is_killed: bool = False
    ran_seconds: float = 0.0
    """How long it had been seen running when it was killed: the kubelet counts whole seconds only."""


def state_of(pod: Document, *, order: Order = Order()) -> ContainerState:
    """The state of the container `algorithm`."""
    created = moment(pod["metadata"]["creationTimestamp"])
    status = pod.get("status", {})
    if pod["spec"].get("schedulingGates"):
        return ContainerState(is_running=False, is_waiting=order.is_started, created_at=created)
    found = status_of(pod, ALGORITHM)
    ended = found.get("terminated")
    if ended and not (is_disrupted(pod) and not order.is_killed):
        return _ended(ended, pod=pod, created=created, order=order)
    if (why := why_taken_away(pod)) and not order.is_killed:
        return lost(created=created, started=_started(found), why=why)
    if order.is_killed and status.get("phase") in {"Failed", "Succeeded"}:
        return killed(created=created, started=_started(found), order=order)
    if "running" in found:
        return ContainerState(is_running=True, created_at=created, started_at=_started(found))
    waiting = found.get("waiting", {})
    if waiting.get("reason") in HOPELESS:
        return lost(created=created, started=None, why=f"{waiting['reason']}: {waiting.get('message', '')}")
    return ContainerState(is_running=False, is_waiting=True, created_at=created)


def _ended(ended: Document, *, pod: Document, created: datetime, order: Order) -> ContainerState:
    started, finished = moment(ended.get("startedAt")), moment(ended.get("finishedAt"))
    reason, message = str(ended.get("reason", "")), str(ended.get("message", ""))
    if reason in NOT_STARTED or started < NEVER:
        return lost(created=created, started=None, why=f"{reason}: {message}")
    if order.is_killed:
        finished = max(finished, started + timedelta(seconds=order.ran_seconds))
    elif pod.get("status", {}).get("reason") == "DeadlineExceeded" and finished - started < time_limit(pod):
        return lost(
            created=created, started=started, why="the Pod's deadline came before the algorithm's time was over"
        )
    return ContainerState(
        is_running=False,
        created_at=created,
        started_at=started,
        finished_at=finished,
        exit_code=int(ended.get("exitCode", KILLED)),
        is_out_of_memory=reason == "OOMKilled",
        error=message,
    )


def lost(*, created: datetime, started: datetime | None, why: str) -> ContainerState:
    """It ended by no doing of its own."""
    return ContainerState(
        is_running=False,
        created_at=created,
        started_at=started,
        finished_at=started,
        exit_code=KILLED,
        is_lost=True,
        error=why,
    )


def killed(*, created: datetime, started: datetime | None, order: Order) -> ContainerState:
    """We ended it, and nothing better is known of its end."""
    finished = None if started is None else started + timedelta(seconds=order.ran_seconds)
    return ContainerState(
        is_running=False, created_at=created, started_at=started, finished_at=finished, exit_code=KILLED
    )


def why_taken_away(pod: Document) -> str:
    """Who ended the Pod, where it was not the algorithm and not we. Empty where nobody did."""
    status = pod.get("status", {})
    reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    if has_overrun(pod):
        return ""
    if is_disrupted(pod):
        found = next(entry for entry in _conditions(pod) if entry["type"] == DISRUPTED)
        return f"{found.get('reason', DISRUPTED)}: {found.get('message', '')}"
    if pod["metadata"].get("deletionTimestamp"):
        return "somebody deleted the Pod"
    if status.get("phase") == "Failed" and reason:
        return f"{reason}: {message}"
    if status.get("phase") in {"Failed", "Succeeded"} and "terminated" not in status_of(pod, ALGORITHM):
        return f"the Pod ended as {status['phase']}, and its machine says nothing of the algorithm"
    return "its machine is unknown" if status.get("phase") == "Unknown" else ""


def is_disrupted(pod: Document) -> bool:
    """Whether the cluster is taking it away: preemption, drain, taint, eviction by the kubelet that is not for its own limits."""
    status = pod.get("status", {})
    is_deadline = status.get("reason") == "DeadlineExceeded"
    is_target = any(entry["type"] == DISRUPTED and entry["status"] == "True" for entry in _conditions(pod))
    return is_target and not is_deadline and not has_overrun(pod)


def has_overrun(pod: Document) -> bool:
    """Whether the kubelet evicted it because it went over a limit of its own."""
    status = pod.get("status", {})
    return status.get("reason") == "Evicted" and any(words in str(status.get("message")) for words in OWN_LIMITS)


def is_fetching(pod: Document) -> str:
    """What the kubelet says while it cannot fetch an image. Empty where that is not what it waits for."""
    for name in (ALGORITHM, COURIER):
        waiting = status_of(pod, name).get("waiting", {})
        if waiting.get("reason") in FETCHING:
            return f"{waiting['reason']}: {waiting.get('message', '')}"
    return ""


def status_of(pod: Document, container: str) -> Document:
    """`waiting`, `running` or `terminated` of one container."""
    entries = pod.get("status", {}).get("containerStatuses") or ()
    return next((entry.get("state", {}) for entry in entries if entry["name"] == container), {})


def time_limit(pod: Document) -> timedelta:
    """What the phase allows. The Pod's own deadline is later."""
    limit = pod["metadata"].get("annotations", {}).get(WALL_LABEL, 0)
    return timedelta(seconds=float(limit))


def moment(text: object) -> datetime:
    """A time of the cluster's."""
    return datetime.fromisoformat(str(text).replace("Z", "+00:00")) if text else datetime.fromtimestamp(0, UTC)


def _started(found: Document) -> datetime | None:
    text = (found.get("running") or found.get("terminated") or {}).get("startedAt")
    return None if text is None or moment(text) < NEVER else moment(text)


def _conditions(pod: Document) -> list[Document]:
    return list(pod.get("status", {}).get("conditions") or ())
