"""Published challenges in miniature, through real containers: their contract, their output form, their ranking.

One image carries a good and a poor answer for each. Which it gives is a variable of the image, so that two submissions differ as two
teams' do. The answers are made to measure. The interactive one computes: it paints what it is told.
"""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from django.test import Client
from django.utils import timezone

import factories
import hosting
from assay.evaluations.models import Evaluation
from assay.leaderboards.models import LeaderboardEntry
from assay.leaderboards.services import rebuild_leaderboard
from assay.node.agent import Agent, AgentOptions
from assay.node.http import NodeApi
from assay.runs.models import CaseRun, PromptRound
from assay.runs.nodes import enrol_node
from assay.workflow.workers import checking, prompting, scoring
from containers.base.build import base_image
from containers.engines.docker import DockerEngine
from containers.errors import EngineUnreachable
from evaluator.protocol import load_named_protocol, load_protocol
from image_archives import build_image
from wire import send_through

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("engine")]

ONE_STRUCTURE_ONLY = ("flare22", "touchstone")
"""Where the poor algorithm answers for its first structure alone."""
SMALL = {"memory_mb": 512, "shm_mb": 16, "tmp_mb": 64, "output_mb": 64, "pids": 128, "cpus": 1, "gpus": 0}

ALGORITHM = r"""
import gzip, json, os, pathlib, struct, sys
challenge, quality = os.environ["CHALLENGE"], os.environ["QUALITY"]
inputs = next(p for p in map(pathlib.Path, ("/workspace/inputs", "/input_img", "/input")) if p.is_dir())
outputs = next(p for p in map(pathlib.Path, ("/workspace/outputs", "/output")) if p.is_dir())
answers = pathlib.Path("/answers") / challenge
pattern = (answers / "pattern").read_text()
before, _, after = pattern.partition("{case}")
found = [p.relative_to(inputs).as_posix() for p in sorted(inputs.rglob("*")) if p.is_file() and "_previous" not in p.name]
case = next((n[len(before):-len(after)] for n in found if n.startswith(before) and n.endswith(after)), "") if after else ""
if challenge == "cvpr25-interactive":
    told = json.loads((inputs / "prompts.json").read_text())
    source = inputs / (case + ("_previous" if told["round"] else "") + ".nii.gz")
    raw = bytearray(gzip.decompress(source.read_bytes()))
    shape = struct.unpack_from("<3h", raw, 42)
    voxels = raw[352:] if told["round"] else bytearray(shape[0] * shape[1] * shape[2])
    struct.pack_into("<2h", raw, 70, 2, 8)
    def paint(low, high, value):
        for z in range(low[2], high[2] + 1):
            for y in range(low[1], high[1] + 1):
                at = (z * shape[1] + y) * shape[0]
                voxels[at + low[0] : at + high[0] + 1] = bytes([value]) * (high[0] - low[0] + 1)
    for structure in told["structures"]:
        (low, high), value = structure["box"], structure["values"][0]
        if told["round"] == 0:
            paint(low, [high[0], high[1], (low[2] + high[2]) // 2], value)
        elif quality == "good":
            for click in structure["clicks"][-1:]:
                assert click["foreground"]
                paint([max(a, c - 2) for a, c in zip(low, click["at"])], [min(b, c + 2) for b, c in zip(high, click["at"])], value)
    (outputs / (case + ".nii.gz")).write_bytes(gzip.compress(bytes(raw[:352]) + bytes(voxels), 1))
    sys.exit()
for path in sorted((answers / quality).rglob("*")):
    if path.is_file():
        target = outputs / path.relative_to(answers / quality).as_posix().replace("CASE", case)
        target.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes()
        if path.suffix in (".csv", ".tsv"):
            content = content.replace(b"CASE", case.encode())
        target.write_bytes(content)
if challenge == "flare22":
    pathlib.Path("/workspace/tmp").mkdir()  # FLARE's images write where they stand
    assert pathlib.Path("/root/model/weights.bin").read_bytes() == b"weights"  # and keep their weights with root
if challenge.startswith("feta24"):
    assert os.environ["t2w_image"] == f"/input/{case}_T2w.nii.gz" and pathlib.Path(os.environ["t2w_image"]).is_file()
if challenge == "feta21":
    assert pathlib.Path("/input_meta/meta_data.tsv").read_text().splitlines()[1].startswith(case)
"""


