"""What is wrong with this machine, and the command that fixes it: the checks behind `assay doctor`.

`examine` asks the machine (`host_facts.observe`) and judges the answers (`judge_*`): pure functions of plain values, so every machine
can be tested on this one. FAIL means that the sandbox does not hold or nothing runs. CAUTION means that something is weaker than
it should be. The finding says how strong what is left is. Advisories are judged by what the installed package says it fixes:
Debian and Ubuntu carry fixes back without changing the version that runc reports. An open hole passes only when the run
profile takes away what its attack needs: `Advisory.out_of_reach` says what that is, and a test named in the room's README holds
the profile to it.
"""

import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from containers.engines.choice import EngineChoice, EngineKind
from containers.machine.host_facts import HostFacts, observe
from containers.sandbox.workspace import OutputStore

GIB = 2**30
DISK_RESERVE_BYTES = 20 * GIB
CLOCK_SKEW_SECONDS = 2.0
LIMITS = {"MemoryLimit": "memory", "PidsLimit": "processes", "CPUSet": "CPUs"}
"""What the engine's info calls the limits that the sandbox cannot do without."""


class Level(StrEnum):
    """How much a finding matters."""

    PASS = "PASS"  # noqa: S105 - a word for a result, no password
    CAUTION = "CAUTION"
    FAIL = "FAIL"


@dataclass(frozen=True, kw_only=True)
class EngineWords:
    """How an engine is called, the oldest that will do, and how it is installed, started and made accessible."""

    name: str
    oldest: tuple[int, ...]
    install: str
    start: str
    allow: str


