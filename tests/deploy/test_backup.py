"""A backup brings back rows, files and keys, refuses to use a damaged one, and never leaves half of one under its name."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

import factories
from assay.accounts.models import User
from assay.config import backup


@pytest.fixture
def installation(files, settings):
    settings.S3_BUCKET = ""
    files.mkdir(parents=True)
    Path(settings.KEY_FOLDER).mkdir()
    (files / "reference.nii.gz").write_bytes(b"hidden")
    (Path(settings.KEY_FOLDER) / "signing.key").write_bytes(b"secret")
    return files


@pytest.mark.django_db(transaction=True)
def test_what_was_lost_after_the_backup_comes_back(installation, settings, tmp_path):
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
def test_a_damaged_backup_is_refused_before_anything_is_touched(installation, tmp_path):
    backup.make(tmp_path / "monday")
    (tmp_path / "monday" / "files" / "reference.nii.gz").write_bytes(b"flipped")
    factories.user(username="newer")
    with pytest.raises(backup.BackupError, match=r"files/reference\.nii\.gz"):
        backup.restore(tmp_path / "monday")
    assert User.objects.filter(username="newer").exists()


@pytest.mark.django_db(transaction=True)
def test_an_existing_folder_is_never_overwritten(installation, tmp_path):
    (tmp_path / "monday").mkdir()
    with pytest.raises(backup.BackupError, match="choose another name"):
        backup.make(tmp_path / "monday")


@pytest.mark.django_db(transaction=True)
def test_a_table_that_only_a_newer_version_has_does_not_survive_the_restore(installation, tmp_path):
    """Or the newer version's migration, which makes it, could never run."""
    backup.make(tmp_path / "monday")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE accounts_newer (id int)")
    backup.restore(tmp_path / "monday")
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('accounts_newer')")
        assert cursor.fetchone() == (None,)


@pytest.mark.django_db(transaction=True)
def test_a_backup_of_a_newer_version_is_refused_before_anything_is_touched(installation, tmp_path):
    folder = backup.make(tmp_path / "monday")
    manifest = json.loads((folder / backup.MANIFEST).read_text())
    manifest["version"], manifest["migrations"] = "9.1.0", [*manifest["migrations"], "accounts.0099_wings"]
    (folder / backup.MANIFEST).write_text(json.dumps(manifest))
    factories.user(username="newer")
    with pytest.raises(backup.BackupError, match=r"made by Assay 9\.1\.0.*accounts\.0099_wings"):
        backup.restore(folder)
    assert User.objects.filter(username="newer").exists()


@pytest.mark.django_db(transaction=True)
def test_a_backup_in_the_form_of_the_first_version_is_restored(installation, tmp_path):
    factories.user(username="pia")
    folder = backup.make(tmp_path / "monday")
    first_form = json.loads((folder / backup.MANIFEST).read_text())["files"]
    (folder / backup.MANIFEST).write_text(json.dumps(first_form))
    User.objects.all().delete()
    backup.restore(folder)
    assert User.objects.get().username == "pia"


@pytest.mark.django_db(transaction=True)
def test_a_restore_that_fails_leaves_the_database_as_it_was(installation, tmp_path, monkeypatch):
    factories.user(username="pia")
    folder = backup.make(tmp_path / "monday")
    monkeypatch.setattr(backup, "EMPTY_FIRST", f"{backup.EMPTY_FIRST} SELECT no_such_function();")
    with pytest.raises(backup.BackupError, match="no_such_function"):
        backup.restore(folder)
    assert User.objects.get().username == "pia"


@pytest.mark.django_db(transaction=True)
def test_scheduled_backups_keep_the_newest_and_touch_nothing_else(installation, tmp_path, now):
    backups = tmp_path / "backups"
    (backups / "by hand").mkdir(parents=True)
    made = [backup.make_next(backups, keep=2, now=now + timedelta(days=day)) for day in range(3)]
    assert {path.name for path in backups.iterdir()} == {"by hand", made[1].name, made[2].name}
