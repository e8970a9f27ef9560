"""How much one person may do in a day that reaches strangers: found teams, and send invitations. History counts it."""

from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from assay.accounts.errors import LimitReachedError
from assay.accounts.models import AuditEvent, User

DAY = timedelta(days=1)
MOST_A_DAY = {"team.founded": 20, "team.invited": 20, "challenge.invited": 200}
"""Verb of history → how many of them. Each invitation is a mail to an address that we know nothing of. A team takes a name for good."""


def refuse_too_many(*, verb: str, by: User, now: datetime) -> None:
    """Raises LimitReachedError where somebody has done this too often, in whatever teams and challenges, also in those that are gone.

    Called in a transaction. Their row is locked, so that requests that arrive together are all counted.
    """
    User.objects.select_for_update(no_key=True).get(pk=by.pk)
    times = AuditEvent.objects.filter(actor=by, verb=verb, at__gt=now - DAY).order_by("at").values_list("at", flat=True)
    if len(times) >= MOST_A_DAY[verb]:
        raise LimitReachedError(
            _("You have done this very often today."),
            found=_("%(count)s within a day") % {"count": len(times)},
            expected=_("at most %(most)s within a day") % {"most": MOST_A_DAY[verb]},
            what_to_do=_("Go on tomorrow. If you need more, ask the operators."),
            retry_at=times[0] + DAY,
        )
