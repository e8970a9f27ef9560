"""What is wrong with a ranking or its report, or left out of it: rows keep a reason and its figures, sentences are made here."""

from collections.abc import Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

Facts = Mapping[str, Any]
"""`{"reason": a key of REASONS, …its figures}`. Empty when there is nothing to say."""

UNFINISHED: Facts = {"reason": "unfinished"}
NOT_UP_TO_DATE: Facts = {"reason": "not_up_to_date"}

REASONS: Mapping[str, str | Promise] = {
    "unfinished": _("it was begun and did not end: too much time or memory for its protocol"),
    "failed": "%(said)s",
    "too_much_work": _(
        "found %(steps).1e steps to rank %(submissions)s submissions on %(cases)s cases; expected at most %(most).1e: push a protocol "
        "with a cheaper `ranking.scheme` or `ranking.significance`"
    ),
    "not_up_to_date": _(
        "The ranking is not up to date: its rules ask for more work than it is given. The organizers see why."
    ),
    "no_memory": _("Ranks have no intervals: to compute them takes more memory than a worker is given."),
    "no_replicates": _(
        "Ranks have no intervals: %(wanted)s resamplings of %(submissions)s submissions on %(cases)s cases take too long."
    ),
    "fewer_replicates": _(
        "Intervals are over %(found)s resamplings of the cases: %(wanted)s resamplings of %(submissions)s submissions on %(cases)s "
        "cases take too long."
    ),
}


def failure(error: Exception) -> Facts:
    """An error as facts: what it carries, else what it says."""
    return getattr(error, "facts", None) or {"reason": "failed", "said": f"{type(error).__name__}: {error}"[:300]}


def sentence(facts: Facts) -> str:
    """The facts in the reader's language. Empty for none."""
    if not facts:
        return ""
    reason = facts["reason"]
    return str(REASONS.get(reason, reason.replace("_", " "))) % facts
