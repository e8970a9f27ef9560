"""Changes to challenges and phases: pushing `challenge.yaml`, joining, embargo, pause. Publishing is in `publication.py`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, TypedDict, Unpack

from django.db import IntegrityError, transaction
from django.db.models import Max, Q, QuerySet
from django.utils.translation import gettext

from assay.accounts import moments
from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError, NotAllowedError
from assay.accounts.models import Team, TeamMember, User
from assay.accounts.moments import checked_moment
from assay.accounts.services import solo_team
from assay.challenges.access import is_helper, is_organizer
from assay.challenges.combined import check_combined
from assay.challenges.contact import check_contact
from assay.challenges.definition import ChallengeDefinition, PhaseDefinition, parse_definition
from assay.challenges.gates import SET_WITH_GATES, check_gates, set_gates
from assay.challenges.models import Challenge, Membership, Phase, ProtocolVersion
from assay.challenges.quotas import refuse_over_challenges
from assay.challenges.registration import (
    Application,
    check_rules,
    checked_answers,
    note_acceptance,
    note_rules,
    status_of_new,
)
from assay.challenges.teams import refuse_full_team
from assay.challenges.telling import tell_decision, tell_request
from assay.challenges.texts import render_markdown
from assay.challenges.zones import moment_words, zone_of

CHALLENGE_VALUES = (
    *("title", "summary", "description", "rules", "licence", "modality", "anatomy", "citation", "contact"),
    *("timezone", "requires_approval", "is_private", "questions", "allow", "deny", "auto_accept"),
    *("rules_version", "agreements", "team_size", "merge_until"),
    *("pages", "logo", "banner", "sponsors", "tasks", "combined"),
)
EDITABLE = frozenset(
    {
        *("summary", "description", "licence", "modality", "anatomy", "citation"),
        *("pages", "logo", "banner", "sponsors"),
    }
)
"""What editors may change: words and pictures, and nothing that decides who takes part or what counts."""
HELPERS = {"editors": Membership.Role.EDITOR, "reviewers": Membership.Role.REVIEWER}
"""Key of the file → role of those it names."""
MARKDOWN_TEXTS = ("description", "rules")
PHASE_VALUES = (
    *("title", "kind", "opens_at", "closes_at", "submission_limit", "submission_window_days", "submission_limit_total"),
    "counts_same_image",
    *("budget_hours", "team_budget_hours", "budget_gib", "team_budget_gib"),
    *("concurrent_limit", "running_limit", "running_limit_per_team"),
    *("pool", "priority", "needs", "max_image_bytes", "leaderboard_shows", "is_anonymous", "is_paused", "is_archived"),
    *("requires_phase", "requires_rank", "late_until", "divisions"),
    *("freeze_hours", "public_percent", "releases_at", "release_after", "review_days", "carry_over"),
    *("keep_images_days", "keep_predictions_days", "keep_logs_days"),
    *("embargo_until", "is_embargoed"),
)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One line of a plan: what would change, from what, to what, and what follows from it."""

    path: str
    before: Any
    after: Any
    note: str = ""

    @property
    def text(self) -> str:
        """For people."""
        before = "" if self.before is None else f"{shortened(self.before)} → "
        return f"{self.path}: {before}{shortened(self.after)}" + (f" ({self.note})" if self.note else "")


def shortened(value: Any) -> str:
    """A value as a plan shows it."""
    value = ", ".join(map(str, value)) if isinstance(value, tuple) else value
    text = str(value if value not in (None, "") else "–")
    return text if len(text) <= 60 else f"{text[:57]}…"