def patterns() -> dict[str, str]:
    """The input whose name tells what the case is called, by challenge."""
    return {
        "flare22": "{case}_0000.nii.gz", "segrap23": "", "feta21": "{case}_T2w.nii.gz", "touchstone": "",
        "feta24-segmentation": "{case}_T2w.nii.gz", "feta24-biometry": "{case}_T2w.nii.gz", "cvpr25-interactive": "{case}.nii.gz",
    }  # fmt: skip


def answer(name: str, *, quality: str, folder: Path) -> None:
    """What the algorithm hands out for one challenge. `CASE` stands for what the case is called."""
    protocol = load_named_protocol(name)
    (path,) = protocol.written_files("CASE").values()
    if name == "feta24-biometry":
        hosting.table(protocol, ["CASE"], is_right=quality == "good", path=folder / path)
        return
    arrays = hosting.blocks(protocol, share={"good": 0.8, "poor": 0.5}[quality])
    if quality == "poor" and name in ONE_STRUCTURE_ONLY:
        arrays[0][arrays[0] != protocol.labels[0].values[0]] = 0
    hosting.volume(arrays, folder / path)


def made_testset(name: str, folder: Path) -> Path:
    """One case with its reference and what the challenge's containers are given."""
    protocol = load_named_protocol(name)
    hosting.reference_folder(protocol, folder, ["c0"])
    row = {"case_id": "c0", "Pathology": "none", "Gestational age": "28", "site": "A"}
    image = [np.full((10, 10, 40), 7, np.int16)]
    if protocol.table_form is None:
        image = [np.full(hosting.blocks(protocol, share=1.0)[0].shape, 7, np.int16)]
    hosting.volume(image, folder / "image.nii.gz")
    references = next(folder.glob("c0.*"), folder / "references.csv").name
    row |= {f"input:{item}": "image.nii.gz" for item in protocol.input_files("c0")} | {"reference": references}
    return hosting.write_manifest(folder, [row])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The good and the poor image, by quality."""
    try:
        with DockerEngine() as engine:
            base = engine.image_facts(base_image()).image_id
    except EngineUnreachable:
        pytest.skip("no Docker Engine answers here")
    context = tmp_path_factory.mktemp("context")
    (context / "algorithm.py").write_text(ALGORITHM)
    (context / "predict.sh").write_text("exec python3 /feta_seg/example.py\n")
    (context / "weights.bin").write_text("weights")
    for name, pattern in patterns().items():
        for quality in ("good", "poor"):
            if name != "cvpr25-interactive":
                answer(name, quality=quality, folder=context / "answers" / name / quality)
        (context / "answers" / name).mkdir(parents=True, exist_ok=True)
        (context / "answers" / name / "pattern").write_text(pattern)
    lines = [
        f"FROM {base}", "USER root", "WORKDIR /workspace", "COPY predict.sh ./", "COPY algorithm.py /feta_seg/example.py",
        "RUN ln -s $(command -v python3) /usr/local/bin/python || true",
        "COPY weights.bin /root/model/", "RUN chmod 700 /root", "COPY answers /answers",
        'ENTRYPOINT ["python3", "/feta_seg/example.py"]',
    ]  # fmt: skip
    built = {q: build_image(context, [*lines, f"ENV QUALITY={q}"]) for q in ("good", "poor")}
    yield built
    with DockerEngine() as engine:
        for image_id in built.values():
            engine.remove_image(image_id)


@pytest.fixture
def board(scene, images, tmp_path, settings):
    """Host a challenge, run both images on a node of its own, score, rank. The board's entries, best first."""
    settings.HEARTBEAT_SECONDS, settings.LEASE_SECONDS = 3600, 7200  # its thread would not see this test's transaction

    def prompt(_seconds: float) -> None:
        for pk in PromptRound.objects.filter(made_at=None).values_list("pk", flat=True):
            prompting.make_round(round_id=pk, clock=timezone.now)

    def go(name: str) -> list[LeaderboardEntry]:
        document = load_named_protocol(name).document
        environment = {**document["resources"]["environment"], "CHALLENGE": name}
        resources = {**document["resources"], **SMALL, "wall_seconds": 120, "environment": environment}
        phase = hosting.hosted(
            scene=scene,
            protocol=load_protocol({**document, "resources": resources}),
            folder=made_testset(name, tmp_path / "testset"),
            now=timezone.now() - timedelta(minutes=1),
        )
        _, token = enrol_node(name="mini", pool=phase.pool, slots=1, by=scene.stan, now=timezone.now())
        api = NodeApi(url="http://testserver", token=token, transport=send_through(Client()), sleep=prompt)
        agent = Agent(
            api=api,
            options=AgentOptions(folder=tmp_path / "node", owner=f"tests/mini-{scene.challenge.pk}"),
            open_engine=DockerEngine,
        )
        for quality in ("poor", "good"):
            image = factories.image(team=scene.team, image_id=images[quality])
            submission = factories.submission(phase=phase, team=scene.team, image=image, name=quality)
            checking.check_submission(submission_id=submission.pk, clock=timezone.now)
            with DockerEngine() as engine:
                while agent.work_once(engine):
                    pass
                assert engine.containers_of(f"tests/mini-{scene.challenge.pk}") == []
            submission.refresh_from_db()
            logs = [row.log_key for row in CaseRun.objects.filter(run__submission=submission)]
            assert submission.status == "scoring", (submission.verdict_text, logs)
            for pk in Evaluation.objects.filter(status="queued").values_list("pk", flat=True):
                assert scoring.score_evaluation(evaluation_id=pk, worker="test", clock=timezone.now)
        rebuild_leaderboard(phase_id=phase.pk, now=timezone.now())
        return list(LeaderboardEntry.objects.filter(phase=phase).select_related("submission").order_by("rank"))

    return go


