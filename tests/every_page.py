"""One address of every kind of page, over rows that fill it: long names, scores, failures, charts, queues."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.urls import reverse

import factories
import people
from assay.accounts.audit import record_event
from assay.accounts.models import User
from assay.accounts.services import invite_to_team
from assay.challenges.announcements import announce
from assay.challenges.discussion import open_topic
from assay.challenges.models import Membership
from assay.challenges.pictures import add_picture
from assay.challenges.registration import make_invite
from assay.challenges.teams import team_of_organizers
from assay.evaluation_sites.models import Site, SiteEvaluation
from assay.evaluations.models import CaseScores, MetricImage, SelfTest
from assay.notices.choices import unsubscribe_token
from assay.notices.models import Kind
from assay.notices.services import News, notify
from assay.notices.webhooks import make_hook
from assay.runs.models import CaseRun, Node, Run
from assay.submissions.messages import send_message
from assay.submissions.models import CodePart
from assay.testsets.models import Signature
from assay.workflow.operations.merging import ask_to_merge

LONG = "Patch-wise ensemble of residual encoder networks with test-time mirroring"
UNBROKEN = "Segmentierungsalgorithmusvergleichsstudiengruppe-" * 2
NAME = UNBROKEN.replace("-", "")[:70]
"""What people, teams, algorithms and hospitals may call themselves: no space, no hyphen, no place to break the line."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Where it is and who looks at it (None: a stranger)."""

    address: str
    person: User | None
    status: int = 200