ENGINES = {
    EngineKind.DOCKER: EngineWords(
        name="Docker Engine",
        oldest=(20, 10),
        install="sudo apt-get install docker.io iptables e2fsprogs",
        start="sudo systemctl start docker (or, without systemd: sudo dockerd &)",
        allow="sudo usermod -aG docker $USER, then log in again",
    ),
    EngineKind.PODMAN: EngineWords(
        name="Podman",
        oldest=(4, 3),
        install="sudo apt-get install podman crun catatonit e2fsprogs",
        start="sudo systemctl enable --now podman.socket (or, without systemd: sudo podman system service --time 0 &)",
        allow="run the node as root, or use your own service: systemctl --user enable --now podman.socket",
    ),
    EngineKind.APPTAINER: EngineWords(
        name="Apptainer",
        oldest=(1, 2),
        install="install Apptainer (https://apptainer.org/docs/admin/main/installation.html), or name its program in ASSAY_ENGINE_SOCKET",
        start="assay doctor --engine apptainer --engine-socket /path/to/apptainer",
        allow="make the program executable for the node's user",
    ),
}
SOFTENED = {
    "user": "run the node as root for a user of its own per container, or give the node an account that owns nothing else",
    "groups": "run the node as root, or give the node's account no groups besides its own",
    "processors": "run the node as root, or under Slurm, which binds jobs to processors",
}
"""Guards without which the sandbox holds all the same, and what gives them back."""
ENGINES[EngineKind.SLURM] = EngineWords(
    name="Slurm",
    oldest=(20, 11),
    install="run the node on a login node of the cluster, or sudo apt-get install slurm-client",
    start="ask the cluster's operators: squeue gets no answer from slurmctld",
    allow="ask the cluster's operators for an account that may submit jobs",
)
ENGINES[EngineKind.KUBERNETES] = EngineWords(
    name="Kubernetes",
    oldest=(1, 30),
    install="run the node in the cluster (deploy/kubernetes), or name its API server in ASSAY_ENGINE_SOCKET",
    start="ask the cluster's operators: its API server gives no answer",
    allow="kubectl apply the Role and the RoleBinding of deploy/kubernetes",
)
SLURM_LIMITS = "set TaskPlugin=task/cgroup and, in cgroup.conf, ConstrainRAMSpace=yes, ConstrainSwapSpace=yes and ConstrainCores=yes"
LIMITED_BY_CGROUP = "run the node as root, or under Slurm, whose jobs have limits"
DELEGATE = "run Podman as root, or, with cgroup v2, `systemctl edit user@.service`: Delegate=cpu cpuset memory pids"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One checked thing. `fix` is a command or an instruction, empty when there is nothing to fix."""

    level: Level
    title: str
    detail: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Advisory:
    """A published hole, the first versions without it, and what it means for us where it is open.

    `out_of_reach` is why a submission cannot use it under the run profile. Empty where it can.
    """

    name: str
    fixed_in: tuple[tuple[int, ...], ...]
    level: Level
    consequence: str
    out_of_reach: str = ""


RUNC_ADVISORIES = (
    Advisory(
        name="CVE-2024-21626",
        fixed_in=((1, 1, 12),),
        level=Level.FAIL,
        consequence="an image could leave its container by its WORKDIR; intake refuses such images, nothing else does",
    ),
    Advisory(
        name="CVE-2025-31133",
        fixed_in=((1, 2, 8), (1, 3, 3)),
        level=Level.FAIL,
        consequence="a /dev/null of the attacker's making opens the kernel's masked files",
        out_of_reach="/dev is always made by the runtime: nothing is ever mounted on it",
    ),
    Advisory(
        name="CVE-2025-52565",
        fixed_in=((1, 2, 8), (1, 3, 3)),
        level=Level.FAIL,
        consequence="the mount of /dev/console can be redirected while a container with a terminal starts",
        out_of_reach="no container has a terminal",
    ),
    Advisory(
        name="CVE-2025-52881",
        fixed_in=((1, 2, 8), (1, 3, 3)),
        level=Level.FAIL,
        consequence="the runtime's writes to /proc can be redirected by a program in a container that is being set up",
        out_of_reach="a container is set up once, shares no mount with a running submission, and nothing is executed in it",
    ),
    Advisory(
        name="CVE-2026-41579",
        fixed_in=((1, 3, 6), (1, 4, 3)),
        level=Level.CAUTION,
        consequence="an image whose /dev is a link makes the runtime delete and create a few names on the host",
        out_of_reach="intake refuses such images, and Docker covers /dev before the runtime looks",
    ),
)
ASSUMED = "this holds while the engine runs nothing but Assay's containers and builds nobody else's Dockerfiles"
"""What would put the holes that are out of a submission's reach into somebody's."""
TOOLKIT_ADVISORIES = (
    Advisory(
        name="CVE-2025-23266",
        fixed_in=((1, 17, 8),),
        level=Level.FAIL,
        consequence="an image's LD_PRELOAD runs as root on the host; intake strips it, nothing else does",
    ),
    Advisory(
        name="CVE-2025-23359",
        fixed_in=((1, 17, 4),),
        level=Level.FAIL,
        consequence="a crafted image can mount the host's file system",
    ),
)


def examine(
    *,
    scratch: Path | None = None,
    choice: EngineChoice | None = None,
    is_server: bool = False,
    server_clock_ahead_seconds: float | None = None,
) -> list[Finding]:
    """Check this machine. `scratch` is the folder a node would work in."""
    facts = observe(scratch=scratch or Path(tempfile.gettempdir()), choice=choice or EngineChoice())
    return judge(replace(facts, is_server=is_server, server_clock_ahead_seconds=server_clock_ahead_seconds))


def judge(facts: HostFacts) -> list[Finding]:
    """All findings, in the order a reader should fix them."""
    engine = judge_engine(facts)
    if engine.level is Level.FAIL and not facts.info:
        return [engine, judge_programs(facts), judge_disk(facts)]
    has_runtime = facts.engine in (EngineKind.DOCKER, EngineKind.PODMAN)
    runtime = [judge_runtime(facts)] if has_runtime else judge_guards(facts)
    return [
        engine,
        *judge_confinement(facts),
        *runtime,
        *judge_gpu(facts),
        judge_store(facts),
        judge_programs(facts),
        judge_disk(facts),
        judge_clock(facts),
    ]


def judge_engine(facts: HostFacts) -> Finding:
    """Whether an engine answers, and whether it is new enough."""
    title, words = "container engine", ENGINES[facts.engine]
    if not facts.info:
        fix = words.allow if "ermission" in facts.engine_error else words.start
        fix = fix if facts.has_engine_socket else words.install
        return Finding(level=Level.FAIL, title=title, detail=f"no answer: {facts.engine_error[:200]}", fix=fix)
    version = str(facts.info.get("ServerVersion", ""))
    detail = f"{words.name} {version}, {facts.info.get('Driver')}, cgroup v{facts.info.get('CgroupVersion', '1')}"
    if version_of(version) < words.oldest:
        oldest = ".".join(str(number) for number in words.oldest)
        return Finding(level=Level.FAIL, title=title, detail=f"{detail}; expected {oldest} or newer", fix=words.install)
    return Finding(level=Level.PASS, title=title, detail=detail)


def judge_confinement(facts: HostFacts) -> list[Finding]:
    """Whether the kernel enforces what the sandbox asks for."""
    missing = [name for key, name in LIMITS.items() if not facts.info.get(key)]
    can_limit_swap = bool(facts.info.get("SwapLimit")) or not facts.has_swap
    if missing:
        limits = Finding(
            level=Level.FAIL,
            title="resource limits",
            detail=f"the engine cannot limit {', '.join(missing)}",
            fix=_delegate(facts)
            if facts.info.get("Rootless") or facts.engine.is_program
            else "boot with cgroup_enable=memory,pids,cpuset",
        )
    elif not can_limit_swap:
        limits = Finding(
            level=Level.CAUTION,
            title="resource limits",
            detail="memory is limited, swap is not: an algorithm may use all of it",
            fix="boot with swapaccount=1, or sudo swapoff -a",
        )
    else:
        limits = Finding(
            level=Level.PASS, title="resource limits", detail="memory, swap, processes and CPUs are limited"
        )
    has_filter = any("seccomp" in option for option in facts.info.get("SecurityOptions") or [])
    confined = Finding(level=Level.PASS, title="system call filter", detail="seccomp is on")
    if not has_filter:
        confined = Finding(
            level=Level.FAIL,
            title="system call filter",
            detail="the engine runs containers without seccomp",
            fix="use a kernel with CONFIG_SECCOMP and an engine built with it",
        )
    return [limits, confined, judge_socket_memory(facts)]


def _delegate(facts: HostFacts) -> str:
    words = {EngineKind.APPTAINER: LIMITED_BY_CGROUP, EngineKind.SLURM: SLURM_LIMITS}
    return words.get(facts.engine, DELEGATE)


def judge_socket_memory(facts: HostFacts) -> Finding:
    """Whether the memory limit holds for phases whose profile is `loopback`. All others open no such sockets."""
    title = "socket memory"
    if str(facts.info.get("CgroupVersion", "1")) != "2":
        detail = (
            "cgroup v1 does not count it: with the profile `loopback` an algorithm can hold more memory than its limit"
        )
        return Finding(
            level=Level.CAUTION,
            title=title,
            detail=f"{detail}; other profiles open no network sockets",
            fix="run `loopback` phases on a host with cgroup v2 (boot with systemd.unified_cgroup_hierarchy=1)",
        )
    if facts.ignores_sockets:
        detail = "this kernel was told not to count it (cgroup.memory=nosocket): the memory limit does not hold for `loopback`"
        return Finding(level=Level.CAUTION, title=title, detail=detail, fix="boot without cgroup.memory=nosocket")
    return Finding(
        level=Level.PASS, title=title, detail="cgroup v2 counts it in the memory limit; netlink is never counted"
    )


def judge_guards(facts: HostFacts) -> list[Finding]:
    """Each guard as it was seen on a container of ours. Apptainer's depend on who runs it."""
    if facts.engine is EngineKind.KUBERNETES:
        return judge_cluster(facts.info["Kubernetes"])
    if facts.engine is EngineKind.SLURM:
        detail = "they depend on the compute nodes, and were not looked at from here"
        return [
            Finding(
                level=Level.CAUTION, title="guards", detail=detail, fix="run assay doctor --engine apptainer in a job"
            )
        ]
    if facts.guards_error:
        detail = f"no container could be started: {facts.guards_error[:300]}"
        return [
            Finding(
                level=Level.FAIL, title="guards", detail=detail, fix="start the node as root, or allow user namespaces"
            )
        ]
    lacking = [guard for guard in facts.guards if not guard.holds]
    held = ", ".join(guard.name for guard in facts.guards if guard.holds)
    findings = [Finding(level=Level.PASS, title="guards that hold", detail=held)] if held else []
    for guard in lacking:
        is_softened = guard.name in SOFTENED
        level = Level.CAUTION if is_softened else Level.FAIL
        findings.append(
            Finding(
                level=level,
                title=f"guard: {guard.name}",
                detail=guard.seen,
                fix=SOFTENED.get(guard.name, LIMITED_BY_CGROUP),
            )
        )
    return findings


