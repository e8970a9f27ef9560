"""`python tests/benchmarks/pages.py` (part of `make bench`): how long pages take with ten thousand submissions.

Seeds 10 000 submissions of 200 cases each (two million case runs, two million rows of case scores, one leaderboard that shows
every submission) and asks a real web server for each page again and again: one client alone, then several at once.
"""

import argparse
import secrets
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import httpx
from figures import beside_bar, host, keep
from server import own_database, running_web

SLOWEST_MS = 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--submissions", type=int, default=10_000)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--teams", type=int, default=200)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--clients", type=int, default=4, help="how many ask at once, in the last columns")
    parser.add_argument("--write", action="store_true", help="keep the table in tests/benchmarks/README.md")
    asked = parser.parse_args()
    with own_database():
        from crowd import pages_of, seed

        began = time.perf_counter()
        crowd = seed(submissions=asked.submissions, cases=asked.cases, teams=asked.teams)
        total = asked.submissions * asked.cases
        print(f"seeded {asked.submissions} submissions, {total} case scores in {time.perf_counter() - began:.0f} s\n")
        people = {who: cookie_of(getattr(crowd, who)) for who in ("participant", "organizer", "operator")}
        lines = [
            f"| page | who | first | one client: median | p95, at most {SLOWEST_MS} | {asked.clients} clients at once: median | p95 |",
            "|---|---|---|---|---|---|---|",
        ]
        print(*lines, sep="\n")
        with running_web() as url:
            for what, who, address in pages_of(crowd):
                cookie = people.get(who, "")
                first, *alone = seconds_of(url=url, cookie=cookie, address=address, requests=asked.requests)
                together = crowded(
                    url=url, cookie=cookie, address=address, requests=asked.requests, clients=asked.clients
                )
                cells = [
                    f"{1000 * first:.0f}",
                    f"{1000 * statistics.median(alone):.0f}",
                    beside_bar(p95_ms(alone), bar=SLOWEST_MS),
                    f"{1000 * statistics.median(together):.0f}",
                    f"{p95_ms(together):.0f}",
                ]
                lines.append(f"| {what} | {who} | {' | '.join(cells)} |")
                print(lines[-1], flush=True)
        lines += ["", f"{asked.submissions} submissions, {total} case scores; {host()}."]
        print(*lines[-2:], sep="\n")
    if asked.write:
        keep(lines, program="pages")


def cookie_of(user) -> str:
    """A signed-in session's cookie."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY

    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(user.pk), settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session["nonce"] = secrets.token_hex(4)
    session.save()
    return f"{settings.SESSION_COOKIE_NAME}={session.session_key}"


def seconds_of(*, url: str, cookie: str, address: str, requests: int) -> list[float]:
    """How long complete answers took, one after the other."""
    taken = []
    with httpx.Client(base_url=url, headers={"Cookie": cookie}, timeout=120) as http:
        for _ in range(requests):
            began = time.perf_counter()
            answer = http.get(address)
            taken.append(time.perf_counter() - began)
            if answer.status_code != httpx.codes.OK:
                raise SystemExit(f"{address} answered {answer.status_code}: {answer.text[:300]}")
    return taken


def crowded(*, url: str, cookie: str, address: str, requests: int, clients: int) -> list[float]:
    """The same of several clients that ask at once."""
    share = -(-requests // clients)
    with ThreadPoolExecutor(clients) as pool:
        asking = [
            pool.submit(seconds_of, url=url, cookie=cookie, address=address, requests=share) for _ in range(clients)
        ]
        return [seconds for client in asking for seconds in client.result()]


def p95_ms(seconds: list[float]) -> float:
    """The 95th percentile in milliseconds."""
    return 1000 * statistics.quantiles(seconds, n=20)[-1]


if __name__ == "__main__":
    main()
