"""`python tests/benchmarks/claims.py` (part of `make bench`): how fast case runs are claimed, and whether in fair order.

Ten thousand case runs of fifty teams are queued in a PostgreSQL of their own, in a folder that is gone afterwards. Eight agents
claim over HTTP from a real web server, then eight threads by the SQL statement.
"""

import argparse
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import httpx
from django.db import connection
from figures import beside_bar, host, keep
from server import own_database, running_web

TEAMS, SUBMISSIONS_PER_TEAM, CASES, WORKERS = 50, 10, 20, 8
QUEUED, API_CLAIMS, CAPPED_CLAIMS = TEAMS * SUBMISSIONS_PER_TEAM * CASES, 1600, 800
WARM_UP = 10
"""Claims of each agent before the clock runs: a web server reads most of its code for its first request."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep the table in tests/benchmarks/README.md")
    asked = parser.parse_args()
    with own_database():
        queued, tokens = seed()
        with running_web() as url:
            measure([partial(claim_over_api, url=url, token=token, most=WARM_UP) for token in tokens])
            over_api = measure([partial(claim_over_api, url=url, token=token) for token in tokens])
        fair = longest_wait_in_claims()
        with capped_phase():
            capped = measure([partial(claim_by_statement, most=CAPPED_CLAIMS // WORKERS)] * WORKERS)
        by_statement = measure([claim_by_statement] * WORKERS)
    lines = [
        f"| {queued} case runs of {TEAMS} teams, {WORKERS} agents or threads at once | found | at least |",
        "|---|---|---|",
        row("claims a second through the node API", over_api, bar=150),
        row("claims a second by the statement", by_statement, bar=1000),
        row(f"the same while the phase and its teams have caps, {CAPPED_CLAIMS} of them", capped, bar=150),
        f"| claims between two of the same team, at most | {fair} | perfectly fair: {TEAMS} |",
        "",
        f"{host()}.",
    ]
    print(*lines, sep="\n")
    if asked.write:
        keep(lines, program="claims")


def row(what: str, per_second: float, *, bar: float) -> str:
    """One line of the table."""
    return f"| {what} | {beside_bar(per_second, bar=bar, is_least=True)} | {bar:g} |"


def seed() -> tuple[int, list[str]]:
    """Queue the case runs of every team. Returns how many, and the agents' tokens."""
    import factories
    from assay.runs import services
    from assay.runs.models import CaseRun
    from assay.runs.nodes import enrol_node

    challenge = factories.challenge()
    testset = factories.testset(challenge=challenge, case_ids=[str(number) for number in range(CASES)])
    phase = factories.phase(challenge=challenge, testset=testset)
    shuffle = random.Random(1)
    for _ in range(TEAMS):
        team = factories.team(members=[factories.user()])
        for _ in range(SUBMISSIONS_PER_TEAM):
            submission = factories.submission(phase=phase, team=team, status="queued")
            run = services.create_run(submission=submission, now=factories.NOW, shuffle=shuffle)
            services.queue_case_runs(run=run, case_runs=run.case_runs.filter(status="waiting"), now=factories.NOW)
    tokens = [
        enrol_node(name=f"node-{number}", pool="default", slots=API_CLAIMS, by=None, now=factories.NOW)[1]
        for number in range(WORKERS)
    ]
    return CaseRun.objects.filter(status="queued").count(), tokens


def claim_over_api(*, url: str, token: str, most: int = API_CLAIMS // WORKERS) -> int:
    """One agent's share of the claims."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
        for number in range(most):
            answer = http.post("/api/v1/node/claim", json={})
            if answer.status_code != 200:
                raise SystemExit(
                    f"Claim {number + 1} of an agent was answered with {answer.status_code}: {answer.text}"
                )
    return most


@contextmanager
def capped_phase() -> Iterator[None]:
    """What was claimed before has ended, and the phase has caps that nobody reaches: every claim has to count what runs."""
    from assay.challenges.models import Phase
    from assay.runs.models import CaseRun

    CaseRun.objects.filter(status="running").update(status="done")
    Phase.objects.update(running_limit=QUEUED, running_limit_per_team=QUEUED)
    yield
    Phase.objects.update(running_limit=None, running_limit_per_team=None)


def claim_by_statement(*, most: int = QUEUED) -> int:
    """One thread's claims, until there are as many or nothing is left."""
    from assay.runs.leases import claim_case_run
    from assay.runs.models import Node

    done, node = 0, Node.objects.order_by("?").first()
    while done < most and claim_case_run(node_id=node.pk, pool="default", lease_seconds=600) is not None:
        done += 1
    connection.close()
    return done


def measure(workers: list[Callable[[], int]]) -> float:
    """Claims per second of all workers together."""
    counts: list[int] = []
    threads = [threading.Thread(target=lambda work=work: counts.append(work())) for work in workers]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def longest_wait_in_claims() -> int:
    """Over the claims made so far: the most claims any team waited between two of its own."""
    from assay.runs.models import CaseRun

    order = (
        CaseRun.objects.filter(status="running")
        .order_by("started_at")
        .values_list("run__submission__team_id", flat=True)
    )
    last: dict[int, int] = {}
    longest = 0
    for place, team in enumerate(order):
        longest = max(longest, place - last.get(team, place))
        last[team] = place
    return longest


if __name__ == "__main__":
    main()
