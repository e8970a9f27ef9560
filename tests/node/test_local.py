"""Running on a folder of one's own cases: the sandbox's contract and the scorer, without a server."""

import contextlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from assay.node import commands, local
from assay.node.folder import FolderInvalid, read_folder
from assay.node.local import NotRun, Workbench, run_cases
from assay.node.site_commands import refuse_several_here
from assay.node.site_problems import SiteProblem
from containers.engines.choice import EngineChoice
from containers.engines.fake import FakeCall, FakeEnding, FakeEngine
from evaluator.protocol import load_protocol
from evaluator.volumes import Grid, Volume, write_canonical
from waits import HANGS_AFTER_SECONDS

GRID = Grid.from_json(
    {
        "shape": [4, 4, 4],
        "spacing_mm": [1.0, 1.0, 1.0],
        "affine": [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]],
    }
)
PROTOCOL = {
    "protocol": 1,
    "name": "core",
    "title": "Core",
    "labels": {"core": {"values": 1, "tolerance_mm": 1}},
    "inputs": [{"name": "t1", "file": "{case}.nii.gz", "required": True}],
    "outputs": [{"name": "segmentation", "kind": "label_map", "file": "{case}.nii.gz"}],
    "metrics": [{"name": "dice"}],
}


@pytest.fixture
def cases(tmp_path) -> Path:
    """Two cases whose image is their reference: 8 voxels in one corner, and in the other."""
    folder = tmp_path / "cases"
    folder.mkdir()
    for name, corner in (("A1", slice(0, 2)), ("B1", slice(2, 4))):
        labels = np.zeros((4, 4, 4), dtype=np.uint8)
        labels[corner, corner, corner] = 1
        write_canonical(Volume(array=labels, grid=GRID), folder / f"{name}.nii.gz")
    (folder / "manifest.csv").write_text(
        "case_id,site,input:t1,reference\nA1,A,A1.nii.gz,A1.nii.gz\nB1,B,B1.nii.gz,B1.nii.gz\n"
    )
    return folder


def copy(call: FakeCall) -> FakeEnding:
    for source in call.input_dir.iterdir():
        (call.output_dir / source.name).write_bytes(source.read_bytes())
    return FakeEnding(log=b"copied")


def play(cases: Path, tmp_path: Path, *, script=copy, **changes):
    engine = FakeEngine(script)
    workbench = Workbench(engine=engine, folder=tmp_path, owner="test/local")
    protocol = load_protocol({**PROTOCOL, **changes})
    results = list(
        run_cases(
            cases=read_folder(cases),
            image_id="sha256:1",
            protocol=protocol,
            workbench=workbench,
            keep=tmp_path / "kept",
        )
    )
    assert not engine.containers
    return results, engine


def test_every_case_runs_in_a_container_of_its_own_and_is_scored(cases, tmp_path):
    results, engine = play(cases, tmp_path)
    assert [(r.case_id, r.verdict, r.scores.rows[0].value) for r in results] == [("A1", "ok", 1.0), ("B1", "ok", 1.0)]
    assert results[0].log == b"copied"
    assert len(engine.bodies) == 2
    assert sorted(p.relative_to(tmp_path / "kept").as_posix() for p in (tmp_path / "kept").rglob("*.gz")) == [
        "A1/A1.nii.gz",
        "B1/B1.nii.gz",
    ]


def test_a_cohort_is_one_container_for_all_cases(cases, tmp_path):
    results, engine = play(cases, tmp_path, resources={"run_mode": "cohort"})
    assert [r.scores.rows[0].value for r in results] == [1.0, 1.0]
    assert len(engine.bodies) == 1


