"""Images over the network are sealed to the site's key: what travels, how a broken download goes on, and who can open it."""

import hashlib
import io

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from django.test import Client

import factories
from assay.node.site import NodeApi
from assay.node.site_problems import SiteProblem
from assay.sealing import CHUNK_BYTES, HEAD_BYTES, TAG_BYTES, SealBroken, sealed_size, unseal
from assay.testsets import storage
from containers.engines.fake import FakeEngine

IMAGE = bytes(range(256)) * 1000
SHA = hashlib.sha256(IMAGE).hexdigest()
SIZE = sealed_size(len(IMAGE))


@pytest.fixture
def submission(scene, tmp_path):
    made = factories.submission(phase=scene.phase, team=scene.team, status="done")
    archive = tmp_path / "image.tar"
    archive.write_bytes(IMAGE)
    made.image.rewritten_key = storage.keep_file(source=archive, key=f"images/{SHA}.tar").key
    made.image.rewritten_sha256, made.image.rewritten_bytes = SHA, len(IMAGE)
    made.image.save()
    return made


@pytest.fixture
def order(hospital, submission):
    return hospital.agent().claim(hospital.registration())


def got(order, *, start=None):
    headers = {} if start is None else {"Range": f"bytes={start}-"}
    answer = Client().get(f"{order.image.url}?sealed=true", headers=headers)
    return answer, b"" if answer.status_code == 416 else answer.getvalue()


def test_what_travels_is_sealed_and_a_broken_download_goes_on(hospital, order):
    answer, whole = got(order)
    assert (answer.status_code, len(whole), order.sealed_bytes) == (200, SIZE, SIZE)
    assert answer["Content-Length"] == str(SIZE)
    assert IMAGE[:300] not in whole
    chunk = CHUNK_BYTES + TAG_BYTES
    for start in (
        0,
        1,
        HEAD_BYTES - 1,
        HEAD_BYTES,
        HEAD_BYTES + 1,
        HEAD_BYTES + chunk,
        HEAD_BYTES + 2 * chunk - 1,
        SIZE - 1,
    ):
        answer, rest = got(order, start=start)
        assert (answer.status_code, rest) == (206, whole[start:]), start
        assert answer["Content-Range"] == f"bytes {start}-{SIZE - 1}/{SIZE}"
    assert got(order, start=SIZE)[0].status_code == 416
    key = hospital.agent()._signer.sealing_key()
    assert b"".join(unseal(io.BytesIO(whole), key=key)) == IMAGE
    with pytest.raises(SealBroken):
        list(unseal(io.BytesIO(whole), key=X25519PrivateKey.generate()))


def test_the_address_ends_with_its_lease(hospital, order):
    again = hospital.site.evaluations.get()
    again.fence += 1
    again.save()
    assert got(order)[0].status_code == 404


def test_the_sites_program_fetches_the_sealed_image_and_leaves_nothing_in_scratch(hospital, order, monkeypatch):
    fetched, loaded = [], []
    fetch = NodeApi.fetch

    def watch(self, file, *, destination):
        fetched.append(file.url)
        fetch(self, file, destination=destination)

    monkeypatch.setattr(NodeApi, "fetch", watch)
    monkeypatch.setattr(FakeEngine, "load_image", lambda self, archive: loaded.append(archive.read_bytes()))
    agent = hospital.agent()
    agent._load_image(order)
    assert fetched == [f"{order.image.url}?sealed=true"]
    assert loaded == [IMAGE]
    assert list((agent.folder / "scratch").iterdir()) == []


def test_a_byte_that_flipped_on_the_way_is_refused_and_fetched_anew(hospital, order, monkeypatch):
    fetch = NodeApi.fetch

    def flip(self, file, *, destination):
        fetch(self, file, destination=destination)
        content = bytearray(destination.read_bytes())
        content[-40] ^= 1
        destination.write_bytes(content)

    agent = hospital.agent()
    with monkeypatch.context() as patch:
        patch.setattr(NodeApi, "fetch", flip)
        with pytest.raises(SiteProblem, match="does not open"):
            agent._load_image(order)
    assert list((agent.folder / "scratch").iterdir()) == []
    monkeypatch.setattr(FakeEngine, "load_image", lambda self, archive: None)
    agent._load_image(order)


def test_a_site_that_named_no_key_gets_the_image_as_it_is(hospital, submission):
    agreement = hospital.site.agreements.get()
    agreement.acceptance = {name: value for name, value in agreement.acceptance.items() if name != "sealing_key"}
    agreement.save()
    order = hospital.agent().claim(hospital.registration())
    assert order.sealed_bytes == 0
    assert got(order)[0].status_code == 404
    assert Client().get(order.image.url).getvalue() == IMAGE
