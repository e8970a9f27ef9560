"""The `assay` command, as a person types it, against a server with canned answers."""

import base64
import hashlib
import json
import stat

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SUBMISSION = {
    "id": "s-1", "number": 7, "name": "N4 + mixture", "team": "Mixture", "challenge": "mni-brain-tissue", "phase": "open",
    "status": "queued", "verdict": "", "verdict_text": "", "progress": {"done": 0, "total": 8, "failed": 0},
    "queue": {"position": 2, "eta_seconds": 30}, "metrics": {}, "url": "http://server/s/s-1",
}  # fmt: skip
CHANGE = {"path": "phases.open", "text": "phases.open: new (re-ranks nothing)", "note": "re-ranks nothing"}
PHASE = {"eligibility": {"can_submit": True, "conditions": []}}
PHASE_PATH = "challenges/mni-brain-tissue/phases/open"
SIGN_IN = ("--url", "http://server", "--token", "assay_x")


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "image.tar"
    path.write_bytes(b"not really an image" * 100)
    return path


def submit(assay, archive, *more):
    return assay(*SIGN_IN, "submit", str(archive), "--phase", "mni-brain-tissue/open", "--name", "N4 + mixture", *more)


def at(status, done=0, failed=0, **more):
    return {**SUBMISSION, "status": status, "progress": {"done": done, "total": 8, "failed": failed}, **more}


def test_login_keeps_the_token_for_its_owner_only(assay, server, tmp_path):
    server.will_answer("POST", "tokens", {"token": "assay_secret", "expires_at": "2027-01-01T00:00:00Z"})
    result = assay("login", "http://server", "--username", "pia", input="password\n")
    assert result.exit_code == 0, result.output
    assert "Signed in to http://server as pia until 2027-01-01" in result.output
    path = tmp_path / "config" / "assay" / "config.json"
    assert json.loads(path.read_text())["token"] == "assay_secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_saved_token_goes_to_its_own_server_only(assay, server):
    server.will_answer("POST", "tokens", {"token": "assay_secret", "expires_at": "2027-01-01T00:00:00Z"})
    server.will_answer("GET", "me", {"username": "pia"})
    assay("login", "http://server", "--username", "pia", input="password\n")
    sent = []
    handle = server.handle
    server.handle = lambda request: sent.append(request.headers.get("Authorization")) or handle(request)
    assert "pia on http://server" in assay("whoami").output
    assay("--url", "http://elsewhere", "whoami")
    assert sent == ["Bearer assay_secret", None]


def test_a_person_who_never_signed_in_is_told_how(assay):
    result = assay("whoami")
    assert result.exit_code == 1
    assert "No server is known" in result.output
    assert "what to do: run `assay login URL`" in result.output


def test_submit_sends_the_image_and_says_where_it_stands(assay, server, archive):
    server.will_answer("GET", PHASE_PATH, PHASE)
    server.will_answer("POST", f"{PHASE_PATH}/submissions", SUBMISSION, status=201)
    result = submit(assay, archive, "--link", "https://example.org/paper")
    assert result.exit_code == 0, result.output
    assert "#7 N4 + mixture: queued: position 2 in the queue" in result.output
    assert bytes(server.uploads["u1"].content) == archive.read_bytes()
    method, path, request = server.requests[-1]
    assert (method, path) == ("POST", f"{PHASE_PATH}/submissions")
    words = {"name": "N4 + mixture", "description": "", "url": "https://example.org/paper", "team": "", "division": ""}
    assert request == {"upload_id": "u1", "allow_duplicate": False, **words}


