"""Run one submitted container to its end: create, start, watch, collect, remove. The one door to containers.

Theory of operation
-------------------
`run` makes a workspace (opaque read-only input, capped output), asks `arguments.container_body` for the sandbox,
creates the container under the name it was given, starts it and hands it to `watchdog.Watch`. Its name is the node's
mutex: a second attempt at the same case run is refused by the engine itself.

Everything that can be observed goes into one `verdicts.Ending`; `verdicts.judge` alone decides what it means.
Durations are the daemon's two timestamps, held within what our monotonic clock allows: a machine's clock may be set, and a
virtual machine paused, while a container runs. Output is taken only after the container is removed and the output is
sealed, so nothing can change under the reader's hands. Nothing the algorithm does makes `run` raise: an exception
from here is a bug of ours. A failure of the engine or the disk is the verdict `infrastructure`.

Cleaning up is the reverse order on every path: container, then its cgroup, then mounts, then folders. A process that
dies in between leaves a container with its owner's label and a folder with a free lock: `remove_leftovers` finds both.
"""

import contextlib
import errno
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

from containers.clock import Clock, SystemClock
from containers.engines import STORES_LABEL, WALL_LABEL, ContainerState, Engine, EngineFacts, ImageFacts
from containers.errors import (
    ContainerStuck,
    EngineError,
    EngineRefused,
    EngineUnreachable,
    ImageAbsent,
    NameTaken,
    WorkspaceError,
    lacks_space,
)
from containers.sandbox.arguments import (
    OPEN_FILES,
    Mount,
    RunUser,
    capacity_bytes,
    container_body,
    is_kernel_place,
    user_of,
    writable_working_dir,
)
from containers.sandbox.collect import collect_outputs, names_found
from containers.sandbox.keeper import KEEPER_SUFFIX, OUTPUT_SUFFIX, WORK_SUFFIX, engine_volumes, fetch, tmpfs_options
from containers.sandbox.watchdog import Watch, excess
from containers.sandbox.workspace import INODE_SLACK, OutputStore, Workspace, best_store, sweep, workspace
from containers.spec import RunResult, RunSpec, Usage
from containers.usage.cgroups import Cgroup, cgroup_of_process, parent_cgroup, remove_parent_cgroup
from containers.usage.gpu_monitor import GpuRecording, record_gpus
from containers.usage.starvation import STARVED_SHARE, Starvation
from containers.verdicts import Ending, Reason, judge

KILLED = 137
OUR_INIT = "docker-init"
EXEC_FAILED = (1, 126, 127)
"""Exit codes of an init that could not start its program: catatonit leaves 1, tini 126 or 127."""
INIT_COMPLAINS = re.compile(
    rb"\[FATAL tini \(\d+\)\] exec [^\n]* failed: [^\n]*|ERROR \(catatonit:\d+\): failed to exec pid1: [^\n]*"
)
"""tini is Docker's init, catatonit Podman's."""
logger = logging.getLogger(__name__)

PLATFORM_PROBLEMS: dict[type[BaseException], Reason] = {
    ImageAbsent: Reason.IMAGE_ABSENT,
    NameTaken: Reason.NAME_TAKEN,
    ContainerStuck: Reason.CONTAINER_STUCK,
    EngineUnreachable: Reason.ENGINE_UNREACHABLE,
    EngineRefused: Reason.ENGINE_REFUSED,
    WorkspaceError: Reason.SCRATCH_FAILED,
    OSError: Reason.SCRATCH_FAILED,
}
"""Most specific first."""

IMAGE_PROBLEMS = {
    "executable file not found": Reason.ENTRY_POINT_NOT_RUNNABLE,
    "exec format error": Reason.ENTRY_POINT_NOT_RUNNABLE,
    "no command specified": Reason.ENTRY_POINT_NOT_RUNNABLE,
    "chdir to cwd": Reason.ENTRY_POINT_NOT_RUNNABLE,
    "failed to set working directory": Reason.ENTRY_POINT_NOT_RUNNABLE,  # Apptainer's words for it
    "failed to copy files": Reason.WORKING_DIR_TOO_LARGE,
    "not a directory": Reason.MOUNT_POINT_BLOCKED,
    "is not directory": Reason.MOUNT_POINT_BLOCKED,
    "reopening /dev/null inside container": Reason.MOUNT_POINT_BLOCKED,  # a mount point that is a link to /dev
}
"""What the engine says when the image, not the engine, is why a container cannot be created or started."""


