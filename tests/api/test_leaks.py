"""Catalogue group E: what an algorithm can carry out of hidden cases through everything its team is shown, in bits.

An algorithm sees hidden images and chooses its exit code, its duration, its memory, its output, how many cases it fails and
what it prints. One submission is made to end in many such ways. For each, every page, answer and export its team can open is
rendered. Ends that look the same carry nothing. The number of different looks is what one submission can say.
"""

import html
import itertools
import json
import math
import re
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import timezone

import factories
import people
from assay.evaluations.disclosure import (
    BUCKET_MINUTES,
    OUTCOMES,
    capacity_bits,
    ladder,
    released_aggregates,
)
from assay.evaluations.models import CaseScores, Evaluation
from assay.leaderboards.models import LeaderboardEntry
from assay.notices.delivery import send_mails
from assay.notices.models import Delivery, Hook, Notice, OutgoingMail
from assay.notices.webhooks import body_of, make_hook
from assay.runs.models import CaseRun, Run
from assay.submissions.models import RunTime, Submission
from assay.submissions.reasons import Told, told_of
from assay.submissions.run_time import add_run_time
from assay.submissions.telling import tell_ending
from assay.testsets.models import TestSet
from containers.spec import Usage

pytestmark = pytest.mark.django_db
CLOSED = "what a team sees of a closed submission is decided in evaluations/disclosure.py"
RECEIPT = {"receipt": 1, "timings": [1.5, 2.5], "nodes": {"gpu-1": {}}, "public_key": "k", "signature": "s"}


@dataclass(frozen=True, kw_only=True)
class Ending:
    """One way to end, with everything in it that an algorithm can choose."""

    status: str = "done"
    verdict: str = "ok"
    minutes: float = 7.0
    failed: int = 0
    exit_code: int = 0
    reason: str = ""
    seconds: float = 1.5
    memory: int = 10**9
    outputs: list = field(default_factory=list)
    mean: float = 0.8125
    attempt: int = 1


