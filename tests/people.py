"""The people of every story: Olga organizes, Pia participates, Otto is an outsider, Stan operates the installation."""

from dataclasses import dataclass

import factories
from assay.accounts.models import Team, User
from assay.challenges.models import Challenge, Phase


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One published challenge with one open phase, and everybody who may or may not touch it."""

    olga: User
    pia: User
    otto: User
    stan: User
    team: Team
    challenge: Challenge
    phase: Phase


def scene(*, slug: str = "brains") -> Scene:
    """Set the scene: Pia's team has joined, Otto has only signed up."""
    olga, pia, otto = (factories.user(username=name) for name in ("olga", "pia", "otto"))
    challenge = factories.challenge(slug=slug, organizer=olga)
    team = factories.team(name="Pia and friends", members=[pia])
    factories.membership(challenge=challenge, user=pia, team=team)
    phase = factories.phase(challenge=challenge, slug="final", testset=factories.testset(challenge=challenge))
    return Scene(
        olga=olga,
        pia=pia,
        otto=otto,
        stan=factories.user(username="stan", is_staff=True),
        team=team,
        challenge=challenge,
        phase=phase,
    )
