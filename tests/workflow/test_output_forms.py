"""What goes into a container and comes out of it, in every form a protocol may ask for: through the node, to the board."""

import numpy as np
import pytest
import SimpleITK as sitk
from django.urls import reverse
from django.utils import timezone

import hosting
from assay.evaluations.models import CaseScores
from assay.workflow.workers.checking import check_submission
from containers.engines.fake import FakeEnding
from evaluator.protocol import load_named_protocol, load_protocol

QUESTIONS = [
    {"case_id": "q1", "task": "Bone", "question": "What is seen, and where?", "A": "Liver", "B": "Spleen"},
    {"case_id": "q2", "task": "Bone", "question": "Which side?", "A": "Left", "B": "Right"},
    {"case_id": "q3", "task": "Counting", "question": "How many?", "A": "One", "B": "Two"},
]


@pytest.fixture
def host(stage, tmp_path):
    """The stage's phase becomes one of this protocol with the test set in this folder."""

    def go(protocol, folder, **resources):
        document = {**protocol.document, "resources": {**protocol.document["resources"], "gpus": 0, "cpus": 1}}
        document["resources"] |= resources
        stage.scene.phase.delete()
        phase = hosting.hosted(scene=stage.scene, protocol=load_protocol(document), folder=folder, now=timezone.now())
        object.__setattr__(stage.scene, "phase", phase)
        return stage

    return go


def play(stage, script):
    stage.script = script
    submission = stage.submit()
    stage.play()
    submission.refresh_from_db()
    return submission


def values(submission, metric):
    return {
        stored.case.case_id: [(value, reason) for _, name, value, reason in stored.scores if name == metric]
        for stored in CaseScores.objects.filter(evaluation=submission.evaluations.get()).select_related("case")
    }


@pytest.fixture
def quiz(host, tmp_path):
    """Three multiple-choice questions with a picture each, answered by one container in one table."""
    folder = tmp_path / "quiz"
    folder.mkdir()
    (folder / "references.csv").write_text("case,answer,A,B\nq1,B,Liver,Spleen\nq2,A,Left,Right\nq3,B,One,Two\n")
    for question in QUESTIONS:
        (folder / f"{question['case_id']}.png").write_bytes(b"\x89PNG " + question["case_id"].encode())
    rows = [q | {"input:image": f"{q['case_id']}.png", "reference": "references.csv"} for q in QUESTIONS]
    return host(load_named_protocol("gmai-mmbench"), hosting.write_manifest(folder, rows))


def test_questions_go_in_as_a_table_and_pictures_and_answers_come_out_as_a_table(quiz):
    seen = {}

    def answer(call):
        table = (call.input_dir / "questions.tsv").read_text().splitlines()
        seen["header"], seen["rows"] = table[0], [line.split("\t") for line in table[1:]]
        seen["pictures"] = {path.stem: path.read_bytes() for path in (call.input_dir / "images").iterdir()}
        right = {"What is seen, and where?": "The answer is B", "Which side?": "Left", "How many?": "A, surely"}
        lines = ["case\tanswer", *(f"{row[0]}\t{right[row[1]]}" for row in seen["rows"]), "stranger\tA"]
        (call.output_dir / "answers.tsv").write_text("\n".join(lines))
        return FakeEnding()

    submission = play(quiz, answer)
    assert (submission.status, submission.verdict_text) == ("done", "")
    assert seen["header"] == "case\tquestion\tA\tB\tC\tD\tE"
    assert [row[1:4] for row in seen["rows"]] == [[q["question"], q["A"], q["B"]] for q in QUESTIONS]
    assert sorted(seen["pictures"]) == sorted(row[0] for row in seen["rows"])
    assert not {"q1", "q2", "q3"} & set(seen["pictures"]), "a container never sees a case's own name"
    assert values(submission, "choice_accuracy") == {"q1": [(1.0, "")], "q2": [(1.0, "")], "q3": [(0.0, "")]}
    aggregates = submission.evaluations.get().aggregates["choice_accuracy"]
    assert aggregates["mean"] == pytest.approx(2 / 3)
    assert {name: group["mean"] for name, group in aggregates["per_task"].items()} == {"Bone": 1.0, "Counting": 0.0}


def test_organizers_look_at_a_case_of_any_form(quiz, client):
    def answer(call):
        (call.output_dir / "answers.tsv").write_text("case\tanswer\n")
        return FakeEnding()

    submission = play(quiz, answer)
    client.force_login(quiz.scene.olga)
    page = client.get(reverse("organizers:case", args=["brains", submission.pk, "q1"])).content.decode()
    assert "image.png" in page
    assert "Show the volumes" not in page
    address = reverse("organizers:case-file", args=["brains", submission.pk, "q1", "reference", "reference.csv"])
    reply = client.get(address)
    assert b"".join(reply.streaming_content) == b"case,answer,A,B\nq1,B,Liver,Spleen\n"
    assert reply["Content-Disposition"] == 'attachment; filename="reference.csv"'


