"""A grand-challenge forge pack: the JSON description of a challenge's phases and their sockets (rse-grand-challenge-forge).

It names inputs and outputs and holds no data. Image sockets are folders with one file (`images/<slug>/`), File and Value sockets
are files.
"""

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


def recognises(source: Path) -> bool:
    """Whether this JSON file, or one directly in this folder, describes a grand-challenge pack."""
    return description_in(source) is not None


def description_in(source: Path) -> Path | None:
    """The pack's description."""
    files = [source] if source.is_file() else sorted(source.glob("*.json")) if source.is_dir() else []
    for path in files:
        if path.suffix.lower() != ".json" or path.stat().st_size > 16 << 20:
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
    for extra in interfaces[1:]:
        notes.missing(f"phases[{number}].algorithm_interfaces", f"{extra.path}: only the first interface is taken")
    where = f"phases[{number}]"
    inputs = [
        _input(socket, where=where, notes=notes)
        for socket in interfaces[0].need("inputs", expected="a list").sequence()
    ]
    images, labels, output = [], {}, ""
    for socket in interfaces[0].need("outputs", expected="a list").sequence():
        slug = socket.need("slug", expected="a name").text()
        if socket.need("super_kind", expected="Image, File or Value").text() != "Image":
            notes.missing(f"{where}: output {slug}", "is no image; only the segmentation is scored")
            continue
        images.append(slug)
        if len(images) == 1:
            output = f"{socket.need('relative_path', expected='images/…').text().strip('/')}/{IMAGE_FILE}"
            labels = _segments(socket)
        else:
            notes.missing(f"{where}: output {slug}", "is a second image; only the first is scored")
    if options.protocol:
        rules = named_protocol(options.protocol)
        rules["inputs"] = inputs
        if output:
            rules["outputs"] = [{**rules["outputs"][0], "file": output}]
        return rules
    if not images or not labels:
        socket = interfaces[0].need("outputs", expected="a list")
        raise socket.error(
            "does not say which structures are segmented",
            expected="an Image socket with overlay_segments",
            what_to_do="give --protocol NAME",
        )
    notes.taken(f"{where}: {images[0]}", f"structures {', '.join(labels)}")
    notes.changed(f"{where}: rules", DEFAULT_SCORING)
    return segmentation_protocol(name=name, title=title[:200], labels=labels, inputs=inputs, output=output)


def _input(socket: Place, *, where: str, notes: Notes) -> dict[str, Any]:
    slug = socket.need("slug", expected="a name").text()
    path = socket.need("relative_path", expected="images/…").text().strip("/")
    if socket.need("super_kind", expected="Image, File or Value").text() == "Image":
        notes.taken(f"{where}: input {slug}", f"one image in /input/{path}")
        return {"name": slug, "file": f"{path}/{IMAGE_FILE}"}
    notes.taken(f"{where}: input {slug}", f"a file, /input/{path}")
    return {"name": slug, "kind": "file", "file": path}


def _segments(socket: Place) -> dict[str, Any]:
    segments = socket.get("overlay_segments")
    labels: dict[str, Any] = {}
    for segment in segments.sequence() if segments is not None else []:
        value = segment.need("voxel_value", expected="a whole number").whole()
        if value:
            labels[segment.need("name", expected="a name").text()[:80]] = {"values": [value]}
    return labels
