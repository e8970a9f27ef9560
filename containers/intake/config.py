"""The image's configuration is attacker input: judge it, and write our own from the few parts a run needs.

The new configuration is built up from a short list, not cleaned down from the old one: what nobody thought of is left out.
Its hash is the image's new identity, so the same upload always gets the same ID, and nothing can run under a configuration
we did not write.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Self

from containers.intake.entry_point import DEFAULT_PATH
from containers.intake.layout import Document, parse_document
from containers.intake.limits import IntakeLimits
from containers.intake.reasons import ImageInvalid, Reason

RUN_USER = "65532:65532"
"""Who runs, unless the profile lets an image run as its own user."""
SYSTEM_FOLDERS = ("/proc", "/sys", "/dev")
ENGINE_HOOK_PREFIXES = ("LD_", "NVIDIA_")
"""Read by the dynamic linker or the GPU toolkit of hooks that run outside the container, as root (CVE-2025-23266)."""
SEARCH_PATH_VARIABLE = "LD_LIBRARY_PATH"
PYTHON_PATH = "PYTHONPATH="
MAX_TEXT_BYTES = 64 << 10

DROPPED = {
    "Volumes": "VOLUME {}: these folders are read-only like the rest of the image; write to /tmp or /output",
    "Healthcheck": "HEALTHCHECK is never run",
    "StopSignal": "STOPSIGNAL: containers are stopped by SIGKILL",
    "OnBuild": "ONBUILD has no effect in a run",
    "ExposedPorts": "EXPOSE: there is no network",
    "Labels": "LABEL: the platform sets its own",
}


@dataclass(frozen=True, kw_only=True)
class Program:
    """What is started in an image whose own program is not: somebody's code that became its last layer."""

    command: tuple[str, ...]
    working_dir: str
    python_path: str
    """A folder that Python looks for modules in before those that the image names."""

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Program":
        """From plain values: lists become tuples again."""
        return cls(**{**document, "command": tuple(document["command"])})


@dataclass(frozen=True, kw_only=True)
class VettedConfig:
    """Our configuration for the image, and what was changed on the way."""

    document: bytes
    diff_ids: tuple[str, ...]
    uploaded_image_id: str
    architecture: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    working_dir: str
    user: str
    search_path: str
    """ENV PATH, along which a command without a slash is looked for."""
    home: str
    """ENV HOME, which counts before the home in the image's /etc/passwd; empty when it is not set."""
    versions: dict[str, str]
    neutralised: tuple[str, ...]

    def of_user(self, *, user: str, home: str) -> Self:
        """The same, naming the image's own user (`uid:gid`) and its home. That there is a HOME says that the user is the image's."""
        document = json.loads(self.document)
        settings = document["config"]
        changed = {**settings, "User": user, "Env": [*settings["Env"], f"HOME={home}"]}
        return replace(self, document=_serialised(document | {"config": changed}))

    def with_layer(self, diff_id: str) -> Self:
        """The same with one more layer on top."""
        document = json.loads(self.document)
        diff_ids = (*self.diff_ids, diff_id)
        rootfs = {**document["rootfs"], "diff_ids": list(diff_ids)}
        return replace(self, diff_ids=diff_ids, document=_serialised(document | {"rootfs": rootfs}))

    def without_last_layer(self) -> Self:
        """The same without the layer on top."""
        document = json.loads(self.document)
        diff_ids = self.diff_ids[:-1]
        rootfs = {**document["rootfs"], "diff_ids": list(diff_ids)}
        return replace(self, diff_ids=diff_ids, document=_serialised(document | {"rootfs": rootfs}))

    def as_uploaded(self, *, user: str, uploaded_image_id: str, neutralised: tuple[str, ...]) -> Self:
        """The same with what only the first upload said: a rewritten configuration names a user and an ID of ours."""
        return replace(self, user=user, uploaded_image_id=uploaded_image_id, neutralised=neutralised)

    def with_program(self, program: Program) -> Self:
        """The same image, starting something else."""
        document = json.loads(self.document)
        settings = document["config"]
        found = [line for line in settings["Env"] if line.startswith(PYTHON_PATH)]
        folders = [program.python_path, *(line.removeprefix(PYTHON_PATH) for line in found)]
        changed = {
            **settings,
            "Entrypoint": list(program.command),
            "Cmd": None,
            "WorkingDir": program.working_dir,
            "Env": [*(line for line in settings["Env"] if line not in found), PYTHON_PATH + ":".join(folders)],
        }
        return replace(
            self,
            entrypoint=program.command,
            command=(),
            working_dir=program.working_dir,
            document=_serialised(document | {"config": changed}),
        )

    @property
    def image_id(self) -> str:
        """The ID an engine computes for the rewritten image."""
        return f"sha256:{hashlib.sha256(self.document).hexdigest()}"


