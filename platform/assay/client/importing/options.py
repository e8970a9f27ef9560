"""What a person may tell an importer, beyond the source itself."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Options:
    """Answers that a source does not give. Empty: the importer decides, and notes it."""

    slug: str = ""
    title: str = ""
    protocol: str = ""
    """A shipped protocol or a protocol file, instead of rules derived from the source."""
    cases: str = "auto"
    """`test`, `training` or `auto`: which cases become the hidden test set."""
    modalities: tuple[str, ...] = ()
    """BIDS suffixes that are inputs, such as T1w."""
    pipeline: str = ""
    """The folder below `derivatives/` that holds the references."""
