"""Names that people choose: what may be written in one, and when two look the same. Pure.

Two names are the same when their keys are: compatibility forms folded (NFKC), case folded, invisible characters removed, spaces
collapsed. `Quin`, `ＱＵＩＮ` and `Q\\u200duin` are one name. The database holds the key in a column of its own, with a unique
constraint. Letters of different scripts that look alike (Latin a, Cyrillic а) stay different: folding them would merge names that
people of those scripts use.
"""

import hashlib
import re
import unicodedata

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from assay.accounts.errors import InvalidError

LONGEST_KEY = 200
KEPT_OF_LONG_KEY = 160
MOST_MARKS = 4
BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Unicode's Default_Ignorable_Code_Point, and the blank Braille pattern."""
REFUSED_CATEGORIES = {
    "Cc": gettext_lazy("a control character"),
    "Cs": gettext_lazy("half of a surrogate pair"),
    "Co": gettext_lazy("a character for private use"),
    "Cn": gettext_lazy("a character that is not assigned"),
    "Zl": gettext_lazy("a line separator"),
    "Zp": gettext_lazy("a paragraph separator"),
}


def name_key(name: str) -> str:
    """What of a name tells it from others, for a column of `LONGEST_KEY` characters. The same key for every spelling that looks the same.

    A name of the first version may be longer once it is folded (one character may become eighteen): its key ends in a hash.
    """
    key = whole_key(name)
    return (
        key
        if len(key) <= LONGEST_KEY
        else f"{key[:KEPT_OF_LONG_KEY].rstrip()} {hashlib.sha256(key.encode()).hexdigest()[:16]}"
    )


def whole_key(name: str) -> str:
    """The key at its full length."""
    folded = unicodedata.normalize("NFKC", INVISIBLE.sub("", name)).casefold()
    return " ".join(INVISIBLE.sub("", unicodedata.normalize("NFKC", folded)).split())


def clean_name(text: str, *, what: str, longest: int, field: str = "") -> str:
    """A name as we keep it. Raises InvalidError for one that is empty, too long, or written to deceive."""
    name = clean_line(text, what=what, longest=longest, field=field)
    key = whole_key(name)
    if not any(unicodedata.category(character)[0] in "LN" for character in key):
        raise InvalidError(
            _("%(what)s needs letters or digits.") % {"what": what},
            found=ascii(text[:80]),
            expected=_("such as 'Blue Lab'"),
            field=field,
        )
    if len(key) > LONGEST_KEY:
        raise InvalidError(
            _("%(what)s is too long.") % {"what": what},
            found=_("%(key)s characters") % {"key": len(key)},
            expected=_("at most %(longest_key)s characters") % {"longest_key": LONGEST_KEY},
            field=field,
        )
    return name


def clean_line(text: str, *, what: str, longest: int, field: str = "") -> str:
    """One line of text, possibly empty, without characters that change how what stands beside it is read."""
    for character in text.strip():
        refusal = refused(character)
        if refusal:
            raise InvalidError(
                _("%(what)s contains %(refusal)s.") % {"what": what, "refusal": refusal},
                found=f"U+{ord(character):04X}",
                expected=_("one line of letters, digits and signs"),
                what_to_do=_("Type it again without that character."),
                field=field,
            )
    line = " ".join(unicodedata.normalize("NFC", text).split())
    if marks_in_a_row(line) > MOST_MARKS:
        raise InvalidError(
            _("%(what)s has more than %(most_marks)s accents on one letter.")
            % {"what": what, "most_marks": MOST_MARKS},
            expected=_("fewer accents"),
            field=field,
        )
    if len(line) > longest:
        raise InvalidError(
            _("%(what)s is too long.") % {"what": what},
            found=_("%(line)s characters") % {"line": len(line)},
            expected=_("at most %(longest)s characters") % {"longest": longest},
            field=field,
        )
    return line


def refused(character: str) -> str:
    """Why a character may stand in no name. Empty where it may."""
    if BIDI.match(character):
        return _("a character that changes the direction of the text")
    return str(REFUSED_CATEGORIES.get(unicodedata.category(character), ""))


def marks_in_a_row(text: str) -> int:
    """The most combining marks that follow one letter."""
    longest = current = 0
    for character in text:
        current = current + 1 if unicodedata.combining(character) else 0
        longest = max(longest, current)
    return longest
