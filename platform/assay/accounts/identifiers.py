"""Identifiers that arrive as text, in forms."""

from uuid import UUID

from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError


def identifier(text: str) -> UUID:
    """The UUID that `text` writes. Raises InvalidError where it writes none."""
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidError(
            _("This is no identifier."),
            found=text[:40],
            expected=_("a UUID"),
            what_to_do=_("Reload the page and choose again."),
        ) from error
