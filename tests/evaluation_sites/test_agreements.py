"""Agreements, orders, releases, receipts, recalls and the public log: what is signed, and what each forgery meets."""

import json
from datetime import timedelta

import httpx
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.utils import timezone

import factories
from assay.accounts.errors import ConflictError, InvalidError
from assay.client import cli
from assay.client.errors import RefusedError
from assay.client.http import Connection
from assay.evaluation_sites import agreements
from assay.evaluation_sites.agreements import TermOptions
from assay.evaluation_sites.joining import server_key
from assay.evaluation_sites.log import sign_here
from assay.evaluation_sites.models import SiteEvaluation, SiteLogEntry
from assay.node.review_desk import SiteDesk
from assay.node.site_joining import rotate_key
from assay.node.site_problems import SiteProblem
from assay.node.site_signing import SiteSigner, released_files
from assay.signatures import document_hash, signed
from assay.site_log import LogInvalid, check_log
from containers.engines.fake import FakeEnding, FakeEngine
from containers.verdicts import Verdict

LOG = "/api/v1/challenges/brains/phases/final/sites/log"


def the_log(client):
    return client.get(LOG).json()


def test_from_terms_to_a_receipt_everything_that_counts_is_signed(hospital, submission, client):
    hospital.release()
    row = SiteEvaluation.objects.get()
    assert row.status == "released"
    assert row.document["public_key"] == hospital.site.public_key
    assert row.document["nonce"] == row.order["nonce"]
    assert row.receipt["release_sha256"] == document_hash(row.document)
    log = the_log(client)
    facts = check_log(log, public_key=server_key())
    assert [line["kind"] for line in log["entries"]] == ["approved", "agreement", "release"]
    assert (facts.releases, facts.recalls) == (1, 0)
    assert row.receipt["log_sha256"] == log["entries"][-1]["sha256"]


def test_no_name_path_or_time_of_a_patient_is_in_any_request(hospital, submission):
    hospital.release()
    text = hospital.everything_sent()
    for name in ("Doe", "Roe", "nii.gz", str(hospital.data), hospital.data.name):
        assert name not in text
    assert len(hospital.sent) > 5


def test_without_terms_of_both_sides_no_work_is_ordered(hospital, submission, scene):
    site = hospital.site
    site.agreements.all().delete()
    with pytest.raises(RefusedError) as refusal:
        hospital.agent().claim(hospital.registration())
    assert refusal.value.code == "no_agreement"
    hospital.offer()
    with pytest.raises(RefusedError) as refusal:
        hospital.agent().claim(hospital.registration())
    assert refusal.value.code == "not_signed"
    hospital.agree()
    assert hospital.agent().claim(hospital.registration()) is not None


def test_changed_rules_stop_the_work_until_both_agree_again(hospital, submission, scene):
    changed = factories.protocol(challenge=scene.challenge, document={**factories.PROTOCOL, "breakdowns": ["site"]})
    scene.phase.protocol = changed
    scene.phase.save()
    with pytest.raises(RefusedError) as refusal:
        hospital.agent().claim(hospital.registration())
    assert refusal.value.code == "rules_changed"
    hospital.offer()
    hospital.agree()
    assert hospital.agent().claim(hospital.registration()) is None, "the submission was made under the old rules"


def test_other_data_than_agreed_is_refused(hospital, submission):
    hospital.write_data(names=("a", "b", "c", "d", "e", "f", "g", "h", "i", "j"))
    hospital.register()
    with pytest.raises(RefusedError) as refusal:
        hospital.agent().claim(hospital.registration())
    assert refusal.value.code == "data_differs"


