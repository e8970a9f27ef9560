"""Files that people could write, and the forms over them: each form saved untouched changes nothing, and a pulled file pushes nothing."""

from datetime import UTC, datetime, timedelta

import pytest
import yaml
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import factories
from assay.challenges.services import push_challenge
from assay.challenges.writing import current_file
from desk_forms import form_of

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=30)
LINES = st.lists(WORDS.map(str.strip) | st.just(""), min_size=1, max_size=5).map("\n".join)
SHORT = WORDS.map(str.strip).filter(bool)
SLUGS = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


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
def phases(draw, *, slug: str, position: int) -> dict:
    opens = FIRST + timedelta(days=100 * position, minutes=draw(st.integers(0, 999)))
    closes = opens + timedelta(days=draw(st.integers(2, 50)))
    return cleaned(
        {
            "slug": slug,
            "title": draw(maybe(SHORT)),
            "opens_at": opens.isoformat(),
            "closes_at": closes.isoformat(),
            "kind": draw(maybe(st.sampled_from(["container", "predictions"]))),
            "submission_limit": draw(maybe(st.integers(1, 9))),
            "submission_window_days": draw(maybe(st.integers(1, 9))),
            "late_until": draw(maybe(st.just((closes + timedelta(days=1)).isoformat()))),
            "divisions": draw(maybe(st.lists(SLUGS, min_size=2, max_size=3, unique=True))),
            "freeze_hours": draw(maybe(st.integers(1, 24))),
            "public_percent": draw(maybe(st.integers(1, 99))),
            "releases_at": draw(maybe(st.just((closes + timedelta(days=2)).isoformat()))),
            "release_after": draw(maybe(st.just(["boards", "cases"]))),
            "review_days": draw(maybe(st.integers(1, 9))),
            "is_paused": draw(maybe(st.booleans())),
            "is_embargoed": draw(maybe(st.booleans())),
            "leaderboard_shows": draw(maybe(st.sampled_from(["best", "latest", "all", "chosen"]))),
            "max_image_bytes": draw(maybe(st.integers(1, 2**40))),
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
            "questions": draw(maybe(st.lists(SHORT, min_size=1, max_size=3, unique=True))),
            "requires_approval": draw(maybe(st.booleans())),
            "editors": draw(maybe(st.just(["otto"]))),
            "reviewers": draw(maybe(st.just(["stan"]))),
            "pages": draw(maybe(st.lists(pages(), min_size=1, max_size=3, unique_by=lambda page: page["slug"]))),
            "logo": draw(maybe(SLUGS)),
            "tasks": draw(maybe(st.lists(tasks(), min_size=1, max_size=3))),
            "combined": draw(maybe(st.just([combined(slugs)]) if len(slugs) > 1 else st.none())),
            "contact": draw(maybe(st.sampled_from(["olga@example.org", "https://example.org/a?b=c", "⟨to write⟩"]))),
            "sponsors": draw(maybe(st.lists(sponsor, min_size=1, max_size=3))),
            "protocol": factories.PROTOCOL,
            "phases": [draw(phases(slug=slug, position=place)) for place, slug in enumerate(slugs)],
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
