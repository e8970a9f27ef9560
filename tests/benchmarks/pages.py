"""`python tests/benchmarks/pages.py` (part of `make bench`): how long lists and leaderboards take with ten thousand submissions.

Seeds 10 000 submissions of 200 cases each (two million case runs, two million rows of case scores, one leaderboard that shows
every submission) and asks a real web server for each page again and again, as a participant and as an organizer.
"""

import argparse
import secrets
import statistics
import time
from importlib import import_module

import httpx
from server import own_database, running_web

SLOWEST_MS = 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--submissions", type=int, default=10_000)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--teams", type=int, default=200)
    parser.add_argument("--requests", type=int, default=60)
    asked = parser.parse_args()
    with own_database():
        from crowd import pages_of, seed

        began = time.perf_counter()
        crowd = seed(submissions=asked.submissions, cases=asked.cases, teams=asked.teams)
        total = asked.submissions * asked.cases
        print(f"seeded {asked.submissions} submissions, {total} case scores in {time.perf_counter() - began:.0f} s\n")
        with running_web() as url:
            people = {"participant": session_of(crowd.participant), "organizer": session_of(crowd.organizer)}
            print(f"{'milliseconds':<52}{'median':>8}{'p95':>8}")
            for who, address in pages_of(crowd):
                measure(url=url, cookie=people[who], who=who, address=address, requests=asked.requests)


def session_of(user) -> str:
    """A signed-in session's cookie."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY

    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(user.pk), settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session["nonce"] = secrets.token_hex(4)
    session.save()
    return f"{settings.SESSION_COOKIE_NAME}={session.session_key}"


def measure(*, url: str, cookie: str, who: str, address: str, requests: int) -> None:
    """One line: median and 95th percentile of complete answers, one after the other."""
    taken = []
    with httpx.Client(base_url=url, headers={"Cookie": cookie}, timeout=120) as http:
        for _ in range(requests):
            began = time.perf_counter()
            answer = http.get(address)
            taken.append(1000 * (time.perf_counter() - began))
            if answer.status_code != httpx.codes.OK:
                raise SystemExit(f"{address} answered {answer.status_code}: {answer.text[:300]}")
    p95 = statistics.quantiles(taken, n=20)[-1]
    mark = "" if p95 < SLOWEST_MS else f"   over {SLOWEST_MS}"
    print(f"{who + ' ' + address:<52.52}{statistics.median(taken):>8.0f}{p95:>8.0f}{mark}", flush=True)


if __name__ == "__main__":
    main()
