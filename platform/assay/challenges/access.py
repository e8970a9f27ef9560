"""The only door to challenges and phases, for every role. Submissions have theirs in `submissions/access.py`.

What somebody may not see does not exist for them: the answer is `NotFoundError`, the same as for a slug nobody ever used. What
they may see but not do is `NotAllowedError`. Operators (`is_staff`) may do whatever an organizer may.
"""

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from assay.accounts.errors import NotAllowedError, NotFoundError, NotSignedInError
from assay.accounts.models import User
from assay.challenges.models import Challenge, Membership, Phase

Person = User | AnonymousUser
PARTS = {
    Membership.Role.ORGANIZER: "organize",
    Membership.Role.EDITOR: "edit",
    Membership.Role.REVIEWER: "review",
}
WORKING = (Membership.Role.ORGANIZER, Membership.Role.EDITOR, Membership.Role.REVIEWER)
PUBLIC = (Challenge.Status.PUBLISHED, Challenge.Status.ARCHIVED)


def signed_in(person: Person) -> User:
    """The person, when we know who it is."""
    if isinstance(person, User):
        return person
    raise NotSignedInError(
        _("You are not signed in."),
        what_to_do=_("Sign in, or send `Authorization: Bearer assay_…` (`assay login` makes a token)."),
    )


def visible_challenges(*, person: Person) -> QuerySet[Challenge]:
    """Challenges this person may know of: published and archived ones, private ones they are in, and drafts they organize."""
    everything = Challenge.objects.all()
    is_public = Q(status__in=PUBLIC, is_private=False)
    if not isinstance(person, User):
        return everything.filter(is_public)
    if person.is_staff:
        return everything
    is_known = Q(status__in=PUBLIC) & (
        Q(pk__in=taken_part_in(person).values("challenge"))
        | (Q(pk__in=person.invited_to.values("challenge")) & ~Q(pk__in=excluded_from(person).values("challenge")))
    )
    return everything.filter(is_public | is_known | Q(pk__in=worked_on_by(person).values("challenge")))


def taken_part_in(user: User) -> QuerySet[Membership]:
    """The memberships that let somebody see a private challenge."""
    return Membership.objects.filter(user=user, status__in=[Membership.Status.ACCEPTED, Membership.Status.PENDING])


def excluded_from(user: User) -> QuerySet[Membership]:
    """The memberships that the organizers have ended."""
    return Membership.objects.filter(user=user, status__in=[Membership.Status.BANNED, Membership.Status.REJECTED])


def get_challenge(*, person: Person, slug: str) -> Challenge:
    """A challenge this person may know of."""
    challenge = visible_challenges(person=person).filter(slug=slug).first()
    if challenge is None:
        raise NotFoundError(
            _("There is no such challenge."), found=slug, what_to_do=_("Look at the list of challenges.")
        )
    return challenge


def get_phase(*, person: Person, challenge_slug: str, phase_slug: str) -> Phase:
    """A phase of a challenge this person may know of."""
    challenge = get_challenge(person=person, slug=challenge_slug)
    phase = challenge.phases.select_related("challenge", "protocol", "requires").filter(slug=phase_slug).first()
    if phase is None:
        raise NotFoundError(
            _("There is no such phase."), found=phase_slug, what_to_do=_("Look at the challenge's phases.")
        )
    return phase


def membership_of(*, person: Person, challenge: Challenge) -> Membership | None:
    """This person's part in the challenge, whatever its status."""
    if not isinstance(person, User):
        return None
    return challenge.memberships.select_related("team", "challenge").filter(user=person).first()


def is_organizer(*, person: Person, challenge: Challenge) -> bool:
    """Whether this person may do what organizers do."""
    if not isinstance(person, User):
        return False
    if person.is_staff:
        return True
    return organized_by(person).filter(challenge=challenge).exists()


def organized_challenges(*, person: Person) -> set[int]:
    """The keys of every challenge this person may do what organizers do in. One query."""
    if not isinstance(person, User):
        return set()
    if person.is_staff:
        return set(Challenge.objects.values_list("pk", flat=True))
    return set(organized_by(person).values_list("challenge", flat=True))


def organized_by(user: User) -> QuerySet[Membership]:
    """The memberships that make this person an organizer."""
    return Membership.objects.filter(user=user, role=Membership.Role.ORGANIZER, status=Membership.Status.ACCEPTED)


def worked_on_by(user: User) -> QuerySet[Membership]:
    """The memberships by which this person organizes, edits or reviews."""
    return Membership.objects.filter(user=user, role__in=WORKING, status=Membership.Status.ACCEPTED)


def is_helper(*, person: Person, challenge: Challenge, role: Membership.Role) -> bool:
    """Whether this person has the role, or organizes. An editor changes texts, a reviewer looks at submissions."""
    if is_organizer(person=person, challenge=challenge):
        return True
    return isinstance(person, User) and worked_on_by(person).filter(challenge=challenge, role=role).exists()


def parts_of(*, person: User, challenge: Challenge) -> frozenset[str]:
    """What this person does for the challenge: `organize` (which holds the others), `edit`, `review`. One query."""
    if person.is_staff:
        return frozenset(PARTS.values())
    role = worked_on_by(person).filter(challenge=challenge).values_list("role", flat=True).first()
    if role is None:
        return frozenset()
    return frozenset(PARTS.values()) if role == Membership.Role.ORGANIZER else frozenset({PARTS[Membership.Role(role)]})


def get_edited_challenge(*, person: Person, slug: str) -> tuple[Challenge, User]:
    """A challenge whose texts this person may change."""
    return _get_helped(person=person, slug=slug, role=Membership.Role.EDITOR)


def get_reviewed_challenge(*, person: Person, slug: str) -> tuple[Challenge, User]:
    """A challenge whose submissions and objections this person may look at."""
    return _get_helped(person=person, slug=slug, role=Membership.Role.REVIEWER)


def _get_helped(*, person: Person, slug: str, role: Membership.Role) -> tuple[Challenge, User]:
    challenge, user = get_challenge(person=person, slug=slug), signed_in(person)
    if is_helper(person=user, challenge=challenge, role=role):
        return challenge, user
    raise NotAllowedError(
        _("Only organizers and those they have named for it may do this."), what_to_do=_("Ask one of its organizers.")
    )


def require_organizer(*, person: Person, challenge: Challenge) -> User:
    """The person, when they may do what organizers do."""
    user = signed_in(person)
    if is_organizer(person=user, challenge=challenge):
        return user
    raise NotAllowedError(
        _("Only organizers of this challenge may do this."), what_to_do=_("Ask one of its organizers.")
    )


def get_organized_challenge(*, person: Person, slug: str) -> tuple[Challenge, User]:
    """A challenge this person organizes."""
    challenge = get_challenge(person=person, slug=slug)
    return challenge, require_organizer(person=person, challenge=challenge)


def get_organized_phase(*, person: Person, challenge_slug: str, phase_slug: str) -> tuple[Phase, User]:
    """A phase of a challenge this person organizes."""
    phase = get_phase(person=person, challenge_slug=challenge_slug, phase_slug=phase_slug)
    return phase, require_organizer(person=person, challenge=phase.challenge)


def require_staff(person: Person) -> User:
    """The person, when they operate this installation."""
    user = signed_in(person)
    if user.is_staff:
        return user
    raise NotAllowedError(_("Only operators of this installation may do this."), what_to_do=_("Ask one of them."))
