"""What the organizer console shows: readiness, today's numbers, what needs somebody. Constant query counts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Func, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.translation import gettext, ngettext

from assay.accounts.models import Team
from assay.challenges.models import Challenge, Membership, Phase
from assay.challenges.protocols import rules_of
from assay.challenges.tasks import tasks_of
from assay.evaluation_sites.models import Site, SiteAgreement, SiteDataset, SiteEvaluation
from assay.evaluations.leaks import Leak, leaks_of
from assay.evaluations.models import Evaluation
from assay.evaluations.pushing import missing_code_parts, missing_metric_images
from assay.evaluations.self_tests import newest_self_tests
from assay.leaderboards.models import REPORT_SET_ASIDE, Leaderboard
from assay.leaderboards.selectors import why_hidden_from_participants
from assay.leaderboards.words import sentence
from assay.pages.windows import window_status
from assay.submissions.budgets import nearly_spent
from assay.submissions.code_parts import takes_code
from assay.submissions.lifecycle import FINAL
from assay.submissions.models import Submission
from assay.submissions.reasons import words_for_organizers
from assay.submissions.services import NOT_THE_TEAMS
from assay.testsets.fitness import misfits
from assay.testsets.models import Case, TestSet


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the readiness list."""

    ok: bool
    text: str
    cure: str = ""
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Something an organizer has to look at."""

    text: str
    url: str


@dataclass(frozen=True, kw_only=True)
class PhaseRow:
    """One phase, and what the console says about it."""

    phase: Phase
    testset: TestSet | None
    case_total: int
    """Of the test set."""
    submission_total: int
    leak: Leak
    window_status: str
    is_released: bool
    """Whether participants see its results now."""
    can_release: bool = False
    """Whether it is over, and a release has something to open."""


def phases_of(challenge: Challenge, *, now: datetime) -> list[PhaseRow]:
    """The challenge's phases, each with what the console says about it."""
    phases = list(
        phases_with_testsets(challenge).annotate(
            submission_total=_total(Submission.objects.filter(phase=OuterRef("pk"))),
            case_total=_total(Case.objects.filter(testset=OuterRef("chosen_testset__testset"))),
        )
    )
    return [
        PhaseRow(
            phase=phase,
            testset=phase.chosen_testset.testset if hasattr(phase, "chosen_testset") else None,
            case_total=phase.case_total,
            submission_total=phase.submission_total,
            leak=leak,
            window_status=window_status(phase, now=now),
            is_released=not why_hidden_from_participants(phase, now=now),
            can_release=phase.is_over(now) and bool(phase.has_shown_part or phase.release_after),
        )
        for phase, leak in zip(phases, leaks_of(challenge, phases=phases), strict=True)
    ]


def phases_with_testsets(challenge: Challenge) -> QuerySet[Phase]:
    """The challenge's phases with what decides how much they show."""
    rows = challenge.phases.select_related("protocol", "chosen_testset__testset")
    return rows.defer("chosen_testset__testset__report")


def _total(rows: QuerySet[Any]) -> Coalesce:
    """How many, counted by itself: counted together, every submission would be joined with every case."""
    counted = rows.order_by().annotate(total=Func(function="COUNT", template="COUNT(*)", output_field=IntegerField()))
    return Coalesce(Subquery(counted.values("total")), 0)


def _code_parts_ready(challenge: Challenge, phases: Sequence[PhaseRow]) -> Iterator[Check]:
    """Asked only where a phase takes code."""
    if any(takes_code(row.phase) for row in phases):
        missing = missing_code_parts(challenge)
        yield Check(
            ok=not missing,
            text=gettext("what code is built from is here"),
            cure=" ".join(f"{change.text}." for change in missing),
            url=reverse("organizers:code-parts", args=[challenge.slug]),
        )


PLACEHOLDER = "⟨"
"""How `assay challenge new` marks what an organizer has to write."""
TEXTS_TO_WRITE = ("title", "summary", "description", "rules", "licence", "modality", "anatomy", "citation", "contact")


