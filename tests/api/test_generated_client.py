"""The client that openapi-python-client makes from our description: it is made whole, and it works."""

import pytest
from django.test import Client
from django.utils import timezone

import factories
from assay.accounts.tokens import issue_token
from wire import send_through


@pytest.fixture
def as_pia(generated, scene):
    _, token = issue_token(user=scene.pia, name="test", days=1, now=timezone.now())
    return generated.connection(token=token, transport=send_through(Client()))


def test_it_is_made_without_a_warning_and_has_every_operation(generated):
    assert "WARNING" not in generated.warnings, generated.warnings
    for operation in generated.operations:
        assert generated.module(f"api.{operation.tag}.{operation.name}")


def test_pia_finds_a_phase_and_her_submission_with_it(generated, as_pia, scene):
    submission = factories.submission(phase=scene.phase, team=scene.team)
    challenges = generated.module("api.challenges.challenges_list_challenges").sync(client=as_pia)
    assert [(one.slug, [phase.slug for phase in one.phases]) for one in challenges] == [("brains", ["final"])]
    phase = generated.module("api.challenges.challenges_show_phase").sync("brains", "final", client=as_pia)
    assert (phase.challenge, phase.testset.case_count) == ("brains", 2)
    page = generated.module("api.submissions.submissions_list_submissions").sync(client=as_pia)
    assert [(one.id, one.team) for one in page.items] == [(submission.pk, "Pia and friends")]


def test_a_refusal_is_read_with_its_code_and_what_to_do(generated, as_pia):
    refused = generated.module("api.challenges.challenges_show_challenge").sync_detailed("nowhere", client=as_pia)
    assert (refused.status_code, refused.parsed.error.code) == (404, "not_found")
    assert refused.parsed.error.message