@pytest.mark.parametrize("name", [name for name in patterns() if name not in ("cvpr25-interactive", "flare22")])
def test_the_good_image_leads_the_board(board, name):
    entries = board(name)
    assert [(entry.submission.name, entry.rank, entry.failed_cases) for entry in entries] == [
        ("good", 1, 0),
        ("poor", 2, 0),
    ]


def test_flare22_ranks_accuracy_and_what_its_containers_consumed(board):
    entries = board("flare22")
    assert [(entry.submission.name, entry.rank, entry.failed_cases) for entry in entries] == [
        ("good", 1, 0),
        ("poor", 2, 0),
    ]
    for entry in entries:
        assert 0 < entry.metrics["time"]["mean"] < 120
        assert entry.metrics["cpu_auc"]["mean"] > 0
    good, poor = entries
    assert 0.5 < good.metrics["dice"]["mean"] < 1.0
    assert poor.metrics["dice"]["per_label"]["spleen"]["mean"] == 0.0


def test_cvpr25_is_played_in_six_containers_and_clicking_pays(board):
    good, poor = board("cvpr25-interactive")
    assert (good.submission.name, poor.submission.name) == ("good", "poor")
    rounds = CaseRun.objects.filter(run__submission=good.submission).get().usage.rounds
    assert [told.verdict for told in rounds] == ["ok"] * 6
    assert good.metrics["dice"]["mean"] > poor.metrics["dice"]["mean"]
    assert poor.metrics["dice_auc"]["mean"] == pytest.approx(4 * poor.metrics["dice"]["mean"], abs=1e-3)
    assert good.metrics["dice_auc"]["mean"] > poor.metrics["dice_auc"]["mean"]
