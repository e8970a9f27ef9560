"""`--engine`, for every command that runs containers: Docker unless `ASSAY_ENGINE` or the option says Podman."""

import functools
from collections.abc import Callable
from typing import Any

import click

from containers.engines.choice import EngineChoice, EngineKind


def engine_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command's function an `engine: EngineChoice`."""

    @click.option(
        "--engine",
        "engine_kind",
        envvar="ASSAY_ENGINE",
        type=click.Choice([kind.value for kind in EngineKind]),
        default=EngineKind.DOCKER.value,
        show_default=True,
        help="The container engine of this machine.",
    )
    @click.option(
        "--engine-socket",
        envvar="ASSAY_ENGINE_SOCKET",
        default="",
        help="Where it listens, such as unix:///run/podman/podman.sock; the engine's usual place when left out.",
    )
    @functools.wraps(command)
    def with_engine(*arguments: Any, engine_kind: str, engine_socket: str, **options: Any) -> None:
        command(*arguments, engine=EngineChoice(kind=EngineKind(engine_kind), socket=engine_socket), **options)

    return with_engine
