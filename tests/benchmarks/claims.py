"""`python tests/benchmarks/claims.py` (part of `make bench`): how fast case runs are claimed, and whether in fair order.

Ten thousand case runs of fifty teams are queued in a PostgreSQL of their own, in a folder that is gone afterwards. Eight agents
claim over HTTP from a real web server, then eight threads by the SQL statement.
"""

import random
import threading
import time
from collections.abc import Callable

import httpx
from django.db import connection
from server import own_database, running_web

TEAMS, SUBMISSIONS_PER_TEAM, CASES, WORKERS, API_CLAIMS = 50, 10, 20, 8, 1600


def main() -> None:
    """Measure and print."""
    with own_database():
        queued, tokens = seed()
        with running_web() as url:
            over_api = measure([lambda token=token: claim_over_api(url=url, token=token) for token in tokens])
        fair = longest_wait_in_claims()
        by_statement = measure([claim_by_statement] * WORKERS)
    print(f"case runs queued, of {TEAMS} teams                 {queued:>8}")
    print(f"claims through the node API, {WORKERS} agents      {over_api:>8.0f} /s")
    print(f"claims by the statement, {WORKERS} threads         {by_statement:>8.0f} /s")
    print(f"claims between two of the same team, at most  {fair:>8}  (perfectly fair: {TEAMS})")


def seed() -> tuple[int, list[str]]:
    """Queue the case runs of every team; returns how many, and the agents' tokens."""
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
        enrol_node(name=f"node-{number}", pool="default", slots=1, by=None, now=factories.NOW)[1]
        for number in range(WORKERS)
    ]
    return CaseRun.objects.filter(status="queued").count(), tokens


def claim_over_api(*, url: str, token: str) -> int:
    """One agent's share of the claims."""
    done = 0
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
        while done < API_CLAIMS // WORKERS and http.post("/api/v1/node/claim", json={}).status_code == 200:
            done += 1
    return done


def claim_by_statement() -> int:
    """One thread's claims, until nothing is left."""
    from assay.runs.leases import claim_case_run
    from assay.runs.models import Node

    done, node = 0, Node.objects.order_by("?").first()
    while claim_case_run(node_id=node.pk, pool="default", lease_seconds=600) is not None:
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
