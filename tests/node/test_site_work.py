"""What one round of `assay site run` does when this machine fails: the submission is put off, and the others go on."""

import errno
import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from assay.node.site_commands import TROUBLE, _work


class FullMachine:
    """An agent with two submissions, on a machine whose disk is full."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def claim(self, _registration, *, skip, wait_seconds):
        assert wait_seconds == 0, "a program that does not stay waits for nothing"
        self.asked.append(list(skip))
        left = [name for name in ("one", "two") if name not in skip]
        return SimpleNamespace(submission=f"#{left[0]}", evaluation_id=left[0]) if left else None

    def evaluate(self, _order, *, on_case):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_puts_submissions_off_and_is_said():
    agent, said = FullMachine(), io.StringIO()
    with pytest.raises(OSError, match="No space left") as problem:
        _work(agent, registration=None, console=Console(file=said, width=200), approve_all=False, stays=False)
    assert isinstance(problem.value, TROUBLE), "the command says it and asks again"
    assert agent.asked == [[], ["one"], ["one", "two"]]
    assert said.getvalue().count("is put off: No space left on device\n  what to do: free some space") == 2
