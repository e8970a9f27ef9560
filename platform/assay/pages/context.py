"""What every page's template may use without asking: the chosen colours, and what the script says in the page's language."""

from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

THEMES = ("light", "dark")
SCRIPT_WORDS = (
    _("%(moment)s (your time)"),
    _("Copied"),
    _("Select it and copy it by hand."),
    _("Pause"),
    _("Resume"),
    _("paused"),
    _("%(done)s of %(total)s"),
    _("About %(time)s left."),
    _("Upload stopped: %(message)s Nothing is lost: choose the same file and submit again to continue."),
    _("Received. Checking…"),
    _("The connection is gone. The upload goes on by itself when it is back; you need do nothing."),
    _("Looking whether your team has submitted this file before…"),
    _("Your team has submitted this very file already, as #%(number)s %(name)s. Nothing was sent."),
    _("Continuing an earlier upload of this file…"),
    _("Live updates paused, retrying"),
    _("live"),
    _("This browser has no WebGL 2, which the viewer needs. The files below open in any NIfTI viewer."),
    _("Loading…"),
    _("a zip is handed in alone"),
    _("no expected name"),
    _("empty"),
    _("a second file for %(name)s"),
    _("Files sent as one zip: %(count)s (%(size)s)"),
    _("Expected files that are missing: %(count)s (%(names)s)"),
    _("Files that are not sent: %(count)s"),
    _("None of these files has an expected name. Nothing was sent."),
    _("These files are too large for a zip made here. Make a zip yourself, or use the command."),
    _("Packing %(done)s of %(total)s files…"),
)
"""What `assay.js` and `many_files.js` say."""


def theme(request: HttpRequest) -> dict[str, str]:
    """`theme` is light, dark, or empty for what the system says. From a cookie, so the first paint is right."""
    chosen = request.COOKIES.get("theme", "")
    return {"theme": chosen if chosen in THEMES else ""}


def script_words(request: HttpRequest) -> dict[str, dict[str, str]]:  # noqa: ARG001 - Django's signature
    """The translations for `assay.js`. Empty where the page speaks the script's own language."""
    translated = {sentence: gettext(sentence) for sentence in SCRIPT_WORDS}
    return {"script_words": {sentence: words for sentence, words in translated.items() if words != sentence}}
