"""tus 1.0 over HTTP: create, ask, send, send again, delete."""

import base64
import hashlib

import pytest
from django.test import Client

CONTENT = b"layers and layers " * 500


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def start(as_pia):
    def start(*, size: int = len(CONTENT), purpose: str = "image", sha256: str = "") -> str:
        metadata = f"filename {encoded('image.tar')},purpose {encoded(purpose)}" + (
            f",sha256 {encoded(sha256)}" if sha256 else ""
        )
        answer = as_pia("POST", "/uploads", **{"Upload-Length": str(size), "Upload-Metadata": metadata})
        assert answer.status_code == 201, answer.content
        assert answer["Tus-Resumable"] == "1.0.0"
        return answer["Location"].removeprefix("/api/v1")

    return start


@pytest.fixture
def send(as_pia):
    def send(path: str, *, offset: int, content: bytes, **headers: str):
        fields = {**as_pia.headers, "Upload-Offset": str(offset), **headers}
        return Client().patch(
            f"/api/v1{path}", data=content, content_type="application/offset+octet-stream", headers=fields
        )

    return send


def test_an_interrupted_upload_goes_on_where_it_ended(start, send, as_pia):
    path = start(sha256=hashlib.sha256(CONTENT).hexdigest())
    assert send(path, offset=0, content=CONTENT[:4000])["Upload-Offset"] == "4000"
    (listed,) = as_pia("GET", "/uploads").json()
    assert (listed["offset_bytes"], listed["total_bytes"], listed["is_complete"]) == (4000, len(CONTENT), False)
    asked = as_pia("HEAD", path)
    assert (asked.status_code, asked["Upload-Offset"], asked["Upload-Length"]) == (200, "4000", str(len(CONTENT)))
    answer = send(path, offset=4000, content=CONTENT[4000:])
    assert (answer.status_code, answer["Upload-Offset"]) == (204, str(len(CONTENT)))
    assert as_pia("GET", "/uploads").json() == []


def test_a_piece_at_the_wrong_place_is_refused(start, send):
    answer = send(start(), offset=5, content=b"x")
    assert (answer.status_code, answer.json()["error"]["expected"]) == (409, "offset 0")


def test_a_damaged_piece_is_refused_and_a_whole_one_kept(start, send):
    path = start()
    right = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    assert send(path, offset=0, content=CONTENT, **{"Upload-Checksum": f"sha256 {wrong}"}).status_code == 460
    assert send(path, offset=0, content=CONTENT, **{"Upload-Checksum": f"sha256 {right}"}).status_code == 204


@pytest.mark.parametrize("checksum", ["md5 abc", "sha256 !!!", "sha256 YWJj"])
def test_a_checksum_we_cannot_use_is_refused(start, send, checksum):
    assert send(start(), offset=0, content=CONTENT, **{"Upload-Checksum": checksum}).status_code == 422


def test_more_than_announced_is_refused(start, send):
    assert send(start(size=10), offset=0, content=CONTENT).status_code == 413


def test_another_content_type_is_refused(start, as_pia):
    assert as_pia("PATCH", start(), {}, **{"Upload-Offset": "0"}).status_code == 422


@pytest.mark.parametrize("length", ["", "-1", "many", "9" * 30])
def test_a_length_that_is_no_number_is_refused(as_pia, length):
    assert as_pia("POST", "/uploads", **{"Upload-Length": length, "Upload-Metadata": ""}).status_code == 422


def test_metadata_we_cannot_read_is_refused(as_pia):
    assert as_pia("POST", "/uploads", **{"Upload-Length": "5", "Upload-Metadata": "filename ~~~"}).status_code == 422


def test_a_deleted_upload_is_gone(start, as_pia):
    path = start()
    assert as_pia("DELETE", path).status_code == 204
    assert as_pia("HEAD", path).status_code == 404


def test_otto_cannot_ask_about_pias_upload(start, as_otto):
    assert as_otto("HEAD", start()).status_code == 404


@pytest.mark.django_db  # every operation opens a transaction
def test_the_server_says_what_it_can_do():
    answer = Client().options("/api/v1/uploads")
    assert answer.status_code == 204
    assert answer["Tus-Extension"] == "creation,checksum,termination,expiration"
