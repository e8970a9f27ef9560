"""Bad input at every command of a site: what was found, what to do, no traceback, and nothing half made."""

import os
import shutil
import socket
from datetime import timedelta

import pytest
from click.testing import CliRunner
from django.test import Client
from django.utils import timezone

from assay.client.http import Connection
from assay.evaluation_sites import joining
from assay.evaluation_sites.models import Site, SiteCode, SiteDataset, SiteEvaluation
from assay.node import site_agreeing, site_commands, site_data_commands, site_life
from assay.node.site import file_name_of
from assay.node.site_doctor import ServerAnswer
from containers.engines.choice import EngineChoice
from wire import send_through

JOIN = ("--url", "http://testserver", "--no-service")
HEADER = "case_id,site,input:t1,reference\n"
ODD_NAMES = ["Müller, Jörg", "a b", "a-b", "x\ny", "../../up", "ß" * 300, "[/bold]"]


@pytest.fixture
def commands(hospital, monkeypatch):
    """`assay site …` whose network is the API of this process. Gives what a command said. It must fail unless `works` is said."""
    transport = send_through(Client())
    for module in (site_commands, site_life, site_data_commands, site_agreeing):
        monkeypatch.setattr(module, "open_connection", lambda _settings: hospital.connection())
    for module in (site_life, site_agreeing):
        monkeypatch.setattr(module, "Connection", lambda **words: Connection(**words, transport=transport))
    answer = ServerAnswer(url="http://testserver", status=200, is_assay=True, clock_ahead_seconds=0)
    monkeypatch.setattr(site_life, "ask_server", lambda **words: answer)

    def run(*words, folder=None, works=False):
        words = [*map(str, words), "--folder", str(folder or hospital.home.folder)]
        done = CliRunner().invoke(site_commands.site, words)
        assert done.exception is None or isinstance(done.exception, SystemExit), f"{words}: {done.exception!r}"
        assert (done.exit_code == 0) is works, f"{words}: {done.output}"
        assert "Traceback" not in done.output
        return done.output

    return run


def new_code(scene, name):
    return joining.make_code(phase=scene.phase, name=name, title=name, by=scene.olga, now=timezone.now())[1]


def test_a_code_that_does_not_let_in_leaves_nothing(commands, scene, tmp_path):
    ended = new_code(scene, "ended")
    SiteCode.objects.update(expires_at=timezone.now() - timedelta(hours=1))
    used = new_code(scene, "used")
    commands("join", used, *JOIN, folder=tmp_path / "used", works=True)
    folder = tmp_path / "fresh"
    for code, found in {
        "": "This is no code",
        "ÄÖÜ": "This is no code",
        "A" * 5000: "This is no code",
        "ABCD; rm -rf": "This is no code",
        "ABCD-EFGH-JKMN": "a code that nobody made",
        ended: "a code that ended",
        used: "a code that was used already",
    }.items():
        said = commands("join", code, *JOIN, folder=folder)
        assert found in said
        assert "what to do: " in said
        assert not list(folder.glob("*")), f"{code[:20]!r} left something"


def test_joining_where_nothing_can_be_kept_does_not_use_the_code(commands, scene, tmp_path):
    code = new_code(scene, "st-anna")
    file = tmp_path / "file"
    file.write_text("mine")
    for folder in (file, file / "below", "/proc/assay"):
        assert "ASSAY_SITE_FOLDER" in commands("join", code, *JOIN, folder=folder)
    assert file.read_text() == "mine"
    commands("join", code, *JOIN, folder=tmp_path / "good", works=True)


def test_a_folder_of_one_site_is_not_taken_by_another_unless_that_one_is_gone(commands, hospital, scene):
    before = hospital.home.settings
    code = new_code(scene, "st-anna")
    said = commands("join", code, *JOIN)
    assert "is a site already" in said
    assert "assay site leave" in said
    assert hospital.home.settings == before
    joining.revoke_site(hospital.site, reason="", by=scene.olga, now=timezone.now())
    commands("join", code, *JOIN, works=True)


def test_every_command_says_that_nobody_has_joined(commands, tmp_path):
    bundle = tmp_path / "stick.tar"
    bundle.write_bytes(b"x")
    nowhere = tmp_path / "never"
    for words in (
        *(("status",), ("confirm",), ("rotate-key",), ("leave", "--yes"), ("agree",), ("log",), ("run",), ("release",)),
        *(("review",), ("recall", "1", "--reason", "x"), ("data", "add", tmp_path), ("take", bundle)),
    ):
        assert "has not joined" in commands(*words, folder=nowhere)
    assert "assay site data add" in commands("data", "check", folder=nowhere)
    assert "--url" in commands("doctor", folder=nowhere)
    assert not nowhere.exists(), "nothing is made before the site has joined"


