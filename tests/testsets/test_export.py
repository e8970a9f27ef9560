"""A public test set comes out as what went in, and as nothing else."""

import io
import tarfile

import pytest

import testset_folders as folders
from assay.accounts.errors import NotFoundError
from assay.testsets import storage
from assay.testsets.export import archive_bytes, members_of, path_of, stream_archive
from assay.testsets.models import TestSet
from assay.testsets.selectors import get_public_testset
from assay.testsets.services import ingest_testset


def ingest(content: bytes, *, scene, now, tmp_path, is_public: bool = True) -> TestSet:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(content)
    storage.keep_file(source=archive, key="uploads/one")
    return ingest_testset(
        challenge=scene.challenge,
        user=scene.olga,
        archive_key="uploads/one",
        name="training",
        is_public=is_public,
        phase_slugs=[],
        now=now,
    )


@pytest.fixture
def public(scene, now, tmp_path) -> TestSet:
    return ingest(folders.packed(folders.good_folder(tmp_path / "folder")), scene=scene, now=now, tmp_path=tmp_path)


def test_what_comes_out_can_be_pushed_again_and_is_the_same_version(public, scene, now, tmp_path):
    members = members_of(public)
    content = b"".join(stream_archive(members, may_go_on=lambda: True))
    assert len(content) == archive_bytes(members)
    assert ingest(content, scene=scene, now=now, tmp_path=tmp_path) == public


def test_the_archive_holds_a_manifest_the_files_and_the_notice(public):
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream_archive(members_of(public), may_go_on=lambda: True)))) as tar:
        assert tar.getnames() == [
            "manifest.csv", "NOTICE",
            "images/A01_t1.nii.gz", "labels/A01_reference.nii.gz", "images/B01_t1.nii.gz", "labels/B01_reference.nii.gz",
        ]  # fmt: skip
        manifest = tar.extractfile("manifest.csv").read().decode()
    assert manifest.splitlines()[1] == "A01,A,images/A01_t1.nii.gz,labels/A01_reference.nii.gz"


def test_no_name_an_organizer_chose_leads_out_of_the_archive(scene):
    case = scene.phase.chosen_testset.testset.cases.first()
    assert path_of(case, kind="images", file={"name": "../../t1", "key": "x/input-0.nii.gz"}) == "images/a__t1.nii.gz"


def test_a_hidden_test_set_is_nowhere_to_be_found(public, scene):
    assert get_public_testset(challenge=scene.challenge, name="training", version=1) == public
    hidden = scene.phase.chosen_testset.testset
    for name, version in ((hidden.name, hidden.version), ("training", 2), ("none", 1)):
        with pytest.raises(NotFoundError, match="no such public test set"):
            get_public_testset(challenge=scene.challenge, name=name, version=version)


def test_anybody_may_download_it(public, client):
    answer = client.get("/api/v1/challenges/brains/testsets/training/1/archive")
    content = b"".join(answer.streaming_content)
    assert int(answer["Content-Length"]) == len(content)
    assert answer["Content-Disposition"] == 'attachment; filename="brains-training-v1.tar"'
