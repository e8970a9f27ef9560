"""The limited child process: `python -m containers.intake.child`, started by `inspect_archive` and by nobody else.

It gets two descriptors and its limits, gives up every right it can, reads the hostile archive, and answers one JSON document
on standard output. A parser that is fooled here can reach no path, no network of its own making, no other process.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import sys
from typing import Any

from containers.intake.config import Program
from containers.intake.inspection import KeptImage, ModelSource, inspect
from containers.intake.limits import IntakeLimits
from containers.intake.reasons import ImageInvalid, Reason

UNPRIVILEGED_ID = 65533
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWNET = 0x40000000
CLONE_NEWIPC = 0x08000000
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def give_up_rights(*, limits: IntakeLimits) -> None:
    """Resource limits for everyone. As root also no network, no root. Everything needed is imported and open by now."""
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 5))
    bounds = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_FSIZE: limits.unpacked_bytes + (1 << 30),
        resource.RLIMIT_NOFILE: 16,
        resource.RLIMIT_CORE: 0,
    }
    for kind, bound in bounds.items():
        resource.setrlimit(kind, (bound, bound))
    libc = ctypes.CDLL(None)
    if os.geteuid() == 0:
        libc.unshare(CLONE_NEWNET | CLONE_NEWIPC)
        os.setgroups([])
        os.setresgid(UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID)
        os.setresuid(UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def answer(*, source: int, destination: int, request: dict[str, Any], model: int | None = None) -> dict[str, Any]:
    """The report, or why the archive is refused, or why we could not do our work."""
    limits = IntakeLimits(**request["limits"])
    give_up_rights(limits=limits)
    try:
        report = inspect(
            source=source,
            destination=destination,
            limits=limits,
            architecture=request["architecture"],
            needs_command=request["needs_command"],
            model=None
            if model is None
            else ModelSource(descriptor=model, folder=request["model_folder"], kept_in=request["model_kept_in"]),
            kept=KeptImage.from_json(request["kept"]) if request["kept"] else None,
            program=Program.from_json(request["program"]) if request.get("program") else None,
        )
    except ImageInvalid as refusal:
        return {"reason": refusal.reason, "message": refusal.message}
    except MemoryError:
        return {
            "reason": Reason.TOO_COSTLY,
            "message": "Reading the archive took more memory than any honest image needs.",
        }
    except OSError as error:
        if error.errno in FULL_DISK:
            return {"unavailable": "no space left to write the checked image"}
        raise
    return {"report": report.to_json()}


def main() -> int:
    """Descriptors on the command line, the request on standard input, the answer on standard output."""
    source, destination, *models = (int(argument) for argument in sys.argv[1:4])
    request = json.load(sys.stdin)
    document = answer(source=source, destination=destination, request=request, model=next(iter(models), None))
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(document))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