def run(
    spec: RunSpec,
    *,
    engine: Engine,
    scratch: Path,
    should_cancel: Callable[[], bool],
    labels: Mapping[str, str] | None = None,
    store: OutputStore | None = None,
    clock: Clock | None = None,
) -> RunResult:
    """Run one container. Its outputs lie in `scratch/collected/<name>/`, which is the caller's to remove."""
    try:
        facts = engine.facts()
        image = engine.image_facts(spec.image_id)
        user = user_of(spec.profile, image)
        if user is None:
            verdict, reason = judge(Ending(image_problem=Reason.USER_UNKNOWN))
            return RunResult(verdict=verdict, reason=reason)
        working_dir = writable_working_dir(spec=spec, image=image, user=user)
        with workspace(
            scratch=scratch,
            store=store or store_for(facts),
            input_dir=spec.input_dir,
            read_only=[folder.source for folder in spec.read_only],
            output_bytes=spec.limits.output_bytes,
            output_inodes=spec.limits.output_inodes,
            working_dir_bytes=spec.limits.working_dir_bytes if working_dir else 0,
            uid=user.uid,
        ) as space:
            sandbox = _Sandbox(
                spec=spec,
                engine=engine,
                facts=facts,
                image=image,
                space=space,
                user=user,
                working_dir=working_dir,
                labels=dict(labels or {}),
                should_cancel=should_cancel,
                clock=clock or SystemClock(),
            )
            return sandbox.run(collected=scratch / "collected" / spec.name)
    except (EngineError, WorkspaceError, OSError) as error:
        return failure(error)


FULL_DISK_WORDS = tuple(os.strerror(number).lower() for number in (errno.ENOSPC, errno.EDQUOT))


def why_lost(error: str) -> Reason:
    """Of a container that the engine lost: whether a full disk was why, on this host or on a compute node."""
    is_full = any(words in error.lower() for words in FULL_DISK_WORDS)
    return Reason.DISK_FULL if is_full else Reason.ENGINE_RESTARTED


def store_for(facts: EngineFacts) -> OutputStore:
    """The strongest store for output that this process and this engine can make together."""
    best = OutputStore.DIRECTORY if facts.is_scripted or facts.is_batch else best_store()
    return OutputStore.DIRECTORY if best is OutputStore.KEEPER and not facts.has_volumes else best


def failure(error: BaseException) -> RunResult:
    """The result when the platform, not the algorithm, is why a run did not happen. The log has the details, nobody
    else.
    """
    causes: list[BaseException] = [error]
    while (earlier := causes[-1].__context__) is not None:
        causes.append(earlier)
    logger.error("run.platform_failure", exc_info=error)
    found = (reason for kind, reason in PLATFORM_PROBLEMS.items() for cause in causes if isinstance(cause, kind))
    is_full = any(lacks_space(cause) for cause in causes)
    verdict, reason = judge(Ending(platform_problem=Reason.DISK_FULL if is_full else next(found)))
    return RunResult(verdict=verdict, reason=reason)


def image_problem(error: EngineRefused | str) -> Reason:
    """Why the image cannot be run, when that is what the engine's message says; `NONE` when it is the engine's own
    trouble.
    """
    message = str(error).lower()
    if OUR_INIT in message:  # the engine's own init is not installed
        return Reason.NONE
    return next((reason for words, reason in IMAGE_PROBLEMS.items() if words in message), Reason.NONE)


def problem_told_by_init(*, exit_code: int | None, log: bytes) -> Reason:
    """Whether the init, which the engine started in the program's place, could not start the program.

    The engine sees a container that ran. The init leaves an exit code and one line of its own, and nothing else was written, because
    nothing else ever ran. A program that imitates that line exchanges one fault of its own for another.
    """
    told = exit_code in EXEC_FAILED and INIT_COMPLAINS.fullmatch(log.strip())
    return Reason.ENTRY_POINT_NOT_RUNNABLE if told else Reason.NONE


