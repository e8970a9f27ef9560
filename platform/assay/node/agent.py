"""The agent of a node: woken or polling, it claims a case run, runs it, checks and sends what came of it, and records.

Theory of operation. Every slot is a thread with an engine connection of its own, doing the same small loop. All truth is on
the server: an agent may die at any moment, and what it held is given to somebody else when the lease runs out (or at once,
when it registers again). Before anything is written, the lease is looked at. A write under a lost lease is refused anyway.
What the algorithm did is recorded. What went wrong on our side is released, so that the case is tried again and nobody is
charged.
"""

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from assay.leases import LeaseLost
from assay.node.folder import made_place, write_made_inputs
from assay.node.http import NodeApi, NodeApiProblem
from assay.node.input_cache import InputCache
from assay.node.lease import LeaseGuard
from assay.node.orders import FileOrder, OrderInvalid, WorkOrder
from assay.node.outputs import CheckedOutputs, check_outputs
from assay.node.rounds import RoundOrder, RoundsOutcome, RoundsStopped, run_rounds
from containers.engines import OWNER_LABEL, Engine
from containers.errors import EngineError, lacks_space
from containers.machine import CpuSlots, ImageBusy, ImageCache, NoFreeGpu, slots_of_this_host
from containers.sandbox import remove_leftovers, run
from containers.spec import FailedCase, RunResult, RunSpec
from containers.verdicts import Reason, Verdict
from evaluator.volumes import write_as_named

log = logging.getLogger(__name__)

CASE_PREFIX = "case-"
LEFTOVERS_EVERY_SECONDS = 60.0
"""Leftover containers are removed at this interval."""
CANNOT_EXECUTE = (126, 127)
"""What our init, like a shell, exits with when it could not execute the program."""


PROMPT_PATIENCE_SECONDS = 900.0
PROMPT_LOOK_SECONDS = 0.5
IMAGE_BYTES = 200 * 2**30
DISK_RESERVE_BYTES = 2 * 2**30


class Doorbell(Protocol):
    """What wakes an idle agent."""

    def wait(self, seconds: float) -> None:
        """Return when it rings, or after `seconds`."""


class Polling:
    """No doorbell: wait the time out, or until the agent stops."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping

    def wait(self, seconds: float) -> None:
        """As the protocol says."""
        self._stopping.wait(seconds)


@dataclass(frozen=True, kw_only=True)
class AgentOptions:
    """How one agent runs."""

    folder: Path
    owner: str
    """`<installation>/<node>`: marks our containers, so that agents sharing an engine leave each other's alone."""
    slots: int = 1
    poll_seconds: float = 5.0
    grace_seconds: float = 30.0
    """How long a running case may go on after SIGTERM before its lease is handed back."""
    image_bytes: int = IMAGE_BYTES
    """How much the images this node keeps may take."""
    input_bytes: int = 0
    """How much the inputs this node keeps between runs may take. Hidden inputs stay on its disk then."""
    disk_reserve_bytes: int = DISK_RESERVE_BYTES
    """Free disk below which the node claims nothing."""