@dataclass(frozen=True, kw_only=True)
class Story:
    """Pia's one submission, which is made to end in many ways."""

    scene: people.Scene
    submission: Submission
    evaluation: Evaluation
    run: Run
    pia: Client
    api: object
    hook: Hook

    def end(self, ending: Ending) -> None:
        """Write what the platform would have recorded."""
        told = (
            Told() if ending.verdict == "ok" else told_of("nonzero_exit", resources={}, failed=ending.failed, total=4)
        )
        created_at = self.submission.created_at
        Submission.objects.filter(pk=self.submission.pk).update(
            status=ending.status,
            verdict=ending.verdict,
            reason=told.reason or "",
            facts=told.facts,
            finished_at=created_at + timedelta(minutes=ending.minutes),
        )
        for row in self.run.case_runs.all():
            has_failed = row.position < ending.failed
            row.status, row.verdict = ("failed", ending.verdict) if has_failed else ("done", "ok")
            row.exit_code, row.reason, row.attempt = ending.exit_code, ending.reason, ending.attempt
            row.usage = Usage(wall_seconds=ending.seconds, peak_memory_bytes=ending.memory)
            row.outputs, row.log_key = ending.outputs, f"logs/{ending.exit_code}"
            row.started_at = created_at
            row.finished_at = created_at + timedelta(seconds=ending.seconds)
            row.save()
        aggregates = {
            "dice": {"mean": ending.mean, "sd": ending.mean / 7, "per_label": {"core": {"mean": ending.mean}}}
        }
        Evaluation.objects.filter(pk=self.evaluation.pk).update(aggregates=aggregates)
        CaseScores.objects.filter(evaluation=self.evaluation).update(scores=[["core", "dice", ending.mean, ""]])
        LeaderboardEntry.objects.filter(submission=self.submission).update(
            metrics=aggregates,
            score=ending.mean,
            failed_cases=ending.failed,
            seconds_per_case=ending.seconds,
            peak_memory_bytes=ending.memory,
            statistics={"rank_interval": [1, 1 + ending.failed]},
        )
        Notice.objects.all().delete()
        Delivery.objects.all().delete()
        OutgoingMail.objects.all().delete()
        mail.outbox.clear()
        tell_ending(submission_id=self.submission.pk, now=created_at + timedelta(minutes=ending.minutes))
        RunTime.objects.all().delete()
        add_run_time(submission=self.submission, seconds=4 * ending.seconds, now=timezone.now())
        factories.settle_board(self.scene.phase)

    def surface(self) -> str:
        """Everything Pia can open that has to do with it, one after the other."""
        one, phase = self.submission.pk, self.scene.phase
        here = [self.scene.challenge.slug, phase.slug]
        pages = [
            reverse("portal:home"),
            reverse("organizers:new"),  # what she uses of her limits
            reverse("portal:my-submissions"),
            reverse("portal:submission", args=[one]),
            reverse("portal:submission-live", args=[one]),
            *(reverse("portal:submission", args=[one]) + f"?format={form}" for form in ("csv", "json")),
            reverse("portal:phase", args=here),
            reverse("portal:leaderboard", args=here),
            *(reverse("portal:leaderboard", args=here) + f"?format={form}" for form in ("csv", "json")),
            reverse("portal:report", args=here),
        ]
        calls = [
            f"/submissions/{one}",
            "/submissions?mine=true",
            "/me/use",
            f"/submissions/{one}/cases",
            f"/submissions/{one}/receipt",
            f"/submissions/{one}/logs",
            f"/challenges/{here[0]}/phases/{here[1]}/leaderboard",
            f"/challenges/{here[0]}/phases/{here[1]}/leaderboard/export?layout=kits",
        ]
        pages += [reverse("portal:discussion", args=here[:1]), reverse("portal:page", args=[here[0], "faq"])]
        pages += [reverse(f"organizers:{name}", args=here[:1]) for name in ("costs", "export", "pages", "submissions")]
        pages += [reverse("organizers:after", args=here), reverse("portal:submit", args=here)]
        pages += [reverse("portal:notices"), reverse("portal:news", args=here[:1]), reverse("portal:teams")]
        pages += [reverse("portal:challenges-feed"), reverse("portal:news-feed", args=here[:1])]
        pages += [reverse("portal:hooks", args=[self.scene.team.slug])]
        log = f"/teams/{self.scene.team.slug}/hooks/{self.hook.pk}/deliveries"
        calls += ["/notices", "/notices/choices", f"/teams/{self.scene.team.slug}/hooks", log]
        send_mails(now=timezone.now())
        bodies = [body_of(delivery).decode() for delivery in self.hook.deliveries.order_by("at", "pk")]
        answers = [self.pia.get(url) for url in pages] + [self.api("GET", path) for path in calls]
        texts = [b"".join(answer.streaming_content) if answer.streaming else answer.content for answer in answers]
        codes = [answer.status_code for answer in answers]
        assert not [code for code in codes if code >= 500]
        text = "\n".join(
            [
                repr(codes),
                *(text.decode(errors="replace") for text in texts),
                *(f"{message.subject}\n{message.body}" for message in mail.outbox),
                *bodies,
            ]
        )
        for delivery in self.hook.deliveries.all():
            text = text.replace(str(delivery.pk), "")
        for notice in Notice.objects.all():
            text = text.replace(f'"id": {notice.pk},', "")
        return re.sub(
            r'csrfmiddlewaretoken" value="\w+"|X-CSRFToken": "\w+"|nonce="[^"]+"|nonce-[^\']+|/notices/(\d+|unsubscribe/\S+)/',
            "",
            text,
        )

    def looks(self, endings) -> set[str]:
        """How many different things Pia would see."""
        seen = set()
        for ending in endings:
            self.end(ending)
            seen.add(self.surface())
        return seen