def readiness(challenge: Challenge, phases: Sequence[PhaseRow]) -> list[Check]:
    """What has to be true before participants come."""
    document, texts = (reverse(f"organizers:{name}", args=[challenge.slug]) for name in ("document", "texts"))
    testsets = reverse("organizers:testsets", args=[challenge.slug])
    unfit, missing = unfit_testsets(phases), missing_metric_images(challenge)
    without = [row.phase.title for row in phases if row.testset is None]
    trials, baselines = _trials_and_baselines([row.phase for row in phases])
    left = [key for key in TEXTS_TO_WRITE if PLACEHOLDER in getattr(challenge, key)]
    return [
        Check(
            ok=bool(phases),
            text=gettext("a phase is defined"),
            cure=gettext("Add one in the challenge file."),
            url=document,
        ),
        Check(
            ok=not without,
            text=gettext("every phase has a test set"),
            cure=gettext("Missing: %(without)s.") % {"without": ", ".join(without)},
            url=testsets,
        ),
        Check(
            ok=not unfit,
            text=gettext("every test set has what its phase's protocol asks for"),
            cure=" ".join(unfit),
            url=testsets,
        ),
        Check(
            ok=not missing,
            text=gettext("every metric image that a protocol names is here"),
            cure=" ".join(f"{change.text}." for change in missing),
            url=reverse("organizers:metric-images", args=[challenge.slug]),
        ),
        *_code_parts_ready(challenge, phases),
        Check(
            ok=bool(phases) and not trials,
            text=gettext("the self-test of every phase has passed"),
            cure=gettext("Not yet: %(phases)s.") % {"phases": ", ".join(phase.title for phase in trials)},
            url=_trial_of(challenge, trials),
        ),
        Check(
            ok=bool(phases) and not baselines,
            text=gettext("a baseline was scored in every phase"),
            cure=gettext("Not yet: %(phases)s.") % {"phases": ", ".join(phase.title for phase in baselines)},
            url=_trial_of(challenge, baselines),
        ),
        Check(
            ok=bool(challenge.rules),
            text=gettext("the rules are written"),
            cure=gettext("Write them under Texts."),
            url=texts,
        ),
        Check(
            ok=bool(challenge.contact),
            text=gettext("a contact address is given"),
            cure=gettext("Give one under Texts."),
            url=texts,
        ),
        Check(
            ok=not left,
            text=gettext("nothing in ⟨ ⟩ is left to write"),
            cure=gettext("Left: %(left)s.") % {"left": ", ".join(left)},
            url=document,
        ),
        Check(
            ok=challenge.status == Challenge.Status.PUBLISHED,
            text=gettext("the challenge is published"),
            cure=gettext("Only organizers see a draft."),
        ),
    ]


def first_opening(phases: Sequence[PhaseRow]) -> datetime | None:
    """When everything has to be ready. None without phases."""
    return min((row.phase.opens_at for row in phases), default=None)


def _trials_and_baselines(phases: Sequence[Phase]) -> tuple[list[Phase], list[Phase]]:
    """Phases whose self-test has not passed, and those without a scored baseline. Two queries."""
    tests = newest_self_tests(phases)
    scored = Submission.objects.filter(phase__in=phases, is_baseline=True, status=Submission.Status.DONE)
    with_baseline = set(scored.values_list("phase_id", flat=True))
    return (
        [phase for phase in phases if phase.pk not in tests or not tests[phase.pk].is_passed],
        [phase for phase in phases if phase.pk not in with_baseline],
    )


def _trial_of(challenge: Challenge, phases: Sequence[Phase]) -> str:
    return reverse("organizers:trial", args=[challenge.slug, phases[0].slug]) if phases else ""


def unready(challenge: Challenge, *, now: datetime) -> list[str]:
    """What is not as it should be before a challenge is published, in words. Empty when everything is."""
    checks = readiness(challenge, phases_of(challenge, now=now))
    return [f"{check.text} ({check.cure})" for check in checks[:-1] if not check.ok]


def unfit_testsets(phases: Sequence[PhaseRow]) -> list[str]:
    """What cases lack, phase by phase. One query for all of them."""
    chosen = {row.phase: row.testset for row in phases if row.testset is not None}
    by_testset: dict[int, list[Case]] = {}
    for case in Case.objects.filter(testset__in=chosen.values()).only(
        "testset", "case_id", "inputs", "references", "attributes"
    ):
        by_testset.setdefault(case.testset_id, []).append(case)
    return [
        f"{phase.title}: {text}."
        for phase, testset in chosen.items()
        for text in misfits(
            protocol=rules_of(phase.protocol),
            cases=by_testset.get(testset.pk, []),
            runs_containers=phase.kind == Phase.Kind.CONTAINER,
        )
    ]