def judge_cluster(cluster: Mapping[str, Any]) -> list[Finding]:
    """What an agent may do in its namespace, whether containers are kept off the network, and what no Pod can ask for."""
    denied, denies_all, namespace = cluster["denied"], cluster["denies_all"], cluster["namespace"]
    account = Finding(level=Level.PASS, title="account", detail=f"may handle Pods in the namespace {namespace}")
    if denied:
        detail = f"may not {', '.join(denied)} in the namespace {namespace}"
        account = Finding(level=Level.FAIL, title="account", detail=detail, fix=ENGINES[EngineKind.KUBERNETES].allow)
    claim = Finding(level=Level.PASS, title="claim", detail="the folder that Pods share with this agent is there")
    if not cluster["has_claim"]:
        detail = "the folder that Pods share with this agent is not there"
        fix = "mount the claim and name its place with --claim-root, or put ASSAY_ENGINE_FOLDER into it"
        claim = Finding(level=Level.FAIL, title="claim", detail=detail, fix=fix)
    policy = "apply the NetworkPolicy of deploy/kubernetes/manifests/agent.yaml"
    network = Finding(
        level=Level.CAUTION,
        title="network",
        detail="a NetworkPolicy denies everything; whether the cluster's network plug-in enforces it was not looked at",
        fix="start a Pod with the label app.kubernetes.io/managed-by=assay-agent and try to reach something",
    )
    if denies_all is None:
        detail = "this account may not see the NetworkPolicies of the namespace"
        network = Finding(level=Level.CAUTION, title="network", detail=detail, fix="let it list networkpolicies")
    elif not denies_all:
        detail = "no NetworkPolicy denies everything to these Pods: algorithms reach the network"
        network = Finding(level=Level.FAIL, title="network", detail=detail, fix=policy)
    left = "; ".join(f"{name}: {words}" for name, words in cluster["left"].items())
    fix = "see docs/operators/kubernetes.md; a RuntimeClass of gVisor or Kata (--runtime-class) covers most of it"
    return [
        account,
        claim,
        network,
        Finding(level=Level.CAUTION, title="left to the cluster", detail=left, fix=fix),
    ]


