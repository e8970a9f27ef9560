"""The doors of intake: from an uploaded archive to a checked one, and from a checked one into the engine."""

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from containers.engines import Engine
from containers.errors import ContainersError, ImageAbsent
from containers.intake.config import Program
from containers.intake.inspection import KeptImage
from containers.intake.limits import IntakeLimits
from containers.intake.reasons import ImageInvalid, Reason
from containers.intake.report import IntakeReport
from containers.spec import MODEL_FOLDER

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class IntakeUnavailable(ContainersError):
    """Intake could not do its work: our fault, to be tried again."""


def inspect_archive(
    *,
    source: Path,
    destination: Path,
    limits: IntakeLimits | None = None,
    architecture: str | None = None,
    needs_command: bool = True,
    model: Path | None = None,
    model_folder: str = MODEL_FOLDER,
    model_kept_in: str = "",
    kept: KeptImage | None = None,
    program: Program | None = None,
) -> IntakeReport:
    """Check the uploaded archive at `source` and write the rewritten one to `destination`, which appears complete or not at all.

    `architecture` is the one the nodes have, in Docker's words. This machine's unless given. `needs_command` is false where
    the phase fixes the command. `model` is a tar whose files become the image's `model_folder`.

    What was checked before need not be sent again. With `kept`, `source` is an archive that was written here. With `model_kept_in`, `model`
    is one too, and its last layer holds the model in that folder. `program` is what the image starts in place of its own.
    Raises `ImageInvalid` or `IntakeUnavailable`.
    """
    limits = limits or IntakeLimits()
    request = {
        "limits": asdict(limits),
        "architecture": architecture or ARCHITECTURES.get(platform.machine(), platform.machine()),
        "needs_command": needs_command,
        "model_folder": model_folder,
        "model_kept_in": model_kept_in,
        "kept": asdict(kept) if kept else None,
        "program": asdict(program) if program else None,
    }
    with ExitStack() as opened:
        upload = opened.enter_context(source.open("rb"))
        weights = opened.enter_context(model.open("rb")) if model else None
        written = opened.enter_context(_appearing(destination))
        return ask_child(
            source=upload.fileno(),
            destination=written.fileno(),
            request=request,
            wall_seconds=limits.wall_seconds,
            model=weights.fileno() if weights else None,
        )


@contextlib.contextmanager
def _appearing(destination: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name when everything went well, and is gone otherwise."""
    with tempfile.NamedTemporaryFile(dir=destination.parent, prefix=".intake-", delete=False) as written:
        try:
            yield written
            os.fsync(written.fileno())
        except BaseException:
            Path(written.name).unlink()
            raise
    Path(written.name).replace(destination)


def load_archive(engine: Engine, path: Path, expected_image_id: str) -> None:
    """Load a rewritten archive and make sure that the engine has exactly the image that was checked."""
    engine.load_image(path)
    if engine.image_facts(expected_image_id).image_id != expected_image_id:
        raise ImageAbsent(f"the engine has another image under the ID {expected_image_id}")


def ask_child(
    *, source: int, destination: int, request: dict[str, Any], wall_seconds: float, model: int | None = None
) -> IntakeReport:
    """Let a limited process of its own read the archive at descriptor `source`, and a model's."""
    descriptors = (source, destination) if model is None else (source, destination, model)
    command = [sys.executable, "-I", "-m", "containers.intake.child", *map(str, descriptors)]
    try:
        child = subprocess.run(
            command,
            input=json.dumps(request).encode(),
            capture_output=True,
            check=False,
            env={},
            pass_fds=descriptors,
            timeout=wall_seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise IntakeUnavailable(f"checking the archive took more than {wall_seconds:.0f} s") from error
    if child.returncode == -signal.SIGXCPU:
        raise ImageInvalid(
            Reason.TOO_COSTLY, "Reading the archive took more processor time than any honest image needs."
        )
    if child.returncode != 0:
        last_line = (child.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise IntakeUnavailable(f"the checking process ended with {child.returncode}: {last_line[:300]}")
    answer = json.loads(child.stdout)
    if "reason" in answer:
        raise ImageInvalid(Reason(answer["reason"]), answer["message"])
    if "unavailable" in answer:
        raise IntakeUnavailable(answer["unavailable"])
    return IntakeReport.from_json(answer["report"])
