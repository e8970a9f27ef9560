"""Find the one image in an archive: `docker save` (its old and its new form) or an OCI image layout."""

import hashlib
import json
from dataclasses import dataclass, field
from posixpath import dirname, join, normpath
from typing import Any

from containers.intake.limits import IntakeLimits
from containers.intake.reasons import ImageInvalid, Reason
from containers.intake.streams import Stream
from containers.intake.tar import Entry, Kind, read_entries

Document = dict[str, Any]
MAX_INDEX_DEPTH = 3
SYSTEM_FOLDERS = frozenset({"bin", "dev", "etc", "lib", "proc", "sbin", "sys", "usr", "var"})
"""What the file system of a container has at its top."""


@dataclass(kw_only=True)
class Survey:
    """The archive's own members: which exist, where links between them lead, and every small JSON document."""

    sizes: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)
    tops: set[str] = field(default_factory=set)
    """First parts of the members' names, folders included."""


@dataclass(frozen=True, kw_only=True)
class ImageLayout:
    """The image's configuration as uploaded, and the members that hold its layers, bottom to top."""

    config: bytes
    layers: tuple[str, ...]


def survey_archive(*, stream: Stream, limits: IntakeLimits) -> Survey:
    """List the members of the outer tar. Nothing is unpacked and layers are passed over."""
    survey = Survey()
    kept_bytes = 0
    for count, entry in enumerate(read_entries(stream)):
        name = member_name(entry)
        survey.tops.add(name.partition("/")[0])
        if count >= limits.archive_members or name in survey.sizes or name in survey.links:
            _refuse_export(survey)
            raise ImageInvalid(
                Reason.MALFORMED,
                f"The archive lists {name[:200]!r} twice, or more than {limits.archive_members} members.",
            )
        if entry.kind is Kind.SYMBOLIC_LINK:
            survey.links[name] = entry.link.decode(errors="replace")
        elif entry.kind is Kind.FILE:
            survey.sizes[name] = entry.size
            is_document = entry.size <= limits.document_bytes and stream.peek(1) in (b"{", b"[")
            if is_document and kept_bytes + entry.size <= limits.documents_bytes:
                kept_bytes += entry.size
                survey.documents[name] = stream.take(entry.size)
        elif entry.kind is not Kind.FOLDER:
            _refuse_export(survey)
            raise ImageInvalid(
                Reason.UNSAFE_PATH, f"The archive's member {name[:200]!r} is a {entry.kind}; expected plain files."
            )
    return survey


def _refuse_export(survey: Survey) -> None:
    """Say what the archive is where it is a container's files, which `docker export` writes: devices, links, thousands of members."""
    if len(survey.tops & SYSTEM_FOLDERS) >= 2:
        raise ImageInvalid(
            Reason.NOT_AN_ARCHIVE,
            "This is the file system of a container, as `docker export` writes it: it says nothing of what to run. "
            "Upload the output of `docker save NAME:TAG`.",
        )


def member_name(entry: Entry) -> str:
    """The member's name without a leading `./`. Names are only ever compared, never used as paths."""
    return entry.name.decode(errors="replace").removeprefix("./").rstrip("/")


def find_image(*, survey: Survey, architecture: str, limits: IntakeLimits) -> ImageLayout:
    """The image to run: from `manifest.json` where `docker save` wrote one, else from `index.json`."""
    if "manifest.json" in survey.sizes:
        config_name, layers = _docker_members(parse_document(_document(survey, "manifest.json", limits)))
    elif "index.json" in survey.sizes:
        config_name, layers = _oci_members(survey=survey, architecture=architecture, limits=limits)
    else:
        _refuse_export(survey)
        if "Dockerfile" in survey.sizes:
            raise ImageInvalid(
                Reason.NOT_AN_ARCHIVE,
                "The archive holds a Dockerfile and no image. Build it (`docker build -t NAME .`) and upload the output of "
                "`docker save NAME`.",
            )
        raise ImageInvalid(
            Reason.NOT_AN_ARCHIVE,
            "The archive has neither manifest.json nor index.json at its top, so it holds no image. "
            "Upload the output of `docker save` (not of `docker export`).",
        )
    if len(layers) > limits.layers:
        raise ImageInvalid(
            Reason.TOO_MANY_LAYERS,
            f"The image has {len(layers)} layers; at most {limits.layers} can be loaded. Join RUN lines, or build with --squash.",
        )
    config = _document(survey, config_name, limits)
    return ImageLayout(config=config, layers=tuple(_resolved(survey, name) for name in layers))