def judge_runtime(facts: HostFacts) -> Finding:
    """The program that starts containers, against the advisories that matter to us."""
    if not facts.runtime_version:
        detail = "the engine does not say which runtime it uses"
        return Finding(level=Level.CAUTION, title="runc", detail=detail, fix="check it by hand: runc --version")
    if facts.runtime != "runc":
        detail = f"{facts.runtime_version}; we know of no hole of it that matters to us"
        return Finding(level=Level.PASS, title=facts.runtime, detail=detail)
    return _judge_advisories(
        title="runc",
        version=facts.runtime_version,
        advisories=RUNC_ADVISORIES,
        changelog=facts.runc_changelog,
        fix="sudo apt-get update && sudo apt-get install --only-upgrade runc",
    )


def judge_gpu(facts: HostFacts) -> list[Finding]:
    """Whether a GPU can be given to a container, safely. Nothing to say where there is none."""
    if facts.engine is EngineKind.KUBERNETES:
        return [
            Finding(level=Level.PASS, title="GPU", detail="asked of the cluster by number; this machine's do not count")
        ]
    if not facts.has_gpu:
        return [Finding(level=Level.PASS, title="GPU", detail="none: this machine serves CPU pools")]
    install = "sudo apt-get install nvidia-container-toolkit && sudo nvidia-ctk runtime configure && restart the engine"
    if not facts.toolkit_version:
        detail = "there is one, but no NVIDIA container toolkit"
        return [Finding(level=Level.FAIL, title="GPU", detail=detail, fix=install)]
    toolkit = _judge_advisories(
        title="NVIDIA container toolkit",
        version=facts.toolkit_version,
        advisories=TOOLKIT_ADVISORIES,
        changelog="",
        fix="sudo apt-get install --only-upgrade nvidia-container-toolkit",
    )
    if facts.engine.is_program:
        detail = "Apptainer gives it to a container (--nv), and hides the others where the node runs as root"
        return [Finding(level=Level.PASS, title="GPU", detail=detail)]
    is_podman = facts.engine is EngineKind.PODMAN
    if not (facts.has_gpu_names if is_podman else "nvidia" in (facts.info.get("Runtimes") or {})):
        fix = "sudo nvidia-ctk runtime configure && restart the engine"
        fix = "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml" if is_podman else fix
        return [toolkit, Finding(level=Level.FAIL, title="GPU", detail="the engine does not know the toolkit", fix=fix)]
    return [toolkit, Finding(level=Level.PASS, title="GPU", detail="the engine can give it to a container")]


