"""A third party evaluates on data of its own: what it sends, what it may not send, and who holds what."""

import json

import httpx
import numpy as np
import pytest
from django.test import Client
from django.utils import timezone

import factories
from assay.client.errors import RefusedError
from assay.client.http import Connection
from assay.evaluation_sites.models import SiteEvaluation
from assay.evaluation_sites.services import enrol_site
from assay.node.folder import read_folder
from assay.node.http import NodeApi
from assay.node.registry import register_data
from assay.node.review import TooFewCases, build_release
from assay.node.site import SiteAgent
from assay.node.site_data import SiteData
from assay.node.site_problems import SiteProblem
from containers.engines.fake import FakeEnding, FakeEngine
from evaluator.protocol import load_protocol
from evaluator.results import CaseResult, ScoreRow
from evaluator.volumes import Grid, Volume, write_canonical
from wire import send_through

SECRET = b"s" * 32
CASES = ["S1", "S2", "S3", "S4", "S5"]


@pytest.fixture
def data(tmp_path):
    """Five cases of the hospital, whose images are their references."""
    folder = tmp_path / "hospital"
    folder.mkdir()
    lines = ["case_id,site,input:t1,reference"]
    for place, name in enumerate(CASES):
        labels = np.zeros((4, 4, 4), dtype=np.uint8)
        labels[1:3, 1:3, 1:3] = 1
        labels[0, 0, place % 4] = 2
        write_canonical(Volume(array=labels, grid=Grid.from_json(factories.GRID)), folder / f"{name}.nii.gz")
        lines.append(f"{name},H,{name}.nii.gz,{name}.nii.gz")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def sent():
    """Every body that left the hospital."""
    return []


@pytest.fixture
def agent(scene, data, tmp_path, sent) -> SiteAgent:
    _, token = enrol_site(phase=scene.phase, name="hospital", title="Hospital", by=scene.olga, now=timezone.now())
    inner = send_through(Client())

    def listen(request: httpx.Request) -> httpx.Response:
        sent.append((request.url.path, request.read().decode()))
        return inner.handle_request(request)

    transport = httpx.MockTransport(listen)

    def copy(call):
        for source in call.input_dir.iterdir():
            (call.output_dir / source.name).write_bytes(source.read_bytes())
        return FakeEnding()

    return SiteAgent(
        connection=Connection(url="http://testserver", token=token, transport=transport),
        api=NodeApi(url="http://testserver", token=token, transport=transport),
        data=SiteData(source=str(data), form="manifest"),
        secret=SECRET,
        folder=tmp_path / "site",
        engine=FakeEngine(copy),
        owner="site/hospital",
    )


def evaluate(agent: SiteAgent):
    order = agent.claim(agent.register())
    return agent.evaluate(order, on_case=lambda result: None)


def test_a_site_evaluates_reviews_and_releases_and_only_numbers_leave(agent, submission, sent, client):
    draft = evaluate(agent)
    row = SiteEvaluation.objects.get()
    assert (row.status, row.release) == ("review", None)
    assert [result.verdict for result in draft.results] == ["ok"] * 5
    agent.release(draft)
    row.refresh_from_db()
    assert row.status == "released"
    assert row.release["metrics"]["dice"]["mean"] == 1.0
    assert row.release["case_count"] == 5
    text = json.dumps(sent)
    assert not [name for name in CASES if name in text], "a case's name left the hospital"
    board = client.get("/api/v1/challenges/brains/phases/final/sites/board").json()
    assert board["entries"][0]["sites"]["hospital"]["dice"] == 1.0
    assert board["entries"][0]["rank"] == 1
    assert agent.claim(agent.register()) is None


def test_nothing_is_released_before_somebody_approves(reading, agent, submission):
    evaluate(agent)
    assert len(agent.drafts()) == 1
    assert SiteEvaluation.objects.get().release is None
    agent.decline(agent.drafts()[0], reason="too many motion artefacts")
    row = SiteEvaluation.objects.get()
    assert (row.status, row.reason, row.release) == ("declined", "too many motion artefacts", None)
    assert agent.drafts() == []
    assert {"site_claim", "site_heartbeat", "site_decline"} <= reading.read


def test_data_that_changed_since_it_was_registered_is_not_evaluated(agent, submission, data):
    order = agent.claim(agent.register())
    (data / "S1.nii.gz").write_bytes((data / "S2.nii.gz").read_bytes())
    with pytest.raises(SiteProblem, match="has changed"):
        agent.evaluate(order, on_case=lambda result: None)


def test_swapping_two_references_changes_the_root(data):
    before = register_data(read_folder(data), folder=data, secret=SECRET)
    manifest = (data / "manifest.csv").read_text()
    (data / "manifest.csv").write_text(manifest.replace("S1.nii.gz,S1.nii.gz", "S1.nii.gz,S2.nii.gz"))
    after = register_data(read_folder(data), folder=data, secret=SECRET)
    assert before.root_sha256 != after.root_sha256
    assert before.case_count == after.case_count


