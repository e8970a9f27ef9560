"""Challenges and phases."""

import logging
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Router, Status

from assay.accounts.errors import NotAllowedError
from assay.accounts.selectors import get_team
from assay.api.auth import EVERYBODY, person_of, user_of
from assay.api.v1 import schemas
from assay.challenges import access, registration, removal, selectors, services
from assay.challenges.access import Person
from assay.challenges.models import Challenge, Membership, Phase, PublicationRequest
from assay.challenges.publication import last_request
from assay.challenges.registration import Application
from assay.challenges.writing import current_file
from assay.evaluations import pushing
from assay.evaluations.leaks import Leak, leaks_of_source
from assay.runs.selectors import queue_facts
from assay.submissions.limits import Eligibility
from assay.submissions.selectors import eligibility_of
from assay.testsets.models import TestSet
from assay.workflow import flow
from assay.workflow.flow.pushing import push_challenge

router = Router()
log = logging.getLogger(__name__)


@router.get("", auth=EVERYBODY, response=list[schemas.ChallengeBrief])
def list_challenges(request: HttpRequest, search: str = "") -> list[schemas.ChallengeBrief]:
    """Challenges you may know of."""
    rows = selectors.challenge_list(person=person_of(request), search=search)
    return [found for row in rows if (found := brief_or_none(row)) is not None]


@router.get("/{slug}", auth=EVERYBODY, response=schemas.ChallengeOut)
def show_challenge(request: HttpRequest, slug: str) -> dict[str, Any]:
    """One challenge, with your part in it."""
    person = person_of(request)
    return challenge_document(challenge=access.get_challenge(person=person, slug=slug), person=person)


@router.put("/{slug}", response=schemas.PushOut)
def push(request: HttpRequest, slug: str, body: schemas.ChallengePush) -> dict[str, Any]:
    """Make the challenge what this `challenge.yaml` says. `dry_run` answers the plan and changes nothing."""
    user = user_of(request)
    changes, challenge = push_challenge(
        user=user, slug=slug, source=body.source, is_dry_run=body.dry_run, now=timezone.now()
    )
    shown = challenge_document(challenge=challenge, person=user) if challenge else None
    listed = access.visible_challenges(person=user).filter(slug=slug).first()
    return {
        "changes": [{"path": c.path, "text": c.text, "note": c.note} for c in changes],
        "leaks": [leak_document(leak) for leak in leaks_of_source(body.source, challenge=challenge or listed)],
        "challenge": shown,
    }


@router.get("/{slug}/file", response=schemas.ChallengeFile)
def show_file(request: HttpRequest, slug: str) -> dict[str, Any]:
    """The challenge file as it stands now: what was applied last, comments included, with what was changed since."""
    challenge, _ = access.get_organized_challenge(person=person_of(request), slug=slug)
    return {"source": current_file(challenge)}


@router.post("/{slug}/publish", response=schemas.ChallengeOut)
def publish_challenge(request: HttpRequest, slug: str) -> dict[str, Any]:
    """Let everybody see a draft, or ask an operator to: `publication` says that it waits, where operators decide."""
    challenge, user = access.get_organized_challenge(person=person_of(request), slug=slug)
    published = pushing.publish_challenge(challenge=challenge, user=user, now=timezone.now())
    return challenge_document(challenge=published, person=user)


@router.post("/{slug}/rename", response=schemas.ChallengeOut)
def rename_challenge(request: HttpRequest, slug: str, body: schemas.RenameIn) -> dict[str, Any]:
    """Another name in addresses. Links to the old one stop working."""
    challenge, user = access.get_organized_challenge(person=person_of(request), slug=slug)
    renamed = removal.rename_challenge(challenge=challenge, slug=body.slug, user=user, now=timezone.now())
    return challenge_document(challenge=renamed, person=user)


@router.delete("/{slug}", response={204: None})
def remove_challenge(request: HttpRequest, slug: str, confirm: str = "") -> Status[None]:
    """Remove a challenge that nobody submitted to, with everything in it. `confirm` is its name."""
    challenge, user = access.get_organized_challenge(person=person_of(request), slug=slug)
    removal.remove_challenge(challenge=challenge, confirm=confirm, user=user, now=timezone.now())
    return Status(204, None)


