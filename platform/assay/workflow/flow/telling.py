"""What teams are told when scores that were computed again begin to count."""

from collections.abc import Iterable
from datetime import datetime

from django.urls import reverse

from assay.accounts.models import User
from assay.evaluations.models import Evaluation
from assay.notices.models import Kind
from assay.notices.services import News, notify


def tell_rejudged(evaluations: Iterable[Evaluation], *, now: datetime) -> None:
    """Each team hears once per phase, however many of its submissions are among them."""
    submissions = {(row.submission.phase_id, row.submission.team_id): row.submission for row in evaluations}
    for submission in submissions.values():
        phase, challenge = submission.phase, submission.challenge
        news = News(
            kind=Kind.REJUDGE,
            event="rejudged",
            key=f"rejudged:{phase.pk}:{submission.team_id}:{now.isoformat()}",
            path=reverse("portal:leaderboard", args=[challenge.slug, phase.slug]),
            facts={"challenge": challenge.title, "phase": phase.title, "team": submission.team.name},
            challenge_slug=challenge.slug,
        )
        notify(people=list(User.objects.filter(teams=submission.team_id)), news=news, now=now)
