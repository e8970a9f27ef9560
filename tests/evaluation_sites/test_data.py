"""A hospital adds the data in the form in which it lies, sees what would be sent, and sends nothing it did not see."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
from click.testing import CliRunner
from django.test import Client
from django.utils import timezone

import factories
from assay.client.errors import RefusedError
from assay.client.http import Connection
from assay.evaluation_sites import joining
from assay.evaluation_sites.models import Site, SiteDataset
from assay.node import local, site_data_commands
from assay.node.folder import FolderInvalid
from assay.node.site_data import SiteData, check_itself, kept_secret, recognise
from assay.node.site_home import SiteHome
from assay.node.site_joining import join
from assay.signatures import signed
from containers.engines.choice import EngineChoice
from containers.engines.fake import FakeEnding, FakeEngine
from evaluator.protocol import load_protocol
from evaluator.volumes import Grid, Volume, write_canonical
from wire import send_through

PROTOCOL = load_protocol(factories.PROTOCOL)
(INPUT,) = [item.name for item in PROTOCOL.inputs]


def write_mask(path, *, place: int = 0, value: int = 1) -> None:
    labels = np.zeros((4, 4, 4), dtype=np.uint8)
    labels[1:3, 1:3, 1:3] = value
    labels[0, 0, place % 4] = 2 * value
    path.parent.mkdir(parents=True, exist_ok=True)
    write_canonical(Volume(array=labels, grid=Grid.from_json(factories.GRID)), path)


def as_manifest(folder):
    rows = [f"case_id,site,input:{INPUT},reference"]
    for number in range(5):
        write_mask(folder / f"P{number}.nii.gz", place=number)
        rows.append(f"P{number},H,P{number}.nii.gz,P{number}.nii.gz")
    (folder / "manifest.csv").write_text("\n".join(rows))


def as_folders(folder):
    for number in range(5):
        for place in ("images", "labels"):
            write_mask(folder / place / f"P{number}.nii.gz", place=number)


def as_nnunet(folder):
    document = {
        "channel_names": {"0": "T1"},
        "labels": {"background": 0, "core": 1, "rim": 2},
        "file_ending": ".nii.gz",
        "numTraining": 5,
    }
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(document))
    for number in range(5):
        write_mask(folder / "imagesTr" / f"P{number}_0000.nii.gz", place=number)
        write_mask(folder / "labelsTr" / f"P{number}.nii.gz", place=number)


def as_bids(folder):
    folder.mkdir(exist_ok=True)
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "cohort", "BIDSVersion": "1.10.0"}))
    for number in range(1, 6):
        subject = f"sub-{number:02d}"
        write_mask(folder / subject / "anat" / f"{subject}_T1w.nii.gz", place=number)
        write_mask(folder / "derivatives" / "manual" / subject / "anat" / f"{subject}_dseg.nii.gz", place=number)
    (folder / "derivatives" / "manual" / "dseg.tsv").write_text("index\tname\n1\tcore\n2\trim\n")
    (folder / "participants.tsv").write_text("participant_id\tsex\nsub-01\tF\nsub-02\tM\n")


FORMS = {"manifest": as_manifest, "folders": as_folders, "nnU-Net": as_nnunet, "BIDS": as_bids}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_recognised_and_its_only_input_is_the_challenges(form, tmp_path):
    FORMS[form](tmp_path)
    data = recognise(tmp_path, protocol=PROTOCOL, inputs={})
    assert data.form == form
    cases = data.cases()
    assert len(cases) == 5
    assert {tuple(case.inputs) for case in cases} == {(INPUT,)}
    assert all(path.is_file() for case in cases for path in (*case.inputs.values(), *case.references.values()))
    assert check_itself(cases, protocol=PROTOCOL).problems == ()


@pytest.mark.parametrize("form", FORMS)
def test_what_was_added_is_found_again_with_the_same_root(form, tmp_path):
    FORMS[form](tmp_path / "data")
    data = recognise(tmp_path / "data", protocol=PROTOCOL, inputs={})
    found = data.examine(secret=b"k" * 32)
    data.keep(tmp_path, root_sha256=found.root_sha256, case_count=found.case_count)
    again, registered = SiteData.kept(tmp_path)
    assert again.examine(secret=b"k" * 32) == registered == found
    write_mask(next((tmp_path / "data").rglob("*2*.nii.gz")), place=1, value=1)
    assert again.examine(secret=b"k" * 32) != registered


def test_a_folder_of_no_known_form_is_refused_with_what_would_be_read(tmp_path):
    with pytest.raises(FolderInvalid, match=r"manifest.csv, dataset.json"):
        recognise(tmp_path, protocol=PROTOCOL, inputs={})
    (tmp_path / "scan.dcm").touch()
    with pytest.raises(FolderInvalid, match="neither a segmentation"):
        recognise(tmp_path, protocol=PROTOCOL, inputs={})


def test_inputs_that_fit_nothing_are_asked_for(tmp_path):
    as_manifest(tmp_path)
    text = (
        (tmp_path / "manifest.csv")
        .read_text()
        .replace(f"input:{INPUT}", "input:a,input:b")
        .replace(",H,", ",H,P0.nii.gz,")
    )
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(FolderInvalid, match=f"the challenge has {INPUT}; the data has a, b"):
        recognise(tmp_path, protocol=PROTOCOL, inputs={})
    data = recognise(tmp_path, protocol=PROTOCOL, inputs={INPUT: "b"})
    assert [tuple(case.inputs) for case in data.cases()] == [(INPUT,)] * 5


def test_the_check_finds_references_with_values_of_another_meaning(tmp_path):
    as_manifest(tmp_path)
    write_mask(tmp_path / "P3.nii.gz", value=7)
    problems = check_itself(SiteData(source=str(tmp_path), form="manifest").cases(), protocol=PROTOCOL).problems
    assert problems
    assert all(text.startswith("P3") for text in problems)


@pytest.fixture
def home(scene, tmp_path, monkeypatch) -> SiteHome:
    """A site that has joined and is approved, whose commands reach the server without a network."""
    now = timezone.now()
    _, code = joining.make_code(phase=scene.phase, name="h", title="H", by=scene.olga, now=now)
    home = SiteHome(tmp_path / "home")
    join(home, code=code, connection=Connection(url="http://testserver", transport=send_through(Client())))
    joining.approve_site(Site.objects.get(), words=home.words(), by=scene.olga, now=now)
    home.confirm()

    def connect(settings):
        return Connection(
            url="http://testserver", token=settings.token, program="site", transport=send_through(Client())
        )

    monkeypatch.setattr(site_data_commands, "open_connection", connect)
    return home


def add(home, source, *options):
    return CliRunner().invoke(
        site_data_commands.data_group, ["add", str(source), "--folder", str(home.folder), *options], input="y\n"
    )


def test_adding_shows_the_document_then_sends_exactly_it(home, tmp_path):
    as_folders(tmp_path / "data")
    answer = add(home, tmp_path / "data")
    assert answer.exit_code == 0, answer.output
    row = SiteDataset.objects.get()
    shown = json.loads(answer.output[answer.output.index("{") : answer.output.rindex("}") + 1])
    assert {name: row.document[name] for name in shown} == shown
    assert (shown["root_sha256"], shown["case_count"]) == (row.root_sha256, 5)
    assert "P0" not in json.dumps(shown)


def with_engine(monkeypatch, script):
    """The engine of the hospital's machine. Gives the names under which the algorithm saw the cases."""
    seen = []

    def look(call):
        seen.extend(path.name for path in call.input_dir.iterdir())
        return script(call)

    monkeypatch.setattr(EngineChoice, "open", lambda _choice: nullcontext(FakeEngine(look)))
    return seen