@router.post("/{slug}/phases/{phase}/rename", response=schemas.PhaseOut)
def rename_phase(request: HttpRequest, slug: str, phase: str, body: schemas.RenameIn) -> dict[str, Any]:
    """Another name in addresses. Links to the old one stop working."""
    row, user = access.get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    renamed = removal.rename_phase(phase=row, slug=body.slug, user=user, now=timezone.now())
    return phase_document(phase=renamed, person=user)


@router.delete("/{slug}/phases/{phase}", response={204: None})
def remove_phase(request: HttpRequest, slug: str, phase: str, confirm: str = "") -> Status[None]:
    """Remove a phase that nobody submitted to. `confirm` is its name."""
    row, user = access.get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    removal.remove_phase(phase=row, confirm=confirm, user=user, now=timezone.now())
    return Status(204, None)


@router.post("/{slug}/join", response=schemas.MembershipOut)
def join(request: HttpRequest, slug: str, body: schemas.JoinIn) -> dict[str, Any]:
    """Take part, in a team of yours or alone. `GET` of the challenge says what it asks and which rules are accepted."""
    user = user_of(request)
    challenge = access.get_challenge(person=user, slug=slug)
    application = Application(
        team=get_team(user=user, slug=body.team) if body.team else None,
        answers=body.answers,
        rules_version=body.rules_version,
    )
    joined = services.join_challenge(challenge=challenge, user=user, application=application, now=timezone.now())
    return membership_document(joined)


@router.post("/{slug}/rules/accept", response=schemas.MembershipOut)
def accept_rules(request: HttpRequest, slug: str, body: schemas.RulesIn) -> dict[str, Any]:
    """Accept the rules as they stand now."""
    user = user_of(request)
    challenge = access.get_challenge(person=user, slug=slug)
    membership = access.membership_of(person=user, challenge=challenge)
    if membership is None:
        raise NotAllowedError(_("You do not take part in this challenge."), what_to_do=_("Join it first."))
    registration.accept_rules(membership=membership, version=body.rules_version, now=timezone.now())
    return membership_document(membership)


@router.get("/{slug}/phases/{phase}", auth=EVERYBODY, response=schemas.PhaseOut)
def show_phase(request: HttpRequest, slug: str, phase: str) -> dict[str, Any]:
    """Facts, limits, whether you can submit and what is missing, and the queue."""
    person = person_of(request)
    row = access.get_phase(person=person, challenge_slug=slug, phase_slug=phase)
    return phase_document(phase=row, person=person)


@router.post("/{slug}/phases/{phase}/publish", response=schemas.PhaseOut)
def publish_results(request: HttpRequest, slug: str, phase: str) -> dict[str, Any]:
    """Lift the embargo now."""
    row, user = access.get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    return phase_document(phase=services.publish_results(phase=row, user=user, now=timezone.now()), person=user)


@router.post("/{slug}/phases/{phase}/release", response=schemas.PhaseOut)
def release_results(request: HttpRequest, slug: str, phase: str) -> dict[str, Any]:
    """Release the results of a phase that is over: the whole board, and what `release_after` opens."""
    row, user = access.get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    return phase_document(phase=flow.release_results(phase=row, by=user, now=timezone.now()), person=user)


@router.delete("/{slug}/phases/{phase}/release", response=schemas.PhaseOut)
def take_back_release(request: HttpRequest, slug: str, phase: str) -> dict[str, Any]:
    """Undo a release. It does not come again by itself."""
    row, user = access.get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    return phase_document(phase=flow.take_back_release(phase=row, by=user, now=timezone.now()), person=user)


@router.post("/{slug}/phases/{phase}/embargo", response=schemas.PhaseOut)
def embargo(request: HttpRequest, slug: str, phase: str, body: schemas.EmbargoIn) -> dict[str, Any]:
    """Let only organizers see results, until a time or until they are published."""
    row, user = access.get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    changed = services.embargo_results(phase=row, until=body.until, user=user, now=timezone.now())
    return phase_document(phase=changed, person=user)


@router.post("/{slug}/phases/{phase}/pause", response=schemas.PhaseOut)
def pause(request: HttpRequest, slug: str, phase: str) -> dict[str, Any]:
    """Take no submissions for a while. Those under way go on."""
    row, user = access.get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    return phase_document(phase=services.pause_phase(phase=row, user=user, now=timezone.now()), person=user)


@router.post("/{slug}/phases/{phase}/resume", response=schemas.PhaseOut)
def resume(request: HttpRequest, slug: str, phase: str) -> dict[str, Any]:
    """Take submissions again."""
    row, user = access.get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    return phase_document(phase=services.resume_phase(phase=row, user=user, now=timezone.now()), person=user)