def test_what_a_container_of_tables_consumed_is_scored_too(host, tmp_path):
    protocol = load_protocol(
        load_named_protocol("feta24-biometry").document
        | {"metrics": [{"name": "mape"}, {"name": "wall_seconds", "id": "time"}], "ranking": {}}
        | {"conventions": {"failed": {"mape": 100, "time": 60}}}
    )
    folder = hosting.reference_folder(protocol, tmp_path / "brains", ["s1"])
    hosting.volume([np.ones((4, 5, 6), np.int16)], folder / "t2.nii.gz")
    hosting.write_manifest(folder, [{"case_id": "s1", "input:t2w": "t2.nii.gz", "reference": "references.csv"}])

    def measure(call):
        (scan,) = call.input_dir.glob("*_T2w.nii.gz")
        name = scan.name.removesuffix("_T2w.nii.gz")
        (call.output_dir / "biometry.csv").write_text(f"case,LCC,HV,bBIP,sBIP,TCD\n{name},40,41,42,43,44\n")
        return FakeEnding(seconds=0.2)

    submission = play(host(protocol, folder), measure)
    assert values(submission, "time") == {"s1": [(pytest.approx(0.2), "")]}
    assert [value for value, _ in values(submission, "mape")["s1"]] == [0.0] * 5


def test_a_question_without_an_answer_fails_alone_and_counts_as_wrong(quiz):
    def answer_one(call):
        name = (call.input_dir / "questions.tsv").read_text().splitlines()[1].split("\t")[0]
        (call.output_dir / "answers.tsv").write_text(f"case\tanswer\n{name}\tB\n")
        return FakeEnding()

    submission = play(quiz, answer_one)
    assert submission.verdict_text == "an expected output file was not written; 2 of 3 cases failed"
    missing = (0.0, "output_missing:row_missing")
    assert values(submission, "choice_accuracy") == {"q1": [(1.0, "")], "q2": [missing], "q3": [missing]}


def test_a_table_that_is_none_fails_every_case_with_its_reason(quiz):
    def scribble(call):
        (call.output_dir / "answers.tsv").write_bytes(b"case\tanswer\n\xff\xfe")
        return FakeEnding()

    submission = play(quiz, scribble)
    assert (submission.status, submission.verdict) == ("failed", "output_invalid")
    assert submission.verdict_text == ("an output file does not follow the format (table invalid); 3 of 3 cases failed")


def test_a_table_may_be_handed_in_without_a_zip(quiz):
    content = b"case\tanswer\nq1\tB\nq3\tB\n"
    submission = hosting.handed_in(quiz.scene.phase, scene=quiz.scene, name="bare", content=content)
    check_submission(submission_id=submission.pk, clock=timezone.now)
    quiz.score()
    submission.refresh_from_db()
    assert submission.verdict_text == "1 of 3 cases failed: row missing"
    found = {case: pairs[0][0] for case, pairs in values(submission, "choice_accuracy").items()}
    assert found == {"q1": 1.0, "q2": 0.0, "q3": 1.0}


def test_fetal_biometry_is_one_table_per_container_with_one_row(host, tmp_path):
    folder = tmp_path / "brains"
    folder.mkdir()
    rows = []
    for number in (1, 2):
        hosting.volume([np.full((4, 5, 6), number, np.int16)], folder / f"s{number}.nii.gz")
        rows.append({"case_id": f"s{number}", "input:t2w": f"s{number}.nii.gz", "reference": "lengths.tsv"})
    (folder / "lengths.tsv").write_text(
        "case\tLCC\tHV\tbBIP\tsBIP\tTCD\ns1\t40\t50\t60\t70\t20\ns2\t20\t20\t20\t20\t20\n"
    )
    stage = host(load_named_protocol("feta24-biometry"), hosting.write_manifest(folder, rows))

    def measure(call):
        (scan,) = call.input_dir.glob("*_T2w.nii.gz")
        name = scan.name.removesuffix("_T2w.nii.gz")
        (call.output_dir / "biometry.csv").write_text(f"case,LCC,HV,bBIP,sBIP,TCD\n{name},42,50,1_0,70,20\n")
        return FakeEnding()

    submission = play(stage, measure)
    found = values(submission, "mape")
    assert found["s1"] == [(5.0, ""), (0.0, ""), (100.0, "cell_invalid"), (0.0, ""), (0.0, "")]
    assert [value for value, _ in found["s2"]] == pytest.approx([110.0, 150.0, 100.0, 250.0, 0.0])


