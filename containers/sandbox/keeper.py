"""A sized tmpfs that outlives the container that filled it, for people who may use the engine but are not root.

A tmpfs volume of the engine exists while some running container has it mounted. The keeper is that container: it runs a program
of ours, a single system call in a loop that sleeps, from an image that holds nothing else and is made here, so nothing
has to be downloaded. When the submission has gone, the engine is asked for a tar of the keeper's view of the volume: safe,
because no program of the submission runs any more and the engine only reads. Entries are recreated one by one in a folder
of ours. Links and special files are kept as what they are, pointing nowhere, so that `collect` names them as it always does.
"""

import contextlib
import io
import os
import struct
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from containers.engines import Engine
from containers.engines.output_archive import recreate_all
from containers.errors import ImageAbsent
from containers.sandbox.arguments import Mount, capacity_bytes

KEEPER_SUFFIX = "-keeper"
OUTPUT_SUFFIX = "-output"
WORK_SUFFIX = "-work"
TAG = "assay/keeper"

SLEEP_FOR_EVER = {
    # again: mov eax, 34 (pause), syscall, jmp again
    "amd64": (62, bytes.fromhex("b8220000000f05ebf7")),
    # again: mov x0..x3, 0; mov x8, 73 (ppoll); svc 0; b again
    "arm64": (
        183,
        struct.pack("<7I", 0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD2800928, 0xD4000001, 0x17FFFFFA),
    ),
}
"""By architecture: the ELF machine number and the whole program."""


def elf(architecture: str) -> bytes:
    """An executable of one segment that sleeps until it is killed."""
    machine, code = SLEEP_FOR_EVER[architecture]
    base, headers = 0x400000, 64 + 56
    identity = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = identity + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = headers + len(code)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return header + segment + code


def keeper_image(engine: Engine) -> str:
    """The ID of the keeper's image, made when it is not there."""
    architecture = engine.facts().architecture
    tag = f"{TAG}:{architecture}"
    try:
        return engine.image_facts(tag).image_id
    except ImageAbsent:
        program = elf(architecture)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo("keeper")
            entry.size, entry.mode = len(program), 0o755
            tar.addfile(entry, io.BytesIO(program))
        return engine.import_image(root_archive=archive.getvalue(), entrypoint=("/keeper",), tag=tag)


def tmpfs_options(*, size_bytes: int, inodes: int, uid: int, is_executable: bool = False) -> dict[str, str]:
    """Options of the engine's `local` volume driver. In pages: Podman takes `size=` for a disk quota and refuses."""
    caps = f"nr_blocks={-(-size_bytes // os.sysconf('SC_PAGE_SIZE'))}" + (f",nr_inodes={inodes}" if inodes else "")
    execution = "exec" if is_executable else "noexec"
    options = f"{caps},uid={uid},gid={uid},mode=0755,nodev,nosuid,{execution}"
    return {"type": "tmpfs", "device": "tmpfs", "o": options}


@contextlib.contextmanager
def engine_volumes(
    *,
    engine: Engine,
    name: str,
    labels: Mapping[str, str],
    volumes: Mapping[str, Mapping[str, str]],
    is_kept: bool,
) -> Iterator[str]:
    """Volumes (name → options) for as long as the context lasts. Gives the ID of the keeper that holds them, or ""."""
    container_id = ""
    try:
        for volume, options in volumes.items():
            engine.create_volume(name=volume, options=options, labels=labels)
        if is_kept:
            body = _keeper_body(image=keeper_image(engine), labels=labels, volumes=tuple(volumes))
            container_id = engine.create(name=name + KEEPER_SUFFIX, body=body)
            engine.start(container_id)
        yield container_id
    finally:
        if container_id:
            engine.remove(container_id)
        for volume in volumes:
            engine.remove_volume(volume)


def _keeper_body(*, image: str, labels: Mapping[str, str], volumes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "Image": image,
        "User": "65534:65534",
        "Labels": dict(labels),
        "NetworkDisabled": True,
        "HostConfig": {
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": 32,  # the runtime that starts it runs several threads of its own
            "Mounts": [Mount(kind="volume", source=volume, target=f"/{volume}").to_json() for volume in volumes],
        },
    }


def fetch(*, engine: Engine, container_id: str, volume: str, destination: Path, limit_bytes: int) -> bool:
    """Recreate what the volume holds under `destination`. False when it claims to hold more than its limit."""
    stream = _Stream(engine.read_archive(container_id, f"/{volume}"))
    with contextlib.closing(stream):
        return recreate_all(stream, destination=destination, most_bytes=capacity_bytes(limit_bytes))


class _Stream(io.RawIOBase):
    """The engine's chunks as the file that tarfile wants to read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes. Nothing at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def close(self) -> None:
        """Stop the engine from sending more."""
        if hasattr(self._chunks, "close"):
            self._chunks.close()
        super().close()
