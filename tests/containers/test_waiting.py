"""A program that starts is waited for while it works, and reported at once when it has died."""

import subprocess
import sys

import pytest

from containers import waiting
from containers.waiting import NotStartedError, Patience, Program, patience_from, processor_seconds, wait_until_ready

SECONDS_A_POLL = waiting.POLL_SECONDS


@pytest.fixture
def start(tmp_path):
    """Start a Python program. It is ended with the test."""
    started = []

    def go(code: str) -> Program:
        log = tmp_path / "program.log"
        with log.open("ab") as sink:
            started.append(subprocess.Popen([sys.executable, "-c", code], stdout=sink, stderr=sink))
        return Program(name="The server", process=started[-1], log=log)

    yield go
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def fake(tmp_path, clock, monkeypatch):
    """A program that only its log shows, in a time that passes when somebody sleeps."""
    monkeypatch.setattr(waiting, "time", clock)
    return Program(name="The server", process=None, log=tmp_path / "fake.log")


class Question:
    """Answers yes after so many seconds. Does `work` each time it is asked."""

    def __init__(self, clock, *, after_seconds: float, work=lambda seconds: None) -> None:
        self.clock, self.began, self.after_seconds, self.work = clock, clock.now, after_seconds, work

    def __call__(self) -> bool:
        seconds = self.clock.now - self.began
        self.work(seconds)
        return seconds >= self.after_seconds


def test_a_slow_program_whose_log_grows_is_waited_for(fake, clock):
    lines = fake.log.open("w", buffering=1)
    question = Question(
        clock, after_seconds=900, work=lambda seconds: seconds % 60 < SECONDS_A_POLL and lines.write("step\n")
    )
    told = []
    with lines:
        wait_until_ready(fake, is_ready=question, patience=Patience(), tell=told.append)
    assert clock.now - question.began >= 900
    assert len(told) == pytest.approx(900 / waiting.TELL_SECONDS, abs=2)
    assert "still starting after 30 s" in told[0]


def test_a_program_that_writes_nothing_is_given_up_with_its_last_words(fake, clock):
    fake.log.write_text("opening the door\n")
    question = Question(clock, after_seconds=10_000)
    with pytest.raises(NotStartedError, match=r"no sign of work for 180 s[\s\S]*opening the door"):
        wait_until_ready(fake, is_ready=question, patience=Patience(), tell=lambda _: None)
    assert 180 <= clock.now - question.began < 184


def test_the_upper_bound_is_a_setting_which_the_message_names(fake, clock):
    patience = patience_from({"ASSAY_START_SECONDS": "300"})
    question = Question(clock, after_seconds=10_000, work=lambda seconds: fake.log.write_text("x" * int(seconds)))
    with pytest.raises(NotStartedError, match=r"not ready after 300 s.*ASSAY_START_SECONDS"):
        wait_until_ready(fake, is_ready=question, patience=patience, tell=lambda _: None)


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_bound_that_is_no_number_of_seconds_is_refused(text):
    with pytest.raises(NotStartedError, match="a number of seconds above 0 is expected"):
        patience_from({"ASSAY_START_SECONDS": text})
    assert patience_from({"ASSAY_START_SECONDS": " "}) == Patience()


def test_a_server_that_keeps_answering_not_ready_is_given_up_although_it_works(fake, clock):
    question = Question(clock, after_seconds=10_000, work=lambda seconds: fake.log.write_text("x" * int(seconds)))
    with pytest.raises(NotStartedError, match="It says: storage down"):
        wait_until_ready(
            fake, is_ready=question, patience=Patience(), state=lambda: "storage down", tell=lambda _: None
        )


def test_who_is_asked_to_stop_waits_no_longer(fake):
    wait_until_ready(fake, is_ready=lambda: False, patience=Patience(), should_stop=lambda: True)


def test_a_program_that_has_died_is_reported_at_once_with_its_last_words(start):
    program = start("raise SystemExit('no such table: users')")
    with pytest.raises(NotStartedError, match=r"ended with exit code 1 before it was ready[\s\S]*no such table: users"):
        wait_until_ready(program, is_ready=lambda: False, patience=Patience(at_most_seconds=1e6, silent_seconds=1e6))


def test_a_program_that_was_killed_is_reported_by_its_signal(start):
    program = start("import time; time.sleep(1000)")
    program.process.kill()
    with pytest.raises(NotStartedError, match="ended by signal 9"):
        wait_until_ready(program, is_ready=lambda: False, patience=Patience(at_most_seconds=1e6, silent_seconds=1e6))


def test_a_silent_program_that_uses_no_processor_is_given_up(start):
    program = start("import time; time.sleep(1000)")
    with pytest.raises(NotStartedError, match="runs, but there was no sign of work for 1 s"):
        wait_until_ready(program, is_ready=lambda: False, patience=Patience(silent_seconds=1.0))


def test_a_silent_program_whose_child_computes_is_waited_for(start):
    computing = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"  # it ends with its parent
    program = start(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {computing!r}])")
    enough = 1.0
    wait_until_ready(
        program,
        is_ready=lambda: processor_seconds(program.process.pid) > enough,
        patience=Patience(silent_seconds=30.0),
    )
    assert program.written_bytes() == 0


def test_a_log_that_was_never_written_hides_no_reason(tmp_path):
    program = Program(name="x", process=None, log=tmp_path / "nowhere" / "x.log")
    assert program.written_bytes() == 0
    assert "cannot be read: No such file" in program.last_words()