def publication_document(request: PublicationRequest) -> dict[str, Any]:
    """Where the publication of a draft stands; `challenge` and `asked_by` are loaded."""
    return {
        "challenge": request.challenge.slug,
        "title": request.challenge.title,
        "state": request.state,
        "asked_by": request.asked_by.username,
        "asked_at": request.asked_at,
        "reason": request.reason,
    }


def leak_document(leak: Leak) -> dict[str, Any]:
    """What a phase can give away, beside the setting that decides it."""
    return {
        **texts_of(leak, "phase bits_per_team teams text advice"),
        "release": leak.mode,
        "bits_per_submission": leak.bits,
        "attempts_per_team": leak.attempts,
    }


def brief_or_none(challenge: Challenge) -> schemas.ChallengeBrief | None:
    """A challenge in a list. Nothing for one that cannot be read, so that it does not take the list with it."""
    try:
        names = "slug title summary modality anatomy status participant_count"
        return schemas.ChallengeBrief.model_validate(texts_of(challenge, names) | {"phases": phases_of(challenge)})
    except Exception:
        log.exception("row.unreadable", extra={"noun": "challenge", "row": challenge.slug})
        return None


def texts_of(row: Any, names: str) -> dict[str, Any]:
    """Some of a row's fields by name."""
    return {name: getattr(row, name) for name in names.split()}


def phases_of(challenge: Challenge) -> list[dict[str, Any]]:
    """A challenge's phases in brief."""
    now = timezone.now()
    return [
        {**texts_of(phase, "slug title kind opens_at closes_at is_paused"), "is_open": phase.is_open(now)}
        for phase in challenge.phases.all()
    ]


def membership_document(membership: Membership) -> dict[str, Any]:
    """Somebody's part in a challenge."""
    team = membership.team.slug if membership.team else None
    return {
        "role": membership.role,
        "status": membership.status,
        "team": team,
        "rules_version": membership.rules_version,
    }


def challenge_document(*, challenge: Challenge, person: Person) -> dict[str, Any]:
    """A challenge as the API shows it to this person."""
    membership = access.membership_of(person=person, challenge=challenge)
    names = "slug title summary description rules licence citation contact modality anatomy status requires_approval"
    names += " is_private questions rules_version"
    return {
        **texts_of(challenge, names),
        "organizers": [str(row.user) for row in selectors.organizers_of(challenge=challenge)],
        "membership": membership_document(membership) if membership else None,
        "phases": phases_of(challenge),
        "publication": publication_document(request) if (request := last_request(challenge)) else None,
        "url": f"{settings.PUBLIC_URL}/c/{challenge.slug}/",
    }


def phase_document(*, phase: Phase, person: Person) -> dict[str, Any]:
    """A phase as the API shows it to this person."""
    now = timezone.now()
    names = (
        "slug title kind opens_at closes_at is_paused submission_limit submission_window_days submission_limit_total "
        "concurrent_limit running_limit running_limit_per_team max_image_bytes pool needs leaderboard_shows requires_phase "
        "requires_rank late_until divisions freeze_hours public_percent releases_at release_after released_at "
        "review_days finalized_at carry_over "
        "is_embargoed embargo_until"
    )
    chosen = getattr(phase, "chosen_testset", None)
    return {
        **texts_of(phase, names),
        "challenge": phase.challenge.slug,
        "is_open": phase.is_open(now),
        "shows_results": phase.shows_results(now),
        "protocol": texts_of(phase.protocol, "version sha256 document"),
        "testset": testset_brief(chosen.testset) if chosen else None,
        "eligibility": eligibility_document(eligibility_of(person=person, phase=phase, now=now)),
        "queue": texts_of(
            queue_facts(phase, now=now), "length running median_wait_seconds seconds_per_case live_nodes why_waiting"
        ),
    }


def testset_brief(testset: TestSet) -> dict[str, Any]:
    """What anybody may know of hidden cases: how many, and the hash that says nobody changed them."""
    return {**texts_of(testset, "name version is_public sha256"), "case_count": testset.cases.count()}


def eligibility_document(eligibility: Eligibility) -> dict[str, Any]:
    """May you submit, and if not, what is missing."""
    return {
        **texts_of(eligibility, "can_submit text remaining next_at"),
        "conditions": [texts_of(condition, "ok text cure") for condition in eligibility.conditions],
    }