def test_a_case_without_a_prediction_gets_the_stated_value_and_the_verdict(cases, tmp_path):
    results, _ = play(cases, tmp_path, script=lambda call: FakeEnding(exit_code=3))
    assert {(r.verdict, r.scores.rows[0].value) for r in results} == {("nonzero_exit", 0.0)}


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("case_id,input:t1\n", "names no case"),
        ("case_id,input:t1\n,A1.nii.gz\n", "line 2: found no case_id"),
        ("case_id,input:t1\nA1,../secret.nii.gz\n", "line 2: found '../secret.nii.gz'"),
        ("case_id,input:t1\nA1,A1.nii.gz\nA1,B1.nii.gz\n", "names a case twice"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(cases, manifest, message):
    (cases / "manifest.csv").write_text(manifest)
    with pytest.raises(FolderInvalid, match=message):
        read_folder(cases)


@pytest.mark.slow
def test_a_case_is_played_in_rounds_at_home_as_on_a_server(cases, tmp_path):
    """The box is the whole structure here: painting it is perfect at once, and no click follows."""
    seen = []

    def paint(call: FakeCall) -> FakeEnding:
        told = json.loads((call.input_dir / "prompts.json").read_text())
        seen.append([len(structure["clicks"]) for structure in told["structures"]])
        low, high = told["structures"][0]["box"]
        answer = np.zeros((4, 4, 4), dtype=np.uint8)
        answer[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = 1
        (image,) = [path for path in call.input_dir.glob("*.nii.gz") if "previous" not in path.name]
        write_canonical(Volume(array=answer, grid=GRID), call.output_dir / image.name)
        return FakeEnding(seconds=0.5)

    results, engine = play(
        cases,
        tmp_path,
        script=paint,
        metrics=[{"name": "dice"}, {"name": "dice_auc", "rounds": 2}, {"name": "wall_seconds"}],
        conventions={"failed": {"wall_seconds": 60}},
        resources={"run_mode": "interactive"},
        interaction={"clicks": 1},
    )
    assert [{row.metric: row.value for row in result.scores.rows} for result in results] == [
        {"dice@0": 1.0, "dice": 1.0, "dice_auc": 1.0, "wall_seconds": 1.0}
    ] * 2
    assert seen == [[0], [0], [0], [0]]
    assert len(engine.bodies) == 4


class Flaky:
    """Breaks the first starts of one case, as an engine that is being restarted does."""

    def __init__(self, *, case: str, times: int) -> None:
        self.case, self.left = case, times

    def __call__(self, call: FakeCall) -> FakeEnding:
        if self.left and any(source.name.startswith(self.case) for source in call.input_dir.iterdir()):
            self.left -= 1
            return FakeEnding(start_error="Cannot connect to the Docker daemon")
        return copy(call)


@pytest.fixture
def _without_pauses(monkeypatch):
    monkeypatch.setattr(local.time, "sleep", lambda seconds: None)


@pytest.mark.slow
@pytest.mark.usefixtures("_without_pauses")
def test_what_this_machine_broke_is_tried_again(cases, tmp_path):
    results, engine = play(cases, tmp_path, script=Flaky(case="A1", times=2))
    assert [(r.verdict, r.scores.rows[0].value) for r in results] == [("ok", 1.0), ("ok", 1.0)]
    assert len(engine.bodies) == 4


@pytest.mark.usefixtures("_without_pauses")
def test_what_stays_broken_is_no_score(cases, tmp_path):
    with pytest.raises(NotRun, match="case B1 has no result") as problem:
        play(cases, tmp_path, script=Flaky(case="B1", times=3))
    assert problem.value.verdict == "infrastructure"
    assert "no fault of the algorithm" in str(problem.value)


def test_a_cancelled_run_is_no_score(cases, tmp_path):
    engine = FakeEngine(lambda _: FakeEnding(seconds=3600))
    workbench = Workbench(engine=engine, folder=tmp_path, owner="test/local", should_stop=lambda: True)
    with pytest.raises(NotRun, match="cancelled"):
        list(
            run_cases(
                cases=read_folder(cases), image_id="sha256:1", protocol=load_protocol(PROTOCOL), workbench=workbench
            )
        )


def at_once(cases, tmp_path, *, script):
    """Two cases at the same time, as a batch system runs them."""
    workbench = Workbench(engine=FakeEngine(script), folder=tmp_path, owner="test/local", at_once=2)
    protocol = load_protocol(PROTOCOL)
    return run_cases(cases=read_folder(cases), image_id="sha256:1", protocol=protocol, workbench=workbench)


def test_where_a_batch_system_finds_the_machines_cases_run_at_the_same_time(cases, tmp_path):
    both_are_here = threading.Barrier(2, timeout=HANGS_AFTER_SECONDS)

    def meet(call: FakeCall) -> FakeEnding:
        both_are_here.wait()
        return copy(call)

    results = list(at_once(cases, tmp_path, script=meet))
    assert sorted((r.case_id, r.verdict, r.scores.rows[0].value) for r in results) == [
        ("A1", "ok", 1.0),
        ("B1", "ok", 1.0),
    ]


@pytest.mark.usefixtures("_without_pauses")
def test_a_case_that_cannot_be_run_ends_those_that_run_beside_it(cases, tmp_path):
    def script(call: FakeCall) -> FakeEnding:
        if (call.input_dir / "A1.nii.gz").exists():
            return FakeEnding(seconds=10**9)
        return FakeEnding(start_error="Cannot connect to the Docker daemon")

    with pytest.raises(NotRun, match="case B1 has no result"):
        list(at_once(cases, tmp_path, script=script))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("case-")] == []


def test_one_machine_runs_one_case_after_the_other():
    with pytest.raises(SiteProblem, match="--at-once 2 with an engine of this machine alone"):
        refuse_several_here(FakeEngine(copy), at_once=2)
    refuse_several_here(FakeEngine(copy), at_once=1)


@pytest.fixture
def assay_run(cases, tmp_path, monkeypatch):
    """The command `assay run`, on a scripted engine that has the image."""
    engine = FakeEngine(copy)
    monkeypatch.setattr(EngineChoice, "open", lambda _choice: contextlib.nullcontext(engine))
    protocol = tmp_path / "core.yaml"

    def run(*arguments, **changes):
        protocol.write_text(yaml.safe_dump({**PROTOCOL, **changes}))
        given = ("image:latest", "--protocol", str(protocol), "--cases", str(cases), *arguments)
        return CliRunner().invoke(commands.run, given), [body["Entrypoint"] for body in engine.bodies]

    return run


def test_a_command_of_the_team_is_what_its_container_is_started_with(assay_run):
    command = "python3 /opt/predict.py --fast 'a b'"
    result, started = assay_run("--command", command, resources={"takes_command": True})
    assert result.exit_code == 0, result.output
    assert started == [["sh", "-c", command]] * 2
    assert result.output.count("1.000") == 2


def test_a_command_is_refused_where_the_server_would_refuse_it(assay_run):
    result, started = assay_run("--command", "true")
    assert (result.exit_code, started) == (2, [])
    assert "take no command" in result.output
    assert "takes_command: true" in result.output