def ran_out_of_memory(*, state: ContainerState, watch: Watch) -> bool:
    """Whether something in the container was killed for memory, on every witness there is. See `cgroups`."""
    totals = watch.meter.totals
    if state.is_out_of_memory or totals.oom_kills or watch.was_memory_kill_logged:
        return True
    was_killed_by_others = state.exit_code == KILLED and watch.killed_at is None
    return not watch.has_exact_counts and was_killed_by_others and totals.limit_hits > 0


def choose_cpus(*, spec: RunSpec, cpu_count: int) -> tuple[int, ...]:
    """The CPUs to pin to: the node's choice, or as many neighbours as were asked for, spread over the host by name."""
    if spec.cpu_ids:
        return spec.cpu_ids
    first = crc32(spec.name.encode()) % cpu_count
    return tuple(sorted((first + offset) % cpu_count for offset in range(min(spec.limits.cpus, cpu_count))))


def remove_leftovers(engine: Engine, *, owner: str, keep: set[str], scratch: Path | None = None) -> int:
    """Remove this owner's containers that are not in `keep`, their volumes, and abandoned workspaces. Returns how
    many.
    """
    kept = keep | {name + suffix for name in keep for suffix in (KEEPER_SUFFIX, OUTPUT_SUFFIX, WORK_SUFFIX)}
    leftovers = [container for container in engine.containers_of(owner) if container.name not in kept]
    for leftover in leftovers:
        engine.remove(leftover.container_id)
    volumes = [volume for volume in engine.volumes_of(owner) if volume not in kept]
    for volume in volumes:
        engine.remove_volume(volume)
    swept = sweep(scratch) if scratch is not None else []
    for key in swept:
        remove_parent_cgroup(key=key)
    return len(leftovers) + len(volumes) + len(swept)


