"""The family tree of everything this library raises on purpose.

    EvaluatorError
    ├── ProtocolError      the protocol document is wrong: says where (line, column), what was found and what is expected
    ├── InvalidVolume      an untrusted file is not an acceptable volume: a reason from the closed list `Reason`
    ├── InvalidReference   our own reference cannot be used: the organizer's fault, never the participant's
    └── UnavailableBackend the chosen backend cannot run on this machine

Texts never hold a path or a host name: they travel to participants.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

__all__ = ["EvaluatorError", "InvalidReference", "InvalidVolume", "ProtocolError", "Reason", "UnavailableBackend"]


class EvaluatorError(Exception):
    """Anything this library refuses to do, with a text fit for the person who asked."""


class ProtocolError(EvaluatorError):
    """A protocol document that cannot be used. `line` and `column` count from 1. 0 means the whole document."""

    def __init__(self, *, where: str, found: str, expected: str, line: int = 0, column: int = 0) -> None:
        self.where = where
        self.found = found
        self.expected = expected
        self.line = line
        self.column = column
        position = f"line {line}, column {column}: " if line else ""
        super().__init__(f"{position}{where}: found {found}; expected {expected}")


class Reason(StrEnum):
    """Why an untrusted volume or table was refused. The list is closed: these words are all a participant ever sees."""

    MISSING = "missing"
    NOT_A_REGULAR_FILE = "not_a_regular_file"
    TOO_LARGE = "too_large"
    FORMAT_UNSUPPORTED = "format_unsupported"
    GZIP_CORRUPT = "gzip_corrupt"
    TRUNCATED = "truncated"
    TRAILING_DATA = "trailing_data"
    HEADER_INVALID = "header_invalid"
    EXTERNAL_DATA = "external_data"
    DIMENSIONS_INVALID = "dimensions_invalid"
    DATA_TYPE_UNSUPPORTED = "data_type_unsupported"
    SCALED = "scaled"
    SPACING_INVALID = "spacing_invalid"
    AFFINE_INVALID = "affine_invalid"
    NOT_FINITE = "not_finite"
    NOT_INTEGRAL = "not_integral"
    LABEL_UNKNOWN = "label_unknown"
    SHAPE_MISMATCH = "shape_mismatch"
    SPACING_MISMATCH = "spacing_mismatch"
    AFFINE_MISMATCH = "affine_mismatch"
    TOO_FRAGMENTED = "too_fragmented"
    DOCUMENT_INVALID = "document_invalid"
    TABLE_INVALID = "table_invalid"
    TABLE_COLUMNS = "table_columns"
    TABLE_ROWS = "table_rows"
    READER_LIMIT = "reader_limit"


class InvalidVolume(EvaluatorError):
    """An untrusted file that is not an acceptable volume."""

    def __init__(self, *, reason: Reason, found: str, expected: str) -> None:
        self.reason = reason
        self.found = found
        self.expected = expected
        self.detail = f"found {found}; expected {expected}"
        super().__init__(f"{reason}: {self.detail}")


def too_fragmented(*, found: int, allowed: int, what: str) -> InvalidVolume:
    """A mask that falls into more pieces than any anatomy has: noise, or an attempt to exhaust the machine that scores it."""
    return InvalidVolume(
        reason=Reason.TOO_FRAGMENTED, found=f"a structure of {found} {what}", expected=f"at most {allowed}"
    )


class InvalidReference(EvaluatorError):
    """A reference of ours that cannot be used: the organizer's fault, so no participant is ever scored against it."""


@contextmanager
def reference_errors() -> Iterator[None]:
    """Turns InvalidVolume into InvalidReference, around code that reads a reference."""
    try:
        yield
    except InvalidVolume as problem:
        raise InvalidReference(f"the reference cannot be used: {problem}") from problem


class UnavailableBackend(EvaluatorError):
    """The chosen backend cannot run here. The text says what is missing and what to choose instead."""
