"""A site without a network: work goes in on a stick and results come out on one, under the same signatures and rules."""

import hashlib
import io
import json
import tarfile
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

import factories
from assay.accounts.errors import ConflictError, InvalidError
from assay.client.site_papers import release_words
from assay.evaluation_sites import bundles
from assay.evaluation_sites.models import SiteEvaluation
from assay.leases import LeaseLost
from assay.node.review_desk import SiteDesk
from assay.node.site_bundle import SiteBundle
from assay.node.site_home import SiteHome
from assay.node.site_orders import orders_in
from assay.node.site_problems import SiteProblem
from assay.sealing import CHUNK_BYTES, SealBroken, seal, sealed_size, unseal
from assay.signatures import document_hash
from assay.testsets import storage
from containers.engines.choice import EngineChoice
from containers.errors import EngineUnreachable

IMAGE = b"an image archive " * 20_000
SHA = hashlib.sha256(IMAGE).hexdigest()


@pytest.fixture
def submission(scene, tmp_path):
    made = factories.submission(phase=scene.phase, team=scene.team, status="done")
    image = made.image
    archive = tmp_path / "image.tar"
    archive.write_bytes(IMAGE)
    image.rewritten_key = storage.keep_file(source=archive, key=f"images/{SHA}.tar").key
    image.rewritten_sha256, image.rewritten_bytes = SHA, len(IMAGE)
    image.save()
    return made


@pytest.fixture
def stick(hospital, scene, submission, tmp_path):
    """The bundle of a hospital, on a stick. From now on the hospital has no network."""
    made = bundles.make_bundle(hospital.site, by=scene.olga, now=timezone.now())
    path = tmp_path / made.filename
    path.write_bytes(b"".join(made.pieces()))
    hospital.sent.clear()
    return path


def opened(hospital, path):
    settings = hospital.home.joined()
    return SiteBundle(path, site=settings.name, challenge=settings.challenge, phase=settings.phase)


def evaluated(hospital, stick):
    (order,) = orders_in(opened(hospital, stick))
    agent = hospital.agent()
    return agent, order, agent.evaluate(order, on_case=lambda result: None)


def result_of(agent):
    (paper,) = agent.outbox.iterdir()
    return json.loads(paper.read_text())


def hand_in(hospital, paper, *, now=None):
    phase = hospital.scene.phase
    return bundles.take_result(
        phase, name=hospital.name, paper=paper, by=hospital.scene.olga, now=now or timezone.now()
    )


def test_a_site_without_a_network_takes_work_and_its_release_counts_once(hospital, stick, client):
    agent, order, draft = evaluated(hospital, stick)
    assert draft.by_file
    assert agent.stands(order) == "waits for a decision here"
    said = SiteDesk(agent, title="").decide(order.evaluation_id, action="approve", reason="")
    assert "Carry the file" in said
    assert agent.stands(order) == "was released before"
    assert hospital.sent == [], "nothing went over a network"
    with pytest.raises(SiteProblem, match="not run again"):
        agent.evaluate(order, on_case=lambda result: None)
    paper = result_of(agent)
    taken = hand_in(hospital, paper)
    row = SiteEvaluation.objects.get()
    assert (row.status, row.release["metrics"]["dice"]["mean"]) == ("released", 1.0)
    assert taken.receipt["release_sha256"] == document_hash(paper["said"])
    assert hand_in(hospital, paper).receipt == row.receipt, "the same paper again changes nothing"
    assert SiteEvaluation.objects.count() == 1
    assert list((agent.folder / "scratch").iterdir()) == []


def test_the_command_takes_a_stick_and_the_next_one_brings_the_receipt(hospital, scene, stick, tmp_path, monkeypatch):
    monkeypatch.setattr(EngineChoice, "open", lambda _choice: nullcontext(hospital.engine))
    taken = hospital.command(monkeypatch, "take", str(stick))
    assert taken.exit_code == 0, taken.output
    assert taken.output.count(" ok\n") == 5
    assert "nobody is here to approve it" in taken.output
    assert "0 results to carry" in taken.output
    agent = hospital.agent()
    (draft,) = agent.drafts()
    SiteDesk(agent, title="").decide(draft.evaluation_id, action="approve", reason="")
    again = hospital.command(monkeypatch, "take", str(stick))
    assert "was released before" in again.output
    assert "1 results to carry" in again.output
    assert hospital.sent == [], "nothing went over a network"
    hand_in(hospital, result_of(agent))

    second = bundles.make_bundle(hospital.site, by=scene.olga, now=timezone.now())
    assert second.orders == 0
    path = tmp_path / "second.tar"
    path.write_bytes(b"".join(second.pieces()))
    brought = hospital.command(monkeypatch, "take", str(path))
    assert (brought.exit_code, "1 receipts of the server" in brought.output) == (0, True), brought.output
    (paper,) = (agent.folder / "releases").glob("*.released")
    settings = hospital.home.joined()
    assert "The release holds" in release_words(json.loads(paper.read_text()), key=settings.server_key)
    assert "receipts" not in hospital.command(monkeypatch, "take", str(path)).output, "it is there already"
    assert hospital.sent == []