class Agent:
    """Runs until it is told to stop."""

    def __init__(
        self, *, api: NodeApi, options: AgentOptions, open_engine: Callable[[], AbstractContextManager[Engine]]
    ) -> None:
        self._api = api
        self._options = options
        self._open_engine = open_engine
        self._cpus = CpuSlots(cpu_ids=tuple(sorted(os.sched_getaffinity(0))))
        self._gpus = slots_of_this_host()
        self._images = image_cache(
            options.folder, limit_bytes=options.image_bytes, reserve_bytes=options.disk_reserve_bytes
        )
        self._inputs = input_cache(
            options.folder, limit_bytes=options.input_bytes, reserve_bytes=options.disk_reserve_bytes
        )
        self._stopping = threading.Event()
        self._aborting = threading.Event()
        self._names: set[str] = set()
        self._names_lock = threading.Lock()
        self._may_have_leftovers = threading.Event()
        self._cleared_at = time.monotonic()

    @property
    def stopping(self) -> threading.Event:
        """Set once no new work is taken."""
        return self._stopping

    def clear_away(self) -> int:
        """Remove the containers, folders and half-fetched images an earlier life of this node left. Call it before serving."""
        with self._open_engine() as engine:
            removed = self._remove_leftovers(engine)
        for folder in self._scratch().glob(f"{CASE_PREFIX}*"):
            shutil.rmtree(folder, ignore_errors=True)
        self._images.clear_away()
        return removed

    def serve(self, doorbell: Doorbell) -> None:
        """Work until `stop`. Returns when every slot has ended."""
        slots = [
            threading.Thread(target=self._serve_slot, args=(doorbell,), name=f"slot {number}")
            for number in range(self._options.slots)
        ]
        for slot in slots:
            slot.start()
        for slot in slots:
            slot.join()
        if self._may_have_leftovers.is_set():
            with self._living_on(), self._open_engine() as engine:
                self._remove_leftovers(engine)
        log.info("agent.stopped")

    def stop(self) -> None:
        """Take no new work. Running cases get their grace, then their leases are handed back."""
        self._stopping.set()
        timer = threading.Timer(self._options.grace_seconds, self._aborting.set)
        timer.daemon = True
        timer.start()

    def work_once(self, engine: Engine) -> bool:
        """Claim one case run and see it through; False when there was none, or no disk or engine to run it on."""
        if not self._images.accepts_work():
            log.warning("disk.full", extra={"free_bytes": shutil.disk_usage(self._scratch()).free})
            return False
        is_due = time.monotonic() - self._cleared_at > LEFTOVERS_EVERY_SECONDS
        if (is_due or self._may_have_leftovers.is_set()) and not self._has_recovered(engine):
            return False
        try:
            order = self._api.claim(
                slots=self._options.slots,
                cached_images=self._images.image_ids(),
                disk_free_bytes=shutil.disk_usage(self._scratch()).free,
                free_gpus=None if engine.facts().is_batch else self._gpus.free_count(),
            )
        except NodeApiProblem as error:
            log.warning("claim.failed", extra={"why": str(error)})
            return False
        except OrderInvalid:
            log.exception("order.invalid")
            return False
        except EngineError as error:  # nothing could run now: nobody's case is taken
            log.warning("engine.away", extra={"why": str(error)})
            return False
        if order is None:
            return False
        return self._execute(order, engine=engine)

    def _serve_slot(self, doorbell: Doorbell) -> None:
        with self._open_engine() as engine:
            while not self._stopping.is_set():
                has_worked = False
                with self._living_on():
                    has_worked = self.work_once(engine)
                if not has_worked:
                    doorbell.wait(self._options.poll_seconds)

    @contextlib.contextmanager
    def _living_on(self) -> Iterator[None]:
        """A slot survives whatever goes wrong between two cases: what it held comes back with its lease."""
        try:
            yield
        except Exception:
            log.exception("slot.fault")

    def _execute(self, order: WorkOrder, *, engine: Engine) -> bool:
        """Run an order; False when there is no disk for it, so that the slot waits before it claims again."""
        try:
            with (
                self._named(order),
                self._case_folder() as folder,
                LeaseGuard(api=self._api, order=order) as guard,
            ):
                self._run_and_record(order, engine=engine, guard=guard, folder=folder)
        except LeaseLost as error:
            log.warning("result.discarded", extra={"container": order.container_name, "why": str(error)})
        except NodeApiProblem as error:
            self._release(order, reason="node_api", why=str(error), counts=True)
        except ImageBusy as error:
            self._release(order, reason="image_busy", why=str(error), counts=False)
            return False
        except NoFreeGpu as error:  # another slot took it between the claim and now, or it has just been set aside
            self._release(order, reason="no_free_gpu", why=str(error), counts=False)
            return False
        except Exception as error:  # whatever broke here is ours: the case is tried again, and the agent lives on
            if self._is_disk_full(error):
                self._release(order, reason=Reason.DISK_FULL, why=str(error), counts=False)
                return False
            self._may_have_leftovers.set()
            log.exception("agent.fault", extra={"container": order.container_name})
            self._release(order, reason=type(error).__name__, why=str(error), counts=True)
        return True

    def _has_recovered(self, engine: Engine) -> bool:
        """After a fault of ours: whether the engine answers again. If it does, whatever the fault left in it is removed."""
        try:
            self._remove_leftovers(engine)
        except EngineError as error:
            log.warning("engine.away", extra={"why": str(error)})
            return False
        self._may_have_leftovers.clear()
        return True

    def _remove_leftovers(self, engine: Engine) -> int:
        with self._names_lock:  # nobody begins a case meanwhile: its container would look like a leftover
            removed = remove_leftovers(
                engine, owner=self._options.owner, keep=set(self._names), scratch=self._scratch()
            )
        self._cleared_at = time.monotonic()
        log.info("agent.cleared", extra={"leftovers": removed})
        return removed

    @contextlib.contextmanager
    def _named(self, order: WorkOrder) -> Iterator[None]:
        """The order's container is one of ours for as long as the context lasts."""
        with self._names_lock:
            self._names.add(order.container_name)
        try:
            yield
        finally:
            with self._names_lock:
                self._names.discard(order.container_name)

    def _is_disk_full(self, error: Exception) -> bool:
        """Whether the lack of disk explains it: it says so, or there is next to none left."""
        return lacks_space(error) or shutil.disk_usage(self._scratch()).free < self._options.disk_reserve_bytes

    def _run_and_record(self, order: WorkOrder, *, engine: Engine, guard: LeaseGuard, folder: Path) -> None:
        inputs = folder / "inputs"
        with ExitStack() as held:
            copy = held.enter_context(self._image_of(order, engine=engine))
            fetch_inputs(order, api=self._api, folder=inputs, cache=self._inputs)
            is_batch = engine.facts().is_batch  # processors and GPUs are then the batch system's to give
            gpu_uuids = () if is_batch else held.enter_context(self._gpus.taken(order.limits.gpus))
            cpu_ids = () if is_batch else held.enter_context(self._cpus.taken(order.limits.cpus))
            spec = order.run_spec(input_dir=inputs, gpu_uuids=gpu_uuids, cpu_ids=cpu_ids)
            start = partial(
                run,
                engine=engine,
                scratch=folder,
                should_cancel=lambda: self._should_stop(guard),
                labels={OWNER_LABEL: self._options.owner},
            )
            played = self._play_rounds(order, spec=spec, start=start, guard=guard, folder=folder)
            result = played.result if played else start(spec)
        if result.verdict == Verdict.INFRASTRUCTURE:
            self._may_have_leftovers.set()
        if guard.is_lost:
            raise LeaseLost("the lease ran out while the container ran")
        if self._aborting.is_set() and result.verdict == Verdict.CANCELLED and not guard.is_cancelled:
            self._release(order, reason="node_stopping", why="shutdown", counts=False)
            return
        has_started = result.verdict != Verdict.IMAGE_INVALID and result.exit_code not in CANNOT_EXECUTE
        if has_started and result.verdict != Verdict.INFRASTRUCTURE:
            self._images.trust(image_id=order.image_id)
        elif not has_started and self._images.distrust(image_id=order.image_id, copy=copy):
            self._release(order, reason="image_reloaded", why="its program could not be executed", counts=False)
            return
        if result.verdict == Verdict.INFRASTRUCTURE:
            is_counted = result.reason != Reason.DISK_FULL
            self._release(order, reason=result.reason, why="the runner could not run it", counts=is_counted)
            if result.reason == Reason.CONTAINER_STUCK:
                log.critical("node.quarantined", extra={"container": order.container_name})
                self.stop()
            return
        checked = played.checked if played else check_outputs(order, result=result, folder=folder)
        self._send(order, result=result, checked=checked, is_uploaded=played is not None)

    def _should_stop(self, guard: LeaseGuard) -> bool:
        return guard.should_stop() or self._aborting.is_set()

    def _play_rounds(
        self, order: WorkOrder, *, spec: RunSpec, start: Callable[[RunSpec], RunResult], guard: LeaseGuard, folder: Path
    ) -> RoundsOutcome | None:
        """An interactive case, prompted by the server; None for any other."""
        if order.interaction is None:
            return None

        def ask(number: int) -> RoundOrder:
            give_up_at = time.monotonic() + PROMPT_PATIENCE_SECONDS
            while not self._should_stop(guard):
                answer = self._api.ask_round(order, number=number)
                if answer is not None:
                    return RoundOrder(prompts=answer["prompts"], wall_seconds=float(answer["wall_seconds"]))
                if time.monotonic() > give_up_at:
                    raise NodeApiProblem(f"no prompts for round {number} within {PROMPT_PATIENCE_SECONDS:.0f} s")
                self._api.pause(PROMPT_LOOK_SECONDS)
            raise RoundsStopped

        return run_rounds(
            order,
            interaction=order.interaction,
            spec=spec,
            folder=folder,
            ask=ask,
            start=start,
            keep=lambda file: self._api.put_output(order, name=file.name, path=file.path),
        )

    def _image_of(self, order: WorkOrder, *, engine: Engine) -> AbstractContextManager[int]:
        """The order's image in the engine, fetched once, pinned while it runs."""
        return self._images.holding(
            engine,
            image_id=order.image_id,
            archive_bytes=order.image.bytes,
            fetch=lambda path: self._api.fetch(order.image, destination=path),
        )

    def _send(self, order: WorkOrder, *, result: RunResult, checked: CheckedOutputs, is_uploaded: bool) -> None:
        if result.log:
            self._api.put_log(order, log=result.log)
        for file in () if is_uploaded else checked.files:
            self._api.put_output(order, name=file.name, path=file.path)
        failed = {case: FailedCase(str(verdict), reason) for case, (verdict, reason) in checked.failed_cases.items()}
        usage = replace(result.usage, failed_cases=failed) if failed else result.usage
        self._api.record(
            order,
            {
                "verdict": checked.verdict,
                "reason": checked.reason,
                "exit_code": result.exit_code,
                "usage": usage.to_json(),
                "outputs": [
                    {"name": file.name, "sha256": file.sha256, "bytes": file.path.stat().st_size}
                    for file in checked.files
                ],
            },
        )
        log.info(
            "case_run.recorded",
            extra={"container": order.container_name, "verdict": checked.verdict, "reason": checked.reason},
        )

    def _release(self, order: WorkOrder, *, reason: str, why: str, counts: bool) -> None:
        log.warning("case_run.released", extra={"container": order.container_name, "reason": reason, "why": why})
        try:
            self._api.release(order, reason=reason, counts=counts)
        except (LeaseLost, NodeApiProblem) as error:
            log.warning("release.failed", extra={"container": order.container_name, "why": str(error)})

    @contextlib.contextmanager
    def _case_folder(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=self._scratch(), prefix=CASE_PREFIX))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _scratch(self) -> Path:
        return scratch_of(self._options.folder)