def test_submit_sends_nothing_that_the_server_has(assay, server, archive):
    """Neither a file whose hash the server knows, nor what is named by its hash alone."""
    known = hashlib.sha256(archive.read_bytes()).hexdigest()
    model = {
        "kind": "model",
        "version": 2,
        "sha256": "ab" * 32,
        "filename": "net.tar.gz",
        "submissions": ["One", "Two"],
    }
    server.will_answer("GET", PHASE_PATH, PHASE)
    server.will_answer("GET", f"{PHASE_PATH}/kept", [{**model, "kind": "image", "sha256": known}, model])
    server.will_answer("POST", f"{PHASE_PATH}/submissions", SUBMISSION, status=201)
    result = submit(assay, archive, "--model", f"sha256:{model['sha256']}")
    assert result.exit_code == 0, result.output
    assert server.uploads == {}
    request = server.requests[-1][2]
    named = {"sha256": known, "model_sha256": model["sha256"], "model_folder": "/opt/ml/model"}
    assert {key: value for key, value in request.items() if key in named or key.endswith("upload_id")} == named
    listed = assay(*SIGN_IN, "kept", "--phase", "mni-brain-tissue/open").output
    assert f"model 2  sha256:{model['sha256']}  net.tar.gz  One, Two" in listed


def test_submit_asks_whether_it_may_before_it_sends_a_byte(assay, server, archive):
    condition = {"ok": False, "text": "0 of 10 submissions left today", "cure": "wait until Tue 09:12"}
    server.will_answer("GET", PHASE_PATH, {"eligibility": {"can_submit": False, "conditions": [condition]}})
    result = submit(assay, archive)
    assert result.exit_code == 1
    assert "0 of 10 submissions left today" in result.output
    assert "Wait until Tue 09:12." in result.output
    assert server.uploads == {}


def test_submit_and_wait_ends_well_when_the_submission_does(assay, server, archive):
    server.will_answer("GET", PHASE_PATH, PHASE)
    server.will_answer("POST", f"{PHASE_PATH}/submissions", SUBMISSION, status=201)
    server.will_answer("GET", "submissions/s-1", at("running", 3), at("scoring", 8), at("done", 8, 1))
    result = submit(assay, archive, "--wait")
    assert result.exit_code == 0, result.output
    assert "#7 N4 + mixture: done: 8 of 8 cases, 1 failed" in result.output


def test_submit_and_wait_fails_with_the_verdict_when_the_submission_does(assay, server, archive):
    words = "time limit of 5 s reached on 3 cases in a row; 8 of 8 cases failed"
    server.will_answer("GET", PHASE_PATH, PHASE)
    server.will_answer("POST", f"{PHASE_PATH}/submissions", SUBMISSION, status=201)
    server.will_answer("GET", "submissions/s-1", at("failed", 8, 8, verdict="timeout", verdict_text=words))
    result = submit(assay, archive, "--wait")
    assert result.exit_code == 1
    assert words in result.output


@pytest.mark.parametrize(
    "trouble", [httpx.Response(503), httpx.ConnectError("connection refused")], ids=["busy", "gone"]
)
def test_waiting_survives_a_server_that_is_away_for_a_while(assay, server, monkeypatch, trouble):
    server.will_answer("GET", "submissions/s-1", at("done", 8))
    handle, troubles = server.handle, [trouble] * 12

    def sometimes(request):
        if not troubles:
            return handle(request)
        if isinstance(trouble, Exception):
            raise troubles.pop()
        return troubles.pop()

    monkeypatch.setattr(server, "handle", sometimes)
    result = assay(*SIGN_IN, "status", "s-1", "--wait")
    assert result.exit_code == 0, result.output
    assert "done" in result.output


def test_waiting_ends_when_the_submission_may_not_be_seen(assay, server):
    result = assay(*SIGN_IN, "status", "s-1", "--wait")
    assert result.exit_code == 1
    assert "does not exist" in result.output


def test_programs_get_progress_as_json_lines(assay, server, archive):
    server.will_answer("GET", PHASE_PATH, PHASE)
    server.will_answer("POST", f"{PHASE_PATH}/submissions", SUBMISSION, status=201)
    server.will_answer("GET", "submissions/s-1", at("running", 3), at("running", 3), at("done", 8))
    result = submit(assay, archive, "--wait", "--progress", "json")
    events = [json.loads(line) for line in result.output.splitlines()]
    assert {"event": "uploading", "percent": 100} in events
    assert [e["status"] for e in events if e["event"] == "submission"] == ["queued", "running", "done"]


