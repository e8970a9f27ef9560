"""A stage for whole stories: real files, the real API, a scripted engine, and a hand to move everything one step at a time."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from django.test import Client
from django.utils import timezone

import factories
import people
from assay.evaluations import self_tests
from assay.evaluations.models import Evaluation
from assay.leaderboards.models import Leaderboard
from assay.leaderboards.services import rebuild_leaderboard
from assay.node.agent import Agent, AgentOptions
from assay.node.http import NodeApi
from assay.runs.models import Node, PromptRound
from assay.submissions.models import Submission
from assay.testsets import storage
from assay.testsets.models import Case, TestSet
from assay.workflow.workers import checking, prompting, scoring, self_testing
from containers.engines.fake import FakeCall, FakeEnding, FakeEngine
from evaluator.volumes import Grid, Volume, write_canonical
from wire import send_through

Script = Callable[[FakeCall], FakeEnding]
NUMBERS = count()


def label_map(seed: int) -> np.ndarray:
    """A 4×4×4 label map with both labels."""
    labels = np.zeros((4, 4, 4), dtype=np.uint8)
    labels[1:3, 1:3, 1:3] = 1
    labels[0, 0, seed % 4] = 2
    return labels


def nifti_bytes(array: np.ndarray, folder: Path) -> bytes:
    """A label map as the canonical writer spells it."""
    path = folder / f"{next(NUMBERS)}.nii.gz"
    write_canonical(Volume(array=array, grid=Grid.from_json(factories.GRID)), path)
    return path.read_bytes()


def copy_input(call: FakeCall) -> FakeEnding:
    """The perfect algorithm: on this stage the input image is the reference."""
    for source in call.input_dir.iterdir():
        (call.output_dir / source.name).write_bytes(source.read_bytes())
    return FakeEnding()


@dataclass(kw_only=True)
class Stage:
    """The scene with files behind it, one enrolled node, and what moves a story on."""

    folder: Path
    node: Node
    token: str
    scene: people.Scene | None = None
    script: Script = copy_input

    def submit(self, **fields) -> Submission:
        """A submission that was received, as the API leaves it."""
        return factories.submission(phase=self.scene.phase, team=fields.pop("team", self.scene.team), **fields)

    def change_resources(self, **resources) -> None:
        """Other rules for submissions from here on."""
        protocol = self.scene.phase.protocol
        rules = {**protocol.document["resources"], **resources}
        factories.rewrite_protocol(protocol, {**protocol.document, "resources": rules})

    def put_files(self, testset: TestSet) -> None:
        """Real files behind the cases of a test set."""
        for case in testset.cases.all():
            put_files(case=case, folder=self.folder)

    def api(self) -> NodeApi:
        """The node's client."""
        return NodeApi(
            url="http://testserver", token=self.token, transport=send_through(Client()), sleep=lambda _: self.prompt()
        )

    def agent(self) -> tuple[Agent, FakeEngine]:
        """A fresh agent of the node, and its engine."""
        engine = FakeEngine(self.script)
        options = AgentOptions(folder=self.folder / "node", owner="test/node-1")
        return Agent(api=self.api(), options=options, open_engine=lambda: engine), engine

    def check(self) -> None:
        for pk in Submission.objects.filter(status__in=["received", "checking"]).values_list("pk", flat=True):
            checking.check_submission(submission_id=pk, clock=timezone.now)

    def run_cases(self, *, at_most: int = 1000) -> int:
        agent, engine = self.agent()
        worked = 0
        while worked < at_most and agent.work_once(engine):
            worked += 1
        assert not engine.containers, "a container was left"
        return worked

    def prompt(self) -> None:
        """What the scoring pool does while a node waits."""
        for pk in PromptRound.objects.filter(made_at=None).values_list("pk", flat=True):
            prompting.make_round(round_id=pk, clock=timezone.now)

    def self_test(self) -> None:
        for pk in self_tests.waiting_self_tests().values_list("pk", flat=True):
            self_testing.run_self_test(self_test_id=pk, clock=timezone.now)

    def score(self) -> None:
        for pk in Evaluation.objects.filter(status="queued").values_list("pk", flat=True):
            scoring.score_evaluation(evaluation_id=pk, worker="test", clock=timezone.now)

    def rank(self) -> None:
        for pk in Leaderboard.objects.values_list("phase_id", flat=True):
            rebuild_leaderboard(phase_id=pk, now=timezone.now())

    def play(self) -> None:
        """Everything, until nothing moves."""
        self.check()
        while self.run_cases():
            pass
        self.score()
        self.rank()


def put_files(*, case: Case, folder: Path) -> None:
    """Store the case's reference, and the very same file as its input image."""
    content = nifti_bytes(label_map(case.position), folder)
    for file in [*case.inputs, *case.references]:
        stored = storage.save_file(key=file["key"], stream=io.BytesIO(content), max_bytes=2**20)
        file.update(sha256=stored.sha256, bytes=stored.bytes)
    case.save()