def vet_config(*, raw: bytes, architecture: str, limits: IntakeLimits, needs_command: bool) -> VettedConfig:
    """Judge an uploaded configuration. Raises `ImageInvalid` with what to change in the Dockerfile."""
    document = parse_document(raw)
    if not isinstance(document, dict):
        raise ImageInvalid(Reason.MALFORMED, "The image's configuration is no JSON object.")
    _check_platform(document, architecture)
    settings = document.get("config") or {}
    if not isinstance(settings, dict):
        raise ImageInvalid(Reason.MALFORMED, "The image's configuration has a `config` that is no JSON object.")
    entrypoint, command = _words(settings, "Entrypoint"), _words(settings, "Cmd")
    if needs_command and not entrypoint and not command:
        raise ImageInvalid(
            Reason.NO_COMMAND,
            "The image has neither ENTRYPOINT nor CMD, so nothing says what to run. Add one to the Dockerfile.",
        )
    working_dir = _working_dir(settings)
    variables = _variables(settings, limits)
    environment, changes = _safe_environment(variables)
    diff_ids = _diff_ids(document)
    return VettedConfig(
        document=_our_document(
            architecture=architecture,
            diff_ids=diff_ids,
            settings={
                "User": RUN_USER,
                "Env": environment,
                "Entrypoint": list(entrypoint) or None,
                "Cmd": list(command) or None,
                "WorkingDir": working_dir,
            },
        ),
        diff_ids=diff_ids,
        uploaded_image_id=f"sha256:{hashlib.sha256(raw).hexdigest()}",
        architecture=architecture,
        entrypoint=entrypoint,
        command=command,
        working_dir=working_dir,
        user=str(settings.get("User") or "")[:100],
        search_path=dict(variables).get("PATH", DEFAULT_PATH),
        home=dict(variables).get("HOME", ""),
        versions=_versions(variables),
        neutralised=(*_dropped_settings(settings), *changes),
    )


def _our_document(*, architecture: str, diff_ids: tuple[str, ...], settings: Document) -> bytes:
    return _serialised(
        {
            "architecture": architecture,
            "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        }
    )


def _serialised(document: Document) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _check_platform(document: Document, architecture: str) -> None:
    found = f"{document.get('os')}/{document.get('architecture')}"
    if found != f"linux/{architecture}":
        raise ImageInvalid(
            Reason.WRONG_PLATFORM,
            f"The image is built for {found[:100]}; expected linux/{architecture}. Build it with --platform linux/{architecture}.",
        )


def _diff_ids(document: Document) -> tuple[str, ...]:
    rootfs = document.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or not all(_is_sha256(diff_id) for diff_id in diff_ids):
        raise ImageInvalid(Reason.MALFORMED, "The image's configuration does not list its layers as sha256 diff_ids.")
    return tuple(diff_ids)


def _is_sha256(value: Any) -> bool:
    if not isinstance(value, str) or not value.startswith("sha256:"):
        return False
    digits = value.removeprefix("sha256:")
    return len(digits) == 64 and set(digits) <= set("0123456789abcdef")


def _words(settings: Document, key: str) -> tuple[str, ...]:
    """ENTRYPOINT or CMD: a list of words. Old builders wrote a single one as text."""
    value = settings.get(key) or []
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) and "\0" not in word for word in words):
        raise ImageInvalid(Reason.MALFORMED, f"The image's {key} is not a list of words.")
    _check_size(key, sum(len(word.encode(errors="replace")) for word in words), MAX_TEXT_BYTES)
    return tuple(words)


