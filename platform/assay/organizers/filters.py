"""Which submissions a list shows: everything that the address asks for, at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from assay.challenges.models import Challenge
from assay.pages.templatetags.assay import status_words
from assay.runs.models import CaseRun
from assay.submissions.models import Submission
from assay.verdict_words import verdict_words

Text = str | Promise
STATES: Mapping[str, tuple[Text, Q]] = {
    "ranked": (
        _("ranked or to be ranked"),
        Q(is_disqualified=False, is_withdrawn=False, is_hidden=False, is_late=False),
    ),
    "disqualified": (_("disqualified"), Q(is_disqualified=True)),
    "withdrawn": (_("taken back by the team"), Q(is_withdrawn=True)),
    "hidden": (_("hidden"), Q(is_hidden=True)),
    "flagged": (_("flagged"), ~Q(flag="")),
    "chosen": (_("chosen by the team"), Q(is_chosen=True)),
    "late": (_("late"), Q(is_late=True)),
    "baseline": (_("baseline"), Q(is_baseline=True)),
    "rerun": (_("run again"), Q(rerun_of__isnull=False)),
    "uncharged": (_("attempt given back"), Q(is_charged=False)),
    "imported": (_("copied from a table"), ~Q(imported_from="")),
}
FAULTS: Mapping[str, Text] = {
    "participant": _("the team"),
    "organizer": _("the organizers"),
    "platform": _("the platform"),
}
AGES: Mapping[str, tuple[Text, timedelta]] = {
    "1": (_("in 24 hours"), timedelta(days=1)),
    "7": (_("in 7 days"), timedelta(days=7)),
    "30": (_("in 30 days"), timedelta(days=30)),
}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One list of a filter form."""

    name: str
    label: Text
    options: tuple[tuple[str, Text], ...]
    value: str


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What was asked for. Anything that is no choice is left out."""

    values: Mapping[str, str]

    def rows(self, challenge: Challenge, *, now: datetime) -> QuerySet[Submission]:
        """The submissions, newest first."""
        rows = challenge.submissions.select_related("team").prefetch_related("phase")
        values = self.values
        if text := values.get("q"):
            named = Q(name__icontains=text) | Q(team__name__icontains=text)
            number = text.removeprefix("#")
            rows = rows.filter(named | Q(number=int(number)) if number.isdecimal() and len(number) < 9 else named)
        columns = {
            "status": "status",
            "phase": "phase__slug",
            "verdict": "verdict",
            "fault": "fault",
            "division": "division",
        }
        rows = rows.filter(**{column: values[name] for name, column in columns.items() if values.get(name)})
        if (state := values.get("state", "")) in STATES:
            rows = rows.filter(STATES[state][1])
        if (age := values.get("age", "")) in AGES:
            rows = rows.filter(created_at__gte=now - AGES[age][1])
        if node := values.get("node"):
            ran = CaseRun.objects.filter(run__submission=OuterRef("pk"), node__name=node)
            rows = rows.filter(Exists(ran))
        return rows.order_by("-created_at", "-number")


NAMES = ("q", "status", "phase", "verdict", "fault", "division", "state", "age", "node")


def filter_of(request: HttpRequest | QueryDict) -> Filter:
    """The filter in an address."""
    query = request.GET if isinstance(request, HttpRequest) else request
    return Filter(values={name: value[:80] for name in NAMES if (value := query.get(name, "").strip())})


def choices_of(challenge: Challenge, chosen: Filter) -> list[Choice]:
    """The lists of the form, each with what there is to choose. Four queries."""
    rows = challenge.submissions.order_by()
    verdicts = sorted(rows.exclude(verdict="").values_list("verdict", flat=True).distinct())
    phases = list(challenge.phases.all())
    divisions = sorted({name for phase in phases for name in phase.divisions})
    nodes = CaseRun.objects.filter(run__submission__challenge=challenge, node__isnull=False).order_by()
    lists: list[tuple[str, Text, list[tuple[str, Text]]]] = [
        ("status", _("Status"), [(name, status_words(name)) for name in Submission.Status.values]),
        ("phase", _("Phase"), [(phase.slug, phase.title) for phase in phases]),
        ("verdict", _("Verdict"), [(name, verdict_words(name)) for name in verdicts]),
        ("fault", _("Whose fault"), list(FAULTS.items())),
        ("state", _("State"), [(name, words) for name, (words, _where) in STATES.items()]),
        ("age", _("Submitted"), [(name, words) for name, (words, _since) in AGES.items()]),
        ("division", _("Division"), [(name, name) for name in divisions]),
        ("node", _("Ran on"), [(name, name) for name in sorted(set(nodes.values_list("node__name", flat=True)))]),
    ]
    return [
        Choice(name=name, label=label, options=tuple(options), value=chosen.values.get(name, ""))
        for name, label, options in lists
        if options
    ]
