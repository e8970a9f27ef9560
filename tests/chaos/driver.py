"""`python tests/chaos/driver.py` (`make chaos`): submissions while workers, node, web server, broker and database are being hit.

A whole installation of its own runs with short leases. A seeded driver picks faults; the supervisor starts again what it started.
At the end every submission must have exactly one final status and every (submission, case) exactly one score, nobody may have
been charged for our faults, and no container may be left. Prints a table, and how long it took until something moved again.
"""

import argparse
import base64
import hashlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import installation
from assay.client.http import Connection
from assay.client.uploads import describe_file, upload_file

CASES = 2
PASSWORD = "correct horse battery"
LEASES = {"ASSAY_LEASE_SECONDS": "6", "ASSAY_HEARTBEAT_SECONDS": "1", "ASSAY_REAPER_SECONDS": "2"}
SPEEDS = {"ASSAY_WEB_PROCESSES": "1", "ASSAY_THROTTLE_USER": "100000/m", "ASSAY_THROTTLE_ANONYMOUS": "100000/m"}
FREEZE_SECONDS = 9.0
"""Longer than the lease."""


@dataclass(kw_only=True)
class Report:
    """What was done and what came of it."""

    submissions: int
    faults: list[str] = field(default_factory=list)
    recoveries_seconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    scores: int = 0
    doubled: int = 0
    charged_for_our_faults: int = 0
    containers_left: int = 0
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        """Everything that must not be."""
        found = []
        if self.statuses != Counter(done=self.submissions):
            found.append(f"statuses {dict(self.statuses)}; expected {self.submissions} done")
        if self.scores != self.submissions * CASES or self.doubled:
            found.append(f"{self.scores} scores, {self.doubled} doubled; expected {self.submissions * CASES} and none")
        if self.charged_for_our_faults:
            found.append(f"{self.charged_for_our_faults} attempts charged for our faults")
        if self.containers_left:
            found.append(f"{self.containers_left} containers left")
        return found


class Chaos:
    """Hits one installation's processes, found by its folder."""

    def __init__(self, *, var: Path, dsn: str, shuffle: random.Random) -> None:
        self._var = str(var)
        self._dsn = dsn
        self._shuffle = shuffle
        self.faults: dict[str, Callable[[], None]] = {
            "kill -9 scoring worker": lambda: self.signal(signal.SIGKILL, "-Q scoring"),
            "kill -9 workflow worker": lambda: self.signal(signal.SIGKILL, "-Q workflow"),
            "kill -9 node agent": lambda: self.signal(signal.SIGKILL, "assay.node run"),
            "SIGTERM node agent": lambda: self.signal(signal.SIGTERM, "assay.node run"),
            "freeze node agent longer than its lease": lambda: self.freeze("assay.node run"),
            "freeze scoring worker": lambda: self.freeze("-Q scoring"),
            "cut every database connection": self.cut_connections,
            "empty the broker": self.empty_broker,
            "ten doorbells for everything": self.double_doorbells,
        }

    def strike(self) -> str:
        """One fault; its name."""
        name = self._shuffle.choice(sorted(self.faults))
        self.faults[name]()
        return name

    def processes(self, words: str) -> list[int]:
        """Our processes whose command line holds the words."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    surroundings = (entry / "environ").read_bytes().decode(errors="replace")
                except OSError:
                    continue
                if words in command and (self._var in command or self._var in surroundings):
                    found.append(int(entry.name))
        return found

    def signal(self, number: signal.Signals, words: str) -> None:
        """To every process of that command."""
        for pid in self.processes(words):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def freeze(self, words: str) -> None:
        """Stop it for longer than its lease, then let it go on."""
        self.signal(signal.SIGSTOP, words)
        time.sleep(FREEZE_SECONDS)
        self.signal(signal.SIGCONT, words)

    def cut_connections(self) -> None:
        """As a restart of PostgreSQL would."""
        with psycopg.connect(self._dsn, autocommit=True) as database:
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'assay'"
            )

    def empty_broker(self) -> None:
        """Every message is gone."""
        from assay.config.celery import app

        with app.connection_for_write() as connection:
            connection.default_channel.client.flushall()

    def double_doorbells(self) -> None:
        """Ring ten times for everything that ever existed."""
        from assay.config.celery import app

        with psycopg.connect(self._dsn) as database:
            submissions = [str(row[0]) for row in database.execute("SELECT id FROM submissions_submission")]
            evaluations = [str(row[0]) for row in database.execute("SELECT id FROM evaluations_evaluation")]
        bells = [("check", "workflow", s) for s in submissions] + [("score", "scoring", e) for e in evaluations]
        bells = [bell for bell in bells for _ in range(10)]
        self._shuffle.shuffle(bells)
        for task, queue, subject in bells[:400]:
            app.send_task(f"assay.workflow.tasks.{task}", args=[subject], queue=queue, ignore_result=True)


def run(*, submissions: int, seed: int, pause_seconds: tuple[float, float], limit_seconds: float) -> Report:
    """The whole story."""
    shuffle = random.Random(seed)
    report = Report(submissions=submissions)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="assay-chaos-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with installation.running_installation(folder=folder, **LEASES, **SPEEDS) as url:
            home = embedded_home(folder / "var")
            enter(url=url, folder=folder, submissions=submissions)
            chaos = Chaos(var=folder / "var", dsn=home.database_url, shuffle=shuffle)
            strike_until_finished(
                chaos, dsn=home.database_url, report=report, pauses=pause_seconds, limit=limit_seconds
            )
            inspect(dsn=home.database_url, report=report)
            owner = installation_name(folder / "var" / "keys")
        report.containers_left = containers_of(owner)
    report.seconds = time.monotonic() - began
    return report


def embedded_home(var: Path) -> Any:
    """Where the installation's database and broker are; our own Celery is pointed there too."""
    from assay.config.embedded import home_under

    home = home_under(var=var)
    os.environ |= {"DATABASE_URL": home.database_url, "BROKER_URL": home.broker_url, "ASSAY_VAR": str(var)}
    return home


