"""What a container at a site sees, and what group names a release may hold: no text of a patient either way."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest

import factories
from assay.accounts.errors import ConflictError
from assay.client.errors import RefusedError
from assay.evaluation_sites.models import SiteEvaluation
from assay.node import local
from assay.node.folder import FolderCase, place_input
from assay.node.local import LocalResult, UnsuitableHardware, Workbench, run_cases
from assay.node.site_drafts import failures_of, number_cases, regrouped
from containers.engines.fake import FakeEnding, FakeEngine
from containers.machine import GpuSlots
from containers.spec import Usage
from containers.verdicts import Verdict
from evaluator.protocol import InputKind, load_protocol
from evaluator.results import CaseResult
from evaluator.volumes import Grid, Volume, read_image, write_canonical

DESCRIPTION_AT, DESCRIPTION_BYTES = 148, 80
"""Where a NIfTI-1 header keeps free text."""


def write_with_text(path, text: bytes) -> None:
    labels = np.arange(64, dtype=np.uint8).reshape(4, 4, 4) % 3
    write_canonical(Volume(array=labels, grid=Grid.from_json(factories.GRID)), path)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[DESCRIPTION_AT : DESCRIPTION_AT + DESCRIPTION_BYTES] = text.ljust(DESCRIPTION_BYTES, b"\0")
    path.write_bytes(gzip.compress(bytes(content)))


def test_the_text_of_an_images_header_stays_behind(tmp_path):
    source, placed = tmp_path / "in.nii.gz", tmp_path / "out.nii.gz"
    write_with_text(source, b"Doe^Jane 1961-03-02")
    place_input(source, destination=placed, kind=InputKind.IMAGE)
    assert b"Doe" in gzip.decompress(source.read_bytes())
    assert b"Doe" not in gzip.decompress(placed.read_bytes())
    assert np.array_equal(read_image(source).array, read_image(placed).array)
    assert read_image(source).grid == read_image(placed).grid


def test_a_container_at_a_site_sees_numbers_for_names(hospital, submission):
    seen = []

    def look(call):
        for source in call.input_dir.rglob("*"):
            seen.append((source.name, gzip.decompress(source.read_bytes()) if source.is_file() else b""))
            if source.is_file():
                (call.output_dir / source.name).write_bytes(source.read_bytes())
        return FakeEnding()

    for name in ("Doe^Jane", "Roe^Rik"):
        write_with_text(hospital.data / f"{name}.nii.gz", name.encode())
    hospital.register()
    hospital.offer()
    hospital.agree()
    hospital.engine = FakeEngine(look)
    agent, draft = hospital.evaluate()
    assert {name for name, _ in seen} == {f"case-{number:05d}.nii.gz" for number in range(1, 6)}
    assert not [name for name, content in seen if b"Doe" in content or b"Roe" in content]
    assert [result.case_id for result in draft.results][:2] == ["Doe^Jane", "Roe^Rik"], (
        "the site's people read their own names"
    )
    agent.release(draft)


def test_rows_of_a_table_have_numbers_in_the_container_and_are_scored_by_their_names(tmp_path):
    protocol = load_protocol(
        {
            "protocol": 1,
            "name": "t",
            "labels": {"age": {}},
            "inputs": [{"name": "scan", "kind": "image", "file": "{case}.nii.gz"}],
            "outputs": [{"name": "answers", "kind": "table", "file": "answers.csv"}],
            "metrics": [{"name": "absolute_error"}],
            "conventions": {"failed": {"absolute_error": 100}},
            "resources": {"run_mode": "cohort"},
        }
    )
    names = ("Doe^Jane", "Roe^Rik")
    (tmp_path / "r.csv").write_text("case,age\nDoe^Jane,61\nRoe^Rik,40\n")
    for place, name in enumerate(names):
        write_with_text(tmp_path / f"{place}.nii.gz", name.encode())
    cases = [
        FolderCase(
            case_id=name,
            inputs={"scan": tmp_path / f"{place}.nii.gz"},
            references={"reference": tmp_path / "r.csv"},
            attributes={},
        )
        for place, name in enumerate(names)
    ]
    seen = []

    def answer(call):
        seen.extend(source.name for source in call.input_dir.rglob("*"))
        (call.output_dir / "answers.csv").write_text("case,age\ncase-00001,60\ncase-00002,44\n")
        return FakeEnding()

    numbered = number_cases(cases, everybody=cases)
    bench = Workbench(engine=FakeEngine(answer), folder=tmp_path, owner="o")
    results = list(run_cases(cases=numbered, image_id="sha256:" + "0" * 64, protocol=protocol, workbench=bench))
    assert not [name for name in seen if "Doe" in name or "Roe" in name]
    assert [[row.value for row in result.scores.rows] for result in results] == [[1.0], [4.0]]


def test_group_names_that_the_organizers_never_wrote_become_other():
    groups = {"site": ["A", "B"]}
    assert regrouped({"site": "A"}, groups=groups) == {"site": "A"}
    assert regrouped({"site": "Jane Doe 1961-03-02"}, groups=groups) == {"site": "other"}
    assert regrouped({}, groups=groups) == {"site": "other"}


def test_a_release_with_a_name_as_a_group_is_refused_and_one_with_agreed_groups_is_taken(hospital, scene):
    document = {**factories.PROTOCOL, "breakdowns": ["site"]}
    scene.phase.protocol = factories.protocol(challenge=scene.challenge, document=document)
    scene.phase.save()
    for case in scene.phase.chosen_testset.testset.cases.all():
        case.attributes = {"site": "A"}
        case.save()
    factories.submission(phase=scene.phase, team=scene.team, status="done")
    names = [f"p{number}" for number in range(12)]
    hospital.write_data(names)
    lines = (hospital.data / "manifest.csv").read_text().splitlines()
    of_a = [line.replace(",H,", ",A,") for line in lines[1:7]]
    (hospital.data / "manifest.csv").write_text("\n".join([lines[0], *of_a, *lines[7:]]))
    hospital.register()
    assert hospital.offer().terms["groups"] == {"site": ["A"]}
    hospital.agree()
    agent, draft = hospital.evaluate()
    assert set(draft.aggregates["dice"]["per_site"]) == {"A", "other"}
    assert "H" not in json.dumps(draft.aggregates)
    named = json.loads(json.dumps(draft.aggregates))
    named["dice"]["per_site"]["Jane Doe 1961-03-02"] = named["dice"]["per_site"].pop("other")
    forged = replace(draft, aggregates=named, document={**draft.document, "metrics": named})
    with pytest.raises(RefusedError) as refusal:
        agent.release(forged)
    assert refusal.value.code == "release_refused"
    agent.release(draft)
    assert SiteEvaluation.objects.get().status == "released"


def write_groups(hospital, groups) -> None:
    hospital.write_data([f"p{number}" for number in range(len(groups))])
    lines = (hospital.data / "manifest.csv").read_text().splitlines()
    rows = [line.replace(",H,", f",{group},") for line, group in zip(lines[1:], groups, strict=True)]
    (hospital.data / "manifest.csv").write_text("\n".join([lines[0], *rows]))
    hospital.register()
    hospital.offer()
    hospital.agree()


def test_a_version_with_one_new_patient_in_a_group_releases_the_total_alone(hospital, scene):
    document = {**factories.PROTOCOL, "breakdowns": ["site"]}
    scene.phase.protocol = factories.protocol(challenge=scene.challenge, document=document)
    scene.phase.save()
    for case in scene.phase.chosen_testset.testset.cases.all():
        case.attributes = {"site": "A"}
        case.save()
    factories.submission(phase=scene.phase, team=scene.team, status="done")
    write_groups(hospital, "AAAAAAHHHHHH")
    assert "per_site" in hospital.release().aggregates["dice"]
    factories.submission(phase=scene.phase, team=scene.team, status="done")
    write_groups(hospital, "AAAAAAHHHHHHAAAAH")
    agent = hospital.agent()
    draft = agent.evaluate(agent.claim(hospital.registration()), on_case=lambda result: None)
    assert draft.aggregates["dice"]["n"] == 17
    assert "per_site" not in draft.aggregates["dice"]
    assert "dice.per_site" in draft.withheld
    again = next(draft for draft in agent.drafts())
    assert again.told == draft.told
    assert "told" not in json.dumps(again.leaves())
    agent.release(draft)
    with pytest.raises(ConflictError, match="too few patients"):
        write_groups(hospital, "AAAAAAHHHHHHAAAAHAH")


def test_few_cases_of_one_failure_are_not_found_as_the_rest():
    def ended(**counts):
        return [
            LocalResult(
                case_id="c",
                verdict=Verdict(name),
                reason="",
                usage=Usage(),
                scores=CaseResult(case_id="c", rows=()),
                log=b"",
            )
            for name, count in counts.items()
            for _ in range(count)
        ]

    assert failures_of(ended(timeout=6, out_of_memory=7)) == {"out_of_memory": 7, "timeout": 6}
    assert failures_of(ended(timeout=6, out_of_memory=2, ok=9)) == {"out_of_memory": None, "timeout": None}


def test_gpus_are_taken_as_a_node_takes_them(tmp_path):
    bench = Workbench(engine=FakeEngine(), folder=tmp_path, owner="o", find_gpus=lambda: GpuSlots(uuids=()))
    with bench.taken_gpus(0) as none, bench.taken_gpus(1) as lacking:
        assert none == lacking == ()
    strict = Workbench(
        engine=FakeEngine(), folder=tmp_path, owner="o", find_gpus=lambda: GpuSlots(uuids=()), may_lack_gpus=False
    )
    with pytest.raises(UnsuitableHardware, match="gives 1 GPUs, and this machine has 0"), strict.taken_gpus(1):
        raise AssertionError("ran without a GPU")


def test_a_site_without_the_gpus_of_the_phase_declines_and_the_team_has_no_failure(hospital, scene, monkeypatch):
    resources = {**factories.PROTOCOL.get("resources", {}), "gpus": 1}
    scene.phase.protocol = factories.protocol(
        challenge=scene.challenge, document={**factories.PROTOCOL, "resources": resources}
    )
    scene.phase.save()
    factories.submission(phase=scene.phase, team=scene.team, status="done")
    hospital.offer()
    hospital.agree()
    monkeypatch.setattr(local, "slots_of_this_host", lambda: GpuSlots(uuids=()))
    agent = hospital.agent()
    order = agent.claim(hospital.registration())
    with pytest.raises(UnsuitableHardware) as lack:
        agent.evaluate(order, on_case=lambda result: None)
    agent.decline_order(order, reason=f"unsuitable hardware: {lack.value}")
    row = SiteEvaluation.objects.get()
    assert (row.status, row.release) == ("declined", None)
    assert row.reason.startswith("unsuitable hardware")