@pytest.fixture
def story(scene, client, calling_as):
    """Tell it under one release policy. The test set is hidden unless said otherwise."""

    def tell(release, *, is_public: bool = False) -> Story:
        document = factories.PROTOCOL | {"release": release}
        version = factories.protocol(challenge=scene.challenge, document=document)
        scene.phase.protocol = version
        scene.phase.budget_hours = scene.phase.team_budget_hours = 1000  # that there is room says nothing
        scene.phase.save()
        testset = scene.phase.chosen_testset.testset
        TestSet.objects.filter(pk=testset.pk).update(is_public=is_public)
        long_ago = timezone.now() - timedelta(days=40)
        submission = factories.submission(phase=scene.phase, team=scene.team, created_at=long_ago)
        run = Run.objects.create(submission=submission, number=1, status="done", pool="default", created_at=long_ago)
        for position, case in enumerate(testset.cases.all()):
            CaseRun.objects.create(run=run, case=case, position=position, pool="default")
        facts = {"protocol": version, "testset": testset, "created_at": long_ago, "receipt": RECEIPT}
        evaluation = Evaluation.objects.create(
            submission=submission, run=run, number=1, status="done", is_active=True, **facts
        )
        for case in testset.cases.all():
            CaseScores.objects.create(evaluation=evaluation, case=case, scores=[])
        LeaderboardEntry.objects.create(
            phase=scene.phase, submission=submission, evaluation=evaluation, rank=1, rebuilt_at=long_ago
        )
        client.force_login(scene.pia)
        hook, _ = make_hook(url="https://example.org/x", by=scene.pia, team=scene.team, now=long_ago)
        return Story(
            scene=scene, submission=submission, evaluation=evaluation, run=run, pia=client, api=calling_as(scene.pia),
            hook=hook,
        )  # fmt: skip

    return tell


def messages(verdict: str, status: str = "failed") -> list[Ending]:
    """The same outcome in the same bucket of time, with a different message in every channel."""
    base = {"verdict": verdict, "status": status}
    hidden = [{"name": "bits-0110", "key": "k", "sha256": "0" * 64, "bytes": 4711}]
    return [
        Ending(**base, failed=1, exit_code=1, reason="symlink", mean=0.8124),
        Ending(**base, failed=1, exit_code=77, reason="symlink", mean=0.8124),
        Ending(**base, failed=2, exit_code=137, reason="hard_link", mean=0.8124),
        Ending(**base, failed=1, seconds=1.99, memory=3 * 10**9, mean=0.81241),
        Ending(**base, failed=1, minutes=5.1, outputs=hidden, mean=0.81239),
        Ending(**base, failed=2, minutes=9.9, attempt=2, mean=0.8124),
    ]


def all_at_once(verdict: str, status: str) -> list[Ending]:
    """The same messages in three endings: what looks the same when every channel differs needs no ending for each channel."""
    plain, *others = messages(verdict, status)
    hidden = others[3].outputs
    return [
        plain,
        replace(plain, failed=2, exit_code=77, reason="hard_link", seconds=1.99, memory=3 * 10**9, mean=0.81241,
                minutes=5.1, outputs=hidden, attempt=2),
        replace(plain, exit_code=137, reason="", mean=0.81239, minutes=9.9),
    ]  # fmt: skip


@pytest.mark.catalogue(87, attack="prints hidden voxels as base64", verdict="logs refused to its team", guard=CLOSED)
@pytest.mark.catalogue(88, attack="error text made of voxels", verdict="one closed verdict", guard=CLOSED)
@pytest.mark.catalogue(
    89, attack="bits in exit codes, reasons, counts, durations, memory", verdict="all look the same", guard=CLOSED
)
@pytest.mark.catalogue(92, attack="single cases during an open phase", verdict="hidden", guard=CLOSED)
@pytest.mark.catalogue(93, attack="downloads from a hidden phase", verdict="organizers only", guard=CLOSED)
@pytest.mark.parametrize("release", ["verdict_only", "aggregate", {"mode": "ladder", "delta": 0.01}])
@pytest.mark.parametrize(("verdict", "status"), [("nonzero_exit", "failed"), ("output_invalid", "done")])
def test_an_outcome_looks_the_same_whatever_is_hidden_in_it(release, verdict, status, story):
    assert len(story(release).looks(all_at_once(verdict, status))) == 1


def test_mails_webhooks_and_the_log_are_part_of_what_is_compared(story):
    """Without it the tests above would show nothing of them."""
    told = story("verdict_only")
    told.end(Ending(status="failed", verdict="timeout"))
    seen = told.surface()
    assert "has failed: Time limit" in seen
    assert [message.to for message in mail.outbox] == [["pia@example.org"]]
    assert '"event": "submission_failed"' in seen, "the body of the webhook"
    assert '"state": "waits"' in seen, "the log of deliveries"
    assert seen.count('"verdict": "timeout"') >= 2