def test_a_container_is_told_the_attributes_its_phase_names_and_nothing_else(host, tmp_path):
    folder = tmp_path / "brains"
    folder.mkdir()
    hosting.volume([np.ones((4, 5, 6), np.int16)], folder / "t2.nii.gz")
    hosting.volume([np.ones((4, 5, 6), np.uint8)], folder / "labels.nii.gz")
    row = {"case_id": "sub-001", "site": "Vienna", "Pathology": "Neurotypical", "Gestational age": "27.9"}
    row |= {"input:t2w": "t2.nii.gz", "reference": "labels.nii.gz"}
    stage = host(load_named_protocol("feta24-segmentation"), hosting.write_manifest(folder, [row]))
    seen = []

    def look(call):
        (scan,) = call.input_dir.rglob("*_T2w.nii.gz")
        seen.extend([scan.name.removesuffix("_T2w.nii.gz"), (call.input_dir / "participants.tsv").read_text()])
        return FakeEnding(exit_code=1)

    play(stage, look)
    assert seen[1] == f"participant_id\tPathology\tGestational age\n{seen[0]}\tNeurotypical\t27.9\n"


def test_metaimages_go_in_and_forty_five_channels_come_out(host, tmp_path):
    protocol = load_named_protocol("segrap23")
    folder = hosting.reference_folder(protocol, tmp_path / "necks", ["p1"])
    for name in ("ct", "contrast"):
        hosting.volume([np.arange(1200, dtype=np.int16).reshape(10, 10, 12)], folder / f"{name}.nii.gz")
    row = {"case_id": "p1", "input:ct": "ct.nii.gz", "input:contrast_ct": "contrast.nii.gz", "reference": "p1.mha"}
    stage = host(protocol, hosting.write_manifest(folder, [row]))
    seen = {}

    def segment(call):
        scan = sitk.ReadImage(str(call.input_dir / "images/head-neck-ct/image.mha"))
        seen["spacing"], seen["sum"] = scan.GetSpacing(), int(sitk.GetArrayFromImage(scan).sum())
        seen["files"] = sorted(p.relative_to(call.input_dir).as_posix() for p in call.input_dir.rglob("*.mha"))
        arrays = hosting.blocks(protocol, share=1.0)
        arrays[44][:] = 0
        hosting.volume(arrays, call.output_dir / "images/head-neck-segmentation/image.mha")
        return FakeEnding()

    submission = play(stage, segment)
    assert (submission.status, submission.verdict_text) == ("done", "")
    assert seen["spacing"] == (1.0, 1.0, 2.0)
    assert seen["sum"] == sum(range(1200))
    assert seen["files"] == [
        "images/head-neck-contrast-enhanced-ct/image.mha", "images/head-neck-ct/image.mha",
    ]  # fmt: skip
    dice = [value for value, _ in values(submission, "dice")["p1"]]
    assert dice == [1.0] * 44 + [0.0]


def test_a_modality_that_a_case_lacks_is_not_there(host, tmp_path):
    protocol = load_named_protocol("segrap25-gtv")
    folder = hosting.reference_folder(protocol, tmp_path / "necks", ["p1", "p2"])
    shape = hosting.blocks(protocol, share=1.0)[0].shape
    hosting.volume([np.ones(shape, np.int16)], folder / "ct.nii.gz")
    rows = [
        {"case_id": "p1", "input:ct": "ct.nii.gz", "input:contrast_ct": "", "reference": "p1.nii.gz"},
        {"case_id": "p2", "input:ct": "ct.nii.gz", "input:contrast_ct": "ct.nii.gz", "reference": "p2.nii.gz"},
    ]
    stage = host(protocol, hosting.write_manifest(folder, rows))
    seen = []

    def look(call):
        seen.append(sum(path.is_file() for path in call.input_dir.rglob("*.nii.gz")))
        return FakeEnding(exit_code=1)

    play(stage, look)
    assert sorted(seen) == [1, 2]


def test_a_variable_may_hold_what_the_case_is_called_inside(host, tmp_path):
    protocol = load_named_protocol("touchstone")
    folder = hosting.reference_folder(protocol, tmp_path / "bellies", ["b1"])
    shape = hosting.blocks(protocol, share=1.0)[0].shape
    hosting.volume([np.ones(shape, np.int16)], folder / "ct.nii.gz")
    hosting.write_manifest(folder, [{"case_id": "b1", "input:ct": "ct.nii.gz", "reference": "b1.nii.gz"}])
    stage = host(protocol, folder, environment={"result": "/output/{case}.nii.gz", "mode": "fast"})
    seen = []

    def look(call):
        seen.append(dict(entry.partition("=")[::2] for entry in call.environment))
        return FakeEnding(exit_code=1)

    play(stage, look)
    assert seen[0]["mode"] == "fast"
    assert seen[0]["result"].startswith("/output/case_")
