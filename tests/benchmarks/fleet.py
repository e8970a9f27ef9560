"""`python tests/benchmarks/fleet.py`: many scripted nodes, submissions and cases through one server, from claim to leaderboard.

The server, the database and the broker's address are real. Nodes and the evaluator are scripted: a node claims, sends one small file per
output, and records at once, and the scores are made up. So what is measured is the server's own part. A reader asks for pages meanwhile. By
default it is small (20 nodes, 40 submissions of 10 cases). `--nodes 1000 --submissions 10000 --cases 50` is a national challenge, and
`--submissions 1 --cases 5903` one submission on the largest test set that we know of: the last records must not cost more than the first.

Half a million case runs take hours on two cores. `--finished 9900 --submissions 100` writes all but a hundred submissions as done, by the database
itself, so that these meet tables of the full size. `--seconds` ends running after so long, and scoring after so long again.
"""

import argparse
import hashlib
import os
import random
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from django.db import connection
from figures import host, keep
from server import own_database, running_web

if TYPE_CHECKING:  # settings are read when it is imported
    from assay.config.embedded import Home

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operators" / "how-large.md"
OUTPUT = b"scripted"
TABLES = (
    "runs_caserun",
    "runs_run",
    "submissions_submission",
    "evaluations_casescores",
    "evaluations_evaluation",
    "accounts_auditevent",
)
GROWTH_ALLOWED = 3.0
"""How much dearer the last tenth of the records may be than the first, as a ratio of medians: machines are busy."""