def every_page() -> dict[str, Page]:
    """By the name of its address. Several states of one kind have a word behind the name. Needs a database."""
    cast = people.scene()
    for person in (cast.pia, cast.olga, cast.stan):
        person.set_password("a long enough one")  # who has none is asked to sign in again before an account is deleted
        person.display_name = NAME
        person.save()
    cast.team.name, cast.otto.display_name = NAME, NAME
    cast.team.save()
    cast.otto.save()
    cast.challenge.title, cast.challenge.summary = "Tissue segmentation of the adult brain", f"{LONG}. {UNBROKEN}"
    cast.challenge.questions, cast.challenge.rules_version = [f"{LONG}?"], 2
    cast.challenge.agreements, cast.challenge.rules = {"hidden": UNBROKEN}, LONG
    cast.challenge.pages = [{"slug": "faq", "title": LONG, "text": UNBROKEN}]
    cast.challenge.pages_html = {"faq": f"<p>{UNBROKEN}</p>"}
    cast.challenge.sponsors = [{"name": LONG, "url": "https://example.org"}, {"name": UNBROKEN}]
    cast.challenge.logo = cast.challenge.banner = "logo"
    cast.challenge.combined = [{"slug": "all", "title": "Both", "phases": ["final", "gone"], "by": "mean_rank"}]
    cast.challenge.tasks = [{"title": LONG, "due": "2026-01-01"}, {"title": UNBROKEN, "is_done": True}]
    cast.challenge.merge_until = factories.NOW + timedelta(days=3)
    cast.challenge.save()
    Membership.objects.update(
        rules_version=2, rules_accepted_at=factories.NOW, answers=[{"question": LONG, "answer": UNBROKEN}]
    )
    other = factories.team(name=UNBROKEN[:70], members=[cast.otto])
    factories.membership(challenge=cast.challenge, user=cast.otto, team=other)
    ask_to_merge(challenge=cast.challenge, team=other, into_slug=cast.team.slug, by=cast.otto, now=factories.NOW)
    factories.testset(challenge=cast.challenge, name="training", case_ids=["a"], is_public=True)
    cast.challenge.agreements |= {"training": LONG}
    cast.challenge.save()
    for person in (cast.pia, cast.otto):
        signature = factories.signature(challenge=cast.challenge, user=person)
    Signature.objects.filter(pk=signature.pk).update(end="revoked", ended_at=factories.NOW, reason=UNBROKEN)
    _, link = make_invite(challenge=cast.challenge, uses=3, by=cast.olga, now=factories.NOW)
    make_hook(url=f"https://example.org/{UNBROKEN}", by=cast.pia, team=cast.team, now=factories.NOW)
    make_hook(
        url=f"https://example.org/{UNBROKEN}", by=cast.olga, challenge_slug=cast.challenge.slug, now=factories.NOW
    )
    drawn = (Path(__file__).parent / "pages" / "logo.png").read_bytes()
    add_picture(challenge=cast.challenge, name="logo", content=drawn, by=cast.olga, now=factories.NOW)
    topic = open_topic(challenge=cast.challenge, title=LONG, text=UNBROKEN, by=cast.pia, now=factories.NOW)
    stranger, submissions = factories.user(username="nina"), _fill(cast)
    slug, phase = cast.challenge.slug, cast.phase.slug
    _, secret = invite_to_team(user=cast.pia, team=cast.team, email="new@example.org", now=factories.NOW)

    def page(name: str, *arguments: Any, person: User | None = cast.pia, query: str = "", status: int = 200) -> Page:
        return Page(address=reverse(name, args=arguments) + query, person=person, status=status)

    pages = {
        name: page(name, person=None)
        for name in ("portal:home", "portal:help", "portal:sign-in", "portal:sign-up", "account_reset_password")
    }
    pages |= {
        name: page(name)
        for name in (
            *("portal:home", "portal:my-submissions", "portal:teams", "portal:account", "account_email"),
            *("mfa_index", "portal:notices", "portal:notice-choices", "portal:profile", "portal:delete-account"),
            "portal:provider-confirm",
        )
    }
    pages |= {
        name: page(name, person=None)
        for name in (
            *("account_reset_password_done", "account_reset_password_from_key_done", "account_inactive"),
            "account_email_verification_sent",
        )
    }
    pages |= {
        "account_reset_password_from_key of an old link": page(
            "account_reset_password_from_key", "1", "x-y", person=None
        ),
        "account_confirm_email of an old link": page("account_confirm_email", "x", person=None),
        "account_confirm_email": page("account_confirm_email", _link_of(stranger), person=None),
        "account_change_password": page("account_change_password"),
        "account_reauthenticate": page("account_reauthenticate"),
    }
    pages |= {f"portal:{name}": page(f"portal:{name}", slug) for name in ("challenge", "rules", "news", "discussion")}
    pages |= {"portal:page": page("portal:page", slug, "faq"), "portal:topic": page("portal:topic", slug, topic.pk)}
    pages["portal:combined"] = page("portal:combined", slug, "all")
    pages |= {f"portal:{name}": page(f"portal:{name}", slug, phase) for name in ("phase", "submit", "leaderboard")}
    pages |= {f"portal:submission {status}": page("portal:submission", pk) for status, pk in submissions.items()}
    pages |= {
        "portal:rules of somebody whose agreement was revoked": page("portal:rules", slug, person=cast.otto),
        "portal:home of a stranger": page("portal:home", person=None),
        "portal:challenge of somebody who has not joined": page("portal:challenge", slug, person=stranger),
        "portal:leaderboard without a match": page("portal:leaderboard", slug, phase, query="?q=nobody"),
        "portal:leaderboard by site": page("portal:leaderboard", slug, phase, query="?view=site:A"),
        "portal:hospitals": page("portal:hospitals", slug, phase),
        "portal:compare": page("portal:compare", slug, phase, query="?s=1&s=2"),
        "portal:compare to choose": page("portal:compare", slug, phase),
        "portal:report": page("portal:report", slug, phase, status=202),
        "portal:accept-invite": page("portal:accept-invite", secret, person=cast.otto),
        "portal:challenge-invite": page("portal:challenge-invite", link, person=cast.otto),
        "portal:hooks": page("portal:hooks", cast.team.slug),
        "portal:unsubscribe": page(
            "portal:unsubscribe", unsubscribe_token(person=cast.pia, kind="verdict"), person=None
        ),
        "portal: an error": Page(address="/nowhere/", person=None, status=404),
    }
    of_organizer = (
        "overview",
        "tasks",
        "texts",
        "move",
        "phase-new",
        "document",
        "testsets",
        "metric-images",
        "code-parts",
        "submissions",
        "people",
        "invites",
        "downloads",
        "messages",
        "news",
        "hooks",
        "sites",
        "audit",
        "pages",
        "page-new",
        "costs",
        "export",
    )
    pages |= {f"organizers:{name}": page(f"organizers:{name}", slug, person=cast.olga) for name in of_organizer}
    pages |= {
        "organizers:new": page("organizers:new", person=cast.olga),
        "organizers:operations": page("organizers:operations", person=cast.stan),
        "organizers:server": page("organizers:server", person=cast.stan),
        "organizers:accounts": page("organizers:accounts", person=cast.stan),
        "organizers:rights": page("organizers:rights", person=cast.stan),
        "organizers:phase-edit": page("organizers:phase-edit", slug, phase, person=cast.olga),
        "organizers:phase-move": page("organizers:phase-move", slug, phase, person=cast.olga),
        "organizers:page": page("organizers:page", slug, "faq", person=cast.olga),
        "organizers:rules": page("organizers:rules", slug, phase, person=cast.olga),
        "organizers:trial": page("organizers:trial", slug, phase, person=cast.olga),
        "organizers:after": page("organizers:after", slug, phase, person=cast.olga),
        "organizers:size": page("organizers:size", slug, phase, person=cast.olga),
        "organizers:rejudge": page("organizers:rejudge", slug, phase, person=cast.olga),
        "organizers:submission": page("organizers:submission", slug, submissions["done"], person=cast.olga),
        "organizers:case": page("organizers:case", slug, submissions["done"], "a", person=cast.olga),
    }
    return pages


