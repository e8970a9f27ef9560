"""Identifiers that arrive as text, in forms."""

from uuid import UUID

from assay.accounts.errors import InvalidError


def identifier(text: str) -> UUID:
    """The UUID that `text` writes. Raises InvalidError where it writes none."""
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidError(
            "This is no identifier.",
            found=text[:40],
            expected="a UUID",
            what_to_do="Reload the page and choose again.",
        ) from error