def push_challenge(
    *, user: User, slug: str, source: str, is_dry_run: bool, now: datetime
) -> tuple[list[Change], Challenge | None]:
    """Make a challenge, or change it to what `source` says. A dry run answers the plan and changes nothing.

    Phases that the file leaves out stay as they are. A new protocol becomes a new version. Submissions keep the one they were
    accepted under.
    """
    definition = parse_definition(source)
    if definition.slug != slug:
        raise InvalidError(
            gettext("The file is for another challenge."),
            found=gettext("slug: %(slug)s") % {"slug": definition.slug},
            expected=gettext("slug: %(slug)s") % {"slug": slug},
            line=1,
        )
    with transaction.atomic():
        challenge = Challenge.objects.select_for_update().filter(slug=slug).first()
        edits_alone = False
        if challenge is not None and not is_organizer(person=user, challenge=challenge):
            edits_alone = is_helper(person=user, challenge=challenge, role=Membership.Role.EDITOR)
        if challenge is not None and not edits_alone and not is_organizer(person=user, challenge=challenge):
            raise NotAllowedError(
                gettext("The name %(slug)s is taken by a challenge you do not organize.") % {"slug": repr(slug)},
                code="name_taken",
                what_to_do=gettext("Choose another slug, or ask its organizers to add you."),
            )
        if challenge is None:
            refuse_over_challenges(user=user, status=Challenge.Status.DRAFT)
        changes = list(plan(challenge=challenge, definition=definition))
        if edits_alone:
            refuse_beyond_texts(changes)
        check_people(challenge=challenge, definition=definition, user=user)
        check_gates(challenge=challenge, definition=definition)
        check_combined(challenge=challenge, definition=definition, source=source)
        check_contact(before=challenge.contact if challenge else "", definition=definition, source=source)
        if not is_dry_run and (changes or challenge is None):
            challenge = apply(challenge=challenge, definition=definition, user=user, now=now)
            record_event(
                actor=user,
                verb="challenge.pushed",
                subject=challenge,
                challenge_slug=slug,
                now=now,
                changes=[change.text for change in changes],
            )
        if not is_dry_run and challenge is not None:
            Challenge.objects.filter(pk=challenge.pk).update(source=source)
            challenge.source = source
    return changes, challenge


def refuse_beyond_texts(changes: Sequence[Change]) -> None:
    """An editor changes texts and pictures. Raises NotAllowedError where something else would change, too."""
    if beyond := [change.path for change in changes if change.path not in EDITABLE]:
        raise NotAllowedError(
            gettext("Editors change texts and pictures only. Nothing was changed."),
            found=", ".join(beyond),
            expected=", ".join(sorted(EDITABLE)),
            what_to_do=gettext("Ask one of its organizers."),
        )


def check_people(*, challenge: Challenge | None, definition: ChallengeDefinition, user: User) -> None:
    """Refuse a list of organizers that names nobody we know, and a priority that only operators may give."""
    named = {key: getattr(definition, key) for key in ("organizers", *HELPERS)}
    everybody = [name for names in named.values() for name in names]
    known = set(User.objects.filter(username__in=everybody).values_list("username", flat=True))
    for key, names in named.items():
        if unknown := [name for name in names if name not in known]:
            raise InvalidError(
                gettext("`%(key)s` names somebody who has no account.") % {"key": key},
                found=", ".join(unknown),
                expected=gettext("user names of people who have signed up"),
            )
    helping = [*definition.editors, *definition.reviewers]
    competing = challenge.memberships.filter(user__username__in=helping, team__isnull=False) if challenge else ()
    if competing:
        raise InvalidError(
            gettext("Who takes part does not edit or review."),
            found=", ".join(row.user.username for row in competing),
            expected=gettext("people who are in no team of this challenge"),
        )
    before = {phase.slug: phase.priority for phase in challenge.phases.all()} if challenge else {}
    raised = [phase for phase in definition.phases if phase.priority > max(0, before.get(phase.slug, 0))]
    if raised and not user.is_staff:
        raise NotAllowedError(
            gettext("Only operators of this installation may put a phase before those of others."),
            what_to_do=gettext("Leave out `priority` of %(slug)s, or ask an operator.") % {"slug": raised[0].slug},
        )


def plan(*, challenge: Challenge | None, definition: ChallengeDefinition) -> Iterator[Change]:
    """What a push would change, one line each. Times carry their zone."""
    zone = zone_of(definition.timezone) or UTC
    if challenge is None:
        yield Change(path="challenge", before=None, after=f"new: {definition.slug}")
        for phase in definition.phases:
            yield new_phase(phase, zone=zone)
        return
    for name in CHALLENGE_VALUES:
        before, after = held(challenge, name), getattr(definition, name)
        if before != after:
            yield Change(path=name, before=before, after=after)
    is_archived = challenge.status == Challenge.Status.ARCHIVED
    if is_archived != definition.is_archived:
        yield Change(path="is_archived", before=is_archived, after=definition.is_archived)
    organizers = organizer_names(challenge)
    if definition.organizers and set(definition.organizers) != set(organizers):
        yield Change(path="organizers", before=", ".join(organizers), after=", ".join(definition.organizers))
    for key, role in HELPERS.items():
        helpers, wanted_ones = names_in(challenge, role=role), getattr(definition, key)
        if set(wanted_ones) != set(helpers):
            yield Change(path=key, before=", ".join(helpers), after=", ".join(wanted_ones))
    existing = {phase.slug: phase for phase in challenge.phases.select_related("protocol", "requires")}
    for wanted in definition.phases:
        yield from plan_phase(phase=existing.pop(wanted.slug, None), wanted=wanted, zone=zone)
    for slug in existing:
        yield Change(path=f"phases.{slug}", before=None, after="not in the file", note="it stays as it is")