def _judge_advisories(*, title: str, version: str, advisories: Iterable[Advisory], changelog: str, fix: str) -> Finding:
    unfixed = [advisory for advisory in advisories if not is_fixed(advisory, version=version, changelog=changelog)]
    if not unfixed:
        return Finding(level=Level.PASS, title=title, detail=f"{version} has the fixes we know to ask for")
    if all(advisory.out_of_reach for advisory in unfixed):
        why = "; ".join(f"{advisory.name}: {advisory.out_of_reach}" for advisory in unfixed)
        detail = f"{version} lacks fixes for holes that no submission can reach. {why}; {ASSUMED}"
        return Finding(level=Level.PASS, title=title, detail=detail)
    open_holes = [advisory for advisory in unfixed if not advisory.out_of_reach]
    level = Level.FAIL if any(advisory.level is Level.FAIL for advisory in open_holes) else Level.CAUTION
    holes = "; ".join(f"{advisory.name}: {advisory.consequence}" for advisory in open_holes)
    return Finding(level=level, title=title, detail=f"{version} lacks fixes. {holes}", fix=fix)


def is_fixed(advisory: Advisory, *, version: str, changelog: str) -> bool:
    """By the package's own changelog, or by version: at least the fix of its own release line, or newer than all lines."""
    if advisory.name in changelog:
        return True
    found = version_of(version)
    same_line = [fixed for fixed in advisory.fixed_in if fixed[:2] == found[:2]]
    return found >= (same_line[0] if same_line else max(advisory.fixed_in))


