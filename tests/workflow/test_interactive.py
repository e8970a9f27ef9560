"""Cases played in rounds: the scoring pool prompts, the node runs, and the reference never comes near a container."""

import json
import uuid

import numpy as np
import pytest
from django.urls import reverse
from django.utils import timezone

import hosting
from assay.accounts.errors import InvalidError
from assay.evaluations.models import CaseScores
from assay.runs.models import CaseRun, PromptRound
from assay.testsets import storage
from assay.workflow import flow
from assay.workflow.flow import doorbells
from assay.workflow.workers import prompting, reaper
from containers.engines.fake import FakeEnding
from evaluator.protocol import load_protocol
from evaluator.volumes import read_label_map, write_canonical
from evaluator.volumes.trusted import Volume

DOCUMENT = {
    "protocol": 1,
    "name": "clicks",
    "labels": {"lesion": {"values": 1, "tolerance_mm": 1}, "node": {"values": 2, "tolerance_mm": 1}},
    "inputs": [{"name": "image", "file": "{case}.nii.gz"}],
    "outputs": [{"name": "mask", "kind": "label_map", "file": "{case}.nii.gz"}],
    "metrics": [{"name": "dice"}, {"name": "dice_auc", "rounds": 2}, {"name": "wall_seconds", "id": "time"}],
    "conventions": {"failed": {"time": 99}},
    "resources": {"run_mode": "interactive", "wall_seconds": 4, "wall_seconds_per": "label", "memory_mb": 256},
    "interaction": {"box": True, "clicks": 2},
    "ranking": {"metrics": ["dice_auc", "dice"]},
}


@pytest.fixture
def clicks(stage, tmp_path):
    """One case with a lesion of 6 × 6 × 6 voxels and no node."""
    folder = tmp_path / "lesions"
    folder.mkdir()
    lesion = np.zeros((12, 12, 12), np.uint8)
    lesion[3:9, 3:9, 3:9] = 1
    hosting.volume([lesion], folder / "labels.nii.gz")
    hosting.volume([np.full((12, 12, 12), 7, np.int16)], folder / "image.nii.gz")
    rows = [{"case_id": "l1", "input:image": "image.nii.gz", "reference": "labels.nii.gz"}]
    stage.scene.phase.delete()
    phase = hosting.hosted(
        scene=stage.scene,
        protocol=load_protocol(DOCUMENT),
        folder=hosting.write_manifest(folder, rows),
        now=timezone.now(),
    )
    object.__setattr__(stage.scene, "phase", phase)
    return stage


class Player:
    """An algorithm that fills the lower half of the box first, and paints a ball around every foreground click."""

    def __init__(self, *, silent=(), crashing=(), seconds=0.1):
        self.silent, self.crashing, self.seconds, self.seen = silent, crashing, seconds, []

    def __call__(self, call):
        (image,) = [path for path in call.input_dir.glob("*.nii.gz") if "_previous" not in path.name]
        told = json.loads((call.input_dir / "prompts.json").read_text())
        previous = image.with_name(image.name.replace(".nii.gz", "_previous.nii.gz"))
        self.seen.append(
            {"told": told, "had": previous.exists(), "files": sorted(p.name for p in call.input_dir.iterdir())}
        )
        number = told["round"]
        if number in self.silent or number in self.crashing:
            return FakeEnding(exit_code=int(number in self.crashing), seconds=self.seconds)
        grid = read_label_map(image).grid
        answer = read_label_map(previous).array.copy() if previous.exists() else np.zeros(grid.shape, np.uint8)
        for structure in told["structures"]:
            low, high = structure["box"]
            if number == 0:
                answer[low[0] : high[0] + 1, low[1] : high[1] + 1, low[2] : low[2] + 3] = structure["values"][0]
            for click in structure["clicks"]:
                x, y, z = click["at"]
                answer[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2] = structure["values"][0] * click["foreground"]
        write_canonical(Volume(array=answer, grid=grid), call.output_dir / image.name)
        return FakeEnding(seconds=self.seconds)


def play(stage, player):
    stage.script = player
    submission = stage.submit()
    stage.play()
    submission.refresh_from_db()
    return submission


def scores(submission):
    (stored,) = CaseScores.objects.filter(evaluation=submission.evaluations.get())
    return {(label, metric): (value, reason) for label, metric, value, reason in stored.scores}


def test_a_case_is_played_to_its_end_and_scored_over_its_rounds(clicks):
    """Half of 216 voxels after the box, 27 more with the click in what is missing, and 27 again."""
    player = Player()
    submission = play(clicks, player)
    assert (submission.status, submission.verdict_text) == ("done", "")
    first, second, third = player.seen
    assert [seen["had"] for seen in player.seen] == [False, True, True]
    (structure,) = first["told"]["structures"]
    assert (structure["name"], structure["values"]) == ("lesion", [1])
    assert (structure["box"], structure["clicks"]) == ([[3, 3, 3], [8, 8, 8]], [])
    assert second["told"]["structures"][0]["clicks"] == [{"at": [4, 4, 7], "foreground": True}]
    assert len(third["told"]["structures"][0]["clicks"]) == 2
    found = scores(submission)
    dice = [2 * voxels / (voxels + 216) for voxels in (108, 135)]
    last = found["lesion", "dice"][0]
    assert last > dice[1]
    assert found["lesion", "dice_auc"][0] == pytest.approx((dice[1] + last) / 2)
    assert found["", "time"] == (pytest.approx(0.3), "")
    assert submission.entries.get().rank == 1


