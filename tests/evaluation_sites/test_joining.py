"""A hospital joins with a code: who gets in, what six words say, and what a code, a key or a token that leaked is worth."""

import base64
import json
import random
import stat
from datetime import timedelta

import httpx
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.test import Client
from django.utils import timezone

from assay.accounts.errors import ConflictError, InvalidError
from assay.client.errors import RefusedError
from assay.client.http import Connection
from assay.evaluation_sites import joining
from assay.evaluation_sites.models import Site, SiteCode
from assay.evaluation_sites.services import enrol_site
from assay.node import site_life
from assay.node.site_home import SiteHome
from assay.node.site_joining import join, leave, rotate_key
from assay.signatures import public_key_text, same_words, signed, words_of
from containers.engines.choice import EngineChoice
from wire import send_through


def connection(token: str = "") -> Connection:
    return Connection(url="http://testserver", token=token, program="site", transport=send_through(Client()))


@pytest.fixture
def code(scene) -> str:
    now = timezone.now()
    return joining.make_code(phase=scene.phase, name="st-mary", title="St Mary", by=scene.olga, now=now)[1]


@pytest.fixture
def home(tmp_path) -> SiteHome:
    return SiteHome(tmp_path / "site")


@pytest.fixture
def joined(home, code) -> SiteHome:
    join(home, code=code, connection=connection())
    return home


def as_site(home: SiteHome) -> Connection:
    return connection(home.joined().token)


def register(home: SiteHome) -> None:
    """Data of six cases, signed."""
    summary = {"selfcheck": {"cases": 6, "problems": 0}, "attributes": []}
    body = {"root_sha256": "0" * 64, "case_count": 6, "summary": summary}
    said = signed({"kind": "assay-site-data", **body}, key=home.key())
    as_site(home).post("site/datasets", {**body, "said": said})


def approve(scene, home: SiteHome) -> Site:
    site = Site.objects.select_related("phase__challenge").get(name=home.joined().name)
    joining.approve_site(site, words=home.words(), by=scene.olga, now=timezone.now())
    return site


def test_a_site_joins_with_its_own_key_and_works_once_the_words_were_heard(scene, joined):
    assert joined.joined().name == "st-mary"
    assert Site.objects.get().public_key == public_key_text(joined.key())
    with pytest.raises(RefusedError) as refusal:
        register(joined)
    assert refusal.value.code == "site_waiting"
    approve(scene, joined)
    register(joined)


def test_the_private_key_and_the_token_are_for_their_owner_alone_and_never_leave(scene, home, code):
    sent = []
    inner = send_through(Client())

    def listen(request: httpx.Request) -> httpx.Response:
        sent.append(request.read())
        return inner.handle_request(request)

    join(home, code=code, connection=Connection(url="http://testserver", transport=httpx.MockTransport(listen)))
    private = home.key().private_bytes_raw()
    assert not [body for body in sent if private in body or base64.b64encode(private) in body]
    for name in ("site.json", "site.ed25519"):
        assert stat.S_IMODE((home.folder / name).stat().st_mode) == 0o600
    assert home.joined().token not in json.dumps(list(Site.objects.values()), default=str)


def test_a_code_is_read_in_any_spelling_works_once_and_ends_after_a_day(scene, home, code, tmp_path):
    spelled = code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    join(home, code=spelled, connection=connection())
    with pytest.raises(RefusedError, match="does not let a site in") as refusal:
        join(SiteHome(tmp_path / "thief"), code=code, connection=connection())
    assert "used already" in refusal.value.found
    later = joining.make_code(phase=scene.phase, name="b", title="B", by=scene.olga, now=timezone.now())[1]
    SiteCode.objects.filter(name="b").update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(RefusedError, match="does not let a site in"):
        join(SiteHome(tmp_path / "late"), code=later, connection=connection())
    with pytest.raises(RefusedError, match="does not let a site in"):
        join(SiteHome(tmp_path / "guess"), code="AAAA-BBBB-CCCC-DDDD-EEEE", connection=connection())
    assert Site.objects.count() == 1


def test_a_newer_code_for_the_same_name_makes_the_older_one_void(scene, home, code):
    joining.make_code(phase=scene.phase, name="st-mary", title="St Mary", by=scene.olga, now=timezone.now())
    with pytest.raises(RefusedError, match="does not let a site in"):
        join(home, code=code, connection=connection())


def test_a_code_is_stored_as_a_hash_only(scene, code):
    stored = json.dumps(list(SiteCode.objects.values()), default=str)
    assert code not in stored
    assert code.replace("-", "") not in stored


def test_somebody_between_the_two_has_other_words_and_is_not_approved(scene, home, code):
    """A proxy that opens the connection joins with a key of its own, and hands its own server key to the site."""
    proxy = Ed25519PrivateKey.generate()
    said = signed({"joins_with": joining.code_hash(code)}, key=proxy)
    site, _ = joining.join(code=code, said=said, now=timezone.now())
    heard = words_of(public_key_text(proxy), public_key_text(home.key()))
    with pytest.raises(InvalidError) as refusal:
        joining.approve_site(site, words=heard, by=scene.olga, now=timezone.now())
    assert refusal.value.code == "words_differ"
    assert Site.objects.get().approved_at is None


@pytest.mark.parametrize("change", ["other code", "other key", "no signature", "text for a key"])
def test_first_words_that_are_not_signed_by_the_key_that_joins_are_refused(scene, code, change):
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    said = signed({"joins_with": joining.code_hash("another" if change == "other code" else code)}, key=key)
    if change == "other key":
        said["public_key"] = public_key_text(other)
    if change == "no signature":
        del said["signature"]
    if change == "text for a key":
        said["public_key"] = "lusab"
    with pytest.raises(RefusedError) as refusal:
        connection().post("site/join", {"code": code, "said": said})
    assert refusal.value.code == "signature_invalid"
    assert SiteCode.objects.get().used_at is None, "a refused attempt uses up nothing"


