"""Archives as people pack them, and as an attacker does: what is unpacked, and where it may not lead."""

import io
import stat
import tarfile
import zipfile

import pytest

import testset_folders as folders
from assay.accounts.errors import InvalidError
from assay.testsets import archives
from assay.testsets.archives import server_folder, server_folders, top_of, unpack


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def test_a_tar_is_unpacked_without_links_and_outside_paths(source):
    for name, kind in (("link", tarfile.SYMTYPE), ("pipe", tarfile.FIFOTYPE), ("hard", tarfile.LNKTYPE)):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        with pytest.raises(InvalidError, match="no file"):
            unpack(archive=tar_of(member), folder=source)
    for name in ("../escaped", "inside/../../escaped", str(source.parent / "escaped")):
        with pytest.raises(InvalidError, match="leads outside"):
            unpack(archive=tar_of(tarfile.TarInfo(name)), folder=source)
    assert not (source.parent / "escaped").exists()


def test_two_files_of_one_name_in_a_tar_are_refused(source):
    with pytest.raises(InvalidError, match="cannot be unpacked"):
        unpack(archive=tar_of(tarfile.TarInfo("twice"), tarfile.TarInfo("twice")), folder=source)


def test_what_is_no_archive_is_refused(source):
    with pytest.raises(InvalidError, match="cannot be unpacked"):
        unpack(archive=io.BytesIO(b"PK\x03\x04 a zip, say" * 100), folder=source)
    with pytest.raises(InvalidError, match="cannot be unpacked"):
        unpack(archive=io.BytesIO(b"no archive" * 100), folder=source)


def tar_of(*members: tarfile.TarInfo) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in members:
            tar.addfile(member)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("within", ["", "cases/", "home/olga/cases/"])
def test_a_zip_is_unpacked_whatever_folder_holds_it(source, tmp_path, within):
    packed = folders.zipped(folders.good_folder(tmp_path / "made"), within=within)
    unpack(archive=io.BytesIO(packed), folder=source)
    top = top_of(source)
    assert top == source / within
    assert sorted(path.name for path in top.iterdir()) == ["NOTICE", "images", "labels", "manifest.csv"]


def zip_of(*members: tuple[zipfile.ZipInfo | str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members:
            archive.writestr(member, content)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("name", ["../escaped", "inside/../../escaped", "/tmp/escaped", "..\\escaped"])
def test_a_path_of_a_zip_stays_inside(source, name):
    with pytest.raises(InvalidError, match="leads outside"):
        unpack(archive=zip_of((name, b"x")), folder=source)
    assert not (source.parent / "escaped").exists()


def test_a_link_in_a_zip_is_refused(source):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(InvalidError, match="no file"):
        unpack(archive=zip_of((link, b"/etc/passwd")), folder=source)
    assert list(source.iterdir()) == []


def test_a_bomb_is_stopped_by_what_it_unpacks_to_and_not_by_what_it_says(source, monkeypatch):
    monkeypatch.setattr(archives, "room_in", lambda _folder: 2**20)
    bomb = zip_of(("zeros", bytes(2**22)))
    with pytest.raises(InvalidError, match="too large"):
        unpack(archive=bomb, folder=source)
    assert sum(path.stat().st_size for path in source.iterdir()) <= 2**20


def test_two_files_of_one_name_in_a_zip_are_refused(source, recwarn):
    with pytest.raises(InvalidError, match="cannot be unpacked"):
        unpack(archive=zip_of(("twice", b"1"), ("twice", b"2")), folder=source)


def test_a_damaged_zip_is_refused(source):
    whole = zip_of(("manifest.csv", b"case_id" * 1000)).getvalue()
    for content in (whole[:60], whole[:40] + b"\xff" * 20 + whole[60:]):
        with pytest.raises(InvalidError, match="cannot be unpacked"):
            unpack(archive=io.BytesIO(content), folder=source)


def test_a_folder_on_the_server_is_the_challenges_own(settings, tmp_path):
    settings.TESTSET_FOLDER = str(tmp_path / "data")
    folders.good_folder(tmp_path / "data/lungs/hidden")
    folders.good_folder(tmp_path / "data/livers/hidden")
    assert server_folders("lungs") == ["hidden"]
    assert server_folder("hidden", challenge_slug="lungs") == tmp_path / "data/lungs/hidden"
    for path in ("../livers/hidden", "/etc", "nothing", "hidden/manifest.csv", "hid\0den"):
        with pytest.raises(InvalidError, match="no such folder"):
            server_folder(path, challenge_slug="lungs")


def test_a_link_on_the_server_leads_nowhere(settings, tmp_path):
    settings.TESTSET_FOLDER = str(tmp_path / "data")
    folders.good_folder(tmp_path / "data/livers/hidden")
    folders.good_folder(tmp_path / "data/lungs/hidden")
    (tmp_path / "data/lungs/theirs").symlink_to(tmp_path / "data/livers/hidden")
    (tmp_path / "data/lungs/hidden/labels/more").symlink_to(tmp_path / "data/livers")
    for path in ("theirs", "hidden"):
        with pytest.raises(InvalidError):
            server_folder(path, challenge_slug="lungs")
    assert server_folders("lungs") == ["hidden"]


def test_an_installation_without_such_a_folder_says_so():
    with pytest.raises(InvalidError, match="takes no test sets"):
        server_folder("hidden", challenge_slug="lungs")
    assert server_folders("lungs") == []