def organizer_names(challenge: Challenge) -> list[str]:
    """The user names of those who organize it, those who came first at the front."""
    return names_in(challenge, role=Membership.Role.ORGANIZER)


def names_in(challenge: Challenge, *, role: Membership.Role) -> list[str]:
    """The user names of those who have this role, those who came first at the front."""
    rows = challenge.memberships.filter(role=role, status=Membership.Status.ACCEPTED)
    return list(rows.order_by("created_at", "pk").values_list("user__username", flat=True))


def new_phase(wanted: PhaseDefinition, *, zone: tzinfo) -> Change:
    """The line of a phase that is not there yet: with its times, which a mistake of zone would shift."""
    opens, closes = shown(wanted.opens_at, zone=zone), shown(wanted.closes_at, zone=zone, ends=True)
    return Change(path=f"phases.{wanted.slug}", before=None, after="new", note=f"opens {opens}, closes {closes}")


def shown(value: Any, *, zone: tzinfo, ends: bool = False) -> Any:
    """A value as a plan says it. A time in the challenge's zone."""
    return moment_words(value, zone=zone, ends=ends) if isinstance(value, datetime) else value


def held(row: Phase | Challenge, name: str) -> Any:
    """What a row says under a key of the file."""
    value = getattr(row, name)
    return tuple(value) if isinstance(value, list) else value


def plan_phase(*, phase: Phase | None, wanted: PhaseDefinition, zone: tzinfo) -> Iterator[Change]:
    """What a push would change in one phase."""
    path = f"phases.{wanted.slug}"
    if phase is None:
        yield new_phase(wanted, zone=zone)
        return
    for name in PHASE_VALUES:
        before, after = held(phase, name), getattr(wanted, name)
        if before != after:
            ends = name != "opens_at"
            yield Change(
                path=f"{path}.{name}",
                before=shown(before, zone=zone, ends=ends),
                after=shown(after, zone=zone, ends=ends),
            )
    if phase.testset_name != wanted.testset:
        yield Change(path=f"{path}.testset", before=phase.testset_name, after=wanted.testset)
    if phase.protocol.sha256 != wanted.protocol.sha256:
        judged = phase.submissions.count()
        yield Change(
            path=f"{path}.protocol",
            before=f"v{phase.protocol.version} {phase.protocol.sha256[:8]}",
            after=f"new version {wanted.protocol.sha256[:8]}",
            note=f"{judged} submissions keep the old one; rejudge them to compare" if judged else "",
        )


