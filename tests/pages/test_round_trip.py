"""Files that people could write, and the forms over them: each form saved untouched changes nothing, and a pulled file pushes nothing."""

from datetime import UTC, datetime, timedelta

import pytest
import yaml
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import factories
from assay.challenges.definition import CHALLENGE_KEYS, PHASE_KEYS
from assay.challenges.services import push_challenge
from assay.challenges.writing import current_file
from desk_forms import form_of

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=30)
LINES = st.lists(WORDS.map(str.strip) | st.just(""), min_size=1, max_size=5).map("\n".join)
SHORT = WORDS.map(str.strip).filter(bool)
SLUGS = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


NUMBERS = {
    **dict.fromkeys(("submission_limit", "submission_window_days", "submission_limit_total", "review_days"), (1, 9)),
    **dict.fromkeys(("concurrent_limit", "running_limit", "running_limit_per_team"), (1, 9)),
    **dict.fromkeys(("budget_hours", "team_budget_hours", "budget_gib", "team_budget_gib"), (0, 9999)),
    **dict.fromkeys(("keep_images_days", "keep_predictions_days", "keep_logs_days"), (0, 999)),
    "freeze_hours": (1, 24),
    "public_percent": (1, 99),
    "max_image_bytes": (1, 2**40),
}
"""Keys of a phase that hold a whole number, with what may be drawn for them."""
FLAGS = ("is_paused", "is_embargoed", "is_anonymous", "counts_same_image", "is_archived")
DRAWN_OF_PHASE = {
    *("slug", "title", "opens_at", "closes_at", "kind", "late_until", "divisions", "releases_at", "release_after"),
    *("leaderboard_shows", "embargo_until", "needs", "pool", "requires_phase", "carry_over", "requires_rank"),
    *NUMBERS,
    *FLAGS,
}
NOT_DRAWN_OF_PHASE = {
    "priority": "operators alone may set it",
    "testset": "names a test set, whose files no generator makes; the desk's own tests choose one",
    "protocol": "one for the whole file here; a phase's own is in the desk's own tests",
}


def test_every_key_of_a_phase_is_drawn_or_says_why_not():
    assert DRAWN_OF_PHASE.isdisjoint(NOT_DRAWN_OF_PHASE)
    assert DRAWN_OF_PHASE | set(NOT_DRAWN_OF_PHASE) == PHASE_KEYS


def test_every_key_of_a_challenge_is_drawn_or_says_why_not():
    assert set(DRAWN_OF_CHALLENGE).isdisjoint(NOT_DRAWN_OF_CHALLENGE)
    assert set(DRAWN_OF_CHALLENGE) | set(NOT_DRAWN_OF_CHALLENGE) == CHALLENGE_KEYS


DRAWN_OF_CHALLENGE = (
    *("slug", "title", "summary", "description", "rules", "timezone", "licence", "modality", "anatomy", "citation"),
    *("is_private", "allow", "deny", "auto_accept", "rules_version", "team_size", "merge_until", "questions"),
    *(
        "requires_approval",
        "editors",
        "reviewers",
        "pages",
        "logo",
        "banner",
        "tasks",
        "combined",
        "contact",
        "sponsors",
    ),
    *("protocol", "phases"),
)
NOT_DRAWN_OF_CHALLENGE = {
    "organizers": "who pushes has to stay among them",
    "is_archived": "a draft cannot be archived",
    "agreements": "names test sets, whose files no generator makes",
}


def maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | strategy


def cleaned(values: dict) -> dict:
    """What somebody would write: keys with a value."""
    return {key: value for key, value in values.items() if value is not None}


@st.composite
def pages(draw) -> dict:
    return cleaned({"slug": draw(SLUGS), "title": draw(SHORT), "text": draw(maybe(LINES.map(str.strip).filter(bool)))})


@st.composite
def tasks(draw) -> dict:
    due = maybe(st.dates(FIRST.date()).filter(lambda day: day.year < 2200).map(lambda day: day.isoformat()))
    return cleaned({"title": draw(SHORT), "due": draw(due), "is_done": draw(maybe(st.booleans()))})


def combined(slugs: list[str]) -> dict:
    return {"slug": "all", "title": "All of it", "phases": slugs, "by": "median_rank"}


@st.composite
def phases(draw, *, slug: str, before: list[str]) -> dict:
    gate = draw(maybe(st.sampled_from(before))) if before else None
    opens = FIRST + timedelta(days=100 * len(before), minutes=draw(st.integers(0, 999)))
    closes = opens + timedelta(days=draw(st.integers(2, 50)))
    return cleaned(
        {
            "slug": slug,
            "title": draw(maybe(SHORT)),
            "opens_at": opens.isoformat(),
            "closes_at": closes.isoformat(),
            "kind": draw(maybe(st.sampled_from(["container", "predictions"]))),
            "late_until": draw(maybe(st.just((closes + timedelta(days=1)).isoformat()))),
            "divisions": draw(maybe(st.lists(SLUGS, min_size=2, max_size=3, unique=True))),
            "releases_at": draw(maybe(st.just((closes + timedelta(days=2)).isoformat()))),
            "release_after": draw(maybe(st.just(["boards", "cases"]))),
            "embargo_until": draw(maybe(st.just((closes + timedelta(days=3)).isoformat()))),
            "requires_phase": gate,
            "requires_rank": draw(maybe(st.integers(1, 9))) if gate else None,
            "carry_over": draw(maybe(st.sampled_from(["none", "best", "chosen", "team"]))) if gate else None,
            "needs": draw(maybe(st.just(["gpu=A100", "cpus=8"]))),
            "pool": draw(maybe(st.just("default"))),
            **{key: draw(maybe(st.integers(least, most))) for key, (least, most) in NUMBERS.items()},
            **{key: draw(maybe(st.booleans())) for key in FLAGS},
            "leaderboard_shows": draw(maybe(st.sampled_from(["best", "latest", "all", "chosen"]))),
        }
    )


