"""Files arrive whole, whatever happens on the way, and nothing that arrived is sent twice."""

import hashlib

import pytest

from assay.client import uploads
from assay.client.errors import ClientError, RefusedError
from assay.client.http import Connection
from assay.client.uploads import describe_file, upload_file

CONTENT = bytes(range(256)) * 40  # 10 240 bytes: two and a half chunks


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(uploads, "CHUNK_BYTES", 4096)
    monkeypatch.setattr(uploads, "BLOCK_BYTES", 1000)


@pytest.fixture
def connection(server) -> Connection:
    return Connection(url="http://server", token="assay_x", transport=server.transport())


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "image.tar"
    path.write_bytes(CONTENT)
    return describe_file(path=path, on_progress=lambda done, total: None)


def test_a_file_is_described_by_its_size_and_hash(file):
    assert file.bytes == 10240
    assert file.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_a_file_arrives_whole_in_chunks(connection, server, file):
    seen = []
    upload_id = upload_file(
        connection=connection, file=file, purpose="image", on_progress=lambda d, t: seen.append((d, t))
    )
    assert bytes(server.uploads[upload_id].content) == CONTENT
    assert seen[0] == (0, 10240)
    assert seen[-1] == (10240, 10240)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_broken_connection_costs_only_what_had_not_arrived(connection, server, file):
    server.cut_after = 5000
    upload_id = upload_file(connection=connection, file=file, purpose="image", on_progress=lambda d, t: None)
    assert bytes(server.uploads[upload_id].content) == CONTENT
    assert server.created == 1


def test_a_killed_client_goes_on_with_the_same_upload(connection, server, file):
    class KilledError(Exception):
        pass

    def die_at_half(done, total):
        if done > total // 2:
            raise KilledError

    with pytest.raises(KilledError):
        upload_file(connection=connection, file=file, purpose="image", on_progress=die_at_half)
    assert 0 < len(server.uploads["u1"].content) < len(CONTENT)

    first = []
    upload_id = upload_file(connection=connection, file=file, purpose="image", on_progress=lambda d, t: first.append(d))
    assert upload_id == "u1"
    assert first[0] == 4096  # the one whole chunk that arrived
    assert bytes(server.uploads["u1"].content) == CONTENT


def test_an_upload_of_another_file_is_left_alone(connection, server, file, tmp_path):
    server.cut_after = 0
    other = tmp_path / "other.tar"
    other.write_bytes(CONTENT[::-1])
    description = describe_file(path=other, on_progress=lambda d, t: None)
    upload_file(connection=connection, file=description, purpose="image", on_progress=lambda d, t: None)
    upload_file(connection=connection, file=file, purpose="image", on_progress=lambda d, t: None)
    assert server.created == 2


def test_a_refused_upload_is_not_tried_again(connection, server, file, monkeypatch):
    def too_large(request):
        server.requests.append(("POST", "uploads", None))
        raise RefusedError("The file is too large", status=413)

    monkeypatch.setattr(server, "_create", too_large)
    with pytest.raises(RefusedError, match="too large"):
        upload_file(connection=connection, file=file, purpose="image", on_progress=lambda d, t: None)
    assert len(server.requests) == 1


def test_a_file_that_shrinks_while_it_is_sent_is_named(connection, server, file):
    file.path.write_bytes(CONTENT[:1500])
    with pytest.raises(ClientError, match="became shorter"):
        upload_file(connection=connection, file=file, purpose="image", on_progress=lambda d, t: None)


@pytest.mark.parametrize(("name", "words"), [("missing.tar", "is not a file"), ("empty.tar", "is empty")])
def test_what_cannot_be_uploaded_is_said_before_anything_is_sent(tmp_path, name, words):
    (tmp_path / "empty.tar").touch()
    with pytest.raises(ClientError, match=words):
        describe_file(path=tmp_path / name, on_progress=lambda d, t: None)
