"""What operators decide on the server's command line."""

import pytest
from click.testing import CliRunner

import factories
from assay.accounts.models import AuditEvent
from assay.challenges.models import Challenge
from assay.challenges.publication import publish_challenge
from assay.config import cli


@pytest.fixture
def call(monkeypatch, tmp_path, scene):
    monkeypatch.setenv("ASSAY_VAR", str(tmp_path / "var"))
    return lambda *words: CliRunner().invoke(cli.admin, words)


@pytest.fixture
def draft(scene, settings, now):
    settings.PUBLICATION_NEEDS_APPROVAL = True
    row = factories.challenge(slug="lungs", organizer=scene.olga, status=Challenge.Status.DRAFT)
    factories.phase(challenge=row)
    return publish_challenge(challenge=row, user=scene.olga, now=now)


def test_drafts_that_wait_are_listed_and_published(call, draft):
    assert call("publications").output.startswith("lungs: Lungs (asked ")
    assert call("publish", "lungs").output == "lungs is public.\n"
    draft.refresh_from_db()
    assert draft.status == Challenge.Status.PUBLISHED
    assert AuditEvent.objects.get(verb="challenge.published").actor_label == "command line"
    assert "Nobody waits for this decision." in call("publish", "lungs").output


def test_a_refusal_needs_its_reason(call, draft):
    assert call("refuse", "lungs").exit_code == 2
    assert call("refuse", "lungs", "--reason", "No contact.").exit_code == 0
    assert draft.publication_requests.get().reason == "No contact."


def test_a_pool_is_given_listed_and_given_back(call):
    assert call("pool", "a100", "--person", "olga", "--challenge", "brains", "--note", "the lab's").exit_code == 0
    assert call("pool").output == "a100: olga, challenge brains (the lab's)\n"
    assert call("pool", "a100", "--everybody").output == ""
    assert call("pool", "a100").exit_code == 2
    refused = call("pool", "a100", "--person", "nobody")
    assert (refused.exit_code, "There is no such person." in refused.output) == (1, True)


def test_limits_are_set_shown_and_taken_back(call, scene):
    told = call("quota", "olga", "--drafts", "3", "--storage-gib", "1")
    assert "Drafts: 0 of 3\n" in told.output
    scene.olga.refresh_from_db()
    assert (scene.olga.quota_drafts, scene.olga.quota_storage_gib, scene.olga.quota_published) == (3, 1, None)
    call("quota", "olga", "--drafts", "default")
    scene.olga.refresh_from_db()
    assert scene.olga.quota_drafts is None
    assert call("quota", "brains", "--challenge", "--run-hours", "5").exit_code == 0
    scene.challenge.refresh_from_db()
    assert scene.challenge.quota_run_hours == 5
    assert call("quota", "brains", "--challenge", "--drafts", "5").exit_code == 2
    assert call("quota", "olga", "--drafts", "-1").exit_code == 2
    assert "nobody of this user name" in call("quota", "nobody", "--drafts", "1").output


def test_without_a_name_the_largest_users_are_listed(call, scene):
    factories.complete_upload(user=scene.otto, total_bytes=2**30, offset_bytes=2**30)
    assert call("quota").output.startswith("otto: 1.00 GiB, 0.0 hours on nodes, 0 drafts, 0 published\n")
