"""Pushing test sets: versions, hashes, and which phases use what."""

import pytest

import factories
import testset_folders as folders
from assay.accounts.errors import InvalidError
from assay.accounts.models import AuditEvent
from assay.testsets import storage
from assay.testsets.models import PhaseTestSet, TestSet
from assay.testsets.selectors import testsets_of
from assay.testsets.services import ingest_testset, push_challenge


@pytest.fixture
def push(scene, now, tmp_path):
    def push(*, folder=None, name="cases", **changes) -> TestSet:
        source = folder or folders.good_folder(tmp_path / "folder")
        archive = tmp_path / "archive.tar"
        archive.write_bytes(folders.packed(source))
        storage.keep_file(source=archive, key="uploads/one")
        values = {"challenge": scene.challenge, "user": scene.olga, "archive_key": "uploads/one", "name": name}
        values |= {"is_public": False, "phase_slugs": [], "now": now} | changes
        return ingest_testset(**values)

    return push


def test_a_pushed_folder_is_version_one_with_hashed_cases(push, scene):
    testset = push()
    assert (testset.version, testset.frozen_at, testset.notice) == (1, None, "Use as you like.\n")
    first, second = testset.cases.all()
    assert first.attributes == {"site": "A"}
    assert first.inputs[0]["name"] == "t1"
    assert first.references[0]["name"] == "reference"
    with storage.open_file(second.inputs[0]["key"]) as file:
        assert len(file.read()) == second.inputs[0]["bytes"]
    assert "A01" not in first.inputs[0]["key"]
    assert AuditEvent.objects.filter(verb="testset.pushed", actor=scene.olga).count() == 1


def test_the_pushed_archive_is_not_kept(push):
    push()
    assert not storage.has_file("uploads/one")


def test_the_same_content_again_is_the_same_version(push, tmp_path):
    first = push()
    again = push(folder=folders.good_folder(tmp_path / "again"))
    assert again == first
    assert TestSet.objects.filter(name="cases").count() == 1


def test_other_content_is_a_new_version_and_leaves_the_old_one(push, tmp_path):
    first = push()
    second = push(folder=folders.good_folder(tmp_path / "more", case_ids=("A01", "B01", "B02")))
    assert (second.version, second.cases.count()) == (2, 3)
    assert second.sha256 != first.sha256
    assert first.cases.count() == 2


def test_phases_named_on_the_way_use_the_new_version(push, scene):
    testset = push(phase_slugs=["final"])
    assert PhaseTestSet.objects.get(phase=scene.phase).testset == testset


def test_phases_that_name_it_in_their_definition_use_it_too(push, scene):
    phase = factories.phase(challenge=scene.challenge, slug="warm-up", testset_name="cases")
    testset = push()
    assert phase.chosen_testset.testset == testset
    assert scene.phase.chosen_testset.testset != testset


def test_a_phase_nobody_knows_is_refused_before_anything_is_read(push):
    with pytest.raises(InvalidError, match="no such phase"):
        push(phase_slugs=["finale"])
    assert not TestSet.objects.filter(name="cases").exists()


def test_a_phase_defined_after_its_test_set_uses_it(push, scene, now):
    testset = push()
    source = f"""
slug: brains
title: Brains
protocol: {factories.PROTOCOL_TEXT}
phases: [{{slug: late, opens_at: 2026-01-01, closes_at: 2199-01-01, testset: cases}}]
"""
    push_challenge(user=scene.olga, slug="brains", source=source, is_dry_run=False, now=now)
    assert scene.challenge.phases.get(slug="late").chosen_testset.testset == testset


def test_the_list_takes_two_queries_however_long_it_is(push, scene, tmp_path, django_assert_num_queries):
    push()
    push(folder=folders.good_folder(tmp_path / "more", case_ids=("A01",)), phase_slugs=["final"])
    with django_assert_num_queries(3):
        assert [row.case_count for row in testsets_of(challenge=scene.challenge)] == [1, 2, 2]