def test_a_receipt_that_the_server_did_not_sign_is_refused(hospital, stick, monkeypatch):
    monkeypatch.setattr(EngineChoice, "open", lambda _choice: nullcontext(hospital.engine))
    agent, order, draft = evaluated(hospital, stick)
    agent.release(draft)
    receipt = hand_in(hospital, result_of(agent)).receipt
    with pytest.raises(SiteProblem, match="does not hold"):
        agent.keep_receipt(order.evaluation_id, {**receipt, "log_number": 99})
    assert not agent.keep_receipt("0" * 32, receipt)
    assert agent.keep_receipt(order.evaluation_id, receipt)


@pytest.mark.parametrize("broken", ["another", "cut", "no engine"])
def test_the_command_says_what_is_wrong_with_a_stick_or_the_machine(hospital, stick, tmp_path, monkeypatch, broken):
    def away(_choice):
        raise EngineUnreachable("No answer from Docker")

    monkeypatch.setattr(EngineChoice, "open", away if broken == "no engine" else lambda _: nullcontext(hospital.engine))
    if broken == "cut":
        stick.write_bytes(stick.read_bytes()[:700])
    if broken == "another":
        settings = hospital.home.joined()
        monkeypatch.setattr(SiteHome, "joined", lambda _home: replace(settings, name="st-john"))
    said = hospital.command(monkeypatch, "take", str(stick))
    words = {"another": "is for st-mary", "cut": "is no whole bundle", "no engine": "No answer from Docker"}
    assert (said.exit_code, words[broken] in said.output) == (1, True), said.output


def test_images_on_a_stick_are_sealed_to_the_sites_key(hospital, hospitals, stick, tmp_path):
    assert IMAGE[:1000] not in stick.read_bytes()
    bundle = opened(hospital, stick)
    name, written = orders_in(bundle)[0].image.url, tmp_path / "image"
    with pytest.raises(SiteProblem, match="sealed for another key"):
        bundle.write_image(name, sha256=SHA, destination=written, key=X25519PrivateKey.generate)
    assert not written.exists()
    bundle.write_image(name, sha256=SHA, destination=written, key=hospital.agent()._signer.sealing_key)
    assert written.read_bytes() == IMAGE


def test_a_site_that_named_no_key_gets_the_image_as_it_is(hospital, scene, submission):
    agreement = hospital.site.agreements.get()
    agreement.acceptance = {name: agreement.acceptance[name] for name in agreement.acceptance if name != "sealing_key"}
    agreement.save()
    made = bundles.make_bundle(hospital.site, by=scene.olga, now=timezone.now())
    assert IMAGE in b"".join(made.pieces())