def copy_scan(call):
    for source in call.input_dir.iterdir():
        (call.output_dir / source.name).write_bytes(source.read_bytes())
    return FakeEnding()


def empty_mask(call):
    for source in call.input_dir.iterdir():
        nothing = np.zeros((4, 4, 4), dtype=np.uint8)
        write_canonical(Volume(array=nothing, grid=Grid.from_json(factories.GRID)), call.output_dir / source.name)
    return FakeEnding()


def test_a_baseline_runs_on_a_few_cases_before_the_data_counts_and_nothing_of_it_is_sent(home, tmp_path, monkeypatch):
    as_folders(tmp_path / "data")
    seen = with_engine(monkeypatch, copy_scan)
    answer = add(home, tmp_path / "data", "--baseline", "assay/baseline:1", "--baseline-cases", "2")
    assert answer.exit_code == 0, answer.output
    assert "1.000" in answer.output
    assert seen == ["case-00001.nii.gz", "case-00002.nii.gz"], "names of patients reach no container"
    assert SiteDataset.objects.get().document["summary"] == {
        "selfcheck": {"cases": 5, "problems": 0},
        "attributes": [],
    }
    command = ["check", "--folder", str(home.folder), "--baseline", "assay/baseline:1"]
    assert "unchanged" in CliRunner().invoke(site_data_commands.data_group, command).output


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (empty_mask, "worth no more than no answer"),
        (lambda call: FakeEnding(exit_code=3), "answered in none of 5 cases (nonzero_exit"),
        (lambda call: FakeEnding(start_error="Cannot connect to the Docker daemon"), "no fault of the algorithm"),
    ],
)
def test_data_on_which_a_baseline_fails_does_not_count(home, tmp_path, monkeypatch, script, words):
    monkeypatch.setattr(local, "RETRY_SECONDS", ())
    as_folders(tmp_path / "data")
    with_engine(monkeypatch, script)
    answer = add(home, tmp_path / "data", "--baseline", "assay/baseline:1")
    assert answer.exit_code == 1
    assert words in answer.output
    assert not SiteDataset.objects.exists()
    assert SiteData.kept(home.folder) is None