def test_an_error_of_the_server_is_shown_in_its_own_words(assay, server):
    error = {
        "code": "unknown_label",
        "message": "line 12: label 4 is not declared",
        "found": "4",
        "expected": "1, 2 or 3",
    }
    server.will_answer("GET", f"{PHASE_PATH}/leaderboard", {"error": error}, status=422)
    result = assay(*SIGN_IN, "leaderboard", "--phase", "mni-brain-tissue/open")
    assert result.exit_code == 1
    assert result.output == "Error: line 12: label 4 is not declared\n  found: 4\n  expected: 1, 2 or 3\n"


def test_a_phase_is_named_by_its_challenge_and_itself(assay):
    result = assay(*SIGN_IN, "leaderboard", "--phase", "open")
    assert "CHALLENGE/PHASE, such as mni-brain-tissue/open" in result.output


def test_the_leaderboard_shows_units_directions_and_what_is_missing(assay, server, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    entry = {
        "rank": 1, "team": "Mixture", "name": "N4", "score": 1.5, "failed_cases": 1, "case_count": 8, "seconds_per_case": 1.26,
        "peak_memory_bytes": 300 * 2**20, "submission_id": "s-1",
        "metrics": {"dice": {"mean": 0.8914, "sd": 0.0042}, "hd95": {"mean": None, "sd": None}},
    }  # fmt: skip
    unranked = {**entry, "rank": None, "team": "Mirror", "seconds_per_case": None, "peak_memory_bytes": None}
    metrics = [{"name": "dice", "unit": "", "direction": "max"}, {"name": "hd95", "unit": "mm", "direction": "min"}]
    board = {"phase": "open", "metrics": metrics, "entries": [entry, unranked], "count": 2}
    server.will_answer("GET", f"{PHASE_PATH}/leaderboard", board)
    lines = assay(*SIGN_IN, "leaderboard", "--phase", "mni-brain-tissue/open").output.splitlines()
    assert "dice ↑" in lines[2]
    assert "hd95 (mm) ↓" in lines[2]
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "N4" in line]
    assert cells[0] == ["1", "Mixture", "N4", "0.891 ± 0.004", "–", "1 of 8", "1.3", "300 MiB"]
    assert cells[1][0] == "–"


def test_a_ranking_is_written_as_codabench_writes_its_results(assay, server, tmp_path):
    """What is written is read again as a leaderboard of CodaBench."""
    entry = {
        "rank": 1, "team": "Mixture", "name": "N4", "score": 1.0, "failed_cases": 0, "case_count": 8, "seconds_per_case": 1.0,
        "peak_memory_bytes": 1, "submission_id": "s-1", "metrics": {"dice": {"mean": 0.8914, "sd": 0.1}, "hd95": {"mean": None, "sd": None}},
    }  # fmt: skip
    other = {**entry, "rank": 2, "team": "Mirror", "submission_id": "s-2", "score": 2.0}
    other["metrics"] = {"dice": {"mean": 0.5, "sd": 0.1}, "hd95": {"mean": 3.5, "sd": 0.1}}
    metrics = [{"name": "dice", "unit": "", "direction": "max"}, {"name": "hd95", "unit": "mm", "direction": "min"}]
    board = {"phase": "open", "metrics": metrics, "entries": [entry, other], "count": 2}
    server.will_answer("GET", f"{PHASE_PATH}/leaderboard", board)
    result = assay(
        *SIGN_IN, "leaderboard", "codabench", "--phase", "mni-brain-tissue/open", "--output", tmp_path / "r.json"
    )
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "r.json").read_text()) == {
        "open": {
            "Mixture-s-1": {"open-score": "1.0", "open-dice": "0.8914"},
            "Mirror-s-2": {"open-score": "2.0", "open-dice": "0.5", "open-hd95": "3.5"},
        }
    }