def installation_name(keys: Path) -> str:
    """As it marks its containers: see `evaluations.receipts.installation_name`."""
    key = Ed25519PrivateKey.from_private_bytes((keys / "receipts.ed25519").read_bytes())
    public = base64.b64encode(key.public_key().public_bytes_raw())
    return hashlib.sha256(public).hexdigest()[:12]


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
    image = installation.copying_image(folder)
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
    nobody = Connection(url=url)
    nobody.post("users", {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "display_name": name})
    token = nobody.post("tokens", {"username": name, "password": PASSWORD, "name": "chaos", "days": 1})["token"]
    return Connection(url=url, token=token)


def quiet(done: int, total: int) -> None:
    """Progress nobody watches."""


def strike_until_finished(chaos: Chaos, *, dsn: str, report: Report, pauses: tuple[float, float], limit: float) -> None:
    """Faults until every submission has ended, or the time is up."""
    deadline = time.monotonic() + limit
    shuffle = random.Random(0)
    while time.monotonic() < deadline and unfinished(dsn):
        report.faults.append(chaos.strike())
        struck, before = time.monotonic(), progress(dsn)
        while progress(dsn) == before and unfinished(dsn) and time.monotonic() < deadline:
            time.sleep(0.2)
        report.recoveries_seconds.append(time.monotonic() - struck)
        time.sleep(shuffle.uniform(*pauses))


def ask(dsn: str, query: str) -> Any:
    """One value; patient, for the connection may have been cut by ourselves."""
    for _ in range(50):
        try:
            with psycopg.connect(dsn) as database:
                row = database.execute(query).fetchone()
                return row[0] if row else None
        except psycopg.OperationalError:
            time.sleep(0.2)
    raise AssertionError("the database does not answer")


def unfinished(dsn: str) -> int:
    """Submissions that have not ended."""
    return int(ask(dsn, "SELECT count(*) FROM submissions_submission WHERE finished_at IS NULL"))


def progress(dsn: str) -> int:
    """Grows whenever something moves."""
    return int(ask(dsn, "SELECT count(*) FROM accounts_auditevent"))


def inspect(*, dsn: str, report: Report) -> None:
    """Read the truth from the database."""
    with psycopg.connect(dsn) as database:
        for status, count in database.execute("SELECT status, count(*) FROM submissions_submission GROUP BY 1"):
            report.statuses[status] = count
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
        report.charged_for_our_faults = ask(
            dsn, "SELECT count(*) FROM submissions_submission WHERE is_charged AND fault = 'platform'"
        )


def containers_of(owner: str) -> int:
    """Containers of this installation that are still there."""
    listed = subprocess.run(
        ["docker", "ps", "-aq", "--filter", f"label=assay.owner={owner}/local"],
        capture_output=True,
        text=True,
        check=True,
    )
    return len(listed.stdout.split())


def table(report: Report) -> str:
    """For people."""
    lines = [f"submissions {report.submissions}, cases {report.submissions * CASES}, {report.seconds:.0f} s"]
    lines += [f"  {count:4} × {name}" for name, count in sorted(Counter(report.faults).items())]
    if report.recoveries_seconds:
        median, longest = statistics.median(report.recoveries_seconds), max(report.recoveries_seconds)
        lines.append(f"until something moved again: median {median:.1f} s, longest {longest:.1f} s")
    lines.append(f"statuses {dict(report.statuses)}; scores {report.scores}, doubled {report.doubled}")
    lines.append(f"charged for our faults {report.charged_for_our_faults}; containers left {report.containers_left}")
    return "\n".join(lines + [f"PROBLEM: {problem}" for problem in report.problems])


def main(arguments: Sequence[str]) -> int:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-seconds", type=float, default=3600)
    parser.add_argument(
        "--pauses", type=float, nargs=2, default=(4.0, 12.0), help="seconds between faults, from and to"
    )
    options = parser.parse_args(arguments)
    report = run(
        submissions=options.submissions,
        seed=options.seed,
        pause_seconds=tuple(options.pauses),
        limit_seconds=options.limit_seconds,
    )
    print(table(report))
    return 1 if report.problems else 0


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "assay.config.settings")
    sys.exit(main(sys.argv[1:]))
