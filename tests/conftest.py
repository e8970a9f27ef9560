"""What every test may rely on: a real PostgreSQL (started once per process, when the first test asks for it), no broker, no sleep.

`DATABASE_URL` chooses a server of your own instead. Messages to Celery go into memory and nobody reads them: a test that wants
a task to run calls it.
"""

import locale
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from _pytest.nodeid import NodeId
from django.db import connections
from django.http import HttpResponse
from django.test import Client
from django.utils import translation

import factories
import people
from assay.config import env
from assay.config.celery import app as celery_app
from assay.config.embedded import home_under, running_postgres
from generated_client import GeneratedClient, generate
from migrated import TEMPLATE, lay_database

MOST_PROCESSORS = 8
ASKS_FOR_DATABASE = {"db", "transactional_db", "django_db_setup", "live_server", "postgres"}


def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: one process more than there are processors, because tests wait for containers and servers."""
    return min(os.cpu_count() or 1, MOST_PROCESSORS) + 1


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make test-cluster` gives the first."""
    parser.addoption("--cluster", action="store_true", help="run the tests that need Apptainer or Slurm")
    parser.addoption("--pictures", metavar="FOLDER", help="keep pictures of the pages that the journeys pass")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark every test that asks for the database, by its fixtures or by pytest-django's own mark: `make test-quick` leaves it out.

    Tests that install and start a cluster are no part of a run that does not ask for them.
    """
    if not config.getoption("--cluster") and config.getoption("--engine", default="docker") not in (
        "apptainer",
        "slurm",
    ):
        left_out = [item for item in items if item.get_closest_marker("cluster")]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]
    for item in items:
        keep_groups_together(config, item)
        if item.get_closest_marker("django_db") or ASKS_FOR_DATABASE.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.database)


def keep_groups_together(config: pytest.Config, item: pytest.Item) -> None:
    """Put the group of a test into its id, by which `--dist loadgroup` deals tests to processes.

    pytest-xdist 3.8 does the same by an attribute that pytest 9.2 does not read any more. tests/test_groups.py notices when both do it.
    """
    group = item.get_closest_marker("xdist_group")
    if group is not None and config.getoption("loadgroup", default=False) and "@" not in item.nodeid:
        item._id = NodeId.parse(f"{item.nodeid}@{group.args[0]}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[None]:
    """Point Django at an embedded PostgreSQL of this test process, unless the environment names one."""
    if env.text(name="DATABASE_URL"):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        Path(folder).chmod(0o711)  # as root the server runs as `nobody`, who has to pass through
        home = home_under(var=Path(folder))
        lay_database(home)
        with running_postgres(home=home, is_durable=False):
            connections.databases["default"].update(env.database(url=home.database_url))
            connections.databases["default"]["TEST"]["TEMPLATE"] = TEMPLATE
            yield
            connections.close_all()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres, django_db_modify_db_settings_parallel_suffix):
    """pytest-django asks for this before it makes the test database."""


@pytest.fixture(autouse=True, scope="session")
def _doorbells_ring_in_memory() -> None:
    celery_app.conf.update(broker_url="memory://", task_always_eager=False)


@pytest.fixture(autouse=True)
def _locale_stays() -> Iterator[None]:
    """A native library that changes the locale of the process would fail other tests, in an order nobody can repeat."""
    yield
    assert locale.getencoding().upper() == "UTF-8", "this test left the process in another locale"


@pytest.fixture(autouse=True)
def files(settings, tmp_path) -> Path:
    """Storage, uploads, keys and scratch of this test alone."""
    settings.STORAGES = {
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "files")},
        },
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()
    nobody_is_throttled = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
    settings.CACHES = {"default": nobody_is_throttled, "process": nobody_is_throttled}
    settings.UPLOAD_ROOT = tmp_path / "uploads"
    settings.KEY_FOLDER = tmp_path / "keys"
    settings.SCRATCH_ROOT = tmp_path / "scratch"
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return tmp_path / "files"


@pytest.fixture
def now() -> datetime:
    """The moment a test plays at: when this process began."""
    return factories.NOW


@pytest.fixture
def scene(db) -> people.Scene:
    """Olga's challenge `brains` with its open phase `final`, Pia's team in it, Otto outside."""
    return people.scene()


@pytest.fixture(scope="session")
def _generated(tmp_path_factory) -> str:
    pytest.importorskip("openapi_python_client", reason="openapi-python-client is missing: make setup")
    return generate(tmp_path_factory.mktemp("generated"))


@pytest.fixture
def generated(_generated: str) -> GeneratedClient:
    """A client made from the API's description."""
    return GeneratedClient(warnings=_generated)


@pytest.fixture
def reading(generated: GeneratedClient, monkeypatch) -> GeneratedClient:
    """The same, while it reads every answer that Django's test client gets."""
    ask = Client.generic

    def generic(client: Client, *given: object, **options: object) -> HttpResponse:
        answer = ask(client, *given, **options)
        generated.look_at(answer)
        return answer

    monkeypatch.setattr(Client, "generic", generic)
    return generated


@pytest.fixture(autouse=True)
def _english():
    """A page in another language leaves that language on in this thread, because a server's next request chooses anew."""
    yield
    translation.deactivate()
