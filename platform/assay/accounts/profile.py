"""What people say about themselves."""

import re
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import InvalidError
from assay.accounts.models import User
from assay.accounts.names import clean_line

ORCID = re.compile(r"(?:https?://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])")
COUNTRY = re.compile(r"[A-Z]{2}")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """`country`: two letters of ISO 3166. `language`: of mails, empty for the installation's."""

    display_name: str
    institution: str = ""
    country: str = ""
    orcid: str = ""
    language: str = ""


def change_profile(*, user: User, profile: Profile, now: datetime) -> None:
    """Keep what somebody says about themselves. Raises InvalidError."""
    country, language = profile.country.strip().upper(), profile.language.strip()
    if country and not COUNTRY.fullmatch(country):
        raise InvalidError(
            _("A country is two letters."), found=country[:20], expected=_("such as DE, FR or US"), field="country"
        )
    if language and language not in dict(settings.LANGUAGES):
        raise InvalidError(
            _("There is no such language here."),
            found=language[:20],
            expected=", ".join(dict(settings.LANGUAGES)),
            field="language",
        )
    values = {
        "display_name": clean_line(
            profile.display_name, what=_("The name others see"), longest=80, field="display_name"
        ),
        "institution": clean_line(profile.institution, what=_("The institution"), longest=120, field="institution"),
        "country": country,
        "orcid": checked_orcid(profile.orcid),
        "language": language,
    }
    changed = [name for name, value in values.items() if getattr(user, name) != value]
    if changed:
        with transaction.atomic():
            User.objects.filter(pk=user.pk).update(**values)
            record_event(actor=user, verb="user.profile_changed", subject=user, now=now, changed=changed)
        user.refresh_from_db()


def checked_orcid(text: str) -> str:
    """An ORCID iD as 0000-0002-1825-0097. Empty stays empty. Its last character is ISO 7064's check of the others."""
    typed = text.strip()
    if not typed:
        return ""
    found = ORCID.fullmatch(typed)
    if found is None or check_character(found[1]) != found[1][-1]:
        raise InvalidError(
            _("This is no ORCID iD."), found=repr(typed[:60]), expected="0000-0002-1825-0097", field="orcid"
        )
    return found[1]


def check_character(orcid: str) -> str:
    """The last character that the first fifteen digits ask for.

    >>> check_character("0000-0002-1825-0097")
    '7'
    """
    total = 0
    for digit in orcid.replace("-", "")[:15]:
        total = (total + int(digit)) * 2
    result = (12 - total % 11) % 11
    return "X" if result == 10 else str(result)