@dataclass(frozen=True, kw_only=True)
class _Sandbox:
    """One run inside its workspace."""

    spec: RunSpec
    engine: Engine
    facts: EngineFacts
    image: ImageFacts
    space: Workspace
    user: RunUser
    working_dir: str
    """The folder the image may write into; empty for most."""
    labels: dict[str, str]
    should_cancel: Callable[[], bool]
    clock: Clock

    def run(self, *, collected: Path) -> RunResult:
        """Hold what the run needs, run, then judge what is left."""
        if any(is_kernel_place(mount.target) for mount in self._mounts()):
            verdict, reason = judge(Ending(image_problem=Reason.MOUNT_POINT_BLOCKED))
            return RunResult(verdict=verdict, reason=reason)
        with contextlib.ExitStack() as held:
            keeper_id = held.enter_context(self._volumes())
            parent = held.enter_context(self._parent_cgroup())
            gpus = held.enter_context(record_gpus(self.spec.gpu_uuids)) if self.spec.gpu_uuids else None
            try:
                seen = self._run_container(parent=parent, gpus=gpus)
            except EngineRefused as error:
                if not (reason := image_problem(error)):
                    raise
                verdict, reason = judge(Ending(image_problem=reason))
                return RunResult(verdict=verdict, reason=reason)
            if keeper_id and not self._fetch(keeper_id):
                seen.watch.output_excess = seen.watch.output_excess or Reason.BYTES_LIMIT
            return self._result(seen=seen, collected=collected)

    def _run_container(self, *, parent: Cgroup | None, gpus: GpuRecording | None) -> "_Seen":
        """Create, start, watch, remove."""
        cpu_ids = choose_cpus(spec=self.spec, cpu_count=self.facts.cpu_count)
        life = self.engine.life()
        container_id = self._create(cpu_ids=cpu_ids, parent=parent)
        try:
            asked_at = self.clock.monotonic()
            self.engine.start(container_id)
            watch = self._watch(container_id=container_id, parent=parent, cpu_ids=cpu_ids)
            started = time.monotonic()
            state = watch.run()
            wall_seconds = self._wall_seconds(state, watch=watch, most=self.clock.monotonic() - asked_at)
            watch.engine_was_lost |= self.engine.life() != life
            gpu_usage = self._gpu_usage(gpus, start=started, end=time.monotonic())
            if parent is not None:
                watch.meter.close(parent)
                watch.has_exact_counts = True
            else:
                watch.was_memory_kill_logged = self.engine.logged_memory_kill(container_id)
            watch.meter.take(self.engine.usage_of(container_id))
            log = self.engine.read_log(container_id, max_bytes=self.spec.limits.log_bytes)
            return _Seen(
                watch=watch, state=state, wall_seconds=wall_seconds, log=log, cpus=len(cpu_ids), gpu_usage=gpu_usage
            )
        finally:
            self.engine.remove(container_id)

    def _wall_seconds(self, state: ContainerState, *, watch: Watch, most: float) -> float:
        """How long it ran: by the daemon's clock, within what our own clock allows. The daemon's may be set while a container runs.

        `most`: from before it was asked to start until it was seen to have ended. Where a batch system runs it, the wait counts there.
        """
        if self.facts.is_batch:
            return state.wall_seconds
        was_ended_by_us = watch.killed_at is not None and state.exit_code == KILLED
        least = watch.killed_at if was_ended_by_us and watch.killed_at is not None else 0.0
        return min(max(state.wall_seconds, least), most)

    def _parent_cgroup(self) -> contextlib.AbstractContextManager[Cgroup | None]:
        return parent_cgroup(
            key=self.space.key,
            facts=self.facts,
            memory_bytes=self.spec.limits.memory_bytes,
            is_root=os.geteuid() == 0,
        )

    def _volumes(self) -> contextlib.AbstractContextManager[str]:
        """The engine volumes this run needs, and the keeper that holds them where nothing else does (its ID, else "")."""
        limits = self.spec.limits
        is_kept = self.space.store is OutputStore.KEEPER
        uid = self.user.uid
        needed: dict[str, dict[str, str]] = {}
        if is_kept:
            needed[self.spec.name + OUTPUT_SUFFIX] = tmpfs_options(
                size_bytes=capacity_bytes(limits.output_bytes), inodes=limits.output_inodes + INODE_SLACK, uid=uid
            )
        if self.working_dir:
            needed[self.spec.name + WORK_SUFFIX] = (
                tmpfs_options(size_bytes=limits.working_dir_bytes, inodes=0, uid=uid, is_executable=True)
                if is_kept
                else {"type": "none", "o": "bind", "device": str(self.space.working_dir_copy)}
            )
        return engine_volumes(
            engine=self.engine, name=self.spec.name, labels=self.labels, volumes=needed, is_kept=is_kept
        )

    def _create(self, *, cpu_ids: tuple[int, ...], parent: Cgroup | None) -> str:
        limits = self.spec.limits
        stores = (
            f"{capacity_bytes(limits.output_bytes)} {limits.output_inodes + INODE_SLACK} {limits.working_dir_bytes}"
        )
        body = container_body(
            spec=self.spec,
            image=self.image,
            mounts=self._mounts(),
            labels=self.labels | {WALL_LABEL: str(limits.wall_seconds), STORES_LABEL: stores},
            cpu_ids=cpu_ids,
            user=self.user,
            open_files=min(OPEN_FILES, self.facts.open_files),
            cgroup_parent="" if parent is None else f"/{parent.name}",
        )
        if self.facts.is_batch and limits.gpus:
            count = {"Driver": "nvidia", "Count": limits.gpus, "Capabilities": [["gpu", "compute", "utility"]]}
            body["HostConfig"]["DeviceRequests"] = [count]
        return self.engine.create(name=self.spec.name, body=body)

    def _gpu_usage(self, gpus: GpuRecording | None, *, start: float, end: float) -> Usage:
        if gpus is None:
            return Usage()
        tolerance = self.spec.gpu_memory_tolerance_bytes
        measured = gpus.usage(start=start, end=end, tolerance_bytes=tolerance)
        return replace(measured, gpu_uuids=self.spec.gpu_uuids)

    def _mounts(self) -> tuple[Mount, ...]:
        spec, space = self.spec, self.space
        mounts = [
            Mount(kind="bind", source=str(space.input_dir), target=target, is_read_only=True)
            for target in (spec.input_mount, *spec.input_aliases)
        ]
        if space.store is OutputStore.KEEPER:
            mounts.append(Mount(kind="volume", source=spec.name + OUTPUT_SUFFIX, target=spec.output_mount))
        else:
            mounts.append(Mount(kind="bind", source=str(space.output_dir), target=spec.output_mount))
        if self.working_dir:
            volume = spec.name + WORK_SUFFIX
            mounts.append(Mount(kind="volume", source=volume, target=self.working_dir, is_filled_by_image=True))
        mounts += [
            Mount(kind="bind", source=str(staged), target=folder.mount, is_read_only=True)
            for folder, staged in zip(spec.read_only, space.read_only, strict=True)
        ]
        return tuple(mounts)

    def _fetch(self, keeper_id: str) -> bool:
        return fetch(
            engine=self.engine,
            container_id=keeper_id,
            volume=self.spec.name + OUTPUT_SUFFIX,
            destination=self.space.output_dir,
            limit_bytes=self.spec.limits.output_bytes,
        )

    def _watch(self, *, container_id: str, parent: Cgroup | None, cpu_ids: tuple[int, ...]) -> Watch:
        def cgroup_of(state: ContainerState) -> Cgroup | None:
            return parent or cgroup_of_process(process_id=state.process_id, facts=self.facts)

        return Watch(
            engine=self.engine,
            container_id=container_id,
            limits=self.spec.limits,
            workspace=self.space,
            cgroup_of=cgroup_of,
            should_cancel=self.should_cancel,
            clock=self.clock,
            starvation=Starvation(cpu_ids=() if self.facts.is_batch else cpu_ids),
        )

    def _platform_problem(self, seen: "_Seen", *, ended_with_engine: bool) -> Reason:
        if ended_with_engine:
            return why_lost(seen.state.error)
        limit, watch = self.spec.limits.wall_seconds, seen.watch
        lost = watch.starvation.lost_seconds(cpu_seconds=watch.meter.totals.cpu_seconds)
        was_starved = seen.wall_seconds > limit and lost > STARVED_SHARE * limit
        return Reason.MACHINE_BUSY if was_starved else Reason.NONE

    def _result(self, *, seen: "_Seen", collected: Path) -> RunResult:
        self.space.seal()
        occupancy = self.space.occupancy()
        shutil.rmtree(collected, ignore_errors=True)
        collection = collect_outputs(
            output_dir=self.space.output_dir, expected=self.spec.outputs, destination=collected
        )
        state, watch = seen.state, seen.watch
        spoiled_by = image_problem(state.error) if state.is_lost and state.started_at is None else Reason.NONE
        spoiled_by = spoiled_by or problem_told_by_init(exit_code=state.exit_code, log=seen.log)
        ended_with_engine = not spoiled_by and (watch.engine_was_lost or state.is_lost) and watch.killed_at is None
        ending = Ending(
            is_cancelled=watch.is_cancelled,
            image_problem=spoiled_by,
            platform_problem=self._platform_problem(seen, ended_with_engine=ended_with_engine),
            wall_seconds=seen.wall_seconds,
            wall_limit_seconds=self.spec.limits.wall_seconds,
            is_out_of_memory=ran_out_of_memory(state=state, watch=watch),
            output_excess=watch.output_excess or excess(occupancy=occupancy, limits=self.spec.limits),
            exit_code=state.exit_code,
            output_problem=collection.first_problem,
        )
        verdict, reason = judge(ending)
        measured = watch.meter.usage(
            wall_seconds=seen.wall_seconds, startup_seconds=state.startup_seconds, cpus=seen.cpus
        )
        return RunResult(
            verdict=verdict,
            reason=reason,
            exit_code=state.exit_code,
            outputs=collection.outputs,
            problems=collection.problems,
            names_found=names_found(self.space.output_dir),
            log=seen.log,
            usage=replace(
                measured.beside(seen.gpu_usage),
                output_bytes=occupancy.bytes,
                output_files=occupancy.inodes,
                store=str(self.space.store),
            ),
        )


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What was seen of a container that is gone."""

    watch: Watch
    state: ContainerState
    wall_seconds: float
    log: bytes
    cpus: int
    gpu_usage: Usage
