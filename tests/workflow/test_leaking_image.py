"""The whole way of a hostile image in a phase that releases verdicts only: it reads the scan and shouts it everywhere."""

import base64

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

import factories
from assay.accounts.tokens import issue_token
from assay.runs.models import CaseRun
from containers.engines.fake import FakeEnding

CLOSED = "what a team sees of a closed submission is decided in evaluations/disclosure.py"


@pytest.mark.catalogue(
    87, attack="an image that prints the scan, through the whole platform", verdict="nothing arrives", guard=CLOSED
)
def test_what_an_image_shouts_reaches_organizers_and_nobody_else(stage):
    scene = stage.scene
    scene.phase.protocol = factories.protocol(
        challenge=scene.challenge, document=factories.PROTOCOL | {"release": "verdict_only"}
    )
    scene.phase.save()
    shouted = []

    def shout(call):
        (scan,) = call.input_dir.iterdir()
        text = base64.b64encode(scan.read_bytes())
        shouted.append(text[:60].decode())
        (call.output_dir / text[:40].decode().replace("/", "_")).write_bytes(text)
        return FakeEnding(exit_code=1 + scan.read_bytes()[-8] % 255, log=text)

    stage.script = shout
    submission = stage.submit()
    stage.play()
    _, secret = issue_token(user=scene.pia, name="test", days=1, now=timezone.now())
    as_pia, as_olga = Client(), Client()
    as_pia.force_login(scene.pia)
    as_olga.force_login(scene.olga)
    bearer = {"headers": {"Authorization": f"Bearer {secret}"}}
    paths = [f"/api/v1/submissions/{submission.pk}{end}" for end in ("", "/cases", "/receipt", "/logs")]
    answers = [Client().get(path, **bearer) for path in paths]
    answers.append(as_pia.get(reverse("portal:submission", args=[submission.pk])))
    seen = b"".join(answer.content for answer in answers).decode()
    assert len(shouted) == 2
    assert "the program ended with an error" in seen
    for text in shouted:
        assert text[:20] not in seen
    assert "of 2 cases" not in seen
    assert "exit" not in answers[0].json()["verdict_text"]
    logs = [
        reverse("organizers:log", args=[scene.challenge.slug, submission.pk, case_run.pk])
        for case_run in CaseRun.objects.filter(run__submission=submission)
    ]
    read = [as_olga.get(log).content.decode()[:20] for log in logs]
    assert sorted(read) == sorted(text[:20] for text in shouted)
    assert [as_pia.get(log).status_code for log in logs] == [403, 403]
