"""What teams are told of their submissions. Each of these is called in the transaction of what it tells."""

from datetime import datetime
from uuid import UUID

from django.urls import reverse

from assay.accounts.models import User
from assay.notices.models import Kind
from assay.notices.services import News, notify, public_address
from assay.notices.webhooks import emit
from assay.submissions.models import Submission
from assay.submissions.reasons import Reason
from assay.verdict_words import NOT_BUILT

NOT_THEIRS = ("platform", "organizer")


def tell_ending(*, submission_id: UUID, now: datetime) -> None:
    """A submission has ended: its team hears how, in one word of a closed list."""
    submission = _found(submission_id)
    events = {
        Submission.Status.DONE: (Kind.VERDICT, "submission_done"),
        Submission.Status.FAILED: (Kind.FAILURE, "submission_failed"),
        Submission.Status.CANCELLED: (Kind.FAILURE, "submission_cancelled"),
    }
    kind, event = events[Submission.Status(submission.status)]
    if event == "submission_failed" and submission.fault in NOT_THEIRS:
        event = "submission_not_theirs"
    facts = {"verdict": _verdict_of(submission)} if submission.status == Submission.Status.FAILED else {}
    _tell_team(submission, kind=kind, event=event, facts=facts, now=now)


def _verdict_of(submission: Submission) -> str:
    """The word of the closed list. Code that could not be built by the organizers' fault is no image that was refused."""
    return NOT_BUILT if submission.reason == Reason.BUILD_FAULT else str(submission.verdict)


def tell_disqualification(*, submission_id: UUID, now: datetime) -> None:
    """Organizers took a submission out of the ranking, or let it count again."""
    submission = _found(submission_id)
    event, facts = ("reinstated", {})
    if submission.is_disqualified:
        event, facts = ("disqualified", {"reason": submission.disqualified_reason or "–"})
    _tell_team(submission, kind=Kind.REJUDGE, event=event, facts=facts, now=now)


def _found(submission_id: UUID) -> Submission:
    return Submission.objects.select_related("challenge", "phase", "team").get(pk=submission_id)


def _tell_team(submission: Submission, *, kind: Kind, event: str, facts: dict[str, str], now: datetime) -> None:
    news = News(
        kind=kind,
        event=event,
        key=f"{event}:{submission.pk}:{now.isoformat()}",
        path=reverse("portal:submission", args=[submission.pk]),
        facts={
            "challenge": submission.challenge.title,
            "phase": submission.phase.title,
            "team": submission.team.name,
            "number": submission.number,
            "name": submission.name,
            **facts,
        },
        challenge_slug=submission.challenge.slug,
    )
    notify(people=list(User.objects.filter(teams=submission.team)), news=news, now=now)
    payload = {
        "challenge": submission.challenge.slug,
        "phase": submission.phase.slug,
        "team": submission.team.slug,
        "submission": str(submission.pk),
        "number": submission.number,
        "name": submission.name,
        "status": str(submission.status),
        "address": public_address(news.path),
        **facts,
    }
    emit(
        event=event,
        payload=payload,
        now=now,
        team_id=submission.team_id,
        challenge_slug=submission.challenge.slug,
    )
