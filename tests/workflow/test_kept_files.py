"""Images and models that a team has handed in before: named by their hash, checked without being sent, and shown on the page."""

import io
import re
import tarfile
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

import factories
import image_archives
from assay.submissions.limits import CLOSING_GRACE
from assay.submissions.models import AlgorithmImage, Submission, Upload
from assay.submissions.uploads import forget_checked_archives
from assay.testsets import storage
from markup import markup


def handed_in(stage, content: bytes, *, purpose: str) -> Upload:
    stored = storage.save_file(key=f"uploads/{purpose}", stream=io.BytesIO(content), max_bytes=2**26)
    return factories.complete_upload(
        user=stage.scene.pia,
        purpose=purpose,
        key=stored.key,
        sha256=stored.sha256,
        filename=f"{purpose}.tar",
        created_at=timezone.now(),
    )


@pytest.fixture
def as_pia(stage, client):
    """Pia submits over the API; what is asked of the answer's image."""
    phase = stage.scene.phase
    phase.opens_at, phase.closes_at = timezone.now() - timedelta(days=1), timezone.now() + timedelta(days=9)
    phase.submission_limit = phase.concurrent_limit = 99
    phase.save()
    client.force_login(stage.scene.pia)
    address = f"/api/v1/challenges/{phase.challenge.slug}/phases/{phase.slug}/"

    def submit(**body):
        answer = client.post(address + "submissions", {"name": "Brought", **body}, content_type="application/json")
        if answer.status_code != 201:
            return answer
        submission = Submission.objects.get(pk=answer.json()["id"])
        stage.check()
        submission.refresh_from_db()
        return submission

    submit.client, submit.address = client, address
    return submit


@pytest.fixture
def first(stage, as_pia, tmp_path):
    """An image with a model, checked; what was sent is thrown away."""
    image = handed_in(stage, image_archives.honest_image(tmp_path / "image.tar").read_bytes(), purpose="image")
    model = handed_in(stage, image_archives.tar_of(image_archives.entry("weights.bin", b"\7" * 99)), purpose="model")
    submission = as_pia(upload_id=str(image.pk), model_upload_id=str(model.pk))
    assert submission.image.status == "accepted"
    forget_checked_archives()
    assert set(Upload.objects.values_list("key", flat=True)) == {""}
    return submission


def files_in(image: AlgorithmImage) -> set[str]:
    """The names of all files of all layers of the image as it runs."""
    names = set()
    with tarfile.open(storage.local_path(image.rewritten_key)) as archive:
        for member in archive.getmembers():
            if member.name.endswith("layer.tar"):
                with tarfile.open(fileobj=archive.extractfile(member)) as layer:
                    names |= {info.name for info in layer if info.isfile()}
    return names


def test_neither_an_image_nor_a_model_is_sent_twice(stage, as_pia, first):
    """Four algorithms of one upload: the same again, without the model, with another, and the model in another image."""
    image, model = first.image.archive_sha256, first.image.model_sha256
    again = as_pia(sha256=image, model_sha256=model, allow_duplicate=True)
    assert again.image == first.image
    alone = as_pia(sha256=image)
    assert (alone.image.status, files_in(alone.image)) == ("accepted", {"copy"})
    other = handed_in(stage, image_archives.tar_of(image_archives.entry("net.bin", b"\1")), purpose="model")
    newer = as_pia(sha256=image, model_upload_id=str(other.pk))
    assert files_in(newer.image) == {"copy", "opt/ml/model/net.bin"}
    moved = as_pia(sha256=image, model_sha256=model, model_folder="/app/weights", allow_duplicate=True)
    assert files_in(moved.image) == {"copy", "app/weights/weights.bin"}
    assert len({row.image.image_id for row in (first, alone, newer, moved)}) == 4
    assert {row.image.uploaded_image_id for row in (alone, newer, moved)} == {first.image.uploaded_image_id}
    listed = as_pia.client.get(as_pia.address + "kept").json()
    assert sorted((row["kind"], row["version"], row["sha256"]) for row in listed) == [
        ("image", 1, image),
        ("model", 1, model),
        ("model", 2, other.sha256),
    ]


def test_a_hash_opens_nothing_of_other_teams(stage, as_pia, first):
    rival = factories.user(username="rita")
    factories.membership(challenge=first.challenge, user=rival, team=factories.team(members=[rival]))
    as_pia.client.force_login(rival)
    refused = as_pia(sha256=first.image.archive_sha256)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
    assert as_pia.client.get(as_pia.address + "kept").json() == []
    assert as_pia(name="nothing").status_code == 422


def test_what_is_named_by_its_hash_did_not_begin_before_the_phase_closed(stage, as_pia, first):
    """The grace after closing is for bytes that are still on their way."""
    phase = stage.scene.phase
    phase.closes_at = timezone.now() - CLOSING_GRACE / 2
    phase.save()
    Upload.objects.update(created_at=phase.closes_at - timedelta(minutes=1))
    for again in ({"sha256": first.image.archive_sha256}, {"upload_id": str(first.image.upload_id)}):
        refused = as_pia(**again)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "cannot_submit"), refused.content


def test_the_page_takes_a_model_a_command_and_what_is_kept(stage, as_pia, first):
    phase = stage.scene.phase
    document = phase.protocol.document
    resources = {**document["resources"], "takes_command": True}
    phase.protocol = factories.protocol(challenge=phase.challenge, document={**document, "resources": resources})
    phase.save()
    page = reverse("portal:submit", args=[phase.challenge.slug, phase.slug])
    shown = markup(as_pia.client.get(page))
    kept = re.findall(r'<option value="(\w{64})"', shown)
    assert kept == [first.image.archive_sha256, first.image.model_sha256]
    weights = io.BytesIO(image_archives.tar_of(image_archives.entry("by-page.bin", b"\2")))
    weights.name = "model.tar"
    form = {"name": "By page", "kept_image": kept[0], "model": weights, "command": "run $HOME"}
    assert as_pia.client.post(page, form).status_code == 302
    stage.check()
    made = Submission.objects.get(name="By page")
    assert files_in(made.image) == {"copy", "opt/ml/model/by-page.bin"}
    assert made.limits["command"] == ["sh", "-c", "run $HOME"]
    refused = as_pia.client.post(page, {"name": "Nothing", "command": "typed"})
    assert refused.status_code == 400
    assert 'value="typed"' in markup(refused)
    unknown = as_pia.client.post(page, {"name": "Unknown", "kept_image": "0" * 64})
    assert unknown.status_code == 400