def test_a_test_set_is_pushed_as_one_tar_that_is_the_same_every_time(assay, server, tmp_path):
    folder = tmp_path / "hidden"
    (folder / "t1").mkdir(parents=True)
    (folder / "t1" / "A0.nii.gz").write_bytes(b"scan")
    (folder / "A0_reference.nii.gz").write_bytes(b"labels")
    (folder / "stray.txt").write_text("not named by the manifest")
    (folder / "manifest.csv").write_text("case_id,site,input:t1,reference\nA0,A,t1/A0.nii.gz,A0_reference.nii.gz\n")
    answer = {"version": 1, "case_count": 1, "sha256": "abcdef0123456789"}
    server.will_answer("POST", "challenges/mni-brain-tissue/testsets", answer, status=201)
    arguments = (
        "testset",
        "push",
        str(folder),
        "--challenge",
        "mni-brain-tissue",
        "--name",
        "hidden",
        "--phase",
        "open",
    )
    result = assay(*SIGN_IN, *arguments)
    assert result.exit_code == 0, result.output
    assert "mni-brain-tissue/hidden version 1: 1 cases" in result.output
    (folder / "t1" / "A0.nii.gz").touch()
    assay(*SIGN_IN, *arguments)
    first, second = (bytes(upload.content) for upload in server.uploads.values())
    assert first == second
    assert b"stray" not in first
    assert server.requests[-1][2] == {"name": "hidden", "upload_id": "u2", "is_public": False, "phases": ["open"]}


@pytest.mark.parametrize("path", ["gone.nii.gz", "../outside.nii.gz"])
def test_a_manifest_that_names_what_is_not_there_is_refused_here(assay, server, tmp_path, path):
    folder = tmp_path / "hidden"
    folder.mkdir()
    (tmp_path / "outside.nii.gz").touch()
    (folder / "manifest.csv").write_text(f"case_id,input:t1\nA0,{path}\n")
    result = assay(*SIGN_IN, "testset", "push", str(folder), "--challenge", "c", "--name", "hidden")
    assert "1 of 1 files named in" in result.output
    assert server.uploads == {}


def test_a_challenge_is_pushed_under_the_slug_it_names(assay, server, tmp_path):
    source = "# a comment\nslug: 'mni-brain-tissue'  # the address\ntitle: MNI\n"
    (tmp_path / "challenge.yaml").write_text(source)
    server.will_answer("PUT", "challenges/mni-brain-tissue", {"changes": [CHANGE], "challenge": {}})
    result = assay(*SIGN_IN, "challenge", "push", str(tmp_path / "challenge.yaml"), "--dry-run")
    assert "  phases.open: new (re-ranks nothing)\n" in result.output
    assert "Nothing was changed: this was a dry run." in result.output
    assert server.requests == [("PUT", "challenges/mni-brain-tissue", {"source": source, "dry_run": True})]


def test_a_check_says_what_results_can_give_away_and_changes_nothing(assay, server, tmp_path):
    source = "slug: mni\n"
    (tmp_path / "challenge.yaml").write_text(source)
    leak = {
        "phase": "open",
        "release": "aggregate",
        "text": "One submission can carry out about 705 bits.",
        "advice": "Take `ladder`.",
    }
    server.will_answer("PUT", "challenges/mni", {"changes": [], "leaks": [leak], "challenge": {}})
    output = assay(*SIGN_IN, "challenge", "check", str(tmp_path / "challenge.yaml")).output
    assert "Nothing would change.\n" in output
    assert "  open (release: aggregate): One submission can carry out about 705 bits.\n    Take `ladder`.\n" in output
    assert server.requests == [("PUT", "challenges/mni", {"source": source, "dry_run": True})]


