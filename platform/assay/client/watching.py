"""Live progress of one submission: bars for people, JSON lines for programs, silence for scripts."""

import json
import sys
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from assay.client.errors import RefusedError, UnreachableError
from assay.client.http import Connection
from assay.client.records import Submission

POLL_SECONDS = 1.0
LOST_SECONDS = 10.0


class Reporter(ABC):
    """Told how far the file and the cases are."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def transfer(self, action: str, done: int, total: int) -> None:
        """So many bytes of the file are through this action ("hashing", "uploading")."""

    @abstractmethod
    def submission(self, submission: Submission) -> None:
        """Where the submission stands now."""

    @abstractmethod
    def note(self, text: str) -> None:
        """Something worth a line."""

    @abstractmethod
    def close(self) -> None:
        """Nothing more comes."""


class Silence(Reporter):
    """Says nothing."""

    def transfer(self, action: str, done: int, total: int) -> None:
        """Said nowhere."""

    def submission(self, submission: Submission) -> None:
        """Said nowhere."""

    def note(self, text: str) -> None:
        """Said nowhere."""

    def close(self) -> None:
        """There was nothing."""


class JsonLines(Reporter):
    """One JSON object per change, for programs that watch several submissions."""

    def __init__(self, *, stream: TextIO) -> None:
        self._stream = stream
        self._last: dict[str, Any] = {}

    def transfer(self, action: str, done: int, total: int) -> None:
        """At most a hundred lines per action."""
        self._say({"event": action, "percent": 100 * done // total})

    def submission(self, submission: Submission) -> None:
        """A line when anything a watcher shows has changed."""
        self._say(
            {
                "event": "submission",
                "id": submission.id,
                "status": submission.status,
                "done": submission.cases_done,
                "total": submission.cases_total,
                "failed": submission.cases_failed,
                "outcome": submission.outcome,
            }
        )

    def note(self, text: str) -> None:
        """The text in an object."""
        self._say({"event": "note", "text": text})

    def close(self) -> None:
        """The stream is not ours to close."""

    def _say(self, event: dict[str, Any]) -> None:
        if event != self._last:
            self._last = event
            print(json.dumps(event), file=self._stream, flush=True)


class Bars(Reporter):
    """One bar for the file, one for the cases, on the terminal."""

    def __init__(self, *, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TransferSpeedColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._bars.start()

    def transfer(self, action: str, done: int, total: int) -> None:
        """Move the file's bar."""
        self._bars.update(self._task(action), completed=done, total=total)

    def submission(self, submission: Submission) -> None:
        """Move the cases' bar and say the status beside it."""
        total = submission.cases_total or None
        task = self._task("cases")
        self._bars.update(
            task, completed=submission.cases_done, total=total, text=f"{submission.status}: {submission.outcome}"
        )

    def note(self, text: str) -> None:
        """A line above the bars."""
        self._bars.console.print(text)

    def close(self) -> None:
        """Leave the bars as they are."""
        self._bars.stop()

    def _task(self, name: str) -> TaskID:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=None, text="")
        return self._tasks[name]


def choose_reporter(kind: str) -> Reporter:
    """`bar`, `json` (on standard output) or `none`. `auto` is bars where a person looks on, silence elsewhere."""
    console = Console(stderr=True)
    if kind == "json":
        return JsonLines(stream=sys.stdout)
    if kind == "bar" or (kind == "auto" and console.is_terminal):
        return Bars(console=console)
    return Silence()


def wait_until_finished(*, connection: Connection, submission_id: str, reporter: Reporter) -> Submission:
    """Look every second until the submission has finished. A lost connection is waited out: the work goes on without us."""
    while True:
        try:
            submission = Submission.from_json(connection.get(f"submissions/{submission_id}"))
        except (UnreachableError, RefusedError) as lost:
            if isinstance(lost, RefusedError) and not lost.may_pass:
                raise
            reporter.note(f"{lost.message}; trying again")
            time.sleep(LOST_SECONDS)
            continue
        reporter.submission(submission)
        if submission.has_finished:
            return submission
        time.sleep(POLL_SECONDS)
