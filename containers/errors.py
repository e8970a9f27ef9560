"""The family tree of this room's errors.

    ContainersError
    ├── EngineError              the engine, or the way to it
    │   ├── EngineUnreachable      no answer: not running, restarting, or no permission on its socket
    │   ├── EngineRefused          it answered no
    │   │   ├── NameTaken            another container has this name: somebody else runs this case run already
    │   │   ├── ImageAbsent          no image with this ID here: it was evicted after it was accepted
    │   │   └── StartRefused         created, but could not be started. Carries the engine's exit code (126, 127)
    │   └── ContainerStuck         it would not die or would not go away: the slot needs a look
    ├── WorkspaceError           scratch space could not be made, mounted or cleaned
    ├── ImageInvalid             intake refused an uploaded archive: the participant fixes it (`intake.reasons`)
    └── IntakeUnavailable        intake could not do its work: tried again (`intake.archives`)

None of them is a verdict on an algorithm: `runner.run` translates each once, into a `RunResult`.
"""

import errno

__all__ = [
    "ContainerStuck",
    "ContainersError",
    "DiskFull",
    "EngineError",
    "EngineRefused",
    "EngineUnreachable",
    "ImageAbsent",
    "NameTaken",
    "StartRefused",
    "WorkspaceError",
    "lacks_space",
]


class ContainersError(Exception):
    """Anything this room raises on purpose."""


class EngineError(ContainersError):
    """The engine, or the way to it."""


class EngineUnreachable(EngineError):
    """The engine gave no answer."""


class EngineRefused(EngineError):
    """The engine answered no."""


class NameTaken(EngineRefused):
    """A container of this name exists: the name is the node's mutex, so somebody else holds this case run."""


class ImageAbsent(EngineRefused):
    """There is no image with this ID on this node."""


class StartRefused(EngineRefused):
    """The container was created but could not be started."""


class ContainerStuck(EngineError):
    """The container survived SIGKILL or its removal."""


class WorkspaceError(ContainersError):
    """Scratch space could not be made, mounted or cleaned."""


class DiskFull(WorkspaceError):
    """There is no room for a run or an image: a node stops claiming until there is. No participant pays for it."""


def lacks_space(error: BaseException) -> bool:
    """Whether a disk or a quota is full."""
    return isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT))