def test_a_stick_for_another_site_or_a_broken_one_is_refused(hospital, stick, tmp_path):
    with pytest.raises(SiteProblem, match="is for st-mary"):
        SiteBundle(stick, site="other", challenge="brains", phase="final")
    whole = stick.read_bytes()
    for content in (b"", b"no tar", whole[: len(whole) // 2]):
        broken = tmp_path / "broken"
        broken.write_bytes(content)
        with pytest.raises(SiteProblem):
            evaluated(hospital, broken)
    assert list((hospital.home.folder / hospital.name / "scratch").glob("*.tar")) == []


def test_an_order_on_a_stick_that_was_changed_is_refused(hospital, stick, tmp_path):
    with tarfile.open(stick) as archive:
        contents = json.load(archive.extractfile("bundle.json"))
    contents["orders"][0]["submission"] = "#99"
    text = json.dumps(contents).encode()
    head = tarfile.TarInfo("bundle.json")
    head.size = len(text)
    forged = tmp_path / "forged"
    with tarfile.open(forged, "w") as archive:
        archive.addfile(head, io.BytesIO(text))
    with pytest.raises(SiteProblem, match="is refused"):
        evaluated(hospital, forged)


def test_a_result_that_was_edited_came_too_late_or_is_another_sites_is_refused(hospital, hospitals, stick):
    agent, _, draft = evaluated(hospital, stick)
    agent.release(draft)
    paper = result_of(agent)
    edited = json.loads(json.dumps(paper))
    edited["said"]["metrics"]["dice"]["mean"] = 0.5
    for wrong in (
        edited,
        {**paper, "said": {}},
        {**paper, "site_result": 2},
        {**paper, "evaluation_id": "x"},
        [],
        None,
    ):
        with pytest.raises(InvalidError):
            hand_in(hospital, wrong)
    with pytest.raises(LeaseLost):
        hand_in(hospital, {**paper, "fence": paper["fence"] + 1})
    with pytest.raises(ConflictError) as late:
        hand_in(hospital, paper, now=timezone.now() + timedelta(days=bundles.USUAL_DAYS, minutes=1))
    assert late.value.code == "order_ended"
    with pytest.raises(ConflictError) as other:
        bundles.take_result(
            hospital.scene.phase,
            name=hospitals("st-john").name,
            paper=paper,
            by=hospital.scene.olga,
            now=timezone.now(),
        )
    assert other.value.code == "not_ordered"
    assert hand_in(hospital, paper).status == "released"


def test_a_decline_comes_back_on_the_stick_signed(hospital, stick):
    agent, order, draft = evaluated(hospital, stick)
    agent.decline(draft, reason="motion   artefacts")
    paper = result_of(agent)
    with pytest.raises(InvalidError):
        hand_in(hospital, {**paper, "said": {**paper["said"], "reason": "another"}})
    hand_in(hospital, paper)
    row = SiteEvaluation.objects.get()
    assert (row.status, row.reason) == ("declined", "motion artefacts")
    assert agent.stands(order) == "was declined before"


def test_work_on_a_stick_is_given_to_nobody_else_and_only_waiting_work_is_put_on_one(hospital, scene, stick):
    assert hospital.agent().claim(hospital.registration()) is None
    with pytest.raises(ConflictError) as nothing:
        bundles.make_bundle(hospital.site, by=scene.olga, now=timezone.now())
    assert nothing.value.code == "nothing_waits"
    with pytest.raises(InvalidError):
        bundles.make_bundle(hospital.site, by=scene.olga, now=timezone.now(), days=0)


def test_an_operator_writes_a_bundle_by_a_command(hospital, submission, tmp_path, capsys):
    target = tmp_path / "new.tar"
    call_command("write_site_bundle", "brains/final", hospital.name, str(target))
    assert "1 submissions" in capsys.readouterr().out
    assert len(orders_in(opened(hospital, target))) == 1
    for words in (("brains/final", hospital.name, str(target)), ("brains/none", hospital.name, str(tmp_path / "b"))):
        with pytest.raises(CommandError):
            call_command("write_site_bundle", *words)
    with pytest.raises(CommandError, match="No submission waits"):
        call_command("write_site_bundle", "brains/final", hospital.name, str(tmp_path / "c"))
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_what_was_sealed_opens_whole_or_not_at_all(size):
    key = X25519PrivateKey.generate()
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    sealed = b"".join(seal(io.BytesIO(content), receiver=key.public_key().public_bytes_raw()))
    assert len(sealed) == sealed_size(size)
    assert b"".join(unseal(io.BytesIO(sealed), key=key)) == content
    changed = [sealed[:-1], sealed + b"x", sealed[:20], b"", sealed[:-1] + bytes([sealed[-1] ^ 1]), b"x" + sealed[1:]]
    if size > CHUNK_BYTES:
        step = CHUNK_BYTES + 16
        head, chunks = sealed[:47], sealed[47:]
        changed += [head + chunks[:step], head + chunks[step:], head + chunks[step : 2 * step] + chunks[:step]]
    for wrong in changed:
        with pytest.raises(SealBroken):
            b"".join(unseal(io.BytesIO(wrong), key=key))
    with pytest.raises(SealBroken):
        b"".join(unseal(io.BytesIO(sealed), key=X25519PrivateKey.generate()))


def test_organizers_offer_terms_with_options_and_serve_a_stick_on_their_page(hospital, scene, submission, client):
    client.force_login(scene.olga)
    url = reverse("organizers:sites", args=["brains"])
    asked = {"phase": "final", "name": hospital.name}
    options = {"days": "90", "most_releases": "7", "teams": scene.team.slug, "reviewers": "2", "automatic_after": "20"}
    refused = client.post(url, {**asked, "action": "offer", **options, "days": "many"})
    assert (refused.status_code, hospital.site.agreements.count()) == (400, 1)
    assert "These terms cannot be offered." in refused.content.decode()
    client.post(url, {**asked, "action": "offer", **options})
    terms = hospital.site.agreements.order_by("-number").first().terms
    kept = [terms[name] for name in ("most_releases", "teams", "reviewers", "automatic_after")]
    assert kept == [7, [scene.team.slug], 2, 20]
    hospital.agree()
    page = client.get(url).content.decode()
    assert "Two people approve each result." in page
    assert "after 20 in a row" in page
    answer = client.post(url, {**asked, "action": "bundle"})
    stick = hospital.home.folder / "stick"
    stick.write_bytes(b"".join(answer.streaming_content))
    agent, _, draft = evaluated(hospital, stick)
    agent.release(draft)
    (paper,) = agent.outbox.iterdir()
    for content in (b"", b"no result", b"[" * 100_000):
        wrong = SimpleUploadedFile("result.json", content)
        assert client.post(url, {**asked, "action": "result", "result": wrong}).status_code == 400
    client.post(url, {**asked, "action": "result", "result": SimpleUploadedFile("result.json", paper.read_bytes())})
    assert SiteEvaluation.objects.get().status == "released"