def test_nothing_is_sent_without_a_yes_nor_when_the_check_fails(home, tmp_path):
    as_folders(tmp_path / "data")
    runner = CliRunner()
    command = ["add", str(tmp_path / "data"), "--folder", str(home.folder)]
    assert "Nothing was sent" in runner.invoke(site_data_commands.data_group, command, input="n\n").output
    write_mask(tmp_path / "data" / "labels" / "P1.nii.gz", value=9)
    answer = add(home, tmp_path / "data", "--yes")
    assert answer.exit_code != 0
    assert "nothing was sent" in answer.output
    assert not SiteDataset.objects.exists()


def test_data_that_changed_is_noticed(home, tmp_path):
    as_folders(tmp_path / "data")
    add(home, tmp_path / "data")
    check = ["check", "--folder", str(home.folder)]
    assert "unchanged" in CliRunner().invoke(site_data_commands.data_group, check).output
    (tmp_path / "data" / "labels" / "P1.nii.gz").write_bytes(b"")
    assert CliRunner().invoke(site_data_commands.data_group, check).exit_code != 0


def test_another_machine_of_the_site_brings_the_key_and_has_the_same_root(home, tmp_path):
    as_folders(tmp_path / "data")
    secret = kept_secret(home.folder)
    other = tmp_path / "other"
    assert kept_secret(other, given=home.folder / "data.key") == secret
    data = SiteData(source=str(tmp_path / "data"), form="folders")
    assert data.examine(secret=secret) == data.examine(secret=kept_secret(other))


def test_a_version_that_differs_by_one_patient_is_refused_at_the_site_even_with_the_same_number(home, tmp_path):
    as_folders(tmp_path / "data")
    assert add(home, tmp_path / "data").exit_code == 0
    root = SiteDataset.objects.get().root_sha256
    releases = home.folder / "h" / "releases"
    releases.mkdir(parents=True)
    (releases / "x.released").write_text(json.dumps({"release": {"data_root": root}}))
    write_mask(tmp_path / "data" / "labels" / "P1.nii.gz", place=3)
    answer = add(home, tmp_path / "data")
    assert answer.exit_code != 0
    assert "differs from data that has released results by 1 cases" in answer.output
    for number in range(5):
        write_mask(tmp_path / "data" / "labels" / f"P{number}.nii.gz", place=number + 1)
    assert add(home, tmp_path / "data").exit_code == 0, "all five are others: nothing can be told from the difference"
    assert SiteDataset.objects.count() == 2


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"said": None}, "signature_invalid"),
        ({"case_count": 6}, "signature_invalid"),
        ({"summary": {"selfcheck": {"cases": 5, "problems": 1}, "attributes": []}}, "summary_invalid"),
        ({"summary": {"selfcheck": {"cases": 5, "problems": 0}, "attributes": ["Jane Doe"]}}, "summary_invalid"),
        ({"summary": {"selfcheck": {"cases": 5, "problems": 0}, "attributes": [], "note": "x"}}, "summary_invalid"),
        ({"summary": {}}, "summary_invalid"),
    ],
)
def test_the_server_takes_no_data_that_is_unsigned_unchecked_or_says_more(home, change, code):
    summary = {"selfcheck": {"cases": 5, "problems": 0}, "attributes": []}
    body = {"root_sha256": "0" * 64, "case_count": 5, "summary": change.get("summary", summary)}
    said = signed({"kind": "assay-site-data", **body}, key=home.key())
    settings = home.joined()
    connection = Connection(url="http://testserver", token=settings.token, transport=send_through(Client()))
    with pytest.raises(RefusedError) as refusal:
        connection.post("site/datasets", {"said": said, **body, **change})
    assert refusal.value.code == code
    assert not SiteDataset.objects.exists()
