"""The document that decides every number of a challenge: read, checked against its schema, and turned into records."""

from evaluator.protocol.conventions import Situation
from evaluator.protocol.modes import Defect, Mode
from evaluator.protocol.rules import (
    MADE_INPUTS,
    PROTOCOLS_FOLDER,
    InputKind,
    InputSpec,
    Interaction,
    LabelSpec,
    MetricImage,
    MetricSpec,
    OutputKind,
    OutputSpec,
    Protocol,
    Release,
    ReportSection,
    Resources,
    given_name,
    hash_document,
    load_named_protocol,
    load_protocol,
    named_protocols,
    read_protocol,
)
from evaluator.protocol.sockets import slug_of, socket_entry
from evaluator.protocol.words import SITUATIONS, worth_words
from evaluator.protocol.work import MOST_SCORES, check_work, scores_of_a_case

__all__ = [
    "MADE_INPUTS",
    "MOST_SCORES",
    "PROTOCOLS_FOLDER",
    "SITUATIONS",
    "Defect",
    "InputKind",
    "InputSpec",
    "Interaction",
    "LabelSpec",
    "MetricImage",
    "MetricSpec",
    "Mode",
    "OutputKind",
    "OutputSpec",
    "Protocol",
    "Release",
    "ReportSection",
    "Resources",
    "Situation",
    "check_work",
    "given_name",
    "hash_document",
    "load_named_protocol",
    "load_protocol",
    "named_protocols",
    "read_protocol",
    "scores_of_a_case",
    "slug_of",
    "socket_entry",
    "worth_words",
]
