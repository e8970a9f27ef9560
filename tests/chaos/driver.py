"""`python tests/chaos/driver.py` (`make chaos`): submissions while everything an installation is made of is being hit.

A whole installation of its own runs with short leases, on a PostgreSQL, a broker (`--broker redis|rabbitmq`) and, as root, a
Docker Engine and small disks of its own. A seeded driver deals the faults of `faults.py`; the supervisor starts again what it
started. At the end every submission must have exactly one final status and every (submission, case) exactly one score, nobody
may have been charged for our faults, and no container may be left. Prints a table; `--write` keeps it in the README.
"""

import argparse
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults import NODE, SCORING, WEB, WORKFLOW, Faults, Victim
from organizer import Organizer
from report import Memory, Report, Struck, medians, table, write
from servers import Server, ServerMissing, free_port, remove_mounts, running_dockerd, running_rabbitmq

import installation
from assay.client.http import Connection
from assay.client.uploads import describe_file, upload_file
from assay.config import env
from assay.config.embedded import home_under, running_broker, running_postgres

CASES = 2
CASE_SECONDS = 0.7
"""How long the submitted program dwells on a case, so that faults find it at work."""
PASSWORD = "correct horse battery"
LEASES = {"ASSAY_LEASE_SECONDS": "6", "ASSAY_HEARTBEAT_SECONDS": "1", "ASSAY_REAPER_SECONDS": "2"}
SPEEDS = {"ASSAY_WEB_PROCESSES": "1", "ASSAY_THROTTLE_USER": "100000/m", "ASSAY_THROTTLE_ANONYMOUS": "100000/m"}
DISK_MIB = 512
RESERVES = {"ASSAY_NODE_DISK_RESERVE_MB": "64", "ASSAY_UPLOAD_KEEP_FREE_BYTES": str(64 * 2**20)}
ROLES = {"web server": WEB, "workflow worker": WORKFLOW, "scoring worker": SCORING, "node agent": NODE}
UNHAPPY = """
SELECT s.number, s.status, s.reason, e.attempt, e.error, array_agg(c.reason), array_agg(c.infrastructure_failures)
FROM submissions_submission s LEFT JOIN runs_run r ON r.submission_id = s.id LEFT JOIN runs_caserun c ON c.run_id = r.id
LEFT JOIN evaluations_evaluation e ON e.submission_id = s.id WHERE s.status <> 'done' GROUP BY 1, 2, 3, 4, 5
"""
HELD_AGAINST = """
SELECT s.number, c.position, c.attempt, c.verdict, c.reason, c.exit_code, c.started_at, c.finished_at, c.usage::text, c.log_key
FROM runs_caserun c JOIN runs_run r ON r.id = c.run_id JOIN submissions_submission s ON s.id = r.submission_id
WHERE c.verdict <> 'ok'
"""
SAMPLE_SECONDS = 3.0
LAST_CONTAINERS_SECONDS = 600.0


@dataclass(kw_only=True)
class Witness:
    """Looks at every role's memory from a thread of its own."""

    faults: Faults
    samples: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _stopped: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """For as long as the block lasts."""
        thread = threading.Thread(target=self._watch, name="witness")
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def memory(self) -> list[Memory]:
        """What it saw."""
        return [medians(role=role, samples=samples) for role, samples in self.samples.items()]

    def _watch(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            for role, words in ROLES.items():
                held = sum(held_mib(pid) for pid in self.faults.processes(words))
                if held:
                    self.samples[role].append(held)


def run(
    *,
    broker: str,
    submissions: int,
    seed: int,
    pause_seconds: tuple[float, float],
    limit_seconds: float,
    only: Sequence[str] = (),
) -> Report:
    """The whole story; `only` names the faults of the deck, where not all are wanted."""
    report = Report(broker=broker, seed=seed, submissions=submissions, cases=CASES)
    shuffle, began = random.Random(seed), time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="assay-chaos-")))
        folder.chmod(0o711)
        victim = stand_up(folder=folder, broker=broker, stack=stack)
        with installation.running_installation(folder=folder, **surroundings(victim)) as url:
            enter(url=url, folder=folder, submissions=submissions)
            organizer = Organizer(url=url, token=token_of(url, "mallory"))
            faults = Faults(victim, shuffle=shuffle, organizer=organizer, only=only)
            witness = Witness(faults=faults)
            with witness.watching():
                strike_until_finished(
                    faults,
                    shuffle=shuffle,
                    report=report,
                    pauses=pause_seconds,
                    dsn=victim.database_url,
                    limit=limit_seconds,
                )
            report.memory = witness.memory()
            report.pushes = {str(status): count for status, count in organizer.answers.items()}
            report.push_faults = organizer.faults
            inspect(dsn=victim.database_url, report=report)
            report.containers_left = containers_left(victim, owner=owner_of(url))
        report.folders_left = sum(1 for _ in (folder / "var" / "node" / "scratch").iterdir())
    report.seconds = round(time.monotonic() - began, 1)
    return report


