"""Other names in addresses and removing: what it means is said, the file follows, and submissions are never lost."""

import pytest

import factories
from assay.accounts.errors import ConflictError, InvalidError
from assay.accounts.models import AuditEvent
from assay.challenges import removal, services
from assay.challenges.models import Challenge, Phase
from assay.challenges.writing import current_file

SOURCE = f"""\
# ours
slug: lungs
title: Lungs
protocol: {factories.PROTOCOL_TEXT}
phases:
  - {{slug: first, opens_at: 2026-01-01, closes_at: 2026-02-01}}   # the small one
  - slug: second
    opens_at: 2026-02-01
    closes_at: 2026-03-01
    requires_phase: first
    requires_rank: 3
  # and the last
  - {{slug: third, opens_at: 2026-03-01, closes_at: 2026-04-01}}
"""
FLOW = SOURCE[: SOURCE.index("phases:")] + (
    "phases: [{slug: first, opens_at: 2026-01-01, closes_at: 2026-02-01}, "
    "{slug: second, opens_at: 2026-02-01, closes_at: 2026-03-01}]\n"
)


def pushed(scene, now, source=SOURCE) -> Challenge:
    return services.push_challenge(user=scene.olga, slug="lungs", source=source, is_dry_run=False, now=now)[1]


def agrees(challenge) -> str:
    """The file, which says what the rows say."""
    challenge.refresh_from_db()
    text = current_file(challenge)
    assert text == challenge.source
    return text


def test_a_phase_gets_another_name_in_rows_and_file(scene, now):
    challenge = pushed(scene, now)
    removal.rename_phase(phase=challenge.phases.get(slug="first"), slug="warm-up", user=scene.olga, now=now)
    text = agrees(challenge)
    assert '{slug: "warm-up", title: "First", opens_at' in text
    assert 'requires_phase: "warm-up"' in text
    assert "# the small one" in text


@pytest.mark.parametrize("slug", ["second", "Warm Up", "", "x" * 81])
def test_a_name_that_is_taken_or_none_is_refused(scene, now, slug):
    challenge = pushed(scene, now)
    with pytest.raises((ConflictError, InvalidError)):
        removal.rename_phase(phase=challenge.phases.get(slug="first"), slug=slug, user=scene.olga, now=now)
    assert agrees(challenge) == SOURCE


@pytest.mark.parametrize(
    ("name", "is_said"), [("first", "second come after it"), ("second", "Its page"), ("third", "Its page")]
)
def test_a_phase_that_nobody_submitted_to_goes_from_rows_and_file(scene, now, name, is_said):
    challenge = pushed(scene, now)
    phase = challenge.phases.get(slug=name)
    assert is_said in " ".join(removal.meaning_of_removing_phase(phase)).replace("Second", "second")
    with pytest.raises(InvalidError, match="Type the name"):
        removal.remove_phase(phase=phase, confirm="other", user=scene.olga, now=now)
    removal.remove_phase(phase=phase, confirm=name, user=scene.olga, now=now)
    text = agrees(challenge)
    assert name not in [row.slug for row in challenge.phases.all()]
    assert f"slug: {name}" not in text
    assert text.startswith("# ours")
    assert Phase.objects.filter(challenge=challenge).count() == 2


def test_a_phase_goes_from_a_list_in_one_line_too(scene, now):
    for name in ("first", "second"):
        challenge = pushed(scene, now, FLOW)
        removal.remove_phase(phase=challenge.phases.get(slug=name), confirm=name, user=scene.olga, now=now)
        assert agrees(challenge).count("slug:") == 2


def test_the_last_phase_and_one_with_submissions_stay(scene, now):
    with pytest.raises(ConflictError, match="needs a phase"):
        removal.remove_phase(phase=scene.phase, confirm="final", user=scene.olga, now=now)
    factories.submission(phase=scene.phase, team=scene.team)
    assert "archive it instead" in removal.meaning_of_removing_phase(scene.phase)[0]
    for act in (
        lambda: removal.remove_phase(phase=scene.phase, confirm="final", user=scene.olga, now=now),
        lambda: removal.remove_challenge(challenge=scene.challenge, confirm="brains", user=scene.olga, now=now),
    ):
        with pytest.raises(ConflictError, match="archive it instead"):
            act()


def test_a_challenge_gets_another_name(scene, now):
    challenge = pushed(scene, now)
    removal.rename_challenge(challenge=challenge, slug="chests", user=scene.olga, now=now)
    assert agrees(challenge) == SOURCE.replace("slug: lungs", 'slug: "chests"')
    with pytest.raises(ConflictError, match="of this name"):
        removal.rename_challenge(challenge=challenge, slug="brains", user=scene.olga, now=now)


def test_a_challenge_without_submissions_goes_with_everything_in_it(scene, now):
    challenge = pushed(scene, now)
    factories.testset(challenge=challenge)
    assert len(removal.meaning_of_removing_challenge(challenge)) == 3
    removal.remove_challenge(challenge=challenge, confirm="lungs", user=scene.olga, now=now)
    assert not Challenge.objects.filter(slug="lungs").exists()
    assert AuditEvent.objects.filter(verb="challenge.removed", challenge_slug="lungs").exists()