def _working_dir(settings: Document) -> str:
    value = settings.get("WorkingDir") or "/"
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value or ".." in PurePosixPath(value).parts:
        raise ImageInvalid(
            Reason.UNSAFE_CONFIGURATION,
            f"WORKDIR is {str(value)[:200]!r}; expected an absolute path such as /workspace.",
        )
    path = "/" + value.strip("/")
    for forbidden in SYSTEM_FOLDERS:
        if PurePosixPath(path).is_relative_to(forbidden):
            raise ImageInvalid(
                Reason.UNSAFE_CONFIGURATION,
                f"WORKDIR is {path[:200]!r}; {forbidden} belongs to the system. Use a folder such as /workspace.",
            )
    return str(PurePosixPath(path))


def _variables(settings: Document, limits: IntakeLimits) -> list[tuple[str, str]]:
    lines = settings.get("Env") or []
    if not isinstance(lines, list) or not all(
        isinstance(line, str) and "=" in line[1:] and "\0" not in line for line in lines
    ):
        raise ImageInvalid(Reason.MALFORMED, "The image's ENV is not a list of NAME=value texts.")
    _check_size("ENV", sum(len(line.encode(errors="replace")) for line in lines), limits.environment_bytes)
    if len(lines) > limits.environment_variables:
        raise ImageInvalid(
            Reason.CONFIGURATION_TOO_LARGE,
            f"The image sets {len(lines)} ENV variables; at most {limits.environment_variables} are allowed.",
        )
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


def _check_size(what: str, found_bytes: int, allowed_bytes: int) -> None:
    if found_bytes > allowed_bytes:
        raise ImageInvalid(
            Reason.CONFIGURATION_TOO_LARGE,
            f"The image's {what} has {found_bytes:,} bytes; at most {allowed_bytes:,} are allowed.",
        )


def _safe_environment(variables: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """The variables that may reach the engine, and a line for each that was changed."""
    kept: list[str] = []
    changes: list[str] = []
    for name, value in variables:
        if name == SEARCH_PATH_VARIABLE:
            folders = [folder for folder in value.split(":") if is_plain_folder(folder)]
            if folders != value.split(":"):
                changes.append(f"ENV {name}: only absolute folders outside {', '.join(SYSTEM_FOLDERS)} are kept")
            if folders:
                kept.append(f"{name}={':'.join(folders)}")
        elif name.startswith(ENGINE_HOOK_PREFIXES):
            changes.append(f"ENV {name[:100]}: set by the platform, or not at all")
        elif name == "HOME":  # set for every run: see `of_user`
            continue
        else:
            kept.append(f"{name}={value}")
    return kept, changes


def is_plain_folder(folder: str) -> bool:
    """Whether it is absolute, without `..`, and outside what the system makes."""
    path = PurePosixPath(folder)
    forbidden = any(path.is_relative_to(root) for root in SYSTEM_FOLDERS)
    return folder.startswith("/") and not folder.startswith("//") and ".." not in path.parts and not forbidden


def _dropped_settings(settings: Document) -> list[str]:
    lines = []
    for key, text in DROPPED.items():
        if value := settings.get(key):
            names = ", ".join(str(name) for name in value)[:200] if isinstance(value, dict) else ""
            lines.append(text.format(names))
    return lines


def _versions(variables: list[tuple[str, str]]) -> dict[str, str]:
    """What published base images say about themselves: nvidia/cuda, pytorch/pytorch and python do."""
    names = {"CUDA_VERSION": "cuda", "PYTORCH_VERSION": "torch", "PYTHON_VERSION": "python", "CUDNN_VERSION": "cudnn"}
    return {names[name]: value[:60] for name, value in variables if name in names}
