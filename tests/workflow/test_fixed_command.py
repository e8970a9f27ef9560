"""An image without a command of its own: fine where the phase brings one, refused where it does not."""

import pytest

import factories


@pytest.mark.parametrize(
    ("report", "command", "status"),
    [
        ({"entrypoint": [], "command": ["/run"]}, None, "queued"),
        ({"entrypoint": ["/run"], "command": []}, None, "queued"),
        ({"entrypoint": [], "command": []}, ["sh", "predict.sh"], "queued"),
        ({"entrypoint": [], "command": []}, None, "failed"),
    ],
)
def test_somebody_has_to_say_what_runs(stage, report, command, status):
    resources = factories.PROTOCOL["resources"] | ({"command": command} if command else {})
    document = factories.PROTOCOL | {"resources": resources}
    stage.scene.phase.protocol = factories.protocol(challenge=stage.scene.challenge, document=document)
    stage.scene.phase.save()
    submission = stage.submit(image=factories.image(team=stage.scene.team, report=report))
    stage.check()
    submission.refresh_from_db()
    assert submission.status == status
    if status == "failed":
        assert (submission.verdict, submission.is_charged) == ("image_invalid", False)
        assert "neither ENTRYPOINT nor CMD" in submission.verdict_text
