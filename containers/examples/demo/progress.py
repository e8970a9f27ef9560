"""Six submissions at a glance: a bar per team on a terminal, a line per change elsewhere (CI logs)."""

import threading
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Progressing:
    """Takes the JSON events of several `assay submit --progress json` at once."""

    def __init__(self, *, teams: list[str]) -> None:
        self._console = Console()
        columns = (
            TextColumn("{task.description:<11}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self._bars = Progress(*columns, console=self._console, refresh_per_second=4)
        self._tasks = {team: self._bars.add_task(team, total=None, text="saving the image") for team in teams}
        self._started = self._moved = time.monotonic()
        self._last: dict[str, str] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    @property
    def still_seconds(self) -> float:
        """How long ago a team's command last said that something has changed."""
        return time.monotonic() - self._moved

    def show(self, team: str, event: dict[str, Any]) -> None:
        """Show what a team's command just said."""
        self._moved = time.monotonic()
        task = self._tasks[team]
        match event["event"]:
            case "submission":
                text = f"{event['status']}: {event['outcome']}"
                self._bars.update(task, total=event["total"] or None, completed=event["done"], text=text)
                self._line(team, event["status"], text)
            case "note":
                self._bars.update(task, text=event["text"])
                self._line(team, event["text"], event["text"])
            case action:
                self._bars.update(task, total=100, completed=event["percent"], text=action)
                self._line(team, action, action)

    def _line(self, team: str, key: str, text: str) -> None:
        """Without a terminal: one line whenever the key changes."""
        with self._lock:
            if self._console.is_terminal or self._last.get(team) == key:
                return
            self._last[team] = key
            print(f"demo: {time.monotonic() - self._started:6.1f} s  {team:<11} {text}", flush=True)
