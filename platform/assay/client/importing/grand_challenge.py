"""A grand-challenge forge pack: the JSON description of a challenge's phases and their sockets (rse-grand-challenge-forge).

It names inputs and outputs and holds no data. Image sockets are folders with one file (`images/<slug>/`), File and Value sockets
are files.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assay.client.importing.draft import (
    DEFAULT_SCORING,
    Draft,
    DraftPhase,
    Notes,
    named_protocol,
    segmentation_protocol,
    slug_of,
)
from assay.client.importing.options import Options
from assay.client.importing.platforms import phase_slug, unique_phases
from assay.client.importing.sources import Place, read_document

IMAGE_FILE = "image.mha"
ONE_IMAGE = "*"
"""The one image in the socket's folder, whatever its name."""
SOCKETS = {"name": "inputs", "kind": "sockets", "file": "inputs.json"}


def recognises(source: Path) -> bool:
    """Whether this JSON file, or one directly in this folder, describes a grand-challenge pack."""
    return description_in(source) is not None


def description_in(source: Path) -> Path | None:
    """The pack's description."""
    files = [source] if source.is_file() else sorted(source.glob("*.json")) if source.is_dir() else []
    for path in files:
        if path.suffix.lower() != ".json" or not path.is_file() or path.stat().st_size > 16 << 20:
            continue
        text = path.read_text("utf-8", errors="replace")
        if '"algorithm_interfaces"' in text and '"phases"' in text:
            return path
    return None


def read_grand_challenge(source: Path, *, options: Options) -> Draft:
    """Read the description."""
    path = description_in(source)
    if path is None:
        raise FileNotFoundError(source)
    root = read_document(path).need("challenge", expected="{slug, url, phases: […]}")
    notes = Notes()
    slug = options.slug or slug_of(root.need("slug", expected="a name").text())
    title = options.title or slug.replace("-", " ").capitalize()
    phases: list[DraftPhase] = []
    rules: dict[str, Any] | None = None
    for number, place in enumerate(root.need("phases", expected="a list").sequence()):
        name = place.need("slug", expected="a name").text()
        own = _rules(place, number=number, options=options, name=slug, title=title, notes=notes)
        rules = rules or own
        phases.append(DraftPhase(slug=phase_slug(name, number), title=name.replace("-", " ").capitalize(),
                                 protocol=None if own == rules else own))  # fmt: skip
        archive = place.get("archive")
        if archive is not None:
            notes.missing(
                f"phases[{number}].archive", "the cases are on the platform: download them and push a test set"
            )
    return Draft(
        format="grand-challenge pack",
        slug=slug,
        title=title,
        protocol=rules or {},
        phases=unique_phases(phases, where=path.name),
        notes=tuple(notes.lines),
    )


def _rules(place: Place, *, number: int, options: Options, name: str, title: str, notes: Notes) -> dict[str, Any]:
    interfaces = place.need("algorithm_interfaces", expected="a list").sequence()
    if not interfaces:
        raise place.need("algorithm_interfaces", expected="").error("is empty", expected="one interface or more")
    where = f"phases[{number}]"
    inputs = [*_inputs(interfaces, where=where, notes=notes), SOCKETS]
    notes.taken(f"{where}: inputs.json", "the platform writes it for every case")
    images: list[dict[str, Any]] = []
    documents: list[dict[str, Any]] = []
    labels: dict[str, Any] = {}
    for socket in interfaces[0].need("outputs", expected="a list").sequence():
        slug = socket.need("slug", expected="a name").text()
        path = _path_of(socket)
        super_kind = socket.need("super_kind", expected="Image, File or Value").text()
        if super_kind != "Image" and path.endswith(".json"):
            documents.append({"name": slug, "kind": "json", "file": path})
            notes.taken(
                f"{where}: output {slug}", "a JSON document, kept and given to a metric image; not scored by us"
            )
        elif super_kind != "Image":
            notes.missing(f"{where}: output {slug}", "is neither an image nor JSON; it is not kept")
        elif images:
            notes.missing(f"{where}: output {slug}", "is a second image; only the first is scored")
        else:
            images.append({"name": slug, "kind": "label_map", "file": f"{path}/{ONE_IMAGE}"})
            labels = _segments(socket)
    for extra in interfaces[1:]:
        notes.changed(f"{where}.algorithm_interfaces", f"{extra.path}: its outputs are taken to be the first one's")
    if options.protocol:
        rules = named_protocol(options.protocol)
        rules["inputs"] = inputs
        if images:
            rules["outputs"] = [{**rules["outputs"][0], "file": images[0]["file"]}, *documents]
    elif not images or not labels:
        socket = interfaces[0].need("outputs", expected="a list")
        raise socket.error(
            "does not say which structures are segmented",
            expected="an Image socket with overlay_segments",
            what_to_do="give --protocol NAME",
        )
    else:
        notes.taken(f"{where}: {images[0]['name']}", f"structures {', '.join(labels)}")
        notes.changed(f"{where}: rules", DEFAULT_SCORING)
        rules = segmentation_protocol(name=name, title=title[:200], labels=labels, inputs=inputs, output="")
        rules["outputs"] = [*images, *documents]
    rules["resources"] = {**rules.get("resources", {}), "profile": "image-user"}
    notes.taken(f"{where}: profile", "image-user: algorithms of the platform run as the USER of their image")
    return rules


def _inputs(interfaces: Sequence[Place], *, where: str, notes: Notes) -> list[dict[str, Any]]:
    """The sockets of all interfaces. One that is not in each of them is optional."""
    listed = [interface.need("inputs", expected="a list").sequence() for interface in interfaces]
    sockets = {socket.need("slug", expected="a name").text(): socket for sockets in listed for socket in sockets}
    found = []
    for slug, socket in sockets.items():
        count = sum(any(other.need("slug", expected="").text() == slug for other in sockets) for sockets in listed)
        item = _input(socket, slug=slug, where=where, notes=notes)
        if count < len(listed):
            notes.taken(f"{where}: input {slug}", f"optional: {count} of {len(listed)} interfaces have it")
            item["required"] = False
        found.append(item)
    return found


def _input(socket: Place, *, slug: str, where: str, notes: Notes) -> dict[str, Any]:
    path = _path_of(socket)
    super_kind = socket.need("super_kind", expected="Image, File or Value").text()
    if super_kind == "Image":
        notes.taken(f"{where}: input {slug}", f"one image in /input/{path}")
        return {"name": slug, "socket": slug, "file": f"{path}/{IMAGE_FILE}"}
    kind = "value" if super_kind == "Value" else "file"
    notes.taken(f"{where}: input {slug}", f"a {kind}, /input/{path}")
    return {"name": slug, "socket": slug, "kind": kind, "file": path}


def _path_of(socket: Place) -> str:
    return socket.need("relative_path", expected="images/…").text().strip("/")


def _segments(socket: Place) -> dict[str, Any]:
    segments = socket.get("overlay_segments")
    labels: dict[str, Any] = {}
    for segment in segments.sequence() if segments is not None else []:
        value = segment.need("voxel_value", expected="a whole number").whole()
        if value:
            labels[segment.need("name", expected="a name").text()[:80]] = {"values": [value]}
    return labels