def test_the_reference_is_in_no_container_and_prompts_hold_nothing_else(reading, clicks):
    player = Player()
    play(clicks, player)
    for seen in player.seen:
        assert [name.partition("_")[0].partition(".")[0] for name in seen["files"]] in (
            ["case", "prompts"], ["case", "case", "prompts"],
        )  # fmt: skip
    assert list(PromptRound.objects.values_list("number", flat=True).order_by("number")) == [0, 1, 2]
    assert "node_ask_round" in reading.read


def test_organizers_see_the_answer_of_every_round(clicks, client):
    submission = play(clicks, Player())
    client.force_login(clicks.scene.olga)
    page = client.get(reverse("organizers:case", args=["brains", submission.pk, "l1"])).content.decode()
    assert [f"round-{number}/mask.nii.gz" in page for number in range(4)] == [True, True, True, False]


def test_a_round_that_leaves_nothing_counts_with_what_stood_before(clicks):
    submission = play(clicks, Player(silent=(1,), crashing=(2,)))
    assert (submission.status, submission.verdict_text) == ("done", "")
    found = scores(submission)
    half = 2 * 108 / (108 + 216)
    assert found["lesion", "dice"][0] == pytest.approx(half)
    assert found["lesion", "dice_auc"][0] == pytest.approx(half)
    rounds = CaseRun.objects.get().usage.rounds
    assert [told.verdict for told in rounds] == ["ok", "output_missing", "nonzero_exit"]


def test_a_case_without_any_answer_has_failed_with_its_last_verdict(clicks):
    submission = play(clicks, Player(crashing=(0, 1, 2)))
    assert (submission.status, submission.verdict, submission.fault) == ("failed", "nonzero_exit", "participant")


def test_the_rounds_of_a_case_share_one_time_limit(clicks):
    """4 s for the one structure that is there: the third round may take what two of 1.9 s have left."""
    submission = play(clicks, Player(seconds=1.9))
    assert (submission.status, submission.verdict) == ("failed", "timeout")
    assert submission.verdict_text == "time limit of 4 s per structure reached; 1 of 1 cases failed"
    assert CaseRun.objects.get().usage.wall_seconds == pytest.approx(4.0, abs=0.5)


def test_a_node_cannot_ask_out_of_turn_nor_twice_for_another_answer(clicks):
    clicks.submit()
    clicks.check()
    order = clicks.api().claim(slots=1, cached_images=[])
    ask = {"case_run_id": order.case_run_id, "fence": order.fence, "now": timezone.now()}
    with pytest.raises(InvalidError, match="cannot be asked for"):
        prompting.ask_for_round(number=1, **ask)
    asked = prompting.ask_for_round(number=0, **ask)
    assert asked.prompts is None
    clicks.prompt()
    made = prompting.ask_for_round(number=0, **ask)
    assert made.pk == asked.pk
    assert made.prompts[0]["box"] == [[3, 3, 3], [8, 8, 8]]
    assert made.wall_seconds == 4.0
    with pytest.raises(InvalidError, match="cannot be asked for"):
        prompting.ask_for_round(number=3, **ask)


def test_prompts_are_rung_for_while_the_lease_lasts_and_not_made_when_it_is_gone(
    clicks, monkeypatch, django_capture_on_commit_callbacks
):
    rung = []
    monkeypatch.setattr(
        "assay.workflow.flow.doorbells.ring", lambda task, arguments, **_: rung.append((task, arguments))
    )
    clicks.submit()
    clicks.check()
    order = clicks.api().claim(slots=1, cached_images=[])
    asked = prompting.ask_for_round(case_run_id=order.case_run_id, fence=order.fence, number=0, now=timezone.now())
    with django_capture_on_commit_callbacks(execute=True):
        reaper.ring_prompts(now=timezone.now())
    assert rung == [("assay.workflow.tasks.prompt", [asked.pk])]
    case_run = CaseRun.objects.get()
    flow.release(
        case_run_id=case_run.id, fence=order.fence, reason="x", now=timezone.now(), actor_label="test", counts=False
    )
    prompting.make_round(round_id=asked.pk, clock=timezone.now)
    asked.refresh_from_db()
    assert asked.made_at is None
    with django_capture_on_commit_callbacks(execute=True):
        reaper.ring_prompts(now=timezone.now())
    assert len(rung) == 1


def test_a_broken_reference_found_while_playing_is_the_organizers(clicks):
    case = clicks.scene.phase.chosen_testset.testset.cases.get()
    path = storage.local_path(case.references[0]["key"])
    path.write_bytes(b"no volume")
    case.references[0]["sha256"] = storage.hash_file(path)  # as it was taken in: an earlier version did not look
    case.save()
    submission = play(clicks, Player())
    assert (submission.status, submission.verdict, submission.fault) == ("failed", "reference_invalid", "organizer")
    assert not submission.is_charged


@pytest.mark.django_db
def test_prompts_do_not_stand_in_line_behind_evaluations(monkeypatch, settings, django_capture_on_commit_callbacks):
    rung = []
    monkeypatch.setattr(doorbells, "ring", lambda task, arguments, *, queue: rung.append(queue))
    with django_capture_on_commit_callbacks(execute=True):
        doorbells.ring_prompts(1)
        doorbells.ring_scoring(uuid.uuid4())
    assert rung == ["prompts", "scoring"]
    assert settings.CELERY_TASK_ROUTES["assay.workflow.tasks.prompt"] == {"queue": "prompts"}
