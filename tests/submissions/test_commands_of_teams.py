"""What a team has started in its image, where the phase takes a command."""

import pytest

import factories
from assay.accounts.errors import AssayError, ConflictError
from assay.runs.specs import resources_of
from assay.submissions.services import Entry, command_of, create_submission
from assay.workflow.workers.checking import resources_in_force
from factories import NOW


@pytest.fixture
def entry(scene):
    """Makes an entry of Pia's in a phase whose rules take a command, or do not."""

    def make(*, command: str, takes_command: bool = True, upload=None) -> Entry:
        phase = scene.phase
        document = phase.protocol.document
        resources = {**document["resources"], "takes_command": takes_command}
        phase.protocol = factories.protocol(challenge=scene.challenge, document={**document, "resources": resources})
        phase.save()
        upload = upload or factories.complete_upload(user=scene.pia, purpose="image", key="uploads/image")
        return Entry(user=scene.pia, phase=phase, team=scene.team, upload=upload, name="Brought", command=command)

    return make


def test_the_shell_of_the_image_gets_the_command_as_it_was_given(entry):
    text = "python3 /run.py -i $inputDataset -o $outputDir"
    submission = create_submission(entry(command=text), now=NOW)
    assert resources_of(submission)["command"] == ["sh", "-c", text]
    assert resources_in_force(submission).command == ("sh", "-c", text)
    assert command_of(submission) == text


def test_without_a_command_the_image_decides(entry):
    submission = create_submission(entry(command=""), now=NOW)
    assert resources_of(submission)["command"] is None
    assert resources_in_force(submission).command is None
    assert command_of(submission) == ""


@pytest.mark.parametrize(
    ("command", "takes_command", "said"),
    [
        ("ls", False, "takes no command"),
        ("ls\nrm", True, "cannot be used"),
        ("x" * 2001, True, "cannot be used"),
        ("a\0b", True, "cannot be used"),
    ],
)
def test_a_command_that_cannot_be_is_refused(entry, command, takes_command, said):
    with pytest.raises(AssayError, match=said):
        create_submission(entry(command=command, takes_command=takes_command), now=NOW)


def test_another_command_is_another_algorithm(scene, entry):
    upload = factories.complete_upload(user=scene.pia, purpose="image", key="uploads/image")
    create_submission(entry(command="one", upload=upload), now=NOW)
    scene.phase.concurrent_limit = 9
    scene.phase.save()
    with pytest.raises(ConflictError, match="same file"):
        create_submission(entry(command="one", upload=upload), now=NOW)
    assert create_submission(entry(command="two", upload=upload), now=NOW).number == 2