def numbers_of(challenge: Challenge, *, now: datetime) -> list[tuple[str, Any]]:
    """Today's numbers."""
    submissions = challenge.submissions.all()
    people = challenge.memberships.filter(role=Membership.Role.PARTICIPANT, status=Membership.Status.ACCEPTED)
    return [
        (gettext("Participants"), people.count()),
        (gettext("Teams that submitted"), submissions.values("team").distinct().count()),
        (gettext("Submissions"), submissions.count()),
        (gettext("in 24 hours"), submissions.filter(created_at__gte=now - timedelta(hours=24)).count()),
        (gettext("unfinished"), submissions.exclude(status__in=FINAL).count()),
    ]


def needs_of(challenge: Challenge, *, now: datetime) -> list[Need]:
    """What waits for an organizer."""
    needs = [
        Need(
            text=(
                gettext("overdue since %(day)s: %(task)s") if task.is_overdue else gettext("due on %(day)s: %(task)s")
            )
            % {"day": date_format(task.due, "j M Y"), "task": task.title},
            url=reverse("organizers:tasks", args=[challenge.slug]),
        )
        for task in tasks_of(challenge, now=now)
        if task.due and (task.is_overdue or task.is_soon)
    ]
    pending = challenge.memberships.filter(status=Membership.Status.PENDING).count()
    if pending:
        url = reverse("organizers:people", args=[challenge.slug])
        needs.append(
            Need(
                text=ngettext("%(count)s person asks to join", "%(count)s people ask to join", pending)
                % {"count": pending},
                url=url,
            )
        )
    asked = challenge.submissions.filter(deletion_asked_at__isnull=False).order_by("deletion_asked_at")
    needs += [
        Need(
            text=gettext("%(team)s asks that the files of %(submission)s be deleted")
            % {"team": submission.team, "submission": submission},
            url=reverse("organizers:submission", args=[challenge.slug, submission.pk]),
        )
        for submission in asked.select_related("team")[:5]
    ]
    needs += [
        Need(
            text=gettext("%(share)s %% of the budget of %(phase)s is used")
            % {"share": round(100 * share), "phase": phase},
            url=reverse("organizers:costs", args=[challenge.slug]),
        )
        for phase, share in nearly_spent(challenge)
    ]
    broken = Evaluation.objects.filter(submission__challenge=challenge, status=Evaluation.Status.FAILED)
    for evaluation in broken.select_related("submission").order_by("-created_at")[:5]:
        url = reverse("organizers:submission", args=[challenge.slug, evaluation.submission_id])
        needs.append(
            Need(
                text=gettext("scoring of %(submission)s failed: %(error)s")
                % {"submission": evaluation.submission, "error": evaluation.error},
                url=url,
            )
        )
    uncharged = challenge.submissions.filter(status=Submission.Status.FAILED, fault__in=NOT_THE_TEAMS)
    for submission in uncharged.exclude(evaluations__in=broken).order_by("-created_at")[:5]:
        url = reverse("organizers:submission", args=[challenge.slug, submission.pk])
        needs.append(
            Need(
                text=gettext("%(submission)s failed: %(why)s")
                % {"submission": submission, "why": why_it_failed(submission)},
                url=url,
            )
        )
    boards = Leaderboard.objects.filter(phase__challenge=challenge).select_related("phase")
    for board in boards.filter(~Q(trouble={}) | REPORT_SET_ASIDE):
        url = reverse("portal:leaderboard", args=[challenge.slug, board.phase.slug])
        if board.trouble:
            needs.append(Need(text=ranking_trouble(board), url=url))
        if board.report_trouble:
            text = gettext("the report of %(phase)s could not be made: %(error)s") % {
                "phase": board.phase.title,
                "error": sentence(board.report_trouble),
            }
            needs.append(Need(text=text, url=reverse("portal:report", args=[challenge.slug, board.phase.slug])))
    return needs


def why_it_failed(submission: Submission) -> str:
    """What nobody of its team is at fault for. Rows of before there were codes say what they said."""
    if not submission.reason:
        return submission.verdict_text
    return words_for_organizers(submission.reason, submission.facts)


def ranking_trouble(board: Leaderboard) -> str:
    """What is wrong with a ranking, and what the organizers can do about it."""
    if board.is_set_aside:
        text = gettext(
            "the ranking of %(phase)s is set aside: %(error)s. Push a protocol that asks for less, or ask the operators to let it "
            "go on"
        )
    else:
        text = gettext("the ranking of %(phase)s could not be made: %(error)s. It is tried once more")
    return text % {"phase": board.phase.title, "error": sentence(board.trouble)}


@dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """One case of a test set in words."""

    case_id: str
    shape: str
    spacing: str
    attributes: str
    findings: str