@st.composite
def files(draw) -> str:
    """A challenge file in one of the ways in which YAML is written."""
    slugs = draw(st.lists(SLUGS, min_size=1, max_size=3, unique=True))
    sponsor = st.builds(
        lambda name, url: cleaned({"name": name, "url": url}),
        SHORT.map(without_bars),
        maybe(st.just("https://example.org/a?b=c")),
    )
    document = cleaned(
        {
            "slug": "lungs",
            "title": draw(SHORT),
            "summary": draw(maybe(SHORT)),
            "description": draw(maybe(LINES.map(str.strip).filter(bool))),
            "rules": draw(maybe(LINES.map(str.strip).filter(bool))),
            "timezone": draw(maybe(st.sampled_from(["UTC", "AoE", "Europe/Berlin", "Asia/Kathmandu"]))),
            "licence": draw(maybe(SHORT)),
            "modality": draw(maybe(SHORT)),
            "anatomy": draw(maybe(SHORT)),
            "citation": draw(maybe(LINES.map(str.strip).filter(bool))),
            "is_private": draw(maybe(st.booleans())),
            "allow": draw(maybe(st.just(["@example.org", "ada@example.com"]))),
            "deny": draw(maybe(st.just(["@example.net"]))),
            "auto_accept": draw(maybe(st.just(["@example.edu"]))),
            "rules_version": draw(maybe(st.integers(1, 9))),
            "team_size": draw(maybe(st.integers(1, 9))),
            "merge_until": draw(maybe(st.just((FIRST + timedelta(days=9)).isoformat()))),
            "questions": draw(maybe(st.lists(SHORT, min_size=1, max_size=3, unique=True))),
            "requires_approval": draw(maybe(st.booleans())),
            "editors": draw(maybe(st.just(["otto"]))),
            "reviewers": draw(maybe(st.just(["stan"]))),
            "pages": draw(maybe(st.lists(pages(), min_size=1, max_size=3, unique_by=lambda page: page["slug"]))),
            "logo": draw(maybe(SLUGS)),
            "banner": draw(maybe(SLUGS)),
            "tasks": draw(maybe(st.lists(tasks(), min_size=1, max_size=3))),
            "combined": draw(maybe(st.just([combined(slugs)]) if len(slugs) > 1 else st.none())),
            "contact": draw(maybe(st.sampled_from(["olga@example.org", "https://example.org/a?b=c", "⟨to write⟩"]))),
            "sponsors": draw(maybe(st.lists(sponsor, min_size=1, max_size=3))),
            "protocol": factories.PROTOCOL,
            "phases": [draw(phases(slug=slug, before=slugs[:place])) for place, slug in enumerate(slugs)],
        }
    )
    flow, indent = draw(st.sampled_from([None, False])), draw(st.sampled_from([2, 4]))
    text = yaml.safe_dump(
        document, sort_keys=draw(st.booleans()), allow_unicode=True, default_flow_style=flow, indent=indent
    )
    return f"# ask Olga\n{text}# the end\n"


def without_bars(name: str) -> str:
    """A sponsor's name as the form can hold it."""
    return name.replace("|", "/").strip() or "Nobody"


def forms_of(challenge) -> list[str]:
    desk = f"/c/{challenge.slug}/manage"
    found = [f"{desk}/texts/", *(f"{desk}/pages/{page['slug']}/edit/" for page in challenge.pages)]
    for phase in challenge.phases.all():
        found += [f"{desk}/p/{phase.slug}/edit/", f"{desk}/p/{phase.slug}/rules/"]
    return found


@pytest.mark.slow
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(source=files())
def test_forms_saved_untouched_change_nothing(scene, now, client, source):
    with transaction.atomic():
        _, challenge = push_challenge(user=scene.olga, slug="lungs", source=source, is_dry_run=False, now=now)
        client.force_login(scene.olga)
        assert current_file(challenge) == source
        for address in forms_of(challenge):
            answer = client.post(address, form_of(client, address) | {"save": "1"})
            assert answer.status_code == 302, (address, answer.context.get("form_errors"), source)
            challenge.refresh_from_db()
            assert current_file(challenge) == source, address
        changes, _ = push_challenge(user=scene.olga, slug="lungs", source=source, is_dry_run=True, now=now)
        assert changes == []
        transaction.set_rollback(True)


@pytest.mark.slow
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(source=files(), text=LINES.map(str.strip).filter(bool), title=SHORT)
def test_what_a_form_changes_is_all_that_changes(scene, now, client, source, text, title):
    with transaction.atomic():
        _, challenge = push_challenge(user=scene.olga, slug="lungs", source=source, is_dry_run=False, now=now)
        client.force_login(scene.olga)
        before = yaml.safe_load(source)
        phase = challenge.phases.order_by("position").last()
        wanted = before | {"description": text}
        wanted["phases"] = [*before["phases"][:-1], before["phases"][-1] | {"title": title}]
        for address, values in (
            ("/c/lungs/manage/texts/", {"description": text}),
            (f"/c/lungs/manage/p/{phase.slug}/edit/", {"title": title}),
        ):
            answer = client.post(address, form_of(client, address) | values | {"save": "1"})
            assert answer.status_code == 302, (address, answer.context.get("form_errors"), source)
        challenge.refresh_from_db()
        after = current_file(challenge)
        assert yaml.safe_load(after) == wanted
        assert after.startswith("# ask Olga\n")
        transaction.set_rollback(True)