@dataclass(kw_only=True)
class Timings:
    """Seconds of every request by what it did, in the order in which they ended."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def measure(self, what: str, act: Callable[[], httpx.Response]) -> httpx.Response:
        """Do it and note how long it took."""
        began = time.perf_counter()
        answer = act()
        took = time.perf_counter() - began
        with self.lock:
            self.seconds.setdefault(what, []).append(took)
        return answer

    def middle_and_p95(self, what: str) -> str:
        """Two cells, in milliseconds."""
        found = sorted(self.seconds.get(what, [0.0]))
        return f"{1000 * statistics.median(found):.0f} | {1000 * found[int(0.95 * (len(found) - 1))]:.0f}"


def main() -> int:
    """Measure and print; 1 where records grew dearer, or something was left undone."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, usual in (
        ("nodes", 20),
        ("submissions", 40),
        ("cases", 10),
        ("teams", 10),
        ("threads", 8),
        ("challenges", 100),
        ("finished", 0),
        ("seconds", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument(
        "--write",
        nargs="?",
        const="fleet",
        choices=["fleet", "fleet-one"],
        help="keep the table in docs/operators/how-large.md: fleet-one is the place of one large submission",
    )
    asked = parser.parse_args()
    with own_database() as home, with_broker(home):
        began = time.perf_counter()
        phase, tokens = seed(asked)
        print(f"seeded in {time.perf_counter() - began:.0f} s", flush=True)
        before = table_bytes()
        timings = Timings()
        with running_web() as url:
            began, burnt = time.perf_counter(), processor_seconds(home)
            run_cases(url=url, tokens=tokens, phase=phase, timings=timings, asked=asked)
            ran = time.perf_counter() - began
            burnt = {part: seconds - burnt[part] for part, seconds in processor_seconds(home).items()}
            print(f"ran in {ran:.0f} s", flush=True)
            scored = score_all(asked.seconds)
            print(f"scored in {scored.seconds:.0f} s", flush=True)
            rebuilt = [rebuild(phase) for _ in range(2)]
            done = count_done() - asked.finished
            thousandth = challenges_cost(url=url, many=asked.challenges, timings=timings)
        grown = table_bytes()
    recorded = len(timings.seconds["record"])
    lines = table(asked=asked, timings=timings, ran=ran, scored=scored, rebuilt=rebuilt, thousandth=thousandth)
    lines.append(f"| processor time while cases ran | {shares(burnt, seconds=ran)} |")
    lines += growth(before, grown, cases=recorded)
    lines.append(f"| submissions of these that were done when time was up | {done} of {asked.submissions} |")
    print(*lines, "", f"{host()}.", sep="\n")
    if asked.write:
        keep([*lines, "", f"{host()}."], program=asked.write, readme=PAGE)
    is_whole = not asked.seconds
    problems = [f"{done} of {asked.submissions} submissions were done"] if is_whole and done < asked.submissions else []
    ratio = dearer(timings.seconds["record"])
    problems += [f"the last records cost {ratio:.1f} times the first"] if ratio > GROWTH_ALLOWED else []
    print("; ".join(problems) or "every submission is done, and the last records cost what the first did")
    return 1 if problems else 0


@contextmanager
def with_broker(home) -> Iterator[None]:
    """A real broker: a doorbell that nobody answers would cost every request its patience."""
    from assay.config.embedded import running_broker

    with running_broker(home=home):
        yield


def seed(asked: argparse.Namespace) -> tuple:
    """A phase whose submissions are queued, after those that were done before, and the nodes' tokens."""
    import crowd

    import factories
    from assay.runs import services
    from assay.runs.nodes import enrol_node

    if asked.finished:
        phase = crowd.seed(submissions=asked.finished, cases=asked.cases, teams=asked.teams).phase
    else:
        challenge = factories.challenge()
        testset = factories.testset(challenge=challenge, case_ids=[f"{number:05}" for number in range(asked.cases)])
        phase = factories.phase(challenge=challenge, testset=testset, leaderboard_shows="all")
    teams = [factories.team(members=[factories.user()]) for _ in range(asked.teams)]
    for number in range(asked.submissions):
        submission = factories.submission(
            phase=phase, team=teams[number % len(teams)], status="queued", number=asked.finished + number + 1
        )
        services.create_run(submission=submission, now=factories.NOW, shuffle=random.Random(number))
    slots = -(-asked.threads // asked.nodes)
    enrolled = [
        enrol_node(name=f"node-{number}", pool="default", slots=slots + 1, by=None, now=factories.NOW)[1]
        for number in range(asked.nodes)
    ]
    return phase, enrolled


def run_cases(*, url: str, tokens: list[str], phase, timings: Timings, asked: argparse.Namespace) -> None:
    """Every thread plays its share of the nodes in turn until nothing is left, or time is up. A reader looks at pages meanwhile."""
    ending, threads = threading.Event(), asked.threads
    ends_at = time.perf_counter() + asked.seconds if asked.seconds else float("inf")
    reader = threading.Thread(
        target=read_pages, kwargs={"url": url, "phase": phase, "timings": timings, "ending": ending}
    )
    players = [
        threading.Thread(
            target=play,
            kwargs={
                "url": url,
                "tokens": tokens[number::threads] or tokens,
                "timings": timings,
                "ends_at": ends_at,
            },
        )
        for number in range(threads)
    ]
    reader.start()
    for player in players:
        player.start()
    for player in players:
        player.join()
    ending.set()
    reader.join()


def play(*, url: str, tokens: list[str], timings: Timings, ends_at: float) -> None:
    """Claim, send, record, as one node after the other. Ends when claims found nothing for a while, or when time is up."""
    idle, digest = 0, hashlib.sha256(OUTPUT).hexdigest()
    with httpx.Client(base_url=url, timeout=120) as http:
        for token in cycle(tokens):
            if time.perf_counter() > ends_at:
                return
            said = {"headers": {"Authorization": f"Bearer {token}"}}
            answer = timings.measure("claim", lambda said=said: http.post("/api/v1/node/claim", json={}, **said))
            if answer.status_code != httpx.codes.OK:
                idle += 1
                if idle > 20:
                    return
                time.sleep(0.1)
                continue
            idle, order = 0, answer.json()
            held = {"case_run_id": order["case_run_id"], "fence": order["fence"]}
            names = [output["name"] for output in order["spec"]["outputs"]]
            for name in names:
                address = f"/api/v1/node/case-runs/{held['case_run_id']}/outputs/{name}?fence={held['fence']}"
                timings.measure("output", lambda a=address, s=said: http.put(a, content=OUTPUT, **s)).raise_for_status()
            outputs = [{"name": name, "sha256": digest, "bytes": len(OUTPUT)} for name in names]
            usage = {"version": 1, "wall_seconds": 1.0, "peak_memory_bytes": 10**8}
            record = {**held, "verdict": "ok", "exit_code": 0, "usage": usage, "outputs": outputs}
            timings.measure(
                "record", lambda r=record, s=said: http.post("/api/v1/node/record", json=r, **s)
            ).raise_for_status()


def read_pages(*, url: str, phase, timings: Timings, ending: threading.Event) -> None:
    """What people open while cases run."""
    addresses = {
        "leaderboard": f"/c/{phase.challenge.slug}/p/{phase.slug}/leaderboard/",
        "challenge": f"/c/{phase.challenge.slug}/",
    }
    with httpx.Client(base_url=url, timeout=120, follow_redirects=True) as http:
        while not ending.wait(0.3):
            for what, address in addresses.items():
                timings.measure(f"page: {what}", lambda address=address: http.get(address))


@dataclass(frozen=True, kw_only=True)
class Scored:
    """How many cases were scored, and how long that took."""

    cases: int
    seconds: float
    peak_memory_bytes: int

    @property
    def rate(self) -> float:
        """Cases a second."""
        return self.cases / max(self.seconds, 1e-9)


def score_all(most_seconds: int) -> Scored:
    """Score everything with made-up scores, as one scoring worker would store them. No evaluation is begun after `most_seconds`."""
    from django.utils import timezone

    from assay.challenges.protocols import rules_of
    from assay.evaluations import services
    from assay.evaluations.models import Evaluation
    from assay.workflow import flow
    from assay.workflow.workers.scoring import collect_results

    began, chance, cases = time.perf_counter(), random.Random(1), 0
    for row in Evaluation.objects.filter(status="queued").values_list("id", flat=True):
        lease = services.claim_evaluation(evaluation_id=row, worker="fleet", lease_seconds=600)
        if lease is None:
            continue
        if most_seconds and time.perf_counter() - began > most_seconds:
            break
        evaluation = Evaluation.objects.select_related(
            "protocol", "testset", "submission__testset", "submission__challenge", "submission__phase", "submission__team",
            "submission__image", "submission__predictions",
        ).get(id=row)  # fmt: skip
        protocol = rules_of(evaluation.protocol)
        for case in evaluation.testset.cases.all():
            scores = [
                [label.name, spec.id, round(chance.random(), 4), ""]
                for label in protocol.labels
                for spec in protocol.metrics
            ]
            services.store_case_scores(evaluation_id=evaluation.id, case_pk=case.pk, scores=scores)
            cases += 1
        results = collect_results(evaluation=evaluation, protocol=protocol, now=timezone.now())
        flow.finish_scoring(lease=lease, results=results, now=timezone.now())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Scored(cases=cases, seconds=time.perf_counter() - began, peak_memory_bytes=peak)


def rebuild(phase) -> float:
    """Rank the phase, as one more result asks for. How many seconds that took."""
    from django.utils import timezone

    from assay.leaderboards.services import ask_for_rebuild, rebuild_leaderboard

    ask_for_rebuild(phase_id=phase.pk, now=timezone.now())
    began = time.perf_counter()
    if not rebuild_leaderboard(phase_id=phase.pk, now=timezone.now()):
        raise SystemExit("found a ranking that nobody rebuilt; expected one that was asked for")
    return time.perf_counter() - began


def processor_seconds(home: "Home") -> dict[str, float]:
    """Processor time so far of this process with its scripted nodes, of the web server, and of the database."""
    var = f"ASSAY_VAR={home.path.parent}".encode()
    web = [process.parent.name for process in Path("/proc").glob("[0-9]*/environ") if is_web_server(process, var=var)]
    postmaster = home.database_pid_file.read_text().split()[0]
    backends = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return {
        "scripted nodes and readers": time.process_time(),
        "web server": sum(map(own_seconds, web)),
        "database": sum(map(own_seconds, [postmaster, *backends])),
    }


def is_web_server(environment: Path, *, var: bytes) -> bool:
    """Whether a process, by the file of its environment, serves this installation's pages."""
    try:
        return var in environment.read_bytes() and b"gunicorn" in environment.with_name("cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return False


def own_seconds(pid: str) -> float:
    """Processor time of one process, 0 where it has ended."""
    try:
        user, system = (Path("/proc") / pid / "stat").read_text().rpartition(")")[2].split()[11:13]
    except OSError:
        return 0.0
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def shares(burnt: dict[str, float], *, seconds: float) -> str:
    """Which part kept how many processors busy."""
    return ", ".join(f"{part} {spent / seconds:.2f}" for part, spent in burnt.items()) + " processors"


def count_done() -> int:
    """Submissions that are done."""
    from assay.submissions.models import Submission

    return Submission.objects.filter(status="done").count()


def challenges_cost(*, url: str, many: int, timings: Timings) -> tuple[float, float]:
    """Milliseconds of the list of challenges with few and with many of them."""
    import factories

    def middle(what: str) -> float:
        with httpx.Client(base_url=url, timeout=120) as http:
            for _ in range(10):
                timings.measure(what, lambda: http.get("/"))
        return 1000 * statistics.median(timings.seconds[what])

    few = middle("list of few")
    for _ in range(many):
        factories.phase(challenge=factories.challenge())
    return few, middle("list of many")


def table_bytes() -> dict[str, int]:
    """Size of each table with its indexes and long values."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND relname = ANY(%s)",
            [list(TABLES)],
        )
        return dict(cursor.fetchall())


def dearer(seconds: list[float]) -> float:
    """Median of the last tenth over median of the first."""
    tenth = max(1, len(seconds) // 10)
    return statistics.median(seconds[-tenth:]) / max(1e-9, statistics.median(seconds[:tenth]))


def table(
    *,
    asked: argparse.Namespace,
    timings: Timings,
    ran: float,
    scored: Scored,
    rebuilt: list[float],
    thousandth: tuple[float, float],
) -> list[str]:
    """The figures as lines of a README."""
    before = f" after {asked.finished} that were done" if asked.finished else ""
    title = f"{asked.nodes} nodes, {asked.submissions} submissions{before} of {asked.cases} cases, {asked.threads} requests at once"
    records = timings.seconds["record"]
    tenth = max(1, len(records) // 10)
    first, last = (1000 * statistics.median(part) for part in (records[:tenth], records[-tenth:]))
    lines = [f"| {title} | median, ms | p95, ms |", "|---|---|---|"]
    lines += [
        f"| {what} | {timings.middle_and_p95(what)} |"
        for what in ("claim", "output", "record", "page: leaderboard", "page: challenge")
    ]
    return [
        *lines,
        "",
        "| | |",
        "|---|---|",
        f"| case runs, from claim to record | {len(records)} in {ran:.0f} s: {len(records) / ran:.0f} a second |",
        f"| record, median of the first and of the last tenth | {first:.0f} and {last:.0f} ms |",
        f"| cases scored, scores made up, one worker | {scored.cases} in {scored.seconds:.0f} s: {scored.rate:.0f} a second |",
        f"| memory of nodes and scoring together, at most | {scored.peak_memory_bytes / 2**20:.0f} MiB |",
        f"| ranking the phase, and again | {rebuilt[0]:.2f} and {rebuilt[1]:.2f} s |",
        f"| list of challenges with 1 and with {asked.challenges + 1} | {thousandth[0]:.0f} and {thousandth[1]:.0f} ms |",
    ]  # fmt: skip


def growth(before: dict[str, int], after: dict[str, int], *, cases: int) -> list[str]:
    """Bytes per case run by table."""
    return [
        f"| bytes of `{name}` per case run | {(after[name] - before[name]) / cases:.0f} |" for name in sorted(after)
    ]


if __name__ == "__main__":
    raise SystemExit(main())