def apply(*, challenge: Challenge | None, definition: ChallengeDefinition, user: User, now: datetime) -> Challenge:
    """Write the definition into the rows."""
    texts: dict[str, Any] = {name: getattr(definition, name) for name in CHALLENGE_VALUES}
    for name in MARKDOWN_TEXTS:
        if challenge is None or getattr(challenge, name) != texts[name]:
            texts[f"{name}_html"] = render_markdown(texts[name])
    if challenge is None or held(challenge, "pages") != definition.pages:
        texts["pages_html"] = {page["slug"]: render_markdown(page["text"]) for page in definition.pages}
    if challenge is None:
        try:
            with transaction.atomic():
                challenge = Challenge.objects.create(slug=definition.slug, created_by=user, created_at=now, **texts)
        except IntegrityError as error:
            raise ConflictError(
                gettext("Somebody else just took this name."), code="name_taken", found=definition.slug
            ) from error
        Membership.objects.create(challenge=challenge, user=user, role=Membership.Role.ORGANIZER, created_at=now)
    else:
        if (challenge.status == Challenge.Status.ARCHIVED) != definition.is_archived:
            texts["status"] = archived_status(challenge, is_archived=definition.is_archived)
        Challenge.objects.filter(pk=challenge.pk).update(**texts)
        challenge.refresh_from_db()
    set_organizers(challenge=challenge, names=definition.organizers, now=now)
    set_helpers(challenge=challenge, definition=definition, now=now)
    note_rules(challenge=challenge, now=now)
    for position, wanted in enumerate(definition.phases):
        values = {name: getattr(wanted, name) for name in PHASE_VALUES if name != "requires_phase"}
        values |= {"position": position, "testset_name": wanted.testset}
        values["protocol"] = protocol_version(challenge=challenge, wanted=wanted, now=now)
        # a phase that is prolonged has nothing released yet
        Phase.objects.filter(challenge=challenge, slug=wanted.slug, released_at__lt=wanted.closes_at).update(
            released_at=None, finalized_at=None
        )
        if not wanted.requires_phase:
            values["requires"] = None
        else:  # set below, once every phase is there
            for name in SET_WITH_GATES:
                values.pop(name)
        Phase.objects.update_or_create(challenge=challenge, slug=wanted.slug, defaults=values)
    set_gates(challenge=challenge, definition=definition)
    return challenge


def archived_status(challenge: Challenge, *, is_archived: bool) -> Challenge.Status:
    """The status of a challenge that is put away, or taken up again. A draft was never public, so it cannot be put away."""
    if is_archived and challenge.status == Challenge.Status.DRAFT:
        raise ConflictError(
            gettext("A draft cannot be archived: an archived challenge is public."),
            what_to_do=gettext("Publish it first, or remove it."),
        )
    if not is_archived:
        refuse_over_challenges(user=challenge.created_by, status=Challenge.Status.PUBLISHED)
    return Challenge.Status.ARCHIVED if is_archived else Challenge.Status.PUBLISHED


def set_organizers(*, challenge: Challenge, names: Sequence[str], now: datetime) -> None:
    """Let exactly these people organize the challenge. Nobody is changed where the list is empty.

    Who no longer organizes stays as the participant they were, or leaves.
    """
    if not names:
        return
    former = challenge.memberships.filter(role=Membership.Role.ORGANIZER).exclude(user__username__in=names)
    former.filter(team=None).delete()
    former.update(role=Membership.Role.PARTICIPANT)
    values = {"role": Membership.Role.ORGANIZER, "status": Membership.Status.ACCEPTED}
    for person in User.objects.filter(username__in=names):
        Membership.objects.update_or_create(
            challenge=challenge, user=person, defaults=values, create_defaults={**values, "created_at": now}
        )


def set_helpers(*, challenge: Challenge, definition: ChallengeDefinition, now: datetime) -> None:
    """Let exactly these people edit and review. Who does so no longer leaves."""
    for key, role in HELPERS.items():
        names = getattr(definition, key)
        challenge.memberships.filter(role=role).exclude(user__username__in=names).delete()
        values = {"role": role, "status": Membership.Status.ACCEPTED}
        for person in User.objects.filter(username__in=names):
            Membership.objects.update_or_create(
                challenge=challenge, user=person, defaults=values, create_defaults={**values, "created_at": now}
            )


def protocol_version(*, challenge: Challenge, wanted: PhaseDefinition, now: datetime) -> ProtocolVersion:
    """The row of this very document. A new version when there is none. The challenge's row is locked by the caller."""
    existing = challenge.protocols.filter(sha256=wanted.protocol.sha256).first()
    if existing is not None:
        return existing
    last = challenge.protocols.aggregate(last=Max("version"))["last"] or 0
    return ProtocolVersion.objects.create(
        challenge=challenge,
        version=last + 1,
        document=wanted.protocol.document,
        source=wanted.protocol_source,
        sha256=wanted.protocol.sha256,
        created_at=now,
    )


