"""Tables that were published elsewhere: taken onto a leaderboard, and a leaderboard given out in their columns.

An imported row is a submission without an image, a run or a receipt, of a team without members. It is ranked like every other row,
says where it was copied from, and wins no prize. Its cases are the phase's: where the phase has a test set, the table must name
exactly those cases. Where it has none, the first table's cases become a list of names without files, which nobody can submit to.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Max
from django.utils.text import slugify
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError, NotAllowedError
from assay.accounts.models import Team, User
from assay.accounts.services import free_team_name
from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluations.disclosure import releases_cases
from assay.evaluations.models import CaseScores, Evaluation
from assay.evaluations.specs import stored_result
from assay.leaderboards.models import LeaderboardEntry
from assay.leaderboards.parts import part_for
from assay.leaderboards.services import ask_for_rebuild
from assay.submissions.models import Submission
from assay.submissions.reasons import Reason
from assay.submissions.services import lock_phase, next_number, withdraw_submission
from assay.testsets.models import Case, PhaseTestSet, TestSet
from evaluator.layouts import Layout, LayoutError, load_layout, read_tables, write_tables
from evaluator.results import CaseResult
from evaluator.scoring import summarise

TESTSET_NAME = "published-cases"
LONGEST_NAME = 80


def layout_named(name: str) -> Layout:
    """A layout by name, or what there is."""
    try:
        return load_layout(name)
    except LayoutError as problem:
        raise InvalidError(_("There is no such layout."), found=name, expected=str(problem)) from problem


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """One algorithm's published scores: `tables` maps names of files to their text, in the columns of `layout`."""

    phase: Phase
    user: User
    layout: Layout
    name: str
    source_url: str
    tables: Mapping[str, str]


def import_table(table: PublishedTable, *, now: datetime) -> Submission:
    """The scores as a finished row of the phase. A row of the same name gives way to it."""
    user, layout, name, source_url = table.user, table.layout, table.name, table.source_url
    protocol = rules_of(table.phase.protocol)
    try:
        results = read_tables(layout, protocol, table.tables)
    except LayoutError as problem:
        raise InvalidError(
            _("The table does not have the columns of %(title)s.") % {"title": layout.title},
            code="invalid_table",
            expected=str(problem),
        ) from problem
    with transaction.atomic():
        phase = lock_phase(table.phase)
        testset = _testset_for(phase=phase, results=results, now=now)
        cases = {case.case_id: case for case in testset.cases.all()}
        _refuse_other_cases(results, cases=cases)
        for earlier in phase.submissions.filter(name=name, is_withdrawn=False).exclude(imported_from=""):
            withdraw_submission(submission=earlier, user=user, now=now)
        submission = _submission(phase=phase, testset=testset, user=user, name=name, source_url=source_url, now=now)
        _store_scores(submission, results=results, cases=cases, now=now)
        record_event(
            actor=user,
            verb="submission.imported",
            subject=submission,
            challenge_slug=phase.challenge.slug,
            now=now,
            phase=phase.slug,
            layout=layout.name,
            source=source_url,
        )
        ask_for_rebuild(phase_id=phase.pk, now=now)
    return submission


def _store_scores(
    submission: Submission, *, results: Sequence[CaseResult], cases: Mapping[str, Case], now: datetime
) -> None:
    """A finished evaluation with these scores, the one that counts."""
    attributes = {case_id: case.attributes for case_id, case in cases.items()}
    evaluation = Evaluation.objects.create(
        submission=submission,
        number=1,
        protocol=submission.protocol,
        testset=submission.testset,
        status=Evaluation.Status.DONE,
        is_active=True,
        backend="published",
        aggregates=summarise(rules_of(submission.protocol), results, attributes),
        created_at=now,
        finished_at=now,
    )
    CaseScores.objects.bulk_create(
        CaseScores(evaluation=evaluation, case=cases[result.case_id], scores=[row.to_json() for row in result.rows])
        for result in results
    )