def test_a_challenge_file_is_pulled_to_the_letter(assay, server, tmp_path):
    source = "# a comment\nslug: brains\ntitle: Gehirne – ä\n"
    server.will_answer("GET", "challenges/brains/file", {"source": source})
    assert assay(*SIGN_IN, "challenge", "pull", "brains").stdout == source
    assay(*SIGN_IN, "challenge", "pull", "brains", "--output", str(tmp_path / "challenge.yaml"))
    assert (tmp_path / "challenge.yaml").read_text("utf-8") == source


def test_a_server_that_is_not_assay_is_recognised(assay, server, monkeypatch):
    monkeypatch.setattr(server, "handle", lambda request: httpx.Response(200, text="<html>router</html>"))
    result = assay(*SIGN_IN, "whoami")
    assert "is not an Assay server" in result.output


CASES = [
    {"case": "case 1", "scores": [["grey matter", "dice", 0.91, ""], ["grey matter", "hd95", None, "not_measured"]]},
    {"case": "case 2", "scores": None},
]


def test_case_scores_are_exported_as_csv_with_undefined_ones_empty(assay, server):
    server.will_answer("GET", "submissions/s-1/cases", CASES)
    lines = assay(*SIGN_IN, "export", "s-1").output.splitlines()
    assert lines == [
        "case,label,metric,value,reason",
        "case 1,grey matter,dice,0.91,",
        "case 1,grey matter,hd95,,not_measured",
    ]


def test_unreleased_case_scores_are_said_to_be_so(assay, server):
    server.will_answer("GET", "submissions/s-1/cases", [CASES[1]])
    result = assay(*SIGN_IN, "export", "s-1")
    assert result.exit_code == 1
    assert "not released" in result.output


@pytest.fixture
def signed(tmp_path):
    """A receipt as the server signs them, and the public key that fits."""
    key = Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    facts = {
        "number": 7, "algorithm": "N4", "team": "mixture", "challenge": "mni", "phase": "open", "public_key": public,
        "evaluator": {"version": "0.1.0"}, "protocol": {"sha256": "aa"}, "testset": {"sha256": "bb"},
    }  # fmt: skip
    message = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps({**facts, "signature": base64.b64encode(key.sign(message)).decode()}, indent=2))
    return path, public


def test_a_receipt_is_verified_offline_with_the_installations_key(assay, server, signed):
    path, key = signed
    result = assay("verify", str(path), "--key", key)
    assert result.exit_code == 0, result.output
    assert "The receipt holds: #7 N4 of mixture" in result.output
    assert server.requests == []


def test_the_key_is_asked_of_the_server_when_none_is_given(assay, server, signed):
    path, key = signed
    server.will_answer("GET", "keys", {"ed25519": key})
    assert "The receipt holds" in assay(*SIGN_IN, "verify", str(path)).output


def test_a_receipt_changed_after_signing_does_not_hold(assay, signed):
    path, key = signed
    path.write_text(path.read_text().replace('"number": 7', '"number": 1'))
    result = assay("verify", str(path), "--key", key)
    assert result.exit_code == 1
    assert "changed after signing" in result.output


def test_a_snapshot_of_a_leaderboard_is_verified_offline_too(assay, server, tmp_path):
    path, key = tmp_path / "snapshot.json", Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    facts = {
        "phase": "mni/open", "protocol_sha256": "aa", "taken_at": "2026-11-21T12:00:00+00:00", "public_key": public,
        "entries": [{"rank": 1.0, "team": "mixture", "score": 0.25}],
    }  # fmt: skip
    message = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    path.write_text(json.dumps({**facts, "signature": base64.b64encode(key.sign(message)).decode()}))
    result = assay("verify", str(path), "--key", public)
    assert "The snapshot holds: mni/open as of 2026-11-21T12:00:00+00:00" in result.output
    path.write_text(path.read_text().replace('"score": 0.25', '"score": 0.5'))
    result = assay("verify", str(path), "--key", public)
    assert result.exit_code == 1
    assert "The snapshot does not hold" in result.output
    assert server.requests == []


