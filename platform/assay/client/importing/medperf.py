"""MedPerf's `container_config.yaml` and the older `mlcube.yaml`: where a container expects its files and which command starts it.

They describe a container and not a competition, so the rules are those of `--protocol`.
"""

from pathlib import Path, PurePosixPath
from typing import Any

from assay.client.errors import ClientError
from assay.client.importing.draft import Draft, DraftPhase, Notes, named_protocol, slug_of
from assay.client.importing.options import Options
from assay.client.importing.sources import Place, read_document

CONTAINER, MLCUBE = "container_config.yaml", "mlcube.yaml"


def recognises(source: Path) -> bool:
    """Whether this is one of the two files, or a folder with one."""
    return description_in(source) is not None


def description_in(source: Path) -> Path | None:
    """The description."""
    files = [source] if source.is_file() else [source / CONTAINER, source / MLCUBE, source / "mlcube" / MLCUBE]
    return next((path for path in files if path.is_file() and path.name in (CONTAINER, MLCUBE)), None)


def read_medperf(source: Path, *, options: Options) -> Draft:
    """Read the mounts and the command of the task `infer`."""
    path = description_in(source)
    if path is None:
        raise FileNotFoundError(source)
    if not options.protocol:
        raise ClientError(
            f"{path.name} describes a container, and no rules",
            expected="--protocol NAME: which structures are scored, and how",
        )
    notes = Notes()
    root = read_document(path)
    task = root.need("tasks", expected="{infer: …}").need("infer", expected="the task that makes predictions")
    resources = _mlcube(task, notes) if path.name == MLCUBE else _container(root, task, notes)
    rules = named_protocol(options.protocol)
    rules["resources"] = {**rules.get("resources", {}), **resources, "run_mode": "cohort"}
    notes.changed("run_mode", "cohort: the container is started once and finds all cases in one folder")
    name = options.slug or slug_of(source.resolve().parent.name if source.is_file() else source.resolve().name)
    title = options.title or name.replace("-", " ").capitalize()
    image = root.get("image")
    notes.missing(
        "image", f"submit it: assay submit {image.text() if image is not None else 'IMAGE'} --phase {name}/final"
    )
    return Draft(
        format="MedPerf container",
        slug=name,
        title=title,
        protocol=rules,
        phases=(DraftPhase(slug="final", title="Final test", submission_limit_total=1, is_embargoed=True),),
        notes=tuple(notes.lines),
    )


def _container(root: Place, task: Place, notes: Notes) -> dict[str, Any]:
    kind = root.get("container_type")
    if kind is not None and not kind.text().startswith("Docker"):
        raise kind.error("is a container that Assay does not run", expected="DockerImage or DockerArchive")
    inputs = {
        name: _mount(place, notes)
        for name, place in task.need("input_volumes", expected="{data_path: …}").mapping().items()
    }
    outputs = [
        _mount(place, notes) for place in task.need("output_volumes", expected="{predictions: …}").mapping().values()
    ]
    if "data_path" not in inputs or len(outputs) != 1:
        raise task.error(
            "has not one folder of data and one of results", expected="input_volumes.data_path, one of output_volumes"
        )
    found: dict[str, Any] = {"input_mount": inputs.pop("data_path"), "output_mount": outputs[0]}
    for name, mount in inputs.items():
        notes.missing(
            f"input_volumes.{name}", f"{mount}: put these files into the image, or give them as inputs of kind file"
        )
    arguments = task.get("run_args")
    command = arguments.get("command") if arguments is not None else None
    if command is not None:
        found["command"] = (
            [item.text() for item in command.sequence()] if isinstance(command.value, list) else command.text().split()
        )
        notes.taken("infer.run_args.command", " ".join(found["command"]))
    return found


def _mount(place: Place, notes: Notes) -> str:
    path = place.need("mount_path", expected="an absolute path")
    if not path.text().startswith("/"):
        raise path.error("is not an absolute path", expected="/mlcommons/volumes/…")
    kind = place.get("type")
    mount = path.text() if kind is None or kind.text() == "directory" else str(PurePosixPath(path.text()).parent)
    notes.taken(place.path, mount)
    return mount


def _mlcube(task: Place, notes: Notes) -> dict[str, Any]:
    """MLCube passes each parameter as `--name=/mlcube_ioN/…`. N counts the mounts in the order of the file."""
    parameters = task.need("parameters", expected="{inputs: …, outputs: …}")
    arguments = ["infer"]
    mounts: list[str] = []
    for side in ("inputs", "outputs"):
        paths = parameters.need(side, expected="{name: path}")
        if not paths.mapping():
            raise paths.error("names no path", expected="{name: path}")
        for number, (name, place) in enumerate(paths.mapping().items()):
            value = place.value.get("default", name) if isinstance(place.value, dict) else place.text()
            mount = f"/mlcube_io{len(mounts)}"
            is_folder = str(value).endswith("/")
            arguments.append(f"--{name}={mount}" + ("" if is_folder else f"/{PurePosixPath(str(value)).name}"))
            mounts.append(mount)
            if side == "inputs" and number:
                notes.changed(
                    f"inputs.{name}", f"{mount} is the folder of the cases too; give the file as an input of kind file"
                )
    found = {"command": arguments, "input_mount": mounts[0], "output_mount": mounts[-1]}
    aliases = mounts[1:-1]
    if aliases:
        found["input_aliases"] = aliases
    notes.taken("tasks.infer", " ".join(arguments))
    return found
