"""One `sbatch` for many containers that start at the same time: an array job, as clusters ask for where a phase's cases are many.

Nobody waits for company. While one `sbatch` is under way, further starts stand in line. The first of them then submits all in the line
that ask for the same processors, memory, GPUs and time, as the tasks of one array. So an agent with one slot submits plain jobs, and
one with two hundred slots asks the controller a few times where it asked it two hundred times before.

Every container has its task: `JOB_INDEX`. State, `scancel` and the accounting know a task by this number as they know a job.
"""

import shlex
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from containers.errors import EngineRefused, EngineUnreachable

MOST_TASKS = 500
"""Slurm's usual MaxArraySize is 1001."""
TASK_FILE = "task"
"""Beside a container's document: name of its array and index in it, written before `sbatch`, whose answer may get lost."""


@dataclass(kw_only=True)
class Start:
    """One container that is to start, and what became of it."""

    name: str
    folder: Path
    request: tuple[str, ...]
    """What the job asks for, in words of `sbatch`. Only starts that ask for the same share an array."""
    job: str = ""
    problem: Exception | None = None

    @property
    def is_answered(self) -> bool:
        """Whether `sbatch` took it or refused it."""
        return bool(self.job) or self.problem is not None


@dataclass(kw_only=True)
class Line:
    """The starts of all slots of one agent. `submit` is `sbatch`: words and script in, the job's number out. Safe in several threads."""

    submit: Callable[[Sequence[str], str], str]
    _waiting: list[Start] = field(default_factory=list)
    _line: threading.Lock = field(default_factory=threading.Lock)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def submitted(self, start: Start) -> str:
        """The number of the job, or of the task, that this container is. Raises what `submit` raised for it."""
        with self._line:
            self._waiting.append(start)
        with self._turn:
            if not start.is_answered:
                self._answer(self._batch_with(start))
        if start.problem is not None:
            raise start.problem
        return start.job

    def standing(self) -> int:
        """How many wait for their turn."""
        with self._line:
            return len(self._waiting)

    def _batch_with(self, start: Start) -> list[Start]:
        """This start, and those in the line that ask for the same."""
        with self._line:
            others = [one for one in self._waiting if one is not start and one.request == start.request]
            batch = [start, *others[: MOST_TASKS - 1]]
            self._waiting = [one for one in self._waiting if not any(one is taken for taken in batch)]
        return batch

    def _answer(self, batch: list[Start]) -> None:
        try:
            if len(batch) > 1:
                self._submit_array(batch)
            else:
                self._submit_alone(batch[0])
        except EngineRefused as refusal:
            if len(batch) == 1:
                batch[0].problem = refusal
                return
            for start in batch:  # one limit of the cluster may forbid the array, and another only some of its jobs
                self._answer([start])
        except EngineUnreachable as silence:
            for start in batch:
                start.problem = silence

    def _submit_alone(self, start: Start) -> None:
        (start.folder / TASK_FILE).unlink(missing_ok=True)
        words = [f"--job-name={start.name}", f"--output={start.folder / 'slurm.out'}"]
        start.job = self.submit([*words, *start.request], job_script(start.folder))

    def _submit_array(self, batch: Sequence[Start]) -> None:
        name = f"{batch[0].name}-array"
        for index, start in enumerate(batch):
            (start.folder / TASK_FILE).write_text(f"{name} {index}", encoding="ascii")
        words = [f"--job-name={name}", "--output=/dev/null", f"--array=0-{len(batch) - 1}"]
        job = self.submit([*words, *batch[0].request], array_script([start.folder for start in batch]))
        for index, start in enumerate(batch):
            start.job = f"{job}_{index}"


def job_script(folder: Path) -> str:
    """Two fixed lines. The path is ours, and quoted all the same."""
    return f"#!/bin/sh\nexec {_launch(folder)}\n"


def array_script(folders: Sequence[Path]) -> str:
    """A fixed line per task. Each says what it has to say into its own folder."""
    lines = [
        f"{index}) exec {_launch(folder)} >{shlex.quote(str(folder / 'slurm.out'))} 2>&1 ;;"
        for index, folder in enumerate(folders)
    ]
    return "\n".join(["#!/bin/sh", 'case "$SLURM_ARRAY_TASK_ID" in', *lines, "esac", ""])


def task_of(folder: Path) -> tuple[str, str]:
    """Name of the array that a container was submitted in, and its index. Empty where it went alone."""
    try:
        name, _, index = (folder / TASK_FILE).read_text(encoding="ascii").partition(" ")
    except FileNotFoundError:
        return "", ""
    return name, index


def _launch(folder: Path) -> str:
    return shlex.join(["python3", "-I", "-S", str(folder / "launcher.py"), str(folder), "--stay"])
