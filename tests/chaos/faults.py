"""What the driver does to a running installation: one method per fault, by name in `Faults.deck`.

Every fault ends by itself before it returns: what was stopped runs again, what was filled is empty. The outages last as long
against the shrunken leases as two minutes do against the usual ones.
"""

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from celery import Celery
from kombu.exceptions import OperationalError
from organizer import Organizer
from servers import Server

FREEZE_SECONDS = 9.0
"""Longer than the lease."""
OUTAGE_SECONDS = 6.0
"""Two minutes, twenty times shrunken."""
BALLAST_BYTES = 1 << 20
STORAGE_SWITCH = "storage-fails"
"""While a file of this name lies in the installation's folder, its storage answers nothing: see `settings.py`."""
QUEUES = ("workflow", "ranking", "scoring", "pool.default")
WORKFLOW, SCORING, NODE, WEB = "-Q workflow", "-Q prompts,scoring", "assay.node run", "gunicorn"
RANKING = "-Q ranking"


@dataclass(frozen=True, kw_only=True)
class Victim:
    """The installation that is hit: where it is, and the servers it stands on."""

    var: Path
    database_url: str
    database: Server
    broker_url: str
    broker: Server
    engine: Server | None
    engine_folder: Path
    small_disks: tuple[Path, ...]
    """Mounts of its own that may be filled to the last byte."""