def test_swapping_two_patients_attributes_changes_the_root(data):
    before = register_data(read_folder(data), folder=data, secret=SECRET)
    lines = (data / "manifest.csv").read_text().splitlines()
    lines[1:3] = [lines[1].replace(",H,", ",A,"), lines[2].replace(",H,", ",B,")]
    (data / "manifest.csv").write_text("\n".join(lines))
    one_way = register_data(read_folder(data), folder=data, secret=SECRET)
    lines[1:3] = [lines[1].replace(",A,", ",B,"), lines[2].replace(",B,", ",A,")]
    (data / "manifest.csv").write_text("\n".join(lines))
    other_way = register_data(read_folder(data), folder=data, secret=SECRET)
    assert len({before.root_sha256, one_way.root_sha256, other_way.root_sha256}) == 3


def test_who_has_the_same_files_does_not_find_them_by_hashing(data):
    ours = register_data(read_folder(data), folder=data, secret=SECRET)
    theirs = register_data(read_folder(data), folder=data, secret=b"t" * 32)
    again = register_data(read_folder(data), folder=data, secret=SECRET)
    assert ours == again
    assert ours.root_sha256 != theirs.root_sha256


def test_two_agents_of_a_site_never_hold_the_same_evaluation(agent, submission):
    registration = agent.register()
    assert agent.claim(registration) is not None
    assert agent.claim(registration) is None


def test_a_lease_that_ran_out_goes_to_the_next_agent_and_the_old_one_is_refused(agent, submission):
    registration = agent.register()
    old = agent.claim(registration)
    SiteEvaluation.objects.update(lease_until=timezone.now() - timezone.timedelta(seconds=1))
    new = agent.claim(registration)
    assert new.fence == old.fence + 1
    with pytest.raises(RefusedError):
        agent._connection.post("site/heartbeat", {"evaluation_id": old.evaluation_id, "fence": old.fence})


@pytest.mark.parametrize(
    "change",
    [
        {"dice": {"mean": 5.0, "n": 5}},
        {"dice": {"mean": -0.1, "n": 5}},
        {"dice": {"mean": 10**400, "n": 5}},
        {"dice": {"mean": 0.9, "n": 10_000}},
        {"dice": {"mean": 0.9, "n": 5, "sd": 0.1}},
        {"dice": {"n": 5}},
        {"dice": None},
        {"dice": {"mean": 0.9, "n": 5, "note": "patient 7"}},
        {"dice": {"mean": "0.9", "n": 5}},
        {"dice": {"mean": 0.91234567, "n": 5}},
        {"dice": {"mean": 0.9, "n": 4}},
        {"dice": {"mean": 0.9, "n": True}},
        {"dice": {"mean": 0.9, "n": 5, "per_label": {"core": {"mean": 0.9, "n": 4}}}},
        {"dice": {"mean": 0.9, "n": 5, "per_label": {"S1": {"mean": 0.9, "n": 5}}}},
        {"secret": {"mean": 0.9, "n": 5}},
        {},
    ],
)
def test_the_server_takes_nothing_but_permitted_numbers(agent, submission, change):
    order = agent.claim(agent.register())
    body = {"evaluation_id": order.evaluation_id, "fence": order.fence}
    with pytest.raises(RefusedError) as refusal:
        agent._connection.post("site/release", {**body, "aggregates": change})
    assert refusal.value.code == "release_refused"
    agent._connection.post("site/release", {**body, "aggregates": {"dice": {"mean": 0.9, "n": 5}}})


def test_an_unknown_token_is_nobody(db):
    stranger = Connection(url="http://testserver", token="assaysite_x", transport=send_through(Client()))
    with pytest.raises(RefusedError) as refusal:
        stranger.get("site/about")
    assert refusal.value.status == 401


def test_only_organizers_enrol_sites(scene, client):
    body = {"name": "hospital", "title": "Hospital"}
    address = "/api/v1/challenges/brains/phases/final/sites"
    answers = []
    for person in (scene.otto, scene.pia, scene.olga):
        client.force_login(person)
        answers.append(client.post(address, data=json.dumps(body), content_type="application/json").status_code)
    assert answers == [403, 403, 201]


def scored(*, sizes):
    """A protocol that reports by site, and made-up results: so many cases of each site, both structures alike."""
    protocol = load_protocol({**factories.PROTOCOL, "breakdowns": ["site"]})
    sites = [site for site, size in sizes.items() for _ in range(size)]
    results = [
        CaseResult(
            case_id=f"p{number}",
            rows=tuple(
                ScoreRow(label=label.name, metric=spec.id, value=0.123456)
                for spec in protocol.metrics
                for label in protocol.labels
            ),
        )
        for number in range(len(sites))
    ]
    return protocol, results, {f"p{number}": {"site": site} for number, site in enumerate(sites)}


def test_small_groups_are_withheld_and_cannot_be_found_by_subtraction():
    release = build_release(*scored(sizes={"A": 8, "B": 1, "C": 1}))
    assert "per_site" not in release.metrics["dice"]
    assert "dice.per_site" in release.withheld
    release = build_release(*scored(sizes={"A": 8, "B": 6}))
    assert set(release.metrics["dice"]["per_site"]) == {"A", "B"}


def test_a_release_is_rounded_and_needs_five_cases():
    release = build_release(*scored(sizes={"A": 5}))
    assert (release.metrics["dice"]["mean"], release.metrics["dice"]["n"]) == (0.123, 5)
    assert "sd" not in release.metrics["dice"]
    with pytest.raises(TooFewCases):
        build_release(*scored(sizes={"A": 4}))
