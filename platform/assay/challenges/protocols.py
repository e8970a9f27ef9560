"""A stored protocol version as the evaluator's record."""

import json
from functools import lru_cache

from assay.challenges.models import ProtocolVersion
from evaluator.protocol import Protocol, load_protocol

KEPT = 64


def rules_of(version: ProtocolVersion) -> Protocol:
    """The checked protocol. Checked ones are kept, because checking (5 to 20 ms) takes longer than a whole claim may."""
    return _checked(json.dumps(version.document, sort_keys=True))


@lru_cache(maxsize=KEPT)
def _checked(document: str) -> Protocol:
    return load_protocol(json.loads(document))
