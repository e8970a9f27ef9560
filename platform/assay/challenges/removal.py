"""Giving a phase or a challenge another name in addresses, and removing what nobody has submitted to.

What it means is said first, by `meaning_of_…`. Then it is asked for with the present name typed out. Submissions are never removed: what
has some can be archived, which keeps it readable.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError
from assay.accounts.models import User
from assay.challenges.definition import SLUG_LETTERS, parse_definition
from assay.challenges.editing import Value, edited, removed
from assay.challenges.models import Challenge, Phase
from assay.challenges.writing import current_file
from evaluator.documents import Pointer

LONGEST_SLUG = 80


def meaning_of_removing_phase(phase: Phase) -> list[str]:
    """What goes with a phase, in sentences. Two queries."""
    gated = list(phase.gated_phases.values_list("title", flat=True))
    return [
        *submissions_kept(phase.submissions.count()),
        *(
            [_("%(phases)s come after it, and would be open to everybody.") % {"phases": ", ".join(gated)}]
            if gated
            else []
        ),
        _(
            "Its page, its leaderboard with every snapshot, its objections and its enrolled sites go. Its test set stays."
        ),
    ]


def meaning_of_removing_challenge(challenge: Challenge) -> list[str]:
    """What goes with a challenge, in sentences. Four queries."""
    people = challenge.memberships.count()
    return [
        *submissions_kept(challenge.submissions.count()),
        ngettext(
            "%(count)s person is in it and loses their place.",
            "%(count)s people are in it and lose their place.",
            people,
        )
        % {"count": people},
        _("%(phases)s phases and %(testsets)s versions of test sets go, with their files and references.")
        % {"phases": challenge.phases.count(), "testsets": challenge.testsets.count()},
        _("The audit log keeps what was done. Everything else is gone for good."),
    ]


def meaning_of_renaming() -> list[str]:
    """What another name in addresses means."""
    return [
        _("Links to the old address stop working, in mails, papers and bookmarks too."),
        _("Commands and challenge files that name the old address are refused until they name the new one."),
        _("Receipts and signed snapshots keep the name they were signed with."),
    ]


def submissions_kept(count: int) -> list[str]:
    """The sentence that keeps something from being removed."""
    if not count:
        return []
    words = ngettext(
        "%(count)s submission was made to it and is kept. So it cannot be removed: archive it instead.",
        "%(count)s submissions were made to it and are kept. So it cannot be removed: archive it instead.",
        count,
    )
    return [words % {"count": count}]


def rename_phase(*, phase: Phase, slug: str, user: User, now: datetime) -> Phase:
    """Another name in addresses, in the rows and in the file."""
    checked_slug(slug)

    def rename(text: str, at: int) -> str:
        values: dict[Pointer, Value] = {("phases", at, "slug"): slug}
        for number, other in enumerate(parse_definition(text).phases):
            if other.requires_phase == phase.slug:
                values[("phases", number, "requires_phase")] = slug
        for number, board in enumerate(parse_definition(text).combined):
            if phase.slug in board["phases"]:
                values[("combined", number, "phases")] = renamed_in(board["phases"], phase.slug, slug)
        text = edited(text, values)
        is_made_of_slug = parse_definition(text).phases[at].title != phase.title
        return edited(text, {("phases", at, "title"): phase.title}) if is_made_of_slug else text

    with transaction.atomic():
        challenge = Challenge.objects.select_for_update().get(pk=phase.challenge_id)
        if challenge.phases.filter(slug=slug).exclude(pk=phase.pk).exists():
            raise ConflictError(_("There is a phase of this name."), found=slug, field="slug")
        source = _with_phase(challenge, phase, rename)
        Phase.objects.filter(pk=phase.pk).update(slug=slug)
        for board in challenge.combined:
            board["phases"] = renamed_in(board["phases"], phase.slug, slug)
        challenge.save(update_fields=["combined"])
        _keep(challenge, source, user=user, now=now, verb="phase.renamed", subject=phase, before=phase.slug, after=slug)
    phase.refresh_from_db()
    return phase


def renamed_in(slugs: Sequence[str], before: str, after: str) -> list[str]:
    """The slugs with one of them renamed."""
    return [after if slug == before else slug for slug in slugs]


def remove_phase(*, phase: Phase, confirm: str, user: User, now: datetime) -> None:
    """Remove a phase that nobody submitted to. `confirm` is its name, typed out."""
    refuse_unconfirmed(confirm, name=phase.slug)
    with transaction.atomic():
        challenge = Challenge.objects.select_for_update().get(pk=phase.challenge_id)
        if sentences := submissions_kept(phase.submissions.count()):
            raise ConflictError(sentences[0], code="has_submissions")
        if challenge.phases.count() < 2:
            raise ConflictError(
                _("A challenge needs a phase."),
                code="last_phase",
                what_to_do=_("Add another one first, or rename this one."),
            )
        if boards := [board["title"] for board in challenge.combined if phase.slug in board["phases"]]:
            raise ConflictError(
                _("The phase is part of a combined board."),
                code="is_combined",
                found=", ".join(boards),
                what_to_do=_("Take it out of the board first."),
            )

        def remove(text: str, at: int) -> str:
            gated: dict[Pointer, Value] = {
                ("phases", number, name): value
                for number, other in enumerate(parse_definition(text).phases)
                if other.requires_phase == phase.slug
                for name, value in (("requires_phase", None), ("requires_rank", None), ("carry_over", "none"))
            }
            return removed(edited(text, gated), ("phases", at))

        source = _with_phase(challenge, phase, remove)
        phase.gated_phases.update(requires=None, requires_rank=None, carry_over="none")
        subject = ("phase", phase.pk)
        Phase.objects.filter(pk=phase.pk).delete()
        _keep(challenge, source, user=user, now=now, verb="phase.removed", subject=subject, phase=phase.slug)


def rename_challenge(*, challenge: Challenge, slug: str, user: User, now: datetime) -> Challenge:
    """Another name in addresses, in the row and in the file."""
    checked_slug(slug)
    with transaction.atomic():
        locked = Challenge.objects.select_for_update().get(pk=challenge.pk)
        if Challenge.objects.filter(slug=slug).exclude(pk=locked.pk).exists():
            raise ConflictError(_("There is a challenge of this name."), code="name_taken", found=slug, field="slug")
        source = edited(current_file(locked), {("slug",): slug})
        Challenge.objects.filter(pk=locked.pk).update(slug=slug)
        before, locked.slug = locked.slug, slug
        _keep(locked, source, user=user, now=now, verb="challenge.renamed", subject=locked, before=before, after=slug)
    challenge.refresh_from_db()
    return challenge


def remove_challenge(*, challenge: Challenge, confirm: str, user: User, now: datetime) -> None:
    """Remove a challenge that nobody submitted to, with everything in it. `confirm` is its name, typed out."""
    refuse_unconfirmed(confirm, name=challenge.slug)
    with transaction.atomic():
        locked = Challenge.objects.select_for_update().get(pk=challenge.pk)
        if sentences := submissions_kept(locked.submissions.count()):
            raise ConflictError(sentences[0], code="has_submissions")
        record_event(
            actor=user,
            verb="challenge.removed",
            subject=("challenge", locked.pk),
            challenge_slug=locked.slug,
            now=now,
            title=locked.title,
        )
        locked.phases.update(requires=None, requires_rank=None, carry_over="none")
        locked.phases.all().delete()
        locked.delete()


def refuse_unconfirmed(confirm: str, *, name: str) -> None:
    """Raise `InvalidError` unless the name was typed out."""
    if confirm.strip() != name:
        raise InvalidError(
            _("Type the name to remove it for good."),
            found=confirm.strip()[:80] or _("nothing"),
            expected=name,
            field="confirm",
        )


def checked_slug(slug: str) -> None:
    """Raise `InvalidError` for a name that cannot stand in an address."""
    if not slug or not set(slug) <= SLUG_LETTERS or len(slug) > LONGEST_SLUG:
        raise InvalidError(
            _("A name in addresses has few letters."),
            found=slug[:80],
            expected=_("a-z, 0-9 and '-', at most 80"),
            field="slug",
        )


def _with_phase(challenge: Challenge, phase: Phase, change: Callable[[str, int], str]) -> str:
    """The challenge's file after a change of one phase."""
    text = current_file(challenge)
    slugs = [row.slug for row in parse_definition(text).phases]
    return change(text, slugs.index(phase.slug))


def _keep(
    challenge: Challenge, source: str, *, user: User, now: datetime, verb: str, subject: object, **details: str
) -> None:
    """Keep the changed file and the line of history."""
    Challenge.objects.filter(pk=challenge.pk).update(source=source)
    record_event(actor=user, verb=verb, subject=subject, challenge_slug=challenge.slug, now=now, **details)