def join_challenge(*, challenge: Challenge, user: User, application: Application, now: datetime) -> Membership:
    """Take part, in a team of yours or alone. Joining again may change the team as long as the old one has submitted nothing.

    Raises what `registration` refuses.
    """
    team = application.team
    chosen = team or solo_team(user=user, now=now)
    if not TeamMember.objects.filter(team=chosen, user=user).exists():
        raise NotAllowedError(
            gettext("You are not in this team."),
            found=chosen.name,
            what_to_do=gettext("Ask its captain for an invite."),
        )
    with transaction.atomic():
        membership = challenge.memberships.select_for_update().filter(user=user).first()
        if membership is None:
            membership, is_new = _new_membership(
                challenge=challenge, user=user, team=chosen, application=application, now=now
            )
            if is_new:
                return membership
        if team is not None and membership.team_id != chosen.pk:
            move_to_team(membership=membership, team=chosen, user=user, now=now)
    return membership


def _new_membership(
    *, challenge: Challenge, user: User, team: Team, application: Application, now: datetime
) -> tuple[Membership, bool]:
    """The membership, and whether it was made now: of two requests at once, one makes it."""
    values = {
        "role": Membership.Role.PARTICIPANT,
        "status": status_of_new(challenge=challenge, user=user),
        "team": team,
        "answers": checked_answers(challenge=challenge, answers=application.answers),
        "created_at": now,
    }
    check_rules(challenge=challenge, version=application.rules_version)
    Challenge.objects.select_for_update(no_key=True).get(pk=challenge.pk)  # people of a team are counted
    refuse_full_team(challenge=challenge, team=team)
    membership, is_new = Membership.objects.get_or_create(challenge=challenge, user=user, defaults=values)
    if is_new:
        record_event(
            actor=user,
            verb="challenge.joined",
            subject=membership,
            challenge_slug=challenge.slug,
            now=now,
            team=team.slug,
        )
        note_acceptance(membership=membership, now=now)
        if membership.status == Membership.Status.PENDING:
            tell_request(membership=membership, now=now)
    return membership, is_new


def may_change_team(membership: Membership) -> bool:
    """Whether this person has submitted nothing in the challenge yet."""
    return not membership.challenge.submissions.filter(submitted_by=membership.user).exists()


def move_to_team(*, membership: Membership, team: Team, user: User, now: datetime) -> None:
    """Change the team somebody competes in. A second team would be a second set of attempts, so only before the first one.

    Who left a team that they submitted for may come back to it.
    """
    challenge = membership.challenge
    for_others = challenge.submissions.filter(submitted_by=membership.user).exclude(team=team).select_related("team")
    if (bound := for_others.first()) is not None:
        raise ConflictError(
            gettext("You have submitted for %(name)s already, so you stay in that team in this challenge.")
            % {"name": bound.team.name},
            code="team_is_fixed",
            what_to_do=gettext("Ask the organizers when teams have to merge."),
        )
    Challenge.objects.select_for_update(no_key=True).get(pk=challenge.pk)
    refuse_full_team(challenge=challenge, team=team)
    membership.team = team
    membership.save(update_fields=["team"])
    record_event(
        actor=user,
        verb="challenge.team_changed",
        subject=membership,
        challenge_slug=challenge.slug,
        now=now,
        team=team.slug,
    )


def decide_membership(
    *, membership: Membership, status: Membership.Status, reason: str, user: User, now: datetime
) -> None:
    """Accept, reject or ban a participant. The reason is shown to them."""
    with transaction.atomic():
        rows = Membership.objects.filter(pk=membership.pk).exclude(status=status, reason=reason)
        if not rows.update(status=status, reason=reason):
            return  # another organizer decided the same
        membership.refresh_from_db()
        record_event(
            actor=user,
            verb=f"membership.{status.value}",
            subject=membership,
            challenge_slug=membership.challenge.slug,
            now=now,
            reason=reason,
        )
        tell_decision(membership=membership, now=now)


def decide_memberships(
    *, memberships: Sequence[Membership], status: Membership.Status, reason: str, user: User, now: datetime
) -> int:
    """The same for many participants, all or none. Answers how many. A refusal needs a reason, because they read it."""
    if status in (Membership.Status.REJECTED, Membership.Status.BANNED) and not reason.strip():
        raise InvalidError(
            gettext("A refusal needs a reason."),
            expected=gettext("what the people who are refused may read"),
            what_to_do=gettext("Write one."),
            field="reason",
        )
    with transaction.atomic():
        for membership in memberships:
            decide_membership(membership=membership, status=status, reason=reason.strip()[:300], user=user, now=now)
    return len(memberships)