def test_publishing_names_the_lines_that_are_still_to_be_written(assay, server):
    source = "slug: liver\ntitle: Liver\ncontact: ⟨your address⟩\n"
    server.will_answer("GET", "challenges/liver/file", {"source": source})
    server.will_answer("POST", "challenges/liver/publish", {})
    result = assay(*SIGN_IN, "challenge", "publish", "liver")
    assert result.exit_code == 0, result.output
    assert "Still to be written, line 3: contact: ⟨your address⟩" in result.output
    assert "liver is public." in result.output


@pytest.mark.parametrize("text", ["no json", "[]", "{}"])
def test_what_is_no_receipt_is_said_to_be_none(assay, tmp_path, text):
    (tmp_path / "receipt.json").write_text(text)
    result = assay("verify", str(tmp_path / "receipt.json"), "--key", "x")
    assert "is no receipt" in result.output
    assert result.exit_code == 1


@pytest.mark.parametrize("named", [["liver/final"], ["--phase", "liver/final"]])
@pytest.mark.parametrize("action", ["publish", "embargo", "pause", "resume"])
def test_a_phase_is_named_as_the_pages_say_or_as_other_commands_take_it(assay, server, action, named):
    server.will_answer("POST", f"challenges/liver/phases/final/{action}", {})
    result = assay(*SIGN_IN, "phase", action, *named)
    assert result.exit_code == 0, result.output
    assert server.requests[-1][:2] == ("POST", f"challenges/liver/phases/final/{action}")


def test_a_phase_command_without_a_phase_says_how_to_name_one(assay):
    result = assay(*SIGN_IN, "phase", "publish")
    assert result.exit_code == 2
    assert "Name one phase: assay phase publish CHALLENGE/PHASE" in result.output


def test_a_file_that_is_not_text_is_said_without_a_traceback(assay, tmp_path):
    (tmp_path / "challenge.yaml").write_bytes(b"slug: \xff\n")
    result = assay(*SIGN_IN, "challenge", "push", str(tmp_path / "challenge.yaml"))
    assert result.exit_code == 1
    assert "A file is not text" in result.output
    assert "the byte 0xff at position 6" in result.output


def test_a_folder_that_cannot_be_made_is_said_without_a_traceback(assay, tmp_path):
    (tmp_path / "file").write_text("")
    result = assay("challenge", "new", str(tmp_path / "file" / "below"), "--from", "flare22")
    assert result.exit_code == 1
    assert f"Error: {tmp_path}/file/below" in result.output
    assert "Not a directory" in result.output


MINE = [
    {**SUBMISSION, "id": "s-7"},
    {**SUBMISSION, "id": "s-8", "number": 8},
    {**SUBMISSION, "id": "s-x", "number": 8, "phase": "final"},
]


@pytest.mark.parametrize(
    "name", ["7", "#7", "mni-brain-tissue/open#7", "http://server/s/s-7/", "https://server/s/s-7", "s-7"]
)
def test_a_submission_is_named_by_its_number_its_page_or_its_id(assay, server, name):
    server.will_answer("GET", "submissions", {"items": MINE, "count": 3})
    server.will_answer("GET", "submissions/s-7", at("queued"))
    result = assay(*SIGN_IN, "status", name)
    assert result.exit_code == 0, result.output
    assert "N4 + mixture" in result.output


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("9", "There is no submission 9 among yours"),
        ("liver/final#9", "There is no submission liver/final#9 in liver/final"),
        ("8", "mni-brain-tissue/final#8, mni-brain-tissue/open#8"),
    ],
)
def test_a_number_that_names_no_submission_or_several_is_said(assay, server, name, words):
    server.will_answer("GET", "submissions", {"items": MINE, "count": 3})
    result = assay(*SIGN_IN, "logs", name)
    assert result.exit_code == 1
    assert words in result.output


def test_a_phase_has_one_slash(assay):
    result = assay(*SIGN_IN, "leaderboard", "--phase", "a/b/c")
    assert result.exit_code == 1
    assert "'a/b/c' does not name a phase" in result.output
