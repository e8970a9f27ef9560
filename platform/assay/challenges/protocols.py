"""A stored protocol version as the evaluator's record."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from assay.challenges.models import ProtocolVersion
from evaluator.protocol import Protocol, load_protocol

KEPT = 64


@dataclass(frozen=True, kw_only=True)
class Document:
    """The text of a protocol, which its hash stands for."""

    sha256: str
    content: Mapping[str, Any] = field(compare=False)


def rules_of(version: ProtocolVersion) -> Protocol:
    """The checked protocol. Checked ones are kept, because checking (5 to 20 ms) takes longer than a whole claim may."""
    return _checked(Document(sha256=version.sha256, content=version.document))


@lru_cache(maxsize=KEPT)
def _checked(document: Document) -> Protocol:
    return load_protocol(json.loads(json.dumps(document.content, sort_keys=True)))
