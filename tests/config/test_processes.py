"""The supervisor starts again what ends, and gives up on what keeps ending."""

import os
import sys

import pytest

from assay.config.processes import CRASHES_TOLERATED, CrashedTooOftenError, ProcessSpec, Supervisor
from waits import until

pytestmark = pytest.mark.slow


def spec(tmp_path, code: str, **changes) -> ProcessSpec:
    values = {"name": "worker", "command": [sys.executable, "-c", code], "log": tmp_path / "worker.log"}
    return ProcessSpec(**(values | {"environment": dict(os.environ)} | changes))


def test_what_ends_is_started_again(tmp_path):
    supervisor, mark = Supervisor(), tmp_path / "mark"
    code = f"import pathlib, time; p = pathlib.Path({str(mark)!r}); first = not p.exists(); p.touch(); first or time.sleep(60)"
    supervisor.start(spec(tmp_path, code))
    first = supervisor.running["worker"].pid
    supervisor.watch(should_stop=lambda: supervisor.running["worker"].pid != first)
    supervisor.stop()
    assert len(supervisor.crashes["worker"]) == 1


def test_what_keeps_ending_ends_everything_and_shows_its_log(tmp_path):
    supervisor = Supervisor()
    supervisor.start(spec(tmp_path, "raise SystemExit('no such table')"))
    with pytest.raises(CrashedTooOftenError, match="no such table"):
        supervisor.watch(should_stop=lambda: False)
    assert len(supervisor.crashes["worker"]) == CRASHES_TOLERATED + 1


def test_what_is_not_essential_is_given_up_and_the_rest_goes_on(tmp_path):
    supervisor = Supervisor()
    supervisor.start(spec(tmp_path, "raise SystemExit(1)", is_essential=False))
    supervisor.watch(should_stop=lambda: not supervisor.running)


def test_who_does_not_stop_when_asked_is_made_to(tmp_path):
    supervisor, ready = Supervisor(), tmp_path / "ready"
    code = f"import signal, time, pathlib; signal.signal(15, signal.SIG_IGN); pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    supervisor.start(spec(tmp_path, code, stop_seconds=0.2))
    until(ready.exists)
    process = supervisor.running["worker"]
    supervisor.stop()
    assert process.returncode == -9


def test_whoever_needs_the_others_stops_before_any_of_them(tmp_path):
    supervisor = Supervisor()
    alive_at_its_end = tmp_path / "alive"
    supervisor.start(spec(tmp_path, "import time; time.sleep(60)", name="web"))
    pid, ready = supervisor.running["web"].pid, tmp_path / "ready"
    last_words = (
        "import os, pathlib, signal, sys, time\n"
        "def leave(*_):\n"
        f"    time.sleep(0.3); os.kill({pid}, 0); pathlib.Path({str(alive_at_its_end)!r}).touch(); sys.exit(0)\n"
        f"signal.signal(15, leave); pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    )
    supervisor.start(spec(tmp_path, last_words, name="node", stops_first=True))
    until(ready.exists)
    supervisor.stop()
    assert alive_at_its_end.exists()


def test_a_child_dies_with_its_parent(tmp_path):
    mark = tmp_path / "pid"
    child = f"import os, pathlib, time; pathlib.Path({str(mark)!r}).write_text(str(os.getpid())); time.sleep(60)"
    parent = f"""
import os, sys, time
from pathlib import Path
from assay.config.processes import ProcessSpec, Supervisor
command = [sys.executable, "-c", {child!r}]
Supervisor().start(ProcessSpec(name="x", command=command, log=Path({str(tmp_path / "x.log")!r}), environment=dict(os.environ)))
time.sleep(60)
"""
    supervisor = Supervisor()
    supervisor.start(spec(tmp_path, parent))
    until(lambda: mark.exists() and mark.read_text())
    supervisor.running["worker"].kill()
    supervisor.running["worker"].wait()
    until(lambda: not os.path.exists(f"/proc/{mark.read_text()}"))  # noqa: PTH110  a process, not a file of ours