def parse_document(raw: bytes) -> Any:
    """JSON without what JSON does not have: NaN, duplicate keys, bottomless nesting."""

    def unique(pairs: list[tuple[str, Any]]) -> Document:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key appears twice")
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON value")

    try:
        return json.loads(raw, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ImageInvalid(
            Reason.MALFORMED, f"A JSON document of the archive cannot be read: {str(error)[:200]}."
        ) from None


def _docker_members(manifest: Any) -> tuple[str, list[str]]:
    if not isinstance(manifest, list) or len(manifest) != 1:
        count = len(manifest) if isinstance(manifest, list) else "no"
        raise ImageInvalid(
            Reason.NOT_ONE_IMAGE,
            f"The archive holds {count} images, expected one. Save one image: `docker save NAME:TAG`.",
        )
    entry = _object(manifest[0], "manifest.json")
    return _string(entry.get("Config"), "Config"), _strings(entry.get("Layers"), "Layers")


def _oci_members(*, survey: Survey, architecture: str, limits: IntakeLimits) -> tuple[str, list[str]]:
    manifest = _oci_manifest(
        survey=survey, index=_load(survey, "index.json", limits), architecture=architecture, limits=limits, depth=0
    )
    layers = manifest.get("layers")
    if not isinstance(layers, list):
        raise ImageInvalid(Reason.MALFORMED, "The image manifest lists no layers.")
    return _blob(manifest.get("config")), [_blob(layer) for layer in layers]


def _oci_manifest(*, survey: Survey, index: Document, architecture: str, limits: IntakeLimits, depth: int) -> Document:
    """Follow indexes down to the manifest of our platform. Attestations are passed over."""
    listed = index.get("manifests")
    entries = [_object(entry, "index") for entry in listed] if isinstance(listed, list) else []
    images = [entry for entry in entries if _is_for(entry, architecture)]
    if len(images) != 1 or depth >= MAX_INDEX_DEPTH:
        platforms = sorted({_platform(entry) for entry in entries})
        raise ImageInvalid(
            Reason.WRONG_PLATFORM if entries and not images else Reason.NOT_ONE_IMAGE,
            f"The archive holds {len(images)} images for linux/{architecture}, expected one (found: {', '.join(platforms)[:200]}).",
        )
    document = _load(survey, _blob(images[0]), limits)
    if "manifests" in document:
        return _oci_manifest(survey=survey, index=document, architecture=architecture, limits=limits, depth=depth + 1)
    return document


def _is_for(entry: Document, architecture: str) -> bool:
    """A descriptor without a platform may be anything: its configuration tells later."""
    return _platform(entry) in ("any", f"linux/{architecture}")


def _platform(entry: Document) -> str:
    platform = entry.get("platform")
    return f"{platform.get('os')}/{platform.get('architecture')}" if isinstance(platform, dict) else "any"


def _blob(descriptor: Any) -> str:
    """The member a descriptor points at: `blobs/sha256/<hex>`."""
    digest = _string(_object(descriptor, "descriptor").get("digest"), "digest")
    algorithm, _, value = digest.partition(":")
    return f"blobs/{algorithm}/{value}"


def _resolved(survey: Survey, name: str) -> str:
    """The file that holds a layer. `docker save` writes a layer that occurs twice as a link to its first copy."""
    target = survey.links.get(name)
    if target is not None and not target.startswith("/"):
        name = normpath(join(dirname(name), target))
    if name not in survey.sizes:
        raise ImageInvalid(
            Reason.LAYER_MISMATCH,
            f"The layer {name[:200]!r} is not a file of the archive. Save the image again, completely.",
        )
    return name


def _load(survey: Survey, name: str, limits: IntakeLimits) -> Document:
    return _object(parse_document(_document(survey, name, limits)), name)


def _document(survey: Survey, name: str, limits: IntakeLimits) -> bytes:
    if survey.sizes.get(name, 0) > limits.document_bytes:
        raise ImageInvalid(
            Reason.CONFIGURATION_TOO_LARGE,
            f"{name[:100]!r} has {survey.sizes[name]:,} bytes; at most {limits.document_bytes:,} are allowed. "
            "Remove large ENV and LABEL values.",
        )
    if name not in survey.documents:
        raise ImageInvalid(Reason.MALFORMED, f"The archive refers to the document {name[:200]!r}, which is not in it.")
    document = survey.documents[name]
    if name.startswith("blobs/sha256/") and hashlib.sha256(document).hexdigest() != name.removeprefix("blobs/sha256/"):
        raise ImageInvalid(
            Reason.MALFORMED, f"The content of {name[:100]!r} does not have the hash that names it: save it again."
        )
    return document


def _object(value: Any, what: str) -> Document:
    if not isinstance(value, dict):
        raise ImageInvalid(Reason.MALFORMED, f"{what[:100]} of the archive is no JSON object.")
    return value


def _string(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ImageInvalid(Reason.MALFORMED, f"{what} in the archive's manifest is missing or no text.")
    return value.removeprefix("./")


def _strings(value: Any, what: str) -> list[str]:
    if not isinstance(value, list) or not value:
        raise ImageInvalid(Reason.MALFORMED, f"{what} in the archive's manifest is missing or empty.")
    return [_string(item, what) for item in value]