def scratch_of(folder: Path) -> Path:
    """Where the node that works in `folder` runs its cases."""
    scratch = folder / "scratch"
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    return scratch


def image_cache(folder: Path, *, limit_bytes: int = IMAGE_BYTES, reserve_bytes: int = DISK_RESERVE_BYTES) -> ImageCache:
    """The images of the node that works in `folder`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ImageCache(
        folder=folder / "images",
        limit_bytes=limit_bytes,
        reserve_bytes=reserve_bytes,
        free_bytes=lambda: shutil.disk_usage(folder).free,
    )


def input_cache(folder: Path, *, limit_bytes: int, reserve_bytes: int = DISK_RESERVE_BYTES) -> InputCache:
    """The inputs that the node which works in `folder` keeps."""
    return InputCache(folder=folder / "inputs", limit_bytes=limit_bytes, reserve_bytes=reserve_bytes)


def fetching(api: NodeApi, file: FileOrder) -> Callable[[Path], None]:
    """Fetch this file to a path."""
    return lambda path: api.fetch(file, destination=path)


def fetch_inputs(order: WorkOrder, *, api: NodeApi, folder: Path, cache: InputCache) -> None:
    """Put the case's input files where the container will see them, and nothing else."""
    folder.mkdir(mode=0o755)
    for file in order.inputs:
        destination = made_place(folder, file.path)
        fetched = folder.with_name("fetched.nii.gz") if file.is_volume else destination
        cache.take(file, destination=fetched, fetch=fetching(api, file))
        if file.is_volume:
            write_as_named(source=fetched, destination=destination)
            fetched.unlink()
        destination.chmod(0o444)
    write_made_inputs(folder, tables=order.tables, sockets=order.sockets)
