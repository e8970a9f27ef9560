"""A backup brings back rows, files and keys, refuses to use a damaged one, and never leaves half of one under its name."""

import importlib.util
from pathlib import Path

import pytest

import factories
from assay.accounts.models import User

SOURCE = Path(__file__).resolve().parents[2] / "deploy" / "backup.py"


@pytest.fixture
def backup():
    spec = importlib.util.spec_from_file_location("backup", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def installation(files, settings):
    settings.S3_BUCKET = ""
    files.mkdir(parents=True)
    Path(settings.KEY_FOLDER).mkdir()
    (files / "reference.nii.gz").write_bytes(b"hidden")
    (Path(settings.KEY_FOLDER) / "signing.key").write_bytes(b"secret")
    return files


@pytest.mark.django_db(transaction=True)
def test_what_was_lost_after_the_backup_comes_back(backup, installation, settings, tmp_path):
    factories.user(username="pia")
    backup.make(tmp_path / "monday")
    User.objects.all().delete()
    (installation / "reference.nii.gz").unlink()
    (Path(settings.KEY_FOLDER) / "signing.key").write_bytes(b"overwritten")
    backup.restore(tmp_path / "monday")
    assert User.objects.get().username == "pia"
    assert (installation / "reference.nii.gz").read_bytes() == b"hidden"
    assert (Path(settings.KEY_FOLDER) / "signing.key").read_bytes() == b"secret"
    assert not (tmp_path / "monday.partial").exists()


@pytest.mark.django_db(transaction=True)
def test_a_damaged_backup_is_refused_before_anything_is_touched(backup, installation, tmp_path):
    backup.make(tmp_path / "monday")
    (tmp_path / "monday" / "files" / "reference.nii.gz").write_bytes(b"flipped")
    factories.user(username="newer")
    with pytest.raises(backup.BackupError, match=r"files/reference\.nii\.gz"):
        backup.restore(tmp_path / "monday")
    assert User.objects.filter(username="newer").exists()


@pytest.mark.django_db(transaction=True)
def test_an_existing_folder_is_never_overwritten(backup, installation, tmp_path):
    (tmp_path / "monday").mkdir()
    with pytest.raises(backup.BackupError, match="choose another name"):
        backup.make(tmp_path / "monday")
