"""A model that is handed in beside an image: what is accepted, what it makes of the image, and what is kept of it."""

import pytest

import factories
from assay.accounts.errors import AssayError
from assay.submissions.models import AlgorithmImage, Upload
from assay.submissions.services import Entry, create_submission, twin_of
from assay.submissions.uploads import forget_checked_archives, forget_unused
from factories import NOW

Status = AlgorithmImage.Status


@pytest.fixture
def entry(scene):
    """Makes an entry of Pia's: an image and, where it is given, a model."""
    image = factories.complete_upload(user=scene.pia, purpose="image", key="uploads/image")

    def make(model: Upload | None = None, **fields) -> Entry:
        given = {"name": "Brought", "allows_duplicate": False} | fields
        return Entry(user=scene.pia, phase=scene.phase, team=scene.team, upload=image, model=model, **given)

    return make


@pytest.fixture
def model(scene):
    def make(**fields) -> Upload:
        return factories.complete_upload(user=scene.pia, **({"purpose": "model", "key": "uploads/model"} | fields))

    return make


def test_each_model_makes_an_image_of_its_own(scene, entry, model):
    first, second = model(), model()
    images = []
    for weights in (None, first, second):
        submission = create_submission(entry(weights), now=NOW)
        images.append(submission.image)
        submission.delete()
    assert [image.model_sha256 for image in images] == ["", first.sha256, second.sha256]
    assert [image.model_folder for image in images] == ["", "/opt/ml/model", "/opt/ml/model"]
    assert len({image.pk for image in images}) == 3
    again = create_submission(entry(first), now=NOW)
    assert again.image == images[1]


def test_the_same_image_with_another_model_is_no_duplicate(scene, entry, model):
    weights = model()
    submission = create_submission(entry(weights), now=NOW)
    of = {"phase": scene.phase, "team": scene.team, "sha256": submission.image.archive_sha256}
    assert twin_of(**of, model_sha256=weights.sha256) == submission
    assert twin_of(**of) is None
    assert twin_of(**of, model_sha256="0" * 64) is None


@pytest.mark.parametrize(
    ("upload", "fields", "said"),
    [
        ({"purpose": "image"}, {}, "for something else"),
        ({"completed_at": None}, {}, "not complete"),
        ({"key": ""}, {}, "not kept"),
        ({}, {"model_folder": "/proc/self"}, "cannot lie there"),
        ({"total_bytes": 2**50}, {}, "together are larger"),
    ],
)
def test_what_is_no_model_is_refused(entry, model, upload, fields, said):
    with pytest.raises(AssayError, match=said):
        create_submission(entry(model(**upload), **fields), now=NOW)
    assert not AlgorithmImage.objects.filter(model_upload__isnull=False).exists()


def test_a_phase_of_predictions_takes_no_model(scene, entry, model):
    phase = scene.phase
    phase.kind = "predictions"
    phase.save()
    zipped = factories.complete_upload(user=scene.pia, purpose="predictions")
    asked = Entry(user=scene.pia, phase=phase, team=scene.team, upload=zipped, model=model(), name="x")
    with pytest.raises(AssayError, match="takes something else"):
        create_submission(asked, now=NOW)


def test_a_model_is_kept_until_its_image_is_checked(entry, model):
    weights = model()
    image = create_submission(entry(weights), now=NOW).image
    later = weights.expires_at
    assert forget_unused(now=later) == 0
    forget_checked_archives()
    assert Upload.objects.get(pk=weights.pk).key == "uploads/model"
    AlgorithmImage.objects.filter(pk=image.pk).update(status=Status.ACCEPTED)
    forget_checked_archives()
    assert Upload.objects.get(pk=weights.pk).key == ""
