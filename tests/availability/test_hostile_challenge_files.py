"""Every key of `challenge.yaml` with values nobody should write: a refusal with a sentence and a line, or a challenge that can be stored.

The file below has every key. Each value and each key in it is replaced in turn by a sample of the hostile pieces of YAML, drawn with a
fixed seed; `ASSAY_HOSTILE=all` tries every piece at every place.
"""

import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

import factories
from assay.accounts.errors import AssayError, InvalidError
from assay.accounts.models import AuditEvent
from assay.challenges.definition import CHALLENGE_KEYS, PHASE_KEYS, parse_definition
from assay.challenges.models import Challenge
from assay.challenges.services import push_challenge

pytestmark = pytest.mark.slow

TRIES_ALL = os.environ.get("ASSAY_HOSTILE") == "all"
SAMPLE, PUSHED, REFUSED = 1, 12, 6
HERE = "@@here@@"
PIECES = (
    '"a\\0b"', '"\\ud800"', '"\\udfff\\ud800"', '"\\u202etxt"', '"\\ufeff"', "²", "٣", "½", "9" * 20, "-" + "9" * 20, "9" * 5000,
    "0x" + "f" * 32, "0b1", "0o7", "1_000", "190:20:30", "1:60", "1e400", "-1e400", ".inf", "-.inf", ".nan", "NaN", "-1", "0", "0.5",
    "1e-320", "true", "~", "[]", "{}", "[[]]", "[~]", "{? [a] : b}", "{? {a: b} : c}", '{"\\0": 1}', '{"": ""}', "{a: 1, a: 2}",
    "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "2026-02-30", "2026-13-01", "2026-11-01T99:00:00", "1969-12-31",
    "2026-11-01 24:00", f'"{"a" * 70_000}"', f'"{"[" * 40_000}"', "[" + "a," * 20_000 + "]", "*nobody", "&a [*a]",
    "!!python/object/apply:os.system [x]", "!!binary aGVsbG8=", "!!set {a}", "<<", "=", "../../etc/passwd", '"%s%(x)s{0.a}"',
    "[" * 70 + "]" * 70, "{" + ", ".join(f"k{n}: {n}" for n in range(2000)) + "}", '"a\\r\\nb: c"', '"\\x1b[2J"', '" "', '""',
)  # fmt: skip
DOCUMENT: dict[str, Any] = {
    "slug": "hostile",
    "title": "Hostile",
    "summary": "One line",
    "description": "Some **words**",
    "rules": "Rules",
    "licence": "CC0",
    "modality": "MR",
    "anatomy": "brain",
    "citation": "Somebody 2026",
    "contact": "olga@example.org",
    "timezone": "Europe/Berlin",
    "requires_approval": True,
    "is_private": False,
    "questions": ["Which institution?"],
    "allow": ["example.org"],
    "deny": ["example.com"],
    "auto_accept": ["ada@example.org"],
    "rules_version": 1,
    "agreements": {"hidden": "I share nothing"},
    "team_size": 5,
    "merge_until": "2026-12-01",
    "is_archived": False,
    "editors": ["edda"],
    "reviewers": ["rita"],
    "pages": [{"slug": "faq", "title": "FAQ", "text": "Why?"}],
    "logo": "logo",
    "banner": "banner",
    "sponsors": [{"name": "Ministry", "url": "https://example.org", "picture": "logo"}],
    "tasks": [{"title": "Ask the ethics board", "due": "2026-10-01", "is_done": True}],
    "combined": [{"slug": "all", "title": "Both", "phases": ["final", "warm-up"], "by": "median_rank"}],
    "organizers": ["olga"],
    "protocol": {
        **factories.PROTOCOL,
        "version": 1,
        "description": "words",
        "sources": ["a paper"],
        "unconfirmed": ["ranking"],
        "mode": "corrected",
        "defects": [{"id": "slip", "what": "a slip", "source": "code", "settings": {"unknown_values": "background"}}],
        "preset": "deepmind",
        "ignored_values": [7],
        "unknown_values": "refuse",
        "metrics": [
            {"name": "dice", "rounding": 4, "labels": ["core"]},
            {"name": "hd_percentile", "percentile": 95, "options": {"combine": "larger"}},
            {"name": "lesion_f1", "dilation": 3, "neighbourhood": 26},
        ],
        "conventions": {"both_empty": {"dice": 1}, "by_failure": {"timeout": {"dice": 0}}},
        "geometry": {"compare": "grid", "corner_voxels": 0.1, "spacing_relative": 0.001, "reorient": False},
        "resources": {
            **factories.PROTOCOL["resources"],
            "wall_seconds_per": "run",
            "total_seconds": 100,
            "gpus": 0,
            "pids": 64,
            "command": ["/predict"],
            "environment": {"A": "b"},
            "input_mount": "/in",
            "input_aliases": ["/data"],
            "profile": "default",
        },
        "ranking": {
            "metrics": [{"id": "dice", "weight": 1, "bounds": [0, 1], "structures": {"core": 1}}, "hd_percentile"],
            "unit": {"levels": ["structure", "case"], "cluster": "case"},
            "missing": {"any": {"dice": 0, "hd_percentile": "rank_last"}},
            "scheme": {
                "type": "mean_of_ranks",
                "children": [{"type": "value", "metrics": ["dice"], "aggregate": {"case": "quantile:0.3"}}, "borda"],
                "weights": [1, 2],
            },
            "ties": {"method": "min", "tolerance": 0.01, "digits": 9, "break": ["dice.core"]},
            "significance": {"test": "wilcoxon", "alpha": 0.05, "adjust": "holm", "repetitions": 100},
            "stability": {"bootstrap": 100, "seed": 1, "ci": 0.9, "interval": "percentile"},
            "submissions": {"per_team": "best", "require_complete": False},
            "subgroups": [{"attribute": "age", "bands": [18, 40], "minimum_cases": 5}],
            "multi_task": {"by": "task", "consensus": "borda", "weights": {"a": 1}},
            "justification": {"scheme": "because"},
        },
        "breakdowns": ["site"],
        "report": [{"section": "matrix", "by": "site"}],
        "release": {"mode": "aggregate", "rounding": 3, "delta": 0.01},
    },
    "phases": [
        {
            "slug": "final",
            "title": "Final",
            "kind": "container",
            "opens_at": "2026-11-01",
            "closes_at": "2027-01-01 12:00",
            "embargo_until": "2027-02-01",
            "is_embargoed": True,
            "submission_limit": 3,
            "submission_window_days": 7,
            "submission_limit_total": 30,
            "budget_hours": 100,
            "team_budget_hours": 10,
            "budget_gib": 100,
            "team_budget_gib": 10,
            "concurrent_limit": 2,
            "running_limit": 2,
            "running_limit_per_team": 1,
            "counts_same_image": True,
            "requires_phase": "warm-up",
            "requires_rank": 3,
            "late_until": "2027-01-05",
            "divisions": ["open", "closed"],
            "freeze_hours": 24,
            "review_days": 7,
            "carry_over": "best",
            "keep_images_days": 365,
            "keep_predictions_days": 90,
            "keep_logs_days": 30,
            "public_percent": 30,
            "releases_at": "2027-02-01",
            "release_after": ["boards", "cases"],
            "pool": "default",
            "needs": ["gpu=A100", "cpus=8"],
            "testset": "hidden",
            "leaderboard_shows": "best",
            "is_anonymous": False,
            "is_paused": False,
            "is_archived": False,
            "priority": 0,
            "max_image_bytes": 1000,
        },
        {"slug": "warm-up", "opens_at": "2026-10-01", "closes_at": "2026-10-31"},
    ],
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every value but the whole. A key stands as (…, key, None)."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield (*path, key)
        if isinstance(value, dict):
            yield (*path, key, None)
        yield from places(below, (*path, key))


def replaced(path: tuple[Any, ...], piece: str) -> str:
    """The file with this piece of YAML at one place. JSON is YAML."""
    document = json.loads(json.dumps(DOCUMENT))
    around = document
    at = path[:-1] if path[-1] is None else path
    for step in at[:-1]:
        around = around[step]
    if path[-1] is None:
        around[HERE] = around.pop(at[-1])
    else:
        around[at[-1]] = HERE
    return json.dumps(document, indent=0).replace(f'"{HERE}"', piece)


def tried() -> list[tuple[tuple[Any, ...], str]]:
    """Place and piece."""
    chance = random.Random(12)
    return [
        (path, piece)
        for path in places(DOCUMENT)
        for piece in (PIECES if TRIES_ALL else chance.sample(PIECES, k=SAMPLE))
    ]


def outcome(source: str) -> InvalidError | None:
    """The refusal. None when the file is taken. Anything but a refusal with a sentence is a fault."""
    try:
        parse_definition(source)
    except InvalidError as error:
        return error
    return None


@contextmanager
def stored(told: str) -> Iterator[None]:
    """Let refusals pass. Anything else is named with the file it came from."""
    try:
        yield
    except AssayError:
        raise
    except Exception as error:
        raise AssertionError(f"{told}: {type(error).__name__}: {error}") from error


@pytest.fixture(scope="module")
def outcomes():
    """Which files were taken and which refused, and how."""
    found = []
    for path, piece in tried():
        source = replaced(path, piece)
        try:
            found.append((path, piece, source, outcome(source)))
        except Exception as error:
            raise AssertionError(f"{path} with {piece[:80]}: {type(error).__name__}: {error}") from error
    return found


def test_the_file_has_every_key():
    assert set(DOCUMENT) == CHALLENGE_KEYS
    assert set(DOCUMENT["phases"][0]) == PHASE_KEYS - {"protocol"}
    assert parse_definition(json.dumps(DOCUMENT)).phases[0].priority == 0


def test_every_refusal_is_a_sentence_of_bounded_length_with_a_line(outcomes):
    refusals = [(path, piece, error) for path, piece, _, error in outcomes if error is not None]
    assert len(refusals) > len(outcomes) / 2
    for path, piece, error in refusals:
        told = f"{path} with {piece[:80]}"
        assert error.message.endswith((".", "!", "?")), told
        assert len(error.message) + len(error.found) + len(error.expected) < 6000, told
        assert "\0" not in error.message + error.found + error.expected, told
        assert error.line, told


@pytest.mark.django_db
def test_whatever_is_taken_can_be_stored(outcomes, scene):
    taken = [(path, piece, source) for path, piece, source, error in outcomes if error is None]
    chosen = taken if TRIES_ALL else random.Random(3).sample(taken, k=PUSHED)
    for path, piece, source in chosen:
        slug = parse_definition(source).slug
        told = f"{path} with {piece[:80]}"
        with suppress(AssayError), transaction.atomic(), stored(told):
            push_challenge(user=scene.olga, slug=slug, source=source, is_dry_run=False, now=factories.NOW)
            transaction.set_rollback(True)


@pytest.mark.django_db
def test_what_is_refused_leaves_nothing(outcomes, scene):
    client = Client(raise_request_exception=False)
    client.force_login(scene.olga)
    refused = [(path, piece, source) for path, piece, source, error in outcomes if error is not None]
    before = (Challenge.objects.count(), AuditEvent.objects.count())
    for path, piece, source in random.Random(4).sample(refused, k=REFUSED):
        answer = client.put("/api/v1/challenges/hostile", {"source": source}, content_type="application/json")
        assert answer.status_code == 422, f"{path} with {piece[:80]}: {answer.content[:300]!r}"
        assert answer.json()["error"]["message"]
    assert (Challenge.objects.count(), AuditEvent.objects.count()) == before
