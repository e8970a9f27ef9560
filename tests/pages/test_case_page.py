"""One case of one submission before its organizers: volumes, errors, scores, and the cases that went worse and better."""

import gzip
import io

import nibabel
import numpy as np
import pytest
from django.urls import reverse

import factories
from assay.evaluations.models import CaseScores
from assay.runs.models import CaseRun, Run
from assay.testsets import storage
from markup import markup
from stage import label_map, nifti_bytes, put_files


@pytest.fixture
def done(scene, client, tmp_path):
    """A scored submission whose answer to case a misses the core and adds to the rim."""
    client.force_login(scene.olga)
    entry = factories.entry(phase=scene.phase, team=scene.team, rank=1)
    run = Run.objects.create(submission=entry.submission, number=1, pool="default", created_at=factories.NOW)
    answer = label_map(0)
    answer[answer == 1] = 0
    answer[3, 3, 3] = 2
    answer[0, 0, 0] = 1  # where the reference has the rim
    for case in entry.submission.testset.cases.all():
        put_files(case=case, folder=tmp_path)
        key = f"outputs/{case.case_id}.nii.gz"
        stored = storage.save_file(key=key, stream=io.BytesIO(nifti_bytes(answer, tmp_path)), max_bytes=2**20)
        outputs = [{"name": "segmentation", "key": key, "sha256": stored.sha256, "bytes": stored.bytes}]
        CaseRun.objects.create(run=run, case=case, position=case.position, status="done", verdict="ok", outputs=outputs)
        value = {"a": 0.25, "b": 0.75}[case.case_id]
        scores = [["core", "dice", value, ""], ["rim", "dice", None, "not_defined"]]
        CaseScores.objects.create(evaluation=entry.evaluation, case=case, scores=scores)
    return entry.submission


def url(name: str, submission, case: str) -> str:
    return reverse(f"organizers:{name}", args=["brains", submission.pk, case])


def test_errors_are_where_reference_and_answer_differ(done, client):
    answer = client.get(url("case-errors", done, "a"))
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(answer.content))
    errors = np.asarray(image.dataobj)
    assert np.unique(errors, return_counts=True)[1].tolist() == [64 - 8 - 1 - 1, 8, 1, 1]
    assert (errors[1, 1, 1], errors[3, 3, 3], errors[0, 0, 0]) == (1, 2, 3)


def test_the_page_has_scores_and_the_way_to_worse_and_better_cases(done, client):
    answer = client.get(url("case", done, "a"))
    page = markup(answer)
    assert "Place 1 of 2, the worst first, by dice." in page
    assert url("case", done, "b") in page
    assert "0.250" in page
    assert [volume.get("layer") for volume in answer.context["viewer"]["volumes"]] == [
        *(None, "reference", "prediction", "errors")
    ]
    assert (answer.context["worse"], answer.context["better"]) == (None, "b")


def test_a_case_without_an_answer_has_no_errors_to_show(done, client):
    CaseRun.objects.update(outputs=[])
    assert client.get(url("case-errors", done, "a")).status_code == 404
    volumes = client.get(url("case", done, "a")).context["viewer"]["volumes"]
    assert [volume.get("layer") for volume in volumes] == [None, "reference"]


def test_an_answer_of_another_shape_is_not_compared(done, client, tmp_path):
    row = CaseRun.objects.get(case__case_id="a")
    other = nifti_bytes(label_map(0), tmp_path)
    flat = nibabel.Nifti1Image.from_bytes(gzip.decompress(other)).slicer[:2]
    storage.save_file(key="outputs/flat.nii.gz", stream=io.BytesIO(gzip.compress(flat.to_bytes())), max_bytes=2**20)
    row.outputs[0]["key"] = "outputs/flat.nii.gz"
    row.save()
    assert client.get(url("case-errors", done, "a")).status_code == 404


@pytest.mark.parametrize("name", ["pia", "otto"])
def test_nobody_else_opens_either(done, client, scene, name):
    client.force_login(getattr(scene, name))
    for page in ("case", "case-errors"):
        assert client.get(url(page, done, "a")).status_code in (403, 404)