def test_joining_again_replaces_the_machine_and_needs_another_approval(scene, joined, tmp_path):
    approve(scene, joined)
    now = timezone.now()
    again = joining.make_code(phase=scene.phase, name="st-mary", title="St Mary", by=scene.olga, now=now)[1]
    other = SiteHome(tmp_path / "new machine")
    join(other, code=again, connection=connection())
    with pytest.raises(RefusedError) as refusal:
        as_site(joined).get("site/about")
    assert refusal.value.status == 401
    assert as_site(other).get("site/about")["is_waiting"]
    assert Site.objects.count() == 1


def test_a_token_alone_never_replaces_a_key(scene, joined):
    with pytest.raises(ConflictError, match="has a key"):
        enrol_site(phase=scene.phase, name="st-mary", title="St Mary", by=scene.olga, now=timezone.now())


def test_a_revoked_site_is_nobody_and_its_leases_end(scene, hospital, submission):
    order = hospital.agent().claim(hospital.registration())
    held = hospital.connection()
    joining.revoke_site(hospital.site, reason="contract ended", by=scene.olga, now=timezone.now())
    with pytest.raises(RefusedError) as refusal:
        held.post("site/release", {"evaluation_id": order.evaluation_id, "fence": order.fence, "aggregates": {}})
    assert refusal.value.status == 401
    assert submission.site_evaluations.get().status == "queued"


def test_a_new_key_is_signed_by_the_old_one(reading, scene, joined):
    approve(scene, joined)
    was = public_key_text(joined.key())
    words = rotate_key(joined, connection=as_site(joined))
    site = Site.objects.get()
    assert site.public_key == public_key_text(joined.key()) != was
    assert same_words(words, joining.words_for(site))
    assert not as_site(joined).get("site/about")["is_waiting"], "the old key vouched for the new one"
    assert {"site_joining_change_key", "site_about"} <= reading.read


def test_a_rotation_that_broke_off_after_the_server_took_it_is_finished_by_doing_it_again(scene, joined):
    approve(scene, joined)
    old, new = joined.key(), joined.next_key()
    proof = signed({"replaces": public_key_text(old)}, key=new)
    said = signed({"next_public_key": public_key_text(new), "proof": proof}, key=old)
    as_site(joined).post("site/key", {"said": said})
    assert public_key_text(joined.key()) == public_key_text(old), "the power went before the site wrote it down"
    rotate_key(joined, connection=as_site(joined))
    assert Site.objects.get().public_key == public_key_text(joined.key()) == public_key_text(new)


@pytest.mark.parametrize("thief", ["has the token", "has another site's key"])
def test_a_stolen_token_does_not_change_the_key(scene, joined, thief):
    approve(scene, joined)
    old = joined.key() if thief == "has the token" else Ed25519PrivateKey.generate()
    mine = Ed25519PrivateKey.generate()
    signer = mine if thief == "has the token" else old
    proof = signed({"replaces": public_key_text(old)}, key=mine)
    said = signed({"next_public_key": public_key_text(mine), "proof": proof}, key=signer)
    with pytest.raises(RefusedError) as refusal:
        as_site(joined).post("site/key", {"said": said})
    assert refusal.value.code == "signature_invalid"


def test_a_site_leaves_and_keeps_nothing_secret(scene, joined):
    speak = as_site(joined)
    leave(joined, reason="the study ended", connection=speak)
    assert joined.settings is None
    assert not (joined.folder / "site.ed25519").exists()
    assert Site.objects.get().revoked_because == "the study ended"
    with pytest.raises(RefusedError):
        speak.get("site/about")


def test_words_are_six_easy_ones_and_differ_with_either_key():
    words = words_of("a", "b").split()
    assert [len(word) for word in words] == [5] * 6
    assert words_of("a", "b") != words_of("b", "a")
    assert len({words_of("a", str(number)) for number in range(1000)}) == 1000
    assert same_words(" Lusab-babad ", "lusab BABAD")
    letters = "".join(words_of("a", str(number)) for number in random.Random(1).sample(range(10**6), 300))
    assert set(letters) - {" "} == set("bdfghjklmnprstvz" + "aiou")


def test_the_unit_names_this_installation_and_keeps_no_secret(joined):
    text = site_life.unit_text(folder=joined.folder, engine=EngineChoice(), python="/opt/assay/bin/python")
    assert f"ExecStart=/opt/assay/bin/python -m assay.node site run --folder {joined.folder} --poll-seconds 60" in text
    assert 'Environment="ASSAY_ENGINE=docker"' in text
    assert joined.joined().token not in text


def test_the_service_is_stopped_and_its_unit_removed(tmp_path, monkeypatch):
    calls = []
    (tmp_path / "assay-site.service").write_text("[Unit]")
    monkeypatch.setattr(site_life, "SYSTEMD", tmp_path)
    assert site_life.remove_service(call=calls.append, units=tmp_path)
    assert calls == [["systemctl", "disable", "--now", "assay-site"], ["systemctl", "daemon-reload"]]
    assert not site_life.remove_service(call=calls.append, units=tmp_path)


def test_uninstalling_waits_until_the_site_has_left(joined):
    answer = CliRunner().invoke(site_life.uninstall, ["--yes", "--folder", str(joined.folder)])
    assert answer.exit_code != 0
    assert joined.settings is not None
    joined.forget()
    answer = CliRunner().invoke(site_life.uninstall, ["--yes", "--folder", str(joined.folder)])
    assert answer.exit_code == 0, answer.output
    assert not joined.folder.exists()