class TestSetRow(NamedTuple):
    """One test set and its cases."""

    testset: TestSet
    cases: tuple[CaseFacts, ...]


def testset_rows(challenge: Challenge) -> list[TestSetRow]:
    """The challenge's test sets, newest version first, with one row per case. Three queries."""
    listed = list(challenge.testsets.prefetch_related("cases", "phases__phase").order_by("name", "-version"))
    rows = []
    for testset in listed:
        findings = {
            finding.get("case_id"): finding for finding in testset.report.get("cases", []) if isinstance(finding, dict)
        }
        cases = tuple(
            CaseFacts(
                case_id=case.case_id,
                shape=" × ".join(map(str, case.grid.get("shape", []))),
                spacing=" × ".join(f"{value:g}" for value in case.grid.get("spacing_mm", [])),
                attributes=", ".join(f"{key} {value}" for key, value in case.attributes.items()),
                findings="; ".join(findings.get(case.case_id, {}).get("findings", [])),
            )
            for case in testset.cases.all()
        )
        rows.append(TestSetRow(testset=testset, cases=cases))
    return rows


class SiteRow(NamedTuple):
    """One third party: how many cases it has, and how many results it released."""

    site: Site
    case_total: int | None
    released_total: int
    data: SiteDataset | None
    agreement: SiteAgreement | None
    is_current: bool
    """Whether the agreement is about the newest data and today's rules."""


@dataclass(frozen=True, kw_only=True)
class SiteBoardRow:
    """What a site released of one submission: `values` are means, in the order of the board's metrics."""

    team: Team | None
    n: int | None
    values: tuple[float | None, ...]
    released_at: datetime | None


class SiteRefusal(NamedTuple):
    """A result that does not stand on the board: a site declined to release it, or took it back. `reason` is the site's."""

    site: Site
    submission: Submission
    is_recalled: bool
    reason: str


def site_refusals(rows: Sequence[SiteRow]) -> list[SiteRefusal]:
    """What the sites of these rows declined or recalled, newest last. No query: the rows bring it."""
    refused = (SiteEvaluation.Status.DECLINED, SiteEvaluation.Status.RECALLED)
    return [
        SiteRefusal(
            site=row.site,
            submission=evaluation.submission,
            is_recalled=evaluation.status == SiteEvaluation.Status.RECALLED,
            reason=evaluation.reason,
        )
        for row in rows
        for evaluation in sorted(row.site.evaluations.all(), key=lambda found: found.created_at)
        if evaluation.status in refused
    ]


@dataclass(frozen=True, kw_only=True)
class SiteBoard:
    """What a site released."""

    title: str
    metrics: tuple[str, ...]
    rows: tuple[SiteBoardRow, ...]


def site_rows(challenge: Challenge) -> tuple[list[SiteRow], list[SiteBoard]]:
    """The third parties of a challenge, and one board for each: only what they released."""
    sites = list(
        Site.objects.filter(phase__challenge=challenge)
        .select_related("phase__protocol")
        .prefetch_related("datasets", "agreements", "evaluations__submission__team")
        .order_by("name")
    )
    rows, boards = [], []
    for site in sites:
        released = [e for e in site.evaluations.all() if e.status == SiteEvaluation.Status.RELEASED and e.release]
        newest = max(site.datasets.all(), key=lambda dataset: dataset.registered_at, default=None)
        agreement = max(site.agreements.all(), key=lambda made: made.number, default=None)
        rows.append(
            SiteRow(
                site=site,
                case_total=newest.case_count if newest else None,
                released_total=len(released),
                data=newest,
                agreement=agreement,
                is_current=agreement is not None
                and newest is not None
                and agreement.dataset_id == newest.pk
                and agreement.terms["protocol_sha256"] == rules_of(site.phase.protocol).sha256,
            )
        )
        boards.append(_site_board(site, released))
    return rows, [board for board in boards if board.rows]


def _site_board(site: Site, released: Sequence[SiteEvaluation]) -> SiteBoard:
    releases = [(evaluation, evaluation.release or {}) for evaluation in released]
    metrics = tuple(dict.fromkeys(name for _, release in releases for name in release.get("metrics", {})))
    rows = tuple(
        SiteBoardRow(
            team=evaluation.submission.team,
            n=release.get("case_count"),
            values=tuple((release.get("metrics", {}).get(name) or {}).get("mean") for name in metrics),
            released_at=evaluation.released_at,
        )
        for evaluation, release in releases
    )
    return SiteBoard(title=f"{site.title} ({site.phase.title})", metrics=metrics, rows=rows)