def test_an_agreement_ends_with_its_time_and_with_its_number_of_releases(hospital, scene):
    for _ in range(2):
        factories.submission(phase=scene.phase, team=scene.team, status="done")
    hospital.site.agreements.all().delete()
    hospital.offer(most_releases=1)
    hospital.agree()
    hospital.release()
    with pytest.raises(RefusedError) as refusal:
        hospital.agent().claim(hospital.registration())
    assert refusal.value.code == "budget_spent"
    hospital.offer(most_releases=2)
    hospital.agree()
    agent, draft = hospital.evaluate()
    hospital.site.agreements.update(ends_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(RefusedError) as refusal:
        agent.release(draft)
    assert refusal.value.code == "ended"


def test_versions_of_data_that_differ_by_few_patients_are_not_both_released(hospital, submission):
    hospital.release()
    hospital.write_data(names=("a", "b", "c", "d", "e", "f"))
    hospital.register()
    with pytest.raises(ConflictError, match="too few patients"):
        hospital.offer()
    hospital.write_data(names=tuple("abcdefghij"))
    hospital.register()
    hospital.offer()


@pytest.mark.parametrize("change", ["nothing signed", "another key", "edited numbers", "another order", "more text"])
def test_a_forged_or_edited_release_under_the_sites_own_token_is_refused(hospital, submission, change):
    agent, draft = hospital.evaluate()
    metrics = json.loads(json.dumps(draft.aggregates))
    metrics["dice"]["mean"] = 0.5
    document = dict(draft.document)
    key = hospital.home.key()
    aggregates = draft.aggregates
    if change == "another key":
        key = Ed25519PrivateKey.generate()
    if change == "edited numbers":
        aggregates = metrics
    if change == "another order":
        document["nonce"] = "0" * 32
    if change == "more text":
        document["note"] = "patient 7"
    said = None if change == "nothing signed" else signed(document, key=key)
    body = {"evaluation_id": draft.evaluation_id, "fence": draft.fence, "aggregates": aggregates, "failures": {}}
    with pytest.raises(RefusedError) as refusal:
        hospital.connection().post("site/release", {**body, "said": said})
    assert refusal.value.code == "signature_invalid"
    assert SiteEvaluation.objects.get().release is None
    agent.release(draft)


def test_a_release_that_is_replayed_changes_nothing_and_gets_the_same_receipt(hospital, submission, client):
    hospital.release()
    ((_, body),) = [entry for entry in hospital.sent if entry[0].endswith("site/release")]
    first = SiteEvaluation.objects.get().receipt
    again = hospital.connection().post("site/release", json.loads(body))
    assert again["receipt"] == first
    assert len(the_log(client)["entries"]) == 3
    row = SiteEvaluation.objects.get()
    assert (row.status, row.receipt) == ("released", first)


def test_the_numbers_of_one_order_do_not_fit_another(hospital, scene):
    for _ in range(2):
        factories.submission(phase=scene.phase, team=scene.team, status="done")
    hospital.release()
    ((_, body),) = [entry for entry in hospital.sent if entry[0].endswith("site/release")]
    _agent, draft = hospital.evaluate()
    moved = {**json.loads(body), "evaluation_id": draft.evaluation_id, "fence": draft.fence}
    with pytest.raises(RefusedError) as refusal:
        hospital.connection().post("site/release", moved)
    assert refusal.value.code == "signature_invalid"


def test_a_result_whose_lease_is_long_gone_and_that_nobody_reviewed_is_refused(hospital, submission):
    agent = hospital.agent()
    order = agent.claim(hospital.registration())
    document = {
        "kind": "assay-site-release", "evaluation_id": order.evaluation_id, "metrics": {"dice": {"mean": 0.9, "n": 5}}, "failures": {},
        **{name: order.signed[name] for name in ("submission", "agreement_sha256", "data_root", "evaluator", "nonce")},
    }  # fmt: skip
    SiteEvaluation.objects.update(lease_until=timezone.now() - timedelta(hours=1))
    body = {
        "evaluation_id": order.evaluation_id,
        "fence": order.fence,
        "failures": {},
        "aggregates": document["metrics"],
    }
    with pytest.raises(RefusedError) as refusal:
        hospital.connection().post("site/release", {**body, "said": signed(document, key=hospital.home.key())})
    assert (refusal.value.status, refusal.value.code) == (409, "lease_lost")


@pytest.mark.parametrize("change", ["image", "signature", "expired", "unsigned", "other terms"])
def test_a_site_refuses_an_order_that_the_server_did_not_sign_or_that_does_not_fit(hospital, submission, change):
    def meddle(request: httpx.Request) -> httpx.Response:
        answer = hospital.inner.handle_request(request)
        if not request.url.path.endswith("site/claim"):
            return answer
        body = answer.json()
        if change == "image":
            body["image"]["image_id"] = "sha256:" + "0" * 64
        if change == "signature":
            body["order"]["nonce"] = "1" * 32
        if change == "expired":
            body["order"] = resigned(body["order"], expires_at="2020-01-01T00:00:00+00:00")
        if change == "other terms":
            body["order"] = resigned(body["order"], agreement_sha256="0" * 64)
        if change == "unsigned":
            body["order"] = None
        return httpx.Response(200, json=body)

    def resigned(order, **changes):
        plain = {name: value for name, value in order.items() if name not in ("public_key", "signature")}
        return sign_here({**plain, **changes})

    agent = hospital.agent()
    token = hospital.home.joined().token
    agent._connection = Connection(url="http://testserver", token=token, transport=httpx.MockTransport(meddle))
    order = agent.claim(hospital.registration())
    with pytest.raises(SiteProblem, match="is refused"):
        agent.evaluate(order, on_case=lambda result: None)


def test_terms_of_another_server_are_not_signed(hospital):
    terms = hospital.connection().get("site/agreement")["agreement"]["terms"]
    plain = {name: value for name, value in terms.items() if name not in ("public_key", "signature")}
    forged = signed({**plain, "most_releases": 10_000}, key=Ed25519PrivateKey.generate())
    signer = SiteSigner(hospital.home)
    root = hospital.registration().root_sha256
    assert signer.why_terms_are_refused(terms, data_root=root) == ""
    assert "another key" in signer.why_terms_are_refused(forged, data_root=root)
    assert "data_root" in signer.why_terms_are_refused(terms, data_root="0" * 64)


def recall(hospital, *, reason="wrong labels in two cases", again=False):
    (released,) = released_files(hospital.home.folder / hospital.name)
    hospital.agent().recall(released, reason=reason, again=again)


def test_a_recall_takes_the_numbers_off_the_board_and_stays_in_the_log(reading, hospital, submission, client):
    hospital.release()
    before = client.get("/api/v1/challenges/brains/phases/final/sites/board").json()
    assert before["entries"][0]["sites"] == {"st-mary": {"dice": 1.0}}
    recall(hospital)
    row = SiteEvaluation.objects.get()
    assert (row.status, row.release, row.reason) == ("recalled", None, "wrong labels in two cases")
    log = the_log(client)
    facts = check_log(log, public_key=server_key())
    assert (facts.releases, facts.recalls) == (1, 1)
    board = client.get("/api/v1/challenges/brains/phases/final/sites/board").json()
    assert "dice" not in json.dumps(board["entries"])
    assert hospital.agent().claim(hospital.registration()) is None
    assert {
        "site_joining_join", "site_register_dataset", "site_agreements_agreement", "site_agreements_accept", "site_claim",
        "site_release", "site_agreements_recall", "site_agreements_log", "site_board",
    } <= reading.read  # fmt: skip


def test_a_recalled_result_may_be_run_again_as_a_new_record(hospital, submission, client):
    hospital.release()
    recall(hospital, again=True)
    hospital.release()
    assert [(row.round, row.status) for row in SiteEvaluation.objects.order_by("round")] == [
        (1, "recalled"),
        (2, "released"),
    ]
    kinds = [line["kind"] for line in the_log(client)["entries"]]
    assert kinds == ["approved", "agreement", "release", "recall", "release"]
    check_log(the_log(client), public_key=server_key())


def test_what_was_recalled_was_read_before_and_the_reviewer_is_told_so(hospital, submission):
    hospital.release()
    recall(hospital, again=True)
    agent, draft = hospital.evaluate()
    sheet = SiteDesk(agent, title="").sheet_of(draft)
    assert "1 result was released on this data before" in sheet.warnings[-1]
    assert sheet.compared_with == "#1"


def test_nobody_but_the_site_recalls(hospital, hospitals, submission):
    hospital.release()
    other = hospitals("other")
    row = SiteEvaluation.objects.get()
    document = {
        "kind": "assay-site-recall",
        "evaluation_id": str(row.pk),
        "release_sha256": document_hash(row.document),
        "reason": "x",
    }
    body = {"evaluation_id": str(row.pk), "reason": "x", "said": signed(document, key=other.home.key())}
    for speaker in (other.connection(), hospital.connection()):
        with pytest.raises(RefusedError):
            speaker.post("site/recall", body)
    row.refresh_from_db()
    assert row.status == "released"


def test_a_log_that_was_changed_shortened_or_rewritten_is_noticed(hospital, submission, client):
    hospital.release()
    older = the_log(client)
    recall(hospital)
    log = the_log(client)
    check_log(log, public_key=server_key(), older=older)
    for meddle in (
        lambda lines: lines.pop(),
        lambda lines: lines.pop(0),
        lambda lines: lines[2]["document"].update(failures={"timeout": 5}),
        lambda lines: lines[2].update(at="2020-01-01T00:00:00+00:00"),
        lambda lines: lines[1]["document"].pop("signature"),
    ):
        copy = json.loads(json.dumps(log))
        meddle(copy["entries"])
        with pytest.raises(LogInvalid):
            check_log(copy, public_key=server_key())
    SiteLogEntry.objects.filter(kind="recall").delete()
    with pytest.raises(LogInvalid, match="rewritten"):
        check_log(the_log(client), public_key=server_key(), older=log)


def test_a_release_stays_good_after_the_key_was_changed(hospital, submission, client):
    hospital.release()
    rotate_key(hospital.home, connection=hospital.connection())
    recall(hospital)
    facts = check_log(the_log(client), public_key=server_key())
    assert (facts.releases, facts.recalls) == (1, 1)


def test_under_an_embargo_the_log_shows_that_something_was_released_and_not_what(hospital, submission, client, scene):
    hospital.release()
    scene.phase.is_embargoed = True
    scene.phase.save()
    log = the_log(client)
    assert log["entries"][-1]["document"] is None
    assert check_log(log, public_key=server_key()).withheld == 1


def test_verify_reads_a_release_and_the_log_offline(hospital, submission, client, tmp_path):
    hospital.release()
    (paper,) = released_files(hospital.home.folder / hospital.name)
    log = tmp_path / "log.json"
    log.write_text(json.dumps(the_log(client)))
    run = CliRunner()
    said = run.invoke(cli.main, ["verify", str(paper), "--key", server_key()])
    assert said.exit_code == 0, said.output
    assert "The release holds" in said.output
    said = run.invoke(cli.main, ["verify", str(log), "--key", server_key(), "--older", str(log)])
    assert said.exit_code == 0, said.output
    assert "1 releases, 0 recalls" in said.output
    paper.write_text(paper.read_text().replace('"mean": 1.0', '"mean": 0.9'))
    assert run.invoke(cli.main, ["verify", str(paper), "--key", server_key()]).exit_code != 0
    log.write_text(log.read_text().replace('"mean": 1.0', '"mean": 0.9'))
    assert run.invoke(cli.main, ["verify", str(log), "--key", server_key()]).exit_code != 0


def test_a_site_verifies_with_the_key_whose_words_it_compared_and_asks_nobody(
    hospital, submission, client, tmp_path, monkeypatch
):
    hospital.release()
    (paper,) = released_files(hospital.home.folder / hospital.name)
    log, older = tmp_path / "log.json", tmp_path / "older.json"
    older.write_text(json.dumps(the_log(client)))
    recall(hospital)
    log.write_text(json.dumps(the_log(client)))
    asked = len(hospital.sent)

    def said(*words):
        done = hospital.command(monkeypatch, "verify", *map(str, words))
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    code, words = said(log, "--older", older)
    assert (code, "continues the older copy" in words, "1 recalls" in words) == (0, True, True), words
    code, words = said(paper.with_suffix(".recalled"))
    assert (code, "The release holds" in words, "recalled" in words) == (0, True, True), words
    for file in (hospital.home.folder / "data.json", hospital.home.folder / "site.x25519"):
        code, words = said(file)
        assert code == 1
        assert "found" in words
    log.write_text(log.read_text().replace('"mean": 1.0', '"mean": 0.9'))
    assert said(log)[0] == 1
    assert len(hospital.sent) == asked


def test_a_machine_that_was_switched_off_goes_on_with_the_next_case(hospital, submission):
    class PowerCut(BaseException):
        pass

    def cut(result):
        if len(done) == 2:
            raise PowerCut
        done.append(result.case_id)

    done = []
    agent = hospital.agent()
    with pytest.raises(PowerCut):
        agent.evaluate(agent.claim(hospital.registration()), on_case=cut)
    ran = []
    agent = hospital.agent()
    order = agent.claim(hospital.registration())
    assert order is not None, "the same installation gets its own work back at once"
    draft = agent.evaluate(order, on_case=lambda result: ran.append(result.case_id))
    assert len(ran) == 2, "three cases were written down before the cut"
    assert [result.verdict for result in draft.results] == [Verdict.OK] * 5
    agent.release(draft)
    assert SiteEvaluation.objects.get().release["metrics"]["dice"]["mean"] == 1.0


def test_a_line_that_was_cut_off_runs_again(hospital, submission):
    agent, _draft = hospital.evaluate()
    (file,) = (hospital.home.folder / hospital.name / "progress").glob("*.jsonl")
    file.write_text(file.read_text()[:-30])
    SiteEvaluation.objects.update(status="running")
    ran = []
    order = agent.claim(hospital.registration())
    agent.evaluate(order, on_case=lambda result: ran.append(result.case_id))
    assert ran == ["Loe^Lou"]
    assert len(file.read_text().splitlines()) >= 6


def test_work_of_other_rules_or_data_is_never_taken_over(hospital, submission):
    agent, _ = hospital.evaluate()
    (file,) = (hospital.home.folder / hospital.name / "progress").glob("*.jsonl")
    first, *rest = file.read_text().splitlines()
    file.write_text("\n".join([first.replace('"data": "', '"data": "0'), *rest]) + "\n")
    SiteEvaluation.objects.update(status="running")
    ran = []
    agent.evaluate(agent.claim(hospital.registration()), on_case=lambda result: ran.append(result.case_id))
    assert len(ran) == 5


def test_a_finished_run_is_not_lost_when_the_server_is_away_at_the_end(hospital, submission):
    agent = hospital.agent()
    order = agent.claim(hospital.registration())
    is_away = []

    def away(request: httpx.Request) -> httpx.Response:
        if is_away and request.url.path.endswith("heartbeat"):
            raise httpx.ConnectError("away")
        return hospital.listen(request)

    token = hospital.home.joined().token
    agent._connection = Connection(url="http://testserver", token=token, transport=httpx.MockTransport(away))
    is_away.append(True)
    with pytest.raises(Exception, match="does not answer"):
        agent.evaluate(order, on_case=lambda result: None)
    assert len(agent.drafts()) == 1
    is_away.clear()
    ran = []
    draft = agent.evaluate(agent.claim(hospital.registration()), on_case=ran.append)
    assert ran == []
    agent.release(draft)


def test_two_programs_in_one_folder_do_not_work_at_once(hospital):
    agent = hospital.agent()
    with agent.alone(), pytest.raises(SiteProblem, match="another"), hospital.agent().alone():
        raise AssertionError("both worked")


def test_what_a_killed_program_left_of_patients_is_removed_at_the_start(hospital):
    left = hospital.home.folder / hospital.name / "scratch" / "case-abc"
    left.mkdir(parents=True)
    (left / "scan.nii.gz").write_bytes(b"patient")
    with hospital.agent().alone():
        assert not left.exists()


def test_a_submission_that_cannot_be_done_now_lets_the_others_go_on(hospital, scene):
    for _ in range(2):
        factories.submission(phase=scene.phase, team=scene.team, status="done")
    agent = hospital.agent()
    first = agent.claim(hospital.registration())
    second = agent.claim(hospital.registration(), skip=[first.evaluation_id])
    assert second.evaluation_id != first.evaluation_id
    assert agent.claim(hospital.registration(), skip=[first.evaluation_id, second.evaluation_id]) is None


def test_a_copy_of_the_folder_on_another_machine_does_not_get_the_work_of_the_first(hospital, submission, monkeypatch):
    assert hospital.agent().claim(hospital.registration()) is not None
    monkeypatch.setattr("assay.node.site_signing.socket.gethostname", lambda: "elsewhere")
    assert hospital.agent().claim(hospital.registration()) is None


def test_logs_of_containers_stay_in_the_sites_folder(hospital, submission):
    hospital.release()
    logs = list((hospital.home.folder / hospital.name / "logs").rglob("*.log"))
    assert len(logs) == 5


def test_only_submissions_of_agreed_teams_are_ordered_and_run(hospital, scene):
    other = factories.team(name="others", members=[scene.otto])
    first = factories.submission(phase=scene.phase, team=other, status="done")
    second = factories.submission(phase=scene.phase, team=scene.team, status="done")
    with pytest.raises(InvalidError, match="does not exist"):
        hospital.offer(options=TermOptions(teams=("nobody",)))
    hospital.offer(options=TermOptions(teams=(scene.team.slug,)))
    hospital.agree()
    agent = hospital.agent()
    order = agent.claim(hospital.registration())
    assert order.submission == f"#{second.number}"
    assert order.signed["team"] == scene.team.slug
    agent.evaluate(order, on_case=lambda result: None)
    assert agent.claim(hospital.registration()) is None
    assert not SiteEvaluation.objects.filter(submission=first).exists()
    bare = {name: value for name, value in order.signed.items() if name not in ("public_key", "signature")}
    forged = sign_here({**bare, "team": other.slug})
    expected = {name: forged[name] for name in ("evaluation_id", "submission")}
    refused = SiteSigner(hospital.home).why_order_is_refused(forged, expected=expected, now=timezone.now())
    assert "team" in refused


def test_the_organizers_baseline_comes_first_so_that_a_wrong_reading_of_the_data_is_seen_early(hospital, scene):
    factories.submission(phase=scene.phase, team=scene.team, status="done")
    baseline = factories.submission(phase=scene.phase, team=scene.team, status="done")
    baseline.is_baseline = True
    baseline.save()
    assert hospital.agent().claim(hospital.registration()).submission == f"#{baseline.number}"


def test_two_people_approve_where_the_terms_say_so(hospital, submission):
    hospital.offer(options=TermOptions(reviewers=2))
    hospital.agree()
    agent, draft = hospital.evaluate()
    desk = SiteDesk(agent, title="")
    for by in ("", "Ann Alpha", " ann  ALPHA "):
        said = desk.decide(draft.evaluation_id, action="approve", reason="", by=by)
        assert "nother person has to approve" in said
    assert SiteEvaluation.objects.get().status == "review"
    assert "is sent" in desk.decide(draft.evaluation_id, action="approve", reason="", by="Ben Beta")
    row = SiteEvaluation.objects.get()
    assert row.status == "released"
    assert "Ann" not in hospital.everything_sent(), "names of reviewers stay at the site"


def test_clean_results_go_without_asking_after_as_many_as_were_agreed(hospital, scene):
    hospital.write_data([f"p{number}" for number in range(6)])
    hospital.register()
    hospital.offer(options=TermOptions(automatic_after=2))
    hospital.agree()

    def next_draft():
        factories.submission(phase=scene.phase, team=scene.team, status="done")
        agent, draft = hospital.evaluate()
        return SiteDesk(agent, title=""), draft

    def approve(desk, draft):
        assert "is sent" in desk.decide(draft.evaluation_id, action="approve", reason="")

    for expected in (False, False, True):
        desk, draft = next_draft()
        assert desk.is_automatic(draft) is expected
        approve(desk, draft)
    copying, hospital.engine = hospital.engine, FakeEngine(lambda call: FakeEnding())
    desk, draft = next_draft()
    assert not desk.is_automatic(draft), "no case has an answer"
    approve(desk, draft)
    hospital.engine = copying
    desk, draft = next_draft()
    assert not desk.is_automatic(draft), "counting begins anew"


@pytest.mark.parametrize("options", [{"reviewers": 3}, {"reviewers": 0}, {"automatic_after": -1}])
def test_options_out_of_range_are_not_offered(hospital, options):
    with pytest.raises(InvalidError, match="cannot be offered"):
        hospital.offer(options=TermOptions(**options))


def test_standing_is_told_with_a_sentence(hospital):
    standing = agreements.standing_of(hospital.site, now=timezone.now())
    assert standing.holds
    assert agreements.releases_left(standing.agreement) == agreements.USUAL_RELEASES
