"""The name of each verdict, as pages and mails say it."""

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

NOT_BUILT = "not_built"
"""Of code that could not be built by the organizers' fault. It is said in notices, and no verdict of a run."""
VERDICTS: Mapping[str, str | Promise] = {
    "ok": _("OK"),
    "cancelled": _("Cancelled"),
    "infrastructure": _("Platform fault"),
    "image_invalid": _("Image refused"),
    NOT_BUILT: _("Code not built"),
    "timeout": _("Time limit"),
    "out_of_memory": _("Memory limit"),
    "output_too_large": _("Output too big"),
    "nonzero_exit": _("Crashed"),
    "output_missing": _("No output"),
    "output_invalid": _("Unusable output"),
    "reference_invalid": _("Reference invalid"),
    "metrics_failed": _("Metrics failed"),
    "unrun": _("Not run"),
}


def verdict_words(verdict: str) -> str:
    """A verdict as people read it. One that is not listed is said by its code."""
    return str(VERDICTS.get(verdict, verdict.replace("_", " ").capitalize() if verdict else ""))
