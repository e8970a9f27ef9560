"""`--engine`, for every command that runs containers: Docker unless `ASSAY_ENGINE` or the option says another one."""

import functools
from collections.abc import Callable
from pathlib import Path
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
        help="The container engine of this machine, or what gives the machines of a cluster.",
    )
    @click.option(
        "--engine-socket",
        envvar="ASSAY_ENGINE_SOCKET",
        default="",
        help="Where it listens, such as unix:///run/podman/podman.sock. Of Apptainer its program, of a cluster its API server. "
        "The usual place when left out.",
    )
    @click.option(
        "--engine-folder",
        envvar="ASSAY_ENGINE_FOLDER",
        type=click.Path(path_type=Path),
        help="Where Apptainer's images and containers are kept. Machines of a cluster have to see it.",
    )
    @click.option(
        "--engine-options",
        envvar="ASSAY_ENGINE_OPTIONS",
        default="",
        help="Words for sbatch or Kubernetes, such as --partition=gpu.",
    )
    @functools.wraps(command)
    def with_engine(
        *arguments: Any,
        engine_kind: str,
        engine_socket: str,
        engine_folder: Path | None,
        engine_options: str,
        **options: Any,
    ) -> None:
        choice = EngineChoice(
            kind=EngineKind(engine_kind),
            socket=engine_socket,
            folder=engine_folder.absolute() if engine_folder else None,
            options=engine_options,
        )
        command(*arguments, engine=choice, **options)

    return with_engine