def test_words_that_mean_nothing(commands, tmp_path):
    stick = tmp_path / "stick.tar"
    stick.write_bytes(b"no archive")
    assert "its number" in commands("recall", "#ä\n", "--reason", "x")
    assert "empty reason" in commands("recall", "1", "--reason", " ")
    assert "Nothing of submission #99" in commands("recall", "99", "--reason", "x")
    assert "Copy it again" in commands("take", stick)
    assert "doctor" in commands("run", "--engine-socket", "/nowhere.sock")
    assert "Nothing waits" in commands("release", works=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "--port" in commands("review", "--port", taken.getsockname()[1])


@pytest.fixture
def cohort(hospital, tmp_path):
    """A folder with seven masks, and what writes its manifest."""
    folder = tmp_path / "cohort"
    folder.mkdir()
    source = next(hospital.data.glob("*.nii.gz"))
    for number in range(7):
        shutil.copyfile(source, folder / f"c{number}.nii.gz")
    return folder


def rows(names):
    quoted = [name.replace('"', '""') for name in names]
    return HEADER + "\n".join(f'"{name}",H,c{n}.nii.gz,c{n}.nii.gz' for n, name in enumerate(quoted))


def test_data_that_cannot_be_used_is_named_and_nothing_is_sent(commands, cohort, hospital):
    before, kept = SiteDataset.objects.count(), (hospital.home.folder / "data.json").read_bytes()
    manifest = cohort / "manifest.csv"
    (cohort / "text.nii.gz").write_text("hello")
    good = rows("abcdef")

    def added(content, *words):
        manifest.write_bytes(content if isinstance(content, bytes) else content.encode())
        return commands("data", "add", cohort, "--yes", *words)

    assert "expected manifest.csv" in commands("data", "add", cohort, "--yes")
    assert "names no case" in added("")
    assert "found no case_id" in added("patient,image\n1,2\n")
    assert "UTF-8" in added(b"case_id,input:t1,reference\n\xff\xfe,x,y\n")
    assert "UTF-8" in added(b"PK\x03\x04" + bytes(range(128, 256)))
    assert "inside the folder" in added("case_id,input:t1,reference\n1,gone.nii.gz,c0.nii.gz\n")
    assert "inside the folder" in added("case_id,input:t1,reference\n1,../../etc/passwd,c0.nii.gz\n")
    assert "names a case twice" in added(rows("aabcdef"))
    assert "expected at least 5" in added(rows("ab"))
    assert "found no reference" in added("case_id,input:t1\n" + "\n".join(f"{n},c{n}.nii.gz" for n in range(6)))
    assert "the data has none" in added("case_id,reference\n" + "\n".join(f"{n},c{n}.nii.gz" for n in range(6)))
    assert "into quotes" in added(good.replace('"a"', "Roe, Jane"))
    assert "neither NIfTI" in added(good.replace("c3.nii.gz,c3.nii.gz", "c3.nii.gz,text.nii.gz"))
    assert "d: the input t1" in added(good.replace("c3.nii.gz,c3.nii.gz", "text.nii.gz,c3.nii.gz"))
    assert "d: the input t1" in added(good.replace("c3.nii.gz,c3.nii.gz", ".,c3.nii.gz"))
    whole = (cohort / "c3.nii.gz").read_bytes()
    (cohort / "c3.nii.gz").write_bytes(whole[: len(whole) // 2])
    assert "d: " in added(good), "a file that was cut off"
    (cohort / "c3.nii.gz").write_bytes(whole)
    assert "CHALLENGE=DATA" in added(good, "--input", "nonsense")
    assert "--input ct=image" in added(good, "--input", "t9=zz")
    assert "no key of a site's data" in added(good, "--secret", manifest)
    assert SiteDataset.objects.count() == before
    assert (hospital.home.folder / "data.json").read_bytes() == kept


def test_cases_with_odd_names_are_run_and_their_names_stay(commands, cohort, hospital, submission, monkeypatch):
    (cohort / "manifest.csv").write_text(rows(ODD_NAMES), encoding="utf-8")
    commands("data", "add", cohort, "--yes", works=True)
    hospital.offer()
    commands("agree", "--yes", works=True)
    monkeypatch.setattr(EngineChoice, "open", lambda self: hospital.engine)
    monkeypatch.setattr(site_commands, "NodeApi", lambda **words: hospital.agent()._api)
    assert "[/bold]" in commands("run", "--approve-all", works=True), "the table of cases"
    assert SiteEvaluation.objects.get().release["metrics"]["dice"]["mean"] == 1.0
    logs = list((hospital.home.folder / hospital.name / "logs").rglob("*.log"))
    assert len(logs) == len(ODD_NAMES), "no log takes the place of another"
    sent = hospital.everything_sent()
    assert not any(name in sent for name in ("ller", "a b", 'up"', "ß", "/bold"))


def test_no_two_cases_have_one_name_for_their_files():
    names = [*ODD_NAMES, ".", "..", ".hidden", "a_b", "A01"]
    made = [file_name_of(name) for name in names]
    assert len(set(made)) == len(names)
    assert made[-1] == "A01"
    assert not any("/" in name or name.startswith(".") or len(name) > 100 for name in made)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b"null"])
def test_a_file_of_the_site_that_the_disk_did_not_keep_is_named_with_its_remedy(content, commands, hospital):
    remedies = {
        "site.json": ("join again", [("status",), ("run",), ("data", "check"), ("agree", "--yes"), ("confirm",)]),
        "data.json": ("assay site data add", [("run",), ("data", "check"), ("agree", "--yes")]),
        "site.ed25519": ("backup", [("status",), ("rotate-key",)]),
        "data.key": ("backup", [("data", "check")]),
    }
    for name, (remedy, calls) in remedies.items():
        path = hospital.home.folder / name
        kept = path.read_bytes()
        path.write_bytes(content)
        for words in calls:
            said = commands(*words)
            assert remedy in said, f"{name}, {words}: {said}"
            assert str(path) in said
        path.write_bytes(kept)


def test_a_disk_that_cannot_be_written_is_named(commands, hospital, monkeypatch):
    def refuse(path, content):
        raise OSError(30, "Read-only file system", os.fspath(path))

    monkeypatch.setattr("assay.private_files.replace", refuse)
    before = hospital.home.settings
    said = commands("confirm")
    assert "Read-only file system" in said
    assert "ASSAY_SITE_FOLDER" in said
    assert hospital.home.settings == before
    assert Site.objects.count() == 1
