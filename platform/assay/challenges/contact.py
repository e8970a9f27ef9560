"""How people reach the organizers: a mail address or an https address, and where it leads.

A text of another kind that a row has from before stays until somebody changes it. What `assay challenge new` leaves to be written stays
too, because a draft is pushed before it is complete: the list of what has to be ready names it.
"""

import re

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.translation import gettext as _

from assay.challenges.definition import ChallengeDefinition, Reader

SECURE_ADDRESS = re.compile(r"https://[^\s<>\"'/]+\.[^\s<>\"']+")
TO_BE_WRITTEN = "⟨"


def link_of(contact: str) -> str:
    """The address that a link to it has. Empty where it is neither."""
    if SECURE_ADDRESS.fullmatch(contact):
        return contact
    try:
        validate_email(contact)
    except ValidationError:
        return ""
    return f"mailto:{contact}"


def check_contact(*, before: str, definition: ChallengeDefinition, source: str) -> None:
    """Refuse a new contact that leads nowhere, at its line. `before`: what the row says. Raises `InvalidError`."""
    contact = definition.contact
    if contact in ("", before) or TO_BE_WRITTEN in contact or link_of(contact):
        return
    raise Reader.of_text(source).error(
        _("`contact` is how people reach you."),
        key="contact",
        found=contact,
        expected=_("a mail address such as organizers@example.org, or an address that begins with https://"),
    )