def judge_store(facts: HostFacts) -> Finding:
    """Which cap on output this user gets, and how strong it is."""
    title = "output cap"
    if facts.engine is EngineKind.KUBERNETES:
        detail = "memory of a hard size in each Pod; its pages count towards the algorithm's memory"
        return Finding(level=Level.PASS, title=title, detail=detail)
    if facts.store is OutputStore.LOOP:
        detail = "an ext4 file system per run: a hard limit on bytes and on files, on disk"
        return Finding(level=Level.PASS, title=title, detail=detail)
    if facts.store is OutputStore.KEEPER:
        detail = "a sized tmpfs per run: a hard limit, but its pages count towards the algorithm's memory"
        return Finding(level=Level.PASS, title=title, detail=detail)
    detail = "a plain folder watched once a second: an algorithm can write about a gigabyte more than it may"
    return Finding(
        level=Level.CAUTION, title=title, detail=detail, fix="run the node as root, or join the docker group"
    )


def judge_programs(facts: HostFacts) -> Finding:
    """The few programs that are called by name."""
    if facts.missing_programs:
        names = " ".join(facts.missing_programs)
        detail = f"not installed: {names}"
        return Finding(level=Level.FAIL, title="programs", detail=detail, fix=f"sudo apt-get install {names}")
    return Finding(level=Level.PASS, title="programs", detail="everything called by name is installed")


def judge_disk(facts: HostFacts) -> Finding:
    """Whether an image and a run's scratch space still fit."""
    shown = ", ".join(f"{free / GIB:.0f} GiB free for {what}" for what, free in facts.free_bytes.items())
    if min(facts.free_bytes.values(), default=DISK_RESERVE_BYTES) < DISK_RESERVE_BYTES:
        detail = f"{shown}; expected {DISK_RESERVE_BYTES // GIB} GiB each"
        return Finding(level=Level.CAUTION, title="disk", detail=detail, fix="docker image prune, or a larger disk")
    return Finding(level=Level.PASS, title="disk", detail=shown)


def judge_clock(facts: HostFacts) -> Finding:
    """Clocks that decide something have to agree. The time of day decides something on a server only.

    A run is timed by two timestamps of the engine and killed by a clock that only counts. A lease is the database's. What the
    time of day itself decides (when a phase closes, what a receipt is dated) is decided by the machine that serves the portal.
    """
    title, install = "clock", "sudo apt-get install chrony"
    if abs(facts.engine_clock_ahead_seconds) > CLOCK_SKEW_SECONDS:
        detail = f"the engine's clock is {facts.engine_clock_ahead_seconds:+.1f} s off this machine's"
        return Finding(level=Level.FAIL, title=title, detail=detail, fix=f"{install}, on both")
    if abs(facts.server_clock_ahead_seconds or 0.0) > CLOCK_SKEW_SECONDS:
        detail = (
            f"the server's clock is {facts.server_clock_ahead_seconds:+.1f} s off this machine's: one of them is wrong"
        )
        return Finding(level=Level.CAUTION, title=title, detail=detail, fix=f"{install}, on both")
    asked = "the engine's" if facts.server_clock_ahead_seconds is None else "the engine's and the server's"
    if facts.is_clock_synchronised:
        return Finding(level=Level.PASS, title=title, detail=f"synchronised, and agrees with {asked}")
    if facts.is_server:
        detail = "phases close and receipts are dated by this clock, and no time service keeps it right"
        return Finding(level=Level.CAUTION, title=title, detail=detail, fix=install)
    detail = (
        f"agrees with {asked}; no time service runs, and nothing a node does depends on the time of day: runs are timed by the "
        "engine, leases by the database. A machine that serves the portal needs one (assay doctor --server)"
    )
    return Finding(level=Level.PASS, title=title, detail=detail)


def version_of(text: str) -> tuple[int, ...]:
    """The leading numbers: "1.1.5+ds1-1" is (1, 1, 5)."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def report(findings: Iterable[Finding]) -> str:
    """The findings as text for a terminal."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.level.value:8}{finding.title}: {finding.detail}")
        if finding.fix:
            lines.append(f"{'':8}  → {finding.fix}")
    return "\n".join(lines)
