"""Watch one running container until it ends, and end it when it has to: deadline, cancellation, output out of bounds.

One loop, one tick every tenth of a second (shorter at the start, so that a run of a few milliseconds is not made
longer by its watcher). The deadline is armed on our monotonic clock when `start` has returned, which is never before
the daemon's own StartedAt. Whether the limit was exceeded is decided afterwards from the daemon's two timestamps,
within what our clock allows. An engine that stops answering gets half a minute to come back: a container that outlived it (live-restore) is
watched on, one that ended meanwhile ended with the engine and not by its own doing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from containers.clock import Clock
from containers.engines import ContainerState, Engine
from containers.errors import ContainerStuck, EngineUnreachable
from containers.sandbox.workspace import Occupancy, Workspace
from containers.spec import Limits
from containers.usage.cgroups import Cgroup
from containers.usage.starvation import Starvation
from containers.usage.telemetry import Meter
from containers.verdicts import Reason

FIRST_TICK_SECONDS = 0.01
TICK_SECONDS = 0.1
CANCEL_LOOK_SECONDS = 0.5
OUTPUT_LOOK_SECONDS = 1.0
ENGINE_PATIENCE_SECONDS = 120.0
DEATH_SECONDS = 60.0


def excess(*, occupancy: Occupancy, limits: Limits) -> Reason:
    """Which output limit was exceeded. Reaching one exactly is allowed."""
    if occupancy.bytes > limits.output_bytes:
        return Reason.BYTES_LIMIT
    return Reason.FILES_LIMIT if occupancy.inodes > limits.output_inodes else Reason.NONE


@dataclass(kw_only=True)
class Watch:
    """The loop and its memory: what is due when, and what has been seen."""

    engine: Engine
    container_id: str
    limits: Limits
    workspace: Workspace
    cgroup_of: Callable[[ContainerState], Cgroup | None]
    should_cancel: Callable[[], bool]
    clock: Clock

    starvation: Starvation = field(default_factory=lambda: Starvation(cpu_ids=()))
    meter: Meter = field(default_factory=Meter)
    is_cancelled: bool = False
    engine_was_lost: bool = False
    was_memory_kill_logged: bool = False
    has_exact_counts: bool = False
    """The meter was closed on a cgroup that outlived the container."""
    output_excess: Reason = Reason.NONE
    killed_at: float | None = None
    next_cancel_look: float = 0.0
    next_output_look: float = 0.0

    def run(self) -> ContainerState:
        """Until the container has ended, by itself or by us. Returns its last state."""
        tick = FIRST_TICK_SECONDS
        state = self._wait_for_start()
        start = self.clock.monotonic()
        self.next_cancel_look = 0.0
        while state.is_running:
            elapsed = self.clock.monotonic() - start
            self._look(state=state, elapsed=elapsed)
            if self.is_cancelled or self.output_excess or elapsed > self.limits.wall_seconds:
                self._kill(elapsed=elapsed)
            self.clock.sleep(tick)
            tick = min(TICK_SECONDS, tick * 1.5)
            state = self._state()
        return state

    def _wait_for_start(self) -> ContainerState:
        """Until a batch system has begun it: however long that takes, it is nobody's time. Only a cancellation ends the wait."""
        start = self.clock.monotonic()
        while (state := self._state()).is_waiting:
            elapsed = self.clock.monotonic() - start
            if elapsed >= self.next_cancel_look:
                self.next_cancel_look = elapsed + CANCEL_LOOK_SECONDS
                self.is_cancelled = self.is_cancelled or self.should_cancel()
            if self.is_cancelled:
                self._kill(elapsed=elapsed)
            self.clock.sleep(TICK_SECONDS)
        self.killed_at = None if state.is_running else self.killed_at
        return state

    def _look(self, *, state: ContainerState, elapsed: float) -> None:
        """Whatever is due: a sample always, cancellation and the output less often."""
        cgroup = self.cgroup_of(state)
        if cgroup is not None:
            self.meter.look(cgroup, at_seconds=elapsed)
        if elapsed >= self.next_cancel_look:
            self.next_cancel_look = elapsed + CANCEL_LOOK_SECONDS
            self.is_cancelled = self.is_cancelled or self.should_cancel()
        if elapsed >= self.next_output_look:
            self.next_output_look = elapsed + OUTPUT_LOOK_SECONDS
            if cgroup is not None:
                self.starvation.look(cgroup)
            self.output_excess = self.output_excess or excess(occupancy=self.workspace.occupancy(), limits=self.limits)

    def _kill(self, *, elapsed: float) -> None:
        if self.killed_at is None:
            self.killed_at = elapsed
            self.engine.kill(self.container_id)
        elif elapsed - self.killed_at > DEATH_SECONDS:
            raise ContainerStuck(
                f"Alive {DEATH_SECONDS:.0f} s after SIGKILL; expected it gone. Look at the host's D-state tasks."
            )

    def _state(self) -> ContainerState:
        """The state, waiting for an engine that does not answer."""
        lost_at = self.clock.monotonic()
        while True:
            try:
                return self.engine.state(self.container_id)
            except EngineUnreachable:
                self.engine_was_lost = True
                if self.clock.monotonic() - lost_at > ENGINE_PATIENCE_SECONDS:
                    raise
                self.clock.sleep(1.0)