def _link_of(person: User) -> str:
    """The secret part of the link that verifies somebody's address."""
    address = EmailAddress.objects.create(user=person, email=person.email, primary=True)
    return str(EmailConfirmationHMAC(address).key)


def _fill(cast: people.Scene) -> dict[str, Any]:
    """A ranking, hospitals, and a submission of Pia in every status that has a page of its own, by status."""
    hospitals = [
        Site.objects.create(phase=cast.phase, name=f"h{n}", title=title, token_hash=f"h{n}", created_at=factories.NOW)
        for n, title in enumerate((LONG, NAME))
    ]
    for rank, name in enumerate((LONG, NAME, "nnU-Net"), start=1):
        metrics = {
            "dice": {"mean": 0.9 - rank / 50, "sd": 0.04, "per_label": {"core": {"mean": 0.9}, "rim": {"mean": 0.8}}}
        }
        metrics["dice"]["per_site"] = {"A": {"mean": 0.8, "sd": 0.1, "n": 9}, "B": {"mean": 0.7, "sd": 0.1, "n": 2}}
        row = factories.entry(
            phase=cast.phase,
            rank=rank,
            team=cast.team if rank == 1 else None,
            metrics=metrics,
            case_count=2,
            failed_cases=rank - 1,
            seconds_per_case=12.5,
            peak_memory_bytes=rank * 2**28,
            statistics={"rank_interval": [1, 3], "separable_from_next": rank > 1},
        )
        row.submission.name = name
        row.submission.save()
        for place, hospital in enumerate(hospitals):
            numbers = {"mean": 0.9 - rank / 50 - place / 10, "n": 30, "sd": 0.1}
            is_recalled = place == 1 and rank == 2
            SiteEvaluation.objects.create(
                site=hospital, submission=row.submission, created_at=factories.NOW, reason="wrong labels" if is_recalled else "",
                status="recalled" if is_recalled else "released",
                release=None if is_recalled else {"metrics": {"dice": numbers}, "failures": {"timeout": None}},
            )  # fmt: skip
        CaseScores.objects.bulk_create(
            CaseScores(
                evaluation=row.evaluation,
                case=case,
                scores=[[label, "dice", 0.9 - rank / 50 - at / 10, ""] for at, label in enumerate(("core", "rim"))],
            )
            for case in cast.phase.chosen_testset.testset.cases.all()
        )
    factories.entry(phase=cast.phase, rank=None)
    made = {"done": cast.phase.submissions.get(number=1).pk}
    for status, words in {
        "running": {},
        "queued": {},
        "failed": {"verdict": "timeout", "fault": "participant"},
    }.items():
        row = factories.submission(phase=cast.phase, team=cast.team, status=status, **words)
        run = Run.objects.create(submission=row, number=1, status=status, pool="default", created_at=factories.NOW)
        for position, case in enumerate(row.testset.cases.all()):
            is_first = position == 0
            CaseRun.objects.create(
                run=run,
                case=case,
                position=position,
                status="done" if is_first and status == "running" else status,
                verdict="ok" if is_first and status == "running" else words.get("verdict", ""),
            )
        made[status] = row.pk
    checked = cast.phase.chosen_testset.testset
    checked.report = {
        "cases": [
            {
                "case_id": case,
                "spacing_mm": [1, 1, n + 1],
                "voxels_per_label": {"1": 900 * n + 9},
                "findings": [UNBROKEN],
            }
            for n, case in enumerate("ab")
        ],
        "warnings": [f"a: {UNBROKEN}", LONG],
    }
    checked.save()
    SelfTest.objects.create(
        phase=cast.phase, protocol=cast.phase.protocol, testset=checked, asked_at=factories.NOW,
        finished_at=factories.NOW, report={"cases": ["a", UNBROKEN], "trials": [
            {"name": name, "means": {"dice": 0.123456, "hd95": None}, "troubles": [UNBROKEN], "notes": [LONG]}
            for name in ("reference", "empty", "shifted", "missing")
        ]},
    )  # fmt: skip
    factories.submission(
        phase=cast.phase,
        team=team_of_organizers(cast.challenge, now=factories.NOW),
        status="failed",
        is_baseline=True,
        name=UNBROKEN,
        verdict="timeout",
    )
    pushed = {"challenge": cast.challenge, "created_by": cast.olga, "created_at": factories.NOW}
    for kind in CodePart.Kind.values:
        CodePart.objects.create(
            **pushed, kind=kind, version=1, identity=f"sha256:{factories.digest(kind)}", filename=f"{UNBROKEN}.tar.gz",
            key=kind, sha256=factories.digest(kind), stored_bytes=2**31,
            report={"wheels": {UNBROKEN: ["1.0", "2.0.1"], "numpy": ["2.4.0"]}},
        )  # fmt: skip
    image_id = f"sha256:{factories.digest('metrics')}"
    MetricImage.objects.create(**pushed, archive_sha256=image_id[7:], image_id=image_id, rewritten_bytes=2**31)
    Node.objects.create(
        name="gpu-1",
        pool="default",
        slots=2,
        created_at=factories.NOW,
        last_seen_at=factories.NOW - timedelta(seconds=5),
    )
    record_event(
        actor=cast.olga,
        verb="phase.published",
        subject=cast.phase,
        challenge_slug=cast.challenge.slug,
        now=factories.NOW,
    )
    factories.membership(challenge=cast.challenge, user=factories.user(), status="pending", team=None)
    news = News(
        kind=Kind.FAILURE,
        event="disqualified",
        key="every page",
        path="/",
        facts={"challenge": LONG, "number": 7, "name": UNBROKEN, "team": LONG, "reason": LONG},
    )
    text = f"The phase closes a week later. [Its long address]({UNBROKEN}) | {UNBROKEN}"
    send_message(
        challenge=cast.challenge, key="all", title=LONG, text=UNBROKEN, expected=2, by=cast.olga, now=factories.NOW
    )
    announce(challenge=cast.challenge, title=LONG, text=text, by=cast.olga, now=factories.NOW)
    notify(people=[cast.pia], news=news, now=factories.NOW)
    return made
