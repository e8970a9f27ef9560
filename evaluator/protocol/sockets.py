"""One entry of grand-challenge's inputs.json: a socket, and what it holds.

Source: the serializers of comic/grand-challenge.org (`ComponentInterfaceValueSerializer`, 2025) and the files that
DIAGNijmegen/rse-grand-challenge-forge writes. Current starter kits read `interface.slug` of every entry and nothing else.
"""

import re
import uuid
from typing import Any

PLACE_OF_IDS = uuid.UUID("6f0d7c2e-5b0e-4b7e-9a59-0d6f3f0f6a11")
"""A name space of our own: the platform's identifiers are random, ours follow from what a case is called in its container."""
SUPER_KINDS = {"image": "Image", "file": "File", "value": "Value"}
KINDS = {"Image": "Image", "File": "ZIP file", "Value": "Anything"}


def socket_entry(slug: str, *, kind: str, path: str, case_id: str) -> dict[str, Any]:
    """The entry of one input. An image's socket is the folder its file lies in; `value` is filled in where the file is at hand.

    `kind` is image, file or value; `path` lies below the input folder.
    """
    super_kind = SUPER_KINDS[kind]
    folder, _, name = path.rpartition("/")
    image = {"pk": identifier(case_id, slug, "image"), "name": name} if super_kind == "Image" else None
    return {
        "file": None if super_kind != "File" else path,
        "image": image,
        "value": None,
        "interface": {
            "title": slug.replace("-", " ").capitalize(),
            "description": "",
            "slug": slug,
            "kind": KINDS[super_kind],
            "pk": identifier(slug),
            "default_value": None,
            "super_kind": super_kind,
            "relative_path": folder if super_kind == "Image" else path,
            "overlay_segments": [],
            "look_up_table": None,
        },
    }


def slug_of(name: str) -> str:
    """A name as a socket has it: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def identifier(*parts: str) -> str:
    """The same for the same parts."""
    return str(uuid.uuid5(PLACE_OF_IDS, "\n".join(parts)))
