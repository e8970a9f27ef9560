"""A protocol may name a metric image only where the image is, or where nobody can submit yet."""

import json

import pytest

import factories
from assay.accounts.errors import ConflictError
from assay.challenges.models import Challenge
from assay.evaluations import pushing
from assay.evaluations.models import MetricImage

IMAGE = f"sha256:{factories.digest('rings')}"
PROTOCOL = factories.PROTOCOL | {
    "metrics": [*factories.PROTOCOL["metrics"], {"name": "external_score", "id": "agreement"}],
    "conventions": factories.PROTOCOL.get("conventions", {}) | {"failed": {"agreement": 0}},
    "evaluation": {"image": IMAGE},
}
SOURCE = """
slug: rings
title: Rings
protocol: {protocol}
phases:
  - {{slug: final, opens_at: 2026-01-01, closes_at: 2199-01-01, submission_limit: 3}}
"""


@pytest.fixture
def push(scene, now):
    def push(protocol=PROTOCOL, *, is_dry_run=False):
        source = SOURCE.format(protocol=json.dumps(protocol))
        return pushing.push_challenge(user=scene.olga, slug="rings", source=source, is_dry_run=is_dry_run, now=now)

    return push


def bring_image(challenge: Challenge, scene, now) -> None:
    MetricImage.objects.create(
        challenge=challenge, image_id=IMAGE, archive_sha256="0" * 64, rewritten_key="metric-images/1/image.tar",
        rewritten_bytes=7, created_by=scene.olga, created_at=now,
    )  # fmt: skip


def notes(changes) -> list[tuple[str, str]]:
    """What a plan says beside the changes themselves. The times of a new phase are another test's."""
    return [(change.path, change.note) for change in changes if change.note and change.path != "phases.final"]


def test_a_draft_is_told_that_its_metric_image_is_missing_until_it_is_there(push, scene, now):
    expected = [("phases.final.evaluation", "not pushed yet")]
    assert notes(push(is_dry_run=True)[0]) == expected
    changes, challenge = push()
    assert notes(changes) == expected
    assert notes(push()[0]) == expected
    bring_image(challenge, scene, now)
    assert push()[0] == []


def test_a_draft_is_not_published_without_its_metric_image(push, scene, now):
    _, challenge = push()
    with pytest.raises(ConflictError, match="not pushed") as refused:
        pushing.publish_challenge(challenge=challenge, user=scene.olga, now=now)
    assert refused.value.code == "metric_image_missing"
    assert IMAGE[:20] in refused.value.found
    challenge.refresh_from_db()
    assert challenge.status == Challenge.Status.DRAFT
    bring_image(challenge, scene, now)
    assert pushing.publish_challenge(challenge=challenge, user=scene.olga, now=now).status == "published"


def test_a_published_challenge_keeps_its_protocol_when_the_new_one_names_a_missing_image(push, scene, now):
    _, challenge = push(factories.PROTOCOL)
    pushing.publish_challenge(challenge=challenge, user=scene.olga, now=now)
    with pytest.raises(ConflictError, match="not pushed"):
        push()
    assert challenge.protocols.count() == 1
    bring_image(challenge, scene, now)
    push()
    assert challenge.protocols.count() == 2