def test_organizers_read_when_their_webhook_was_told(story, scene, calling_as):
    told = story("verdict_only")
    theirs, _ = make_hook(url="https://example.org/x", by=scene.olga, challenge_slug="brains", now=timezone.now())
    told.end(Ending())
    at = f"/challenges/brains/hooks/{theirs.pk}/deliveries"
    assert [row["at"] is None for row in calling_as(scene.olga)("GET", at).json()] == [False]
    own = f"/teams/{scene.team.slug}/hooks/{told.hook.pk}/deliveries"
    assert [row["at"] for row in told.api("GET", own).json()] == [None]


@pytest.mark.parametrize("is_public", [False, True])
def test_where_cases_are_released_or_public_the_same_messages_are_seen(is_public, story, monkeypatch):
    """The yes beside the no: the test would notice a message, because here it does. Two differ by an exit code, which no team sees.

    No time passes: a case that ended a second and a half after its submission was made turned from "39 days ago" into "40 days ago".
    """
    moment = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: moment)
    release = "verdict_only" if is_public else "per_case"
    assert len(story(release, is_public=is_public).looks(messages("nonzero_exit"))) == len(messages("")) - 1


def test_organizers_see_everything(story, scene, calling_as):
    told = story("verdict_only")
    told.end(Ending(verdict="nonzero_exit", status="failed", failed=2, exit_code=77, seconds=1.25))
    as_olga = calling_as(scene.olga)
    detail = as_olga("GET", f"/submissions/{told.submission.pk}").json()
    assert detail["verdict_text"] == "the program ended with an error; 2 of 4 cases failed"
    assert (detail["reason"], detail["facts"]) == ("program_error", {"failed": 2, "total": 4})
    assert detail["progress"]["failed"] == 2
    assert [row["seconds"] for row in as_olga("GET", f"/submissions/{told.submission.pk}/cases").json()] == [1.25, 1.25]
    assert as_olga("GET", f"/submissions/{told.submission.pk}/receipt").json() == RECEIPT


def test_why_an_image_never_started_is_told_also_where_cases_are_hidden(story):
    """No program ran, so the reason comes from the image. How many cases, when and with which exit code stay hidden."""
    told = story("verdict_only")
    seen = set()
    for failed, code in ((1, 126), (4, 127)):
        told.end(Ending(status="failed", verdict="image_invalid", failed=failed, exit_code=code))
        facts = {"failed": failed, "total": 4, "case_reason": "entry_point_not_runnable"}
        reason = told_of("image_invalid", resources={}, **facts)
        Submission.objects.filter(pk=told.submission.pk).update(reason=reason.reason, facts=reason.facts)
        seen.add(told.surface())
    assert len(seen) == 1
    assert (
        "the image could not be started (its program or the interpreter of its script is missing or not executable)"
        in html.unescape(seen.pop())
    )


VERDICTS = (
    "timeout",
    "out_of_memory",
    "output_too_large",
    "nonzero_exit",
    "output_missing",
    "output_invalid",
    "image_invalid",
)


def test_the_bits_that_are_left_of_one_submission_are_the_documented_ones(story):
    told = story("verdict_only")
    outcomes = [("done", "ok"), *itertools.product(("done", "failed"), VERDICTS)]
    ends = [Ending(status=status, verdict=verdict, failed=int(verdict != "ok")) for status, verdict in outcomes]
    times = [Ending(minutes=minutes + 0.5) for minutes in BUCKET_MINUTES]
    assert len(told.looks(ends)) == len(outcomes) <= OUTCOMES
    assert len(told.looks(times)) == len(BUCKET_MINUTES)
    bits = math.log2(len(outcomes) * len(BUCKET_MINUTES))
    assert bits <= capacity_bits(told.submission.protocol) < 7.5


@pytest.mark.catalogue(
    90,
    attack="leaderboard probing with many submissions",
    verdict="score in coarse steps",
    guard="rounding; ladder; limits",
)
def test_a_mean_carries_no_more_digits_than_the_protocol_gives(story):
    told = story({"mode": "aggregate", "rounding": 2})
    assert len(told.looks(Ending(mean=mean) for mean in (0.8101, 0.8099, 0.8149, 0.80501))) == 1
    assert len(told.looks(Ending(mean=mean) for mean in (0.81, 0.82))) == 2
    version = told.submission.protocol
    fine = [{"dice": {"mean": step / 10**5, "per_label": {}}} for step in range(0, 10**5, 7)]
    told_means = {str(released_aggregates(values, version=version, ladder_value=None)) for values in fine}
    assert len(told_means) == 101
    assert capacity_bits(version) == pytest.approx(math.log2(16 * 11) + 3 * math.log2(101))


