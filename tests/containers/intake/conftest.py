"""Intake as its callers use it, and without its process where only the judgement matters."""

import os
from pathlib import Path

import pytest

from containers.intake import ImageInvalid, IntakeLimits, IntakeReport, Reason, inspect_archive
from containers.intake.inspection import inspect


@pytest.fixture
def checked(tmp_path) -> Path:
    """Where the rewritten archive goes."""
    return tmp_path / "checked.tar"


@pytest.fixture
def intake(checked):
    """The real door: a limited child process."""

    def go(path: Path, **options) -> IntakeReport:
        return inspect_archive(source=path, destination=checked, architecture="amd64", **options)

    return go


@pytest.fixture
def judge(checked):
    """The same judgement in this process, for tables with many rows."""

    def go(path: Path, *, limits: IntakeLimits | None = None, needs_command: bool = True) -> IntakeReport:
        source, destination = os.open(path, os.O_RDONLY), os.open(checked, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            return inspect(
                source=source,
                destination=destination,
                limits=limits or IntakeLimits(),
                architecture="amd64",
                needs_command=needs_command,
            )
        finally:
            os.close(source)
            os.close(destination)

    return go


@pytest.fixture
def refusal(judge):
    """Why an archive is refused. Fails when it is accepted."""

    def go(path: Path, **options) -> tuple[Reason, str]:
        with pytest.raises(ImageInvalid) as caught:
            judge(path, **options)
        return caught.value.reason, caught.value.message

    return go