def export_tables(*, phase: Phase, layout: Layout, is_organizer: bool, now: datetime) -> dict[str, str]:
    """`<row>/<file>` → text, for every row of the leaderboard. Single cases are for readers who may see them."""
    if not is_organizer and not (releases_cases(phase, phase.protocol) and phase.shows_results(now)):
        raise NotAllowedError(
            _("The scores of single cases are not released."),
            what_to_do=_("See on the phase's page what it releases, and when."),
        )
    is_anonymous = phase.is_anonymous and not is_organizer
    files: dict[str, str] = {}
    part = part_for(phase, is_organizer=is_organizer)
    entries = LeaderboardEntry.objects.filter(phase=phase, part=part).select_related("submission__team", "evaluation")
    for entry in entries.order_by("submission__number"):
        submission = entry.submission
        team = "" if is_anonymous else slugify(submission.team.name)
        folder = "-".join(part for part in (f"{submission.number:04}", team) if part)
        rows = CaseScores.objects.filter(evaluation=entry.evaluation).select_related("case").order_by("case__position")
        results = [stored_result(row, backend=entry.evaluation.backend) for row in rows]
        for name, text in write_tables(layout, rules_of(phase.protocol), results).items():
            files[f"{folder}/{name}"] = text
    return files


def _testset_for(*, phase: Phase, results: Sequence[CaseResult], now: datetime) -> TestSet:
    """The cases the phase is about: its test set, those of an earlier import, or a new list of names."""
    chosen = PhaseTestSet.objects.filter(phase=phase).select_related("testset").defer("testset__report").first()
    if chosen is not None:
        return chosen.testset
    imported = phase.submissions.exclude(imported_from="").filter(is_withdrawn=False)
    earlier = imported.select_related("testset").defer("testset__report").first()
    if earlier is not None:
        return earlier.testset
    names = [result.case_id for result in results]
    kept = TestSet.objects.filter(challenge=phase.challenge, name=TESTSET_NAME)
    testset = TestSet.objects.create(
        challenge=phase.challenge,
        name=TESTSET_NAME,
        version=(kept.aggregate(last=Max("version"))["last"] or 0) + 1,
        sha256=hashlib.sha256("\n".join(names).encode()).hexdigest(),
        notice="Names of the cases of a published table; there are no files.",
        created_at=now,
        frozen_at=now,
    )
    Case.objects.bulk_create(
        Case(testset=testset, case_id=case_id, position=position) for position, case_id in enumerate(names)
    )
    return testset


def _refuse_other_cases(results: Sequence[CaseResult], *, cases: Mapping[str, Case]) -> None:
    """A ranking compares algorithms on the same cases."""
    named = {result.case_id for result in results}
    if named == set(cases):
        return
    odd = sorted(named ^ set(cases))
    raise ConflictError(
        _("The table is about other cases than this phase."),
        code="other_cases",
        found=_("%(named)s cases, among those that differ %(odd)s") % {"named": len(named), "odd": ", ".join(odd[:3])},
        expected=_("the %(cases)s cases of the phase") % {"cases": len(cases)},
        what_to_do=_("Import it into a phase of its own, or complete the table."),
    )


def _submission(*, phase: Phase, testset: TestSet, user: User, name: str, source_url: str, now: datetime) -> Submission:
    slug = f"_published-{phase.pk}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"  # nobody can take such a name
    existing = Team.objects.filter(slug=slug).first()
    team = existing or Team.objects.create(
        slug=slug, name=free_team_name(name[:LONGEST_NAME], owner="published"), created_at=now
    )
    return Submission.objects.create(
        phase=phase,
        challenge=phase.challenge,
        number=next_number(phase),
        protocol=phase.protocol,
        testset=testset,
        created_at=now,
        status_changed_at=now,
        team=team,
        submitted_by=user,
        name=name,
        imported_from=source_url,
        status=Submission.Status.DONE,
        reason=Reason.PUBLISHED_TABLE,
        is_charged=False,
        finished_at=now,
    )