def test_a_ladder_answers_only_to_a_step_up():
    assert ladder([0.512, 0.514, 0.534, 0.2, None, 0.58], step=0.01, direction="max") == [
        0.51,
        0.51,
        0.53,
        0.53,
        0.53,
        0.58,
    ]
    assert ladder([None, 12.2, 14.0, 11.4], step=0.5, direction="min") == [None, 12.0, 12.0, 11.5]


def test_a_ladder_shows_one_metric_in_steps_and_repeats_the_best(story, scene):
    told = story({"mode": "ladder", "delta": 0.05})
    assert len(told.looks(Ending(mean=mean) for mean in (0.80, 0.81, 0.82, 0.79))) == 1
    told.end(Ending(mean=0.9))
    later = factories.submission(phase=scene.phase, team=scene.team)
    Evaluation.objects.create(
        submission=later,
        number=1,
        status="done",
        is_active=True,
        protocol=told.submission.protocol,
        testset=told.submission.testset,
        created_at=timezone.now(),
        aggregates={"dice": {"mean": 0.1, "per_label": {"core": {"mean": 0.1}}}},
    )
    assert told.api("GET", f"/submissions/{later.pk}").json()["metrics"] == {"dice": {"mean": 0.9}}


@pytest.mark.catalogue(
    94, attack="another team's submission, log, receipt, cases by id", verdict="404", guard="access.py is the only door"
)
def test_what_belongs_to_another_team_does_not_exist(story, scene, calling_as):
    told = story("per_case")
    told.end(Ending())
    as_otto = calling_as(scene.otto)
    for path in ("", "/cases", "/receipt", "/logs"):
        assert told.api("GET", f"/submissions/{told.submission.pk}{path}").status_code in (200, 403)
        assert as_otto("GET", f"/submissions/{told.submission.pk}{path}").status_code == 404
    assert as_otto("POST", f"/submissions/{told.submission.pk}/cancel").status_code == 404


def test_ranks_on_a_ladder_follow_what_was_told(story, scene):
    told = story({"mode": "ladder", "delta": 0.05})
    told.end(Ending(mean=0.81))
    rivals = factories.team(name="Rivals")
    submission = factories.submission(phase=scene.phase, team=rivals, user=scene.otto)
    facts = {"protocol": told.submission.protocol, "testset": told.submission.testset, "created_at": timezone.now()}
    aggregates = {"dice": {"mean": 0.79}}
    evaluation = Evaluation.objects.create(
        submission=submission, number=1, status="done", is_active=True, aggregates=aggregates, **facts
    )
    LeaderboardEntry.objects.create(
        phase=scene.phase,
        submission=submission,
        evaluation=evaluation,
        rank=2,
        metrics=aggregates,
        rebuilt_at=timezone.now(),
    )
    factories.settle_board(scene.phase)
    path = f"/challenges/{scene.challenge.slug}/phases/{scene.phase.slug}/leaderboard"
    assert [row["rank"] for row in told.api("GET", path).json()["entries"]] == [1, 1]
    told.end(Ending(mean=0.71))
    ranks = {row["team"]: row["rank"] for row in told.api("GET", path).json()["entries"]}
    assert ranks == {"Rivals": 1, "Pia and friends": 2}


def test_a_push_answers_what_the_phases_of_the_file_can_give_away(scene, calling_as):
    document = json.dumps(factories.PROTOCOL | {"release": "aggregate"})
    phase = "{slug: final, opens_at: 2026-01-01, closes_at: 2026-01-30, submission_limit: 3, submission_window_days: 7}"
    source = f"slug: brains\ntitle: Brains\nprotocol: {document}\nphases: [{phase}]"
    answer = calling_as(scene.olga)("PUT", "/challenges/brains", {"source": source, "dry_run": True}).json()
    (told,) = answer["leaks"]
    assert (told["phase"], told["release"], told["attempts_per_team"], told["teams"]) == ("final", "aggregate", 15, 1)
    assert round(told["bits_per_submission"]) == 37
    assert "ladder" in told["advice"]
