"""The challenge file is given back as it was applied last, and says what buttons changed since."""

from datetime import UTC, datetime

import pytest

import factories
from assay.accounts.errors import AssayError
from assay.challenges import services
from assay.challenges.definition import parse_definition
from assay.challenges.models import Challenge
from assay.challenges.writing import BEFORE, current_file
from assay.testsets.services import choose_testset

SOURCE = f"""\
# Our challenge; ask Olga before you touch the limits.
slug: lungs
title: Lungs   # both of them
timezone: AoE
protocol: {factories.PROTOCOL_TEXT}
phases:
  - slug: warm-up      # small
    opens_at: 2026-01-01
    closes_at: 2026-11-28
    embargo_until: 2027-02-01
  # the one that counts
  - {{slug: final, opens_at: 2026-12-01, closes_at: 2027-01-01, submission_limit: 3}}
"""


@pytest.fixture
def pushed(scene, now) -> Challenge:
    _, challenge = push(scene, now, SOURCE)
    return challenge


def push(scene, now, source, *, user=None, is_dry_run=False):
    return services.push_challenge(user=user or scene.olga, slug="lungs", source=source, is_dry_run=is_dry_run, now=now)


def test_untouched_it_comes_back_to_the_letter(pushed):
    assert current_file(pushed) == SOURCE


def test_a_comment_alone_is_kept_although_nothing_changes(pushed, scene, now):
    commented = SOURCE + "# one more word\n"
    changes, challenge = push(scene, now, commented)
    assert changes == []
    assert current_file(challenge) == commented


def test_what_buttons_change_stands_in_the_file_beside_its_comments(pushed, scene, now):
    warm_up, final = pushed.phases.order_by("position")
    testset = factories.testset(challenge=pushed, name="hidden")
    services.publish_results(phase=warm_up, user=scene.olga, now=now)
    services.pause_phase(phase=final, user=scene.olga, now=now)
    services.embargo_results(phase=final, until=datetime(2027, 5, 1, tzinfo=UTC), user=scene.olga, now=now)
    services.add_organizer(challenge=pushed, user=scene.otto, by=scene.olga, now=now)
    choose_testset(phase=final, testset=testset, user=scene.olga, now=now)
    text = current_file(pushed)
    assert "ask Olga before you touch" in text
    assert "title: Lungs   # both of them" in text
    assert "embargo_until: null" in text
    assert "is_paused: true" in text
    assert 'embargo_until: "2027-05-01T00:00:00+00:00"' in text
    assert 'organizers: ["olga", "otto"]' in text
    assert 'testset: "hidden"' in text
    changes, _ = push(scene, now, text, is_dry_run=True)
    assert changes == []


@pytest.mark.parametrize("scope", ["no text", "a phase that the text leaves out"])
def test_without_a_text_that_fits_the_file_is_written_from_the_rows(scene, now, scope, pushed):
    if scope == "no text":
        Challenge.objects.filter(pk=pushed.pk).update(source="")
    else:
        push(
            scene,
            now,
            SOURCE[: SOURCE.index("phases:")]
            + "phases: [{slug: extra, opens_at: 2026-01-01, closes_at: 2027-01-01}]\n",
        )
    pushed.refresh_from_db()
    text = current_file(pushed)
    assert {phase.slug for phase in parse_definition(text).phases} == set(pushed.phases.values_list("slug", flat=True))
    changes, _ = push(scene, now, text, is_dry_run=True)
    assert changes == []


@pytest.mark.parametrize(
    "text",
    [
        SOURCE.replace("submission_limit: 3", "a_key_of_old: 3"),
        SOURCE.replace("slug: lungs", "slug: [lungs"),
        SOURCE + "\ta tab, a bell \a and a mark \u202e\n",
        SOURCE[: SOURCE.index("  # the one that counts")],
    ],
    ids=["a key that is refused", "no YAML", "signs that no YAML holds", "a phase that the text leaves out"],
)
def test_a_text_that_says_it_no_longer_stays_as_comments_behind_what_holds(scene, now, pushed, text):
    Challenge.objects.filter(pk=pushed.pk).update(source=text)
    pushed.refresh_from_db()
    written = current_file(pushed)
    fresh, _, before = written.partition(BEFORE)
    assert "ask Olga" not in fresh
    for line in text.splitlines():
        assert line.replace("\a", "\\x07").replace("\u202e", "\\u202e").strip() in before
    assert push(scene, now, written, is_dry_run=True)[0] == []
    _, challenge = push(scene, now, written)
    assert current_file(challenge) == written, "and it is a file like any other from then on"
    Challenge.objects.filter(pk=challenge.pk).update(source=written.replace("slug: lungs", "slug: [lungs", 1))
    challenge.refresh_from_db()
    again = current_file(challenge)
    assert again.count(BEFORE) == 1
    assert again.count("ask Olga before you touch") == 1


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("title: Lungs", "organizers: [olga, nobody-we-know]\ntitle: Lungs", "has no account"),
        ("submission_limit: 3", "priority: 5", "Only operators"),
        ("title: Lungs", "is_archived: true\ntitle: Lungs", "draft cannot be archived"),
    ],
)
def test_what_a_file_may_not_ask_for_is_refused(scene, now, pushed, before, after, says):
    with pytest.raises(AssayError, match=says):
        push(scene, now, SOURCE.replace(before, after))
    pushed.refresh_from_db()
    assert (pushed.source, pushed.status) == (SOURCE, "draft")


def test_an_operator_may_put_a_phase_first_and_its_organizers_may_keep_it_there(scene, now, pushed):
    raised = SOURCE.replace("submission_limit: 3", "priority: 5")
    push(scene, now, raised, user=scene.stan)
    assert push(scene, now, raised)[0] == []


def test_a_challenge_is_archived_and_taken_up_again_by_its_file(scene, now, pushed):
    Challenge.objects.filter(pk=pushed.pk).update(status="published")
    archived = SOURCE.replace("title: Lungs", "is_archived: true\ntitle: Lungs")
    changes, challenge = push(scene, now, archived)
    assert ([change.text for change in changes], challenge.status) == (["is_archived: False → True"], "archived")
    assert push(scene, now, SOURCE)[1].status == "published"


def test_every_switch_can_be_set_and_comes_back(pushed, scene, now):
    switches = (
        "is_anonymous: true, is_paused: true, is_archived: true, priority: -3, max_image_bytes: 30000000000, "
        "leaderboard_shows: latest, running_limit: 4"
    )
    changed = SOURCE.replace("submission_limit: 3", f"submission_limit: 3, {switches}")
    changed = changed.replace("timezone: AoE", "timezone: AoE\norganizers: [olga, otto]")
    changes, challenge = push(scene, now, changed)
    assert [change.path.removeprefix("phases.final.") for change in changes] == [
        "organizers", "running_limit", "priority", "max_image_bytes", "leaderboard_shows", "is_anonymous", "is_paused",
        "is_archived",
    ]  # fmt: skip
    assert current_file(challenge) == changed
    final = challenge.phases.get(slug="final")
    assert (final.is_anonymous, final.priority, final.max_image_bytes) == (True, -3, 30_000_000_000)
    assert services.organizer_names(challenge) == ["olga", "otto"]
