"""`/readyz` says which part is down, and takes a web server out of service only where it cannot serve."""

import logging

import pytest
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from assay.config import health
from assay.config.celery import app as celery_app

UP = {"database": "up", "migrations": "up", "storage": "up", "broker": "up"}


def ask(client) -> tuple[int, str, dict[str, str]]:
    answer = client.get("/readyz")
    document = answer.json()
    return answer.status_code, document["status"], document["parts"]


def test_all_is_well(db, client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert ask(client) == (200, "ready", UP)


def fail(error):
    def probe():
        raise error

    return probe


@pytest.mark.parametrize("part", ["database", "storage"])
def test_without_an_indispensable_part_it_is_not_ready_and_says_which(db, client, monkeypatch, caplog, part):
    monkeypatch.setattr(health, "PARTS", {**health.PARTS, part: fail(DatabaseError("host db-7 refused"))})
    with caplog.at_level(logging.WARNING, logger=health.__name__):
        assert ask(client) == (503, "not ready", {**UP, part: "down"})
    assert [record.error for record in caplog.records if record.name == health.__name__] == [
        "DatabaseError: host db-7 refused"
    ]
    assert b"db-7" not in client.get("/readyz").content, "an answer for everybody names no host"


def test_tables_older_than_the_code_are_not_ready(db, client):
    (newest,) = MigrationLoader(connection).graph.leaf_nodes("runs")
    MigrationRecorder(connection).record_unapplied(*newest)
    assert ask(client) == (503, "not ready", {**UP, "migrations": "down"})


def test_a_full_or_missing_disk_is_not_ready(db, client, settings, files, tmp_path):
    (tmp_path / "file").write_text("in the way")
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "file" / "files")},
        },
    }
    assert ask(client) == (503, "not ready", {**UP, "storage": "down"})


def test_without_its_broker_it_serves_and_says_so(db, client, monkeypatch):
    monkeypatch.setattr(health, "PARTS", {**health.PARTS, "broker": fail(ConnectionRefusedError())})
    assert ask(client) == (200, "degraded", {**UP, "broker": "down"})


@pytest.mark.slow
def test_a_broker_that_is_not_there_is_found_out(monkeypatch):
    monkeypatch.setattr(celery_app.conf, "broker_write_url", "redis://127.0.0.1:1/0")
    assert not health.works("broker", health.try_broker)