def stand_up(*, folder: Path, broker: str, stack: ExitStack) -> Victim:
    """The servers the installation will stand on, all under `folder` and all of our own."""
    var = folder / "var"
    home, port = home_under(var=folder), free_port()
    stack.callback(subprocess.run, ["rm", "-rf", str(home.path)], check=True)
    stack.callback(remove_mounts, folder)
    database = stack.enter_context(Server(lambda: running_postgres(home=home)))
    bell = Server(
        lambda: (
            running_broker(home=home) if broker == "redis" else running_rabbitmq(folder=folder / "rabbit", port=port)
        )
    )
    stack.enter_context(bell)
    is_root = os.geteuid() == 0
    engine = Server(lambda: running_dockerd(folder=folder / "engine")) if is_root else None
    if engine is not None:
        stack.enter_context(engine)
    disks = (var / "node", var / "files") if is_root else ()
    for disk in disks:
        mount_small_disk(disk)
    return Victim(
        var=var,
        database_url=home.database_url,
        database=database,
        broker_url=home.broker_url if broker == "redis" else f"amqp://guest:guest@127.0.0.1:{port}//",
        broker=bell,
        engine=engine,
        engine_folder=folder / "engine",
        small_disks=disks,
    )


def mount_small_disk(folder: Path) -> None:
    """A file system of its own that can be filled without harm to anybody else."""
    folder.mkdir(mode=0o700, parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=700", "assay-chaos", str(folder)], check=True)


def surroundings(victim: Victim) -> dict[str, str]:
    """The environment of the installation, and ours, so that the second beat and our questions go to the same place."""
    values = (
        LEASES
        | SPEEDS
        | {
            "DATABASE_URL": victim.database_url,
            "BROKER_URL": victim.broker_url,
            "DJANGO_SETTINGS_MODULE": "settings",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", "")]),
        }
    )
    if victim.engine is not None:
        values |= RESERVES | {"DOCKER_HOST": f"unix://{victim.engine_folder}/run/docker.sock"}
    os.environ |= values | {"ASSAY_VAR": str(victim.var)}
    return values


def enter(*, url: str, folder: Path, submissions: int) -> None:
    """Olga opens her challenge; Pia enters the same image again and again."""
    olga, pia = person(url, "olga"), person(url, "pia")
    source = installation.CHALLENGE.replace(
        "submission_limit: 5", f"submission_limit: 100000\n    concurrent_limit: {submissions}"
    )
    olga.put("challenges/copycat", {"source": source, "dry_run": False})
    archive = installation.tar_folder(installation.write_testset(folder / "cases", cases=CASES))
    upload = upload_file(
        connection=olga, file=describe_file(path=archive, on_progress=quiet), purpose="testset", on_progress=quiet
    )
    olga.post(
        "challenges/copycat/testsets", {"name": "hidden", "upload_id": upload, "is_public": False, "phases": ["main"]}
    )
    olga.post("challenges/copycat/publish")
    pia.post("challenges/copycat/join", {})
    image = installation.copying_image(folder, dwell_seconds=CASE_SECONDS)
    uploaded = upload_file(
        connection=pia, file=describe_file(path=image, on_progress=quiet), purpose="image", on_progress=quiet
    )
    for number in range(submissions):
        pia.post(
            "challenges/copycat/phases/main/submissions",
            {"upload_id": uploaded, "name": f"copy {number}", "allow_duplicate": True},
        )


def person(url: str, name: str) -> Connection:
    """Somebody new, signed in."""
    return Connection(url=url, token=token_of(url, name))


def token_of(url: str, name: str) -> str:
    """The token of somebody new."""
    nobody = Connection(url=url)
    nobody.post("users", {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "display_name": name})
    answer = nobody.post("tokens", {"username": name, "password": PASSWORD, "name": "chaos", "days": 1})
    return str(answer["token"])


def quiet(done: int, total: int) -> None:
    """Progress nobody watches."""


def strike_until_finished(
    faults: Faults, *, shuffle: random.Random, report: Report, pauses: tuple[float, float], dsn: str, limit: float
) -> None:
    """Faults until every submission has ended, or the time is up."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline and unfinished(dsn):
        name = faults.strike()
        mended, before = time.monotonic(), progress(dsn)
        while progress(dsn) == before and unfinished(dsn) and time.monotonic() < deadline:
            time.sleep(0.1)
        struck = Struck(name=name, recovery_seconds=round(time.monotonic() - mended, 2))
        report.struck.append(struck)
        when = time.strftime("%H:%M:%S", time.gmtime())
        print(
            f"{when}  {struck.recovery_seconds:6.1f} s  {unfinished(dsn):4} left  {name}", file=sys.stderr, flush=True
        )
        time.sleep(shuffle.uniform(*pauses))


def ask(dsn: str, query: str) -> int:
    """One number; patient, for the connection may have been cut by ourselves."""
    give_up_at = time.monotonic() + env.patience().at_most_seconds
    while time.monotonic() < give_up_at:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(dsn) as database:
            row = database.execute(query).fetchone()
            return int(row[0] or 0) if row else 0
        time.sleep(0.2)
    raise AssertionError("the database does not answer")


def unfinished(dsn: str) -> int:
    """Submissions that have not ended."""
    return ask(dsn, "SELECT count(*) FROM submissions_submission WHERE finished_at IS NULL")


def progress(dsn: str) -> int:
    """Grows whenever something moves."""
    return ask(dsn, "SELECT count(*) FROM accounts_auditevent")


def inspect(*, dsn: str, report: Report) -> None:
    """Read the truth from the database."""
    with psycopg.connect(dsn) as database:
        report.statuses = dict(
            database.execute("SELECT status, count(*) FROM submissions_submission GROUP BY 1").fetchall()
        )
        endings = database.execute(
            "SELECT endings::text, count(*) FROM (SELECT count(*) AS endings FROM accounts_auditevent WHERE verb IN "
            "('submission.done', 'submission.failed', 'submission.cancelled') GROUP BY object_id) ended GROUP BY 1"
        )
        report.endings_per_submission = dict(endings.fetchall())
        for row in database.execute(UNHAPPY).fetchall():
            print("not done:", *row, file=sys.stderr)
        for row in database.execute(HELD_AGAINST).fetchall():
            print("held against:", *row, file=sys.stderr)
    report.scores = ask(
        dsn,
        "SELECT count(*) FROM evaluations_casescores s JOIN evaluations_evaluation e ON e.id = s.evaluation_id "
        "WHERE e.is_active",
    )
    report.doubled = ask(
        dsn,
        "SELECT count(*) FROM (SELECT e.submission_id, s.case_id FROM evaluations_casescores s "
        "JOIN evaluations_evaluation e ON e.id = s.evaluation_id GROUP BY 1, 2 HAVING count(*) > 1) doubled",
    )
    report.most_attempts = ask(dsn, "SELECT max(attempt) FROM runs_caserun")
    report.held_against_the_algorithm = ask(dsn, "SELECT count(*) FROM runs_caserun WHERE verdict <> 'ok'")
    report.charged_for_our_faults = ask(
        dsn, "SELECT count(*) FROM submissions_submission WHERE is_charged AND fault = 'platform'"
    )


def owner_of(url: str) -> str:
    """As the installation marks its containers: see `evaluations.receipts.installation_name`."""
    with Connection(url=url) as nobody:
        return hashlib.sha256(nobody.get("keys")["ed25519"].encode()).hexdigest()[:12]


def containers_left(victim: Victim, *, owner: str) -> int:
    """Containers once the last result has been discarded: all in an engine of our own, ours in the machine's."""
    command = ["docker", "ps", "-aq", "--filter", f"label=assay.owner={owner}/local"]
    if victim.engine is not None:
        command = ["docker", "-H", f"unix://{victim.engine_folder}/run/docker.sock", "ps", "-aq"]
    deadline = time.monotonic() + LAST_CONTAINERS_SECONDS
    while True:
        left = len(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.5)


def held_mib(pid: int) -> float:
    """What a process holds of the machine's memory: pages shared with others count in part; 0 when it has gone."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("Pss:"))) / 1024
    return 0.0


def main(arguments: Sequence[str]) -> int:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=["redis", "rabbitmq"], default="redis")
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-seconds", type=float, default=3600)
    parser.add_argument("--pauses", type=float, nargs=2, default=(2.0, 6.0), help="seconds between faults, from and to")
    parser.add_argument("--fault", action="append", default=[], help="deal this fault of the deck; may be given again")
    parser.add_argument("--write", action="store_true", help="keep the figures in tests/chaos/README.md")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ending us leaves no server and no mount behind
    try:
        report = run(
            broker=options.broker,
            submissions=options.submissions,
            seed=options.seed,
            pause_seconds=tuple(options.pauses),
            limit_seconds=options.limit_seconds,
            only=options.fault,
        )
    except ServerMissing as error:
        parser.error(str(error))
    print(table(report))
    for problem in report.problems:
        print(f"PROBLEM: {problem}")
    if options.write and not report.problems:
        write(report)
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
