"""What `assay submit IMAGE` makes of a file, of a local image, and of neither."""

import os
import stat
import sys

import pytest
import zstandard

from assay.client import images
from assay.client.errors import ClientError

IMAGE_ID = "sha256:" + "ab" * 32
DOCKER = """#!{python}
import sys
if sys.argv[1:3] == ["image", "inspect"]:
    print("{image_id}") if sys.argv[-1] == "mine" else sys.exit("No such image")
elif sys.argv[1] == "save" and "{outcome}" == "good":
    open("{calls}", "a").write("saved\\n")
    sys.stdout.buffer.write(b"layers" * 1000)
else:
    sys.stdout.buffer.write(b"half")
    sys.exit("no space left on device")
"""


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """A `docker` that knows one image, and saves it or fails half-way."""

    def install(outcome: str):
        program, calls = tmp_path / "bin" / "docker", tmp_path / "calls"
        program.parent.mkdir(exist_ok=True)
        program.write_text(DOCKER.format(python=sys.executable, image_id=IMAGE_ID, outcome=outcome, calls=calls))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return calls

    return install


def test_a_file_is_taken_as_it_is(tmp_path):
    path = tmp_path / "image.tar.gz"
    path.touch()
    assert images.archive_of(image=str(path), cache=tmp_path / "cache") == path
    assert not (tmp_path / "cache").exists()


def test_a_local_image_is_saved_compressed_and_once_per_id(tmp_path, docker):
    calls = docker("good")
    first = images.archive_of(image="mine", cache=tmp_path / "cache")
    assert zstandard.ZstdDecompressor().stream_reader(first.read_bytes()).read() == b"layers" * 1000
    assert images.archive_of(image="mine", cache=tmp_path / "cache") == first
    assert calls.read_text() == "saved\n"


def test_an_image_that_cannot_be_saved_leaves_no_half_archive(tmp_path, docker):
    docker("bad")
    with pytest.raises(ClientError, match="docker save mine failed") as error:
        images.archive_of(image="mine", cache=tmp_path / "cache")
    assert error.value.found == "no space left on device"
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_is_neither_a_file_nor_an_image_is_said_to_be_so(tmp_path, docker):
    docker("good")
    with pytest.raises(ClientError, match="neither a file nor an image"):
        images.archive_of(image="nobody/knows", cache=tmp_path / "cache")


def test_without_docker_a_missing_file_is_still_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClientError, match="neither a file nor an image"):
        images.archive_of(image="mine", cache=tmp_path / "cache")


def test_the_cache_forgets_the_oldest_archives_first(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "CACHE_BYTES", 25)
    for age, name in enumerate(("newest", "middle", "oldest")):
        path = tmp_path / f"{name}.tar.zst"
        path.write_bytes(b"0123456789")
        os.utime(path, (1000 - age, 1000 - age))
    images.trim(cache=tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.zst")) == ["middle.tar.zst", "newest.tar.zst"]


def test_the_newest_archive_stays_however_large(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "CACHE_BYTES", 5)
    (tmp_path / "only.tar.zst").write_bytes(b"0123456789")
    images.trim(cache=tmp_path)
    assert (tmp_path / "only.tar.zst").exists()