class Faults:
    """Hits one installation's processes, found by its folder, and its servers."""

    def __init__(
        self, victim: Victim, *, shuffle: random.Random, organizer: Organizer, only: Sequence[str] = ()
    ) -> None:
        self._victim = victim
        self._shuffle = shuffle
        self._hand: list[str] = []
        self._celery = Celery(broker=victim.broker_url)
        self._celery.conf.update(task_create_missing_queue_type="quorum", task_default_queue_type="quorum")
        self.deck: dict[str, Callable[[], None]] = {
            "kill -9 node agent": lambda: self.signal(signal.SIGKILL, NODE),
            "kill -9 scoring worker": lambda: self.signal(signal.SIGKILL, SCORING),
            "kill -9 child of the scoring worker": lambda: self.kill_child(SCORING),
            "kill -9 workflow worker": lambda: self.signal(signal.SIGKILL, WORKFLOW),
            "kill -9 ranking worker": lambda: self.signal(signal.SIGKILL, RANKING),
            "SIGTERM node agent": lambda: self.signal(signal.SIGTERM, NODE),
            "deploy: SIGTERM web server, workers and node": self.deploy,
            "freeze node agent longer than its lease": lambda: self.freeze(NODE),
            "freeze scoring worker longer than its lease": lambda: self.freeze(SCORING),
            "freeze web server longer than a lease": lambda: self.freeze(WEB),
            "cut every database connection": self.cut_connections,
            "PostgreSQL away": lambda: self.away(victim.database),
            "kill -9 PostgreSQL": lambda: self.kill_server(victim.database, "/bin/postgres -D"),
            "broker away": lambda: self.away(victim.broker),
            "kill -9 broker": lambda: self.kill_server(victim.broker, self.broker_program),
            "freeze broker": lambda: self.freeze(self.broker_program),
            "empty the broker": self.empty_broker,
            "doorbells ten times over, in any order": self.double_doorbells,
            "a second beat": self.second_beat,
            "storage answers 5xx": self.storage_fails,
            "a hostile organizer pushes": organizer.push_everything,
        }
        if victim.engine is not None:
            self.deck |= {
                "restart dockerd": lambda: self.away(victim.engine),
                "kill -9 dockerd": lambda: self.kill_server(victim.engine, "dockerd --config-file"),
                "damage a cached image": self.damage_image,
                "remove cached images": self.remove_images,
            }
        for disk in victim.small_disks:
            self.deck[f"fill the disk of {disk.name}"] = lambda disk=disk: self.fill(disk)
        if unknown := set(only) - set(self.deck):
            raise ValueError(f"found the faults {sorted(unknown)}; expected some of {sorted(self.deck)}")
        self.deck = {name: fault for name, fault in self.deck.items() if not only or name in only}

    @property
    def broker_program(self) -> str:
        """How the broker's process is called."""
        return "beam.smp" if self._victim.broker_url.startswith("amqp") else "valkey-server"

    def strike(self) -> str:
        """One fault; its name. Every fault has its turn before one comes again."""
        if not self._hand:
            self._hand = sorted(self.deck)
            self._shuffle.shuffle(self._hand)
        name = self._hand.pop()
        self.deck[name]()
        return name

    def processes(self, words: str) -> list[int]:
        """Our processes whose command line holds the words."""
        var, found = str(self._victim.var.parent), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    surroundings = (entry / "environ").read_bytes().decode(errors="replace")
                except OSError:
                    continue
                if words in command and (var in command or var in surroundings):
                    found.append(int(entry.name))
        return found

    def signal(self, number: signal.Signals, words: str) -> None:
        """To every process of that command."""
        for pid in self.processes(words):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill_child(self, words: str) -> None:
        """Only the process that does the work; its parent lives on."""
        family = self.processes(words)
        children = [pid for pid in family if parent_of(pid) in family]
        if children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._shuffle.choice(children), signal.SIGKILL)

    def deploy(self) -> None:
        """As a new version would be rolled out: everybody is asked to stop and is started again."""
        for words in (NODE, SCORING, WORKFLOW, WEB):
            self.signal(signal.SIGTERM, words)

    def freeze(self, words: str) -> None:
        """Stop it for longer than its lease, then let it go on."""
        self.signal(signal.SIGSTOP, words)
        time.sleep(FREEZE_SECONDS)
        self.signal(signal.SIGCONT, words)

    def cut_connections(self) -> None:
        """As a restart of PostgreSQL would."""
        with psycopg.connect(self._victim.database_url, autocommit=True) as database:
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'assay'"
            )

    def away(self, server: Server) -> None:
        """Stop a server in good order and start it again later."""
        with server.away(seconds=OUTAGE_SECONDS):
            pass

    def kill_server(self, server: Server, words: str) -> None:
        """Kill a server and start it again at once."""
        self.signal(signal.SIGKILL, words)
        with server.away(seconds=0):
            pass

    def empty_broker(self) -> None:
        """Every message is gone."""
        with self._celery.connection_for_write() as connection:
            channel = connection.default_channel
            for queue in QUEUES:
                with contextlib.suppress(*connection.channel_errors):  # a queue that was never declared
                    channel.queue_purge(queue)

    def double_doorbells(self) -> None:
        """Ring ten times for everything that ever existed, in an order that never was."""
        with psycopg.connect(self._victim.database_url) as database:
            submissions = [str(row[0]) for row in database.execute("SELECT id FROM submissions_submission")]
            evaluations = [str(row[0]) for row in database.execute("SELECT id FROM evaluations_evaluation")]
        bells = [("workflow.tasks.check", "workflow", s) for s in submissions]
        bells += [("workflow.tasks.score", "scoring", e) for e in evaluations]
        bells += [("node.tasks.work", "pool.default", "default")]
        self._shuffle.shuffle(bells)
        rung = [bell for bell in bells[:40] for _ in range(10)]
        self._shuffle.shuffle(rung)
        for task, queue, subject in rung:
            with contextlib.suppress(OperationalError):
                self._celery.send_task(f"assay.{task}", args=[subject], queue=queue, ignore_result=True)

    def second_beat(self) -> None:
        """Another scheduler sends the same tasks for a while."""
        schedule = self._victim.var / "second-beat"
        command = [sys.executable, "-m", "celery", "-A", "assay.config.celery", "beat", "--schedule", str(schedule)]
        beat = subprocess.Popen(
            [*command, "--pidfile="], env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(OUTAGE_SECONDS)
        beat.terminate()
        beat.wait()

    def storage_fails(self) -> None:
        """Every access to stored files fails for a while."""
        switch = self._victim.var / STORAGE_SWITCH
        switch.touch()
        try:
            time.sleep(OUTAGE_SECONDS)
        finally:
            switch.unlink()

    def fill(self, disk: Path) -> None:
        """Not one byte is left for a while."""
        ballast = disk / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file, until_full():
                while True:
                    file.write(bytes(BALLAST_BYTES))
            time.sleep(OUTAGE_SECONDS)
        finally:
            ballast.unlink(missing_ok=True)

    def damage_image(self) -> None:
        """The program inside the image the engine keeps is an empty file from now on; who runs already, runs on."""
        for program in list(self._victim.engine_folder.glob("data/overlay2/*/diff/copy")):
            damaged = program.with_name("copy.damaged")
            damaged.touch(mode=0o755)
            damaged.replace(program)

    def remove_images(self) -> None:
        """The engine keeps nothing that is not in use."""
        address = f"unix://{self._victim.engine_folder}/run/docker.sock"
        subprocess.run(["docker", "-H", address, "image", "prune", "-af"], capture_output=True, check=False)


@contextlib.contextmanager
def until_full() -> Iterator[None]:
    """Ends quietly when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def parent_of(pid: int) -> int:
    """A process's parent; 0 when it has gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