def add_organizer(*, challenge: Challenge, user: User, by: User, now: datetime) -> Membership:
    """Let somebody else do what organizers do. A participant keeps their team."""
    with transaction.atomic():
        membership, _ = Membership.objects.update_or_create(
            challenge=challenge,
            user=user,
            defaults={"role": Membership.Role.ORGANIZER, "status": Membership.Status.ACCEPTED},
            create_defaults={
                "role": Membership.Role.ORGANIZER,
                "status": Membership.Status.ACCEPTED,
                "created_at": now,
            },
        )
        record_event(
            actor=by,
            verb="challenge.organizer_added",
            subject=membership,
            challenge_slug=challenge.slug,
            now=now,
            organizer=user.username,
        )
    return membership


def publish_results(*, phase: Phase, user: User, now: datetime) -> Phase:
    """Lift the embargo now."""
    return change_phase(
        phase=phase, user=user, now=now, verb="published", is_embargoed=False, embargo_until=None, published_at=now
    )


def embargo_results(*, phase: Phase, until: datetime | None, user: User, now: datetime) -> Phase:
    """Let only organizers see results, until a time or until they are published. A time without a zone is UTC."""
    until = checked_moment(until, name="until")
    return change_phase(
        phase=phase, user=user, now=now, verb="embargoed", is_embargoed=True, embargo_until=until, published_at=None
    )


def release_results(*, phase: Phase, user: User | None, now: datetime) -> Phase:
    """Release the results of a phase that is over: the whole board, and what `release_after` opens. Again changes nothing."""
    if not phase.is_over(now):
        raise ConflictError(
            gettext("Results are released when the phase is over."),
            code="not_over",
            found=gettext("open until %(moment)s UTC")
            % {"moment": f"{phase.late_until or phase.closes_at:%Y-%m-%d %H:%M}"},
        )
    if phase.released_at is not None:
        return phase
    return change_phase(phase=phase, user=user, now=now, verb="released", released_at=now)


def take_back_release(*, phase: Phase, user: User, now: datetime) -> Phase:
    """Undo a release. It comes again by itself only at a later `releases_at`, so the time is set far away where there is none."""
    return change_phase(
        phase=phase,
        user=user,
        now=now,
        verb="release_taken_back",
        released_at=None,
        releases_at=moments.LATEST,
        finalized_at=None,
    )


def due_releases(*, now: datetime) -> QuerySet[Phase]:
    """Phases that are over, whose results are due and not released, and under no embargo."""
    is_over = Q(late_until=None, closes_at__lte=now) | Q(late_until__lte=now)
    is_due = Q(releases_at=None) | Q(releases_at__lte=now)
    is_shown = Q(is_embargoed=False) | Q(embargo_until__lte=now)
    has_something = Q(freeze_hours__isnull=False) | Q(public_percent__isnull=False) | ~Q(release_after=[])
    has_something |= Q(review_days__isnull=False)
    return Phase.objects.filter(is_over, is_due, is_shown, has_something, released_at=None).select_related("challenge")


def pause_phase(*, phase: Phase, user: User, now: datetime) -> Phase:
    """Take no submissions for a while. Those under way go on."""
    return change_phase(phase=phase, user=user, now=now, verb="paused", is_paused=True)


def resume_phase(*, phase: Phase, user: User, now: datetime) -> Phase:
    """Take submissions again."""
    return change_phase(phase=phase, user=user, now=now, verb="resumed", is_paused=False)


class PhaseValues(TypedDict, total=False):
    """What organizers change in a phase by an act of its own. Everything else comes with the challenge's document."""

    is_embargoed: bool
    embargo_until: datetime | None
    published_at: datetime | None
    is_paused: bool
    released_at: datetime | None
    releases_at: datetime | None
    finalized_at: datetime | None
    carried_at: datetime | None


def change_phase(*, phase: Phase, user: User | None, now: datetime, verb: str, **values: Unpack[PhaseValues]) -> Phase:
    """Write values into a phase and the change into history."""
    with transaction.atomic():
        Phase.objects.filter(pk=phase.pk).update(**values)
        shown: dict[str, Any] = {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()
        }
        record_event(
            actor=user,
            actor_label="" if user else "workflow",
            verb=f"phase.{verb}",
            subject=phase,
            challenge_slug=phase.challenge.slug,
            now=now,
            **shown,
        )
    phase.refresh_from_db()
    return phase
