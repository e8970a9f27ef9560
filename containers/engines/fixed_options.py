"""What is the same in every container of ours, in Docker's words, and the check that no translation drops an option.

An engine that is not spoken to in Docker's words has a translation. It sets these options by itself, so the document may only say the same.
"""

from collections.abc import Collection, Mapping
from typing import Any

from containers.errors import EngineRefused

FIXED: Mapping[str, Any] = {
    "NetworkDisabled": True,
    "AttachStdin": False,
    "OpenStdin": False,
    "Tty": False,
    "Healthcheck": {"Test": ["NONE"]},
    "StopSignal": "SIGKILL",
    "NetworkMode": "none",
    "ReadonlyRootfs": True,
    "Privileged": False,
    "CapDrop": ["ALL"],
    "IpcMode": "private",
    "CgroupnsMode": "private",
    "AutoRemove": False,
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "LogConfig": {"Type": "local", "Config": {"max-size": "10m", "max-file": "2"}},
}


def refuse_untranslated(
    part: Mapping[str, Any], *, fixed: Mapping[str, Any], translated: Collection[str], engine: str, file: str
) -> None:
    """Raise `EngineRefused` for an option that would be dropped, or that is always something else. `file` has the translation."""
    for key, value in part.items():
        if key in fixed and value != fixed[key]:
            raise EngineRefused(f"Under {engine} {key} is always {fixed[key]!r}; found {value!r}.")
        if key not in fixed and key not in translated:
            raise EngineRefused(f"{key} has no translation for {engine}: add it to {file}.")
