"""`python tests/fuzz/run.py` (`make fuzz`): schemathesis against a served installation, as everybody who may ask.

Every operation of the API's description is sent generated values, NUL and huge ones among them, for `--minutes` as each role. An answer
of 500 or above is a fault of ours; anything else is right. Schemathesis is no part of what is installed for development: it is fetched from
the Python index into a virtual environment of its own, which is kept.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import installation

VERSION = "4.32.5"
PASSWORD = "correct horse battery"
SECONDS_OF_A_MINUTE = 60
ROLES = ("anonymous", "participant", "organizer", "operator", "node", "site")
FREE = {"ASSAY_THROTTLE_ANONYMOUS": "1000000/m", "ASSAY_THROTTLE_USER": "1000000/m", "ASSAY_THROTTLE_NODE": "1000000/m"}
"""Requests that are refused for their number try nothing."""
FREE |= {"ASSAY_THROTTLE_SITE": "1000000/m", "ASSAY_THROTTLE_SIGN_IN": "1000000/m", "ASSAY_NODE_SLOTS": "0"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What schemathesis said of one role."""

    role: str
    status: int
    requests: int
    server_errors: int
    words: str


def schemathesis(folder: Path) -> Path:
    """The program, installed if it is not there yet."""
    program = folder / "bin" / "st"
    if not program.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run(
            [folder / "bin" / "python", "-m", "pip", "install", "--quiet", f"schemathesis=={VERSION}"], check=True
        )
    return program


def tokens(url: str, *, folder: Path) -> Mapping[str, str]:
    """A token of each role. The challenge, its phase and its test set are there, and something was handed in."""
    people = {name: signed_up(url, name) for name in ("olga", "pia", "stan")}
    promote("stan", folder=folder)
    olga, stan = api(url, people["olga"]), api(url, people["stan"])
    olga.put("challenges/copycat", json={"source": installation.CHALLENGE, "dry_run": False}).raise_for_status()
    olga.post("challenges/copycat/publish").raise_for_status()
    api(url, people["pia"]).post("challenges/copycat/join", json={}).raise_for_status()
    site = olga.post("challenges/copycat/phases/main/sites", json={"name": "clinic", "title": "Clinic"})
    node = stan.post("nodes", json={"name": "fuzz", "pool": "fuzz", "slots": 4})
    return {
        "anonymous": "",
        "participant": people["pia"],
        "organizer": people["olga"],
        "operator": people["stan"],
        "node": node.raise_for_status().json()["token"],
        "site": site.raise_for_status().json()["token"],
    }


def api(url: str, token: str) -> httpx.Client:
    """A client of the API with this token."""
    return httpx.Client(base_url=f"{url}/api/v1/", headers={"Authorization": f"Bearer {token}"}, timeout=120)


def signed_up(url: str, name: str) -> str:
    """The token of somebody new."""
    with httpx.Client(base_url=f"{url}/api/v1/", timeout=120) as nobody:
        account = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "display_name": name}
        nobody.post("users", json=account).raise_for_status()
        asked = {"username": name, "password": PASSWORD, "name": "fuzz", "days": 1}
        return str(nobody.post("tokens", json=asked).raise_for_status().json()["token"])


def promote(name: str, *, folder: Path) -> None:
    """Make somebody an operator."""
    surroundings = os.environ | {"ASSAY_VAR": str(folder / "var")}
    subprocess.run([installation.ASSAY, "admin", "promote", name], env=surroundings, check=True, capture_output=True)


def fuzz(program: Path, *, url: str, role: str, token: str, minutes: float, seed: int, folder: Path) -> Outcome:
    """One role for so long."""
    report = folder / f"{role}.ndjson"
    command = [
        program,
        "run",
        f"{url}/api/v1/openapi.json",
        "--checks",
        "not_a_server_error",
        "--phases",
        "coverage,fuzzing",
    ]
    command += [
        "--max-time",
        str(round(minutes * SECONDS_OF_A_MINUTE)),
        "--mode",
        "all",
        "--seed",
        str(seed),
        "--no-shrink",
    ]
    command += ["--generation-allow-x00", "true", "--generation-database", "none", "--request-timeout", "60"]
    command += ["--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off", "--no-color"]
    command += ["--report", "ndjson", "--report-ndjson-path", report]
    if token:
        command += ["--header", f"Authorization:Bearer {token}"]
    ended = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, cwd=folder)
    statuses = list(answered(report))
    errors = sum(status >= httpx.codes.INTERNAL_SERVER_ERROR for status in statuses)
    return Outcome(
        role=role,
        status=ended.returncode,
        requests=len(statuses),
        server_errors=errors,
        words=ended.stdout + ended.stderr,
    )


def answered(report: Path) -> Iterator[int]:
    """The status of every answer that the report tells of."""
    with report.open(encoding="utf-8") as lines:
        for line in lines:
            yield from statuses_in(json.loads(line))


def statuses_in(event: object) -> Iterator[int]:
    """Every `status_code` within."""
    if isinstance(event, dict):
        for key, value in event.items():
            if key == "status_code" and isinstance(value, int):
                yield value
            else:
                yield from statuses_in(value)
    elif isinstance(event, list):
        for value in event:
            yield from statuses_in(value)


def main(arguments: Sequence[str]) -> int:
    """Every role in turn; 1 where any server error was answered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="for each role")
    parser.add_argument("--role", action="append", choices=ROLES, help="only this one; may be given again")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--venv", type=Path, default=Path("var/fuzz"), help="where schemathesis is installed")
    options = parser.parse_args(arguments)
    program = schemathesis(options.venv.absolute())
    outcomes = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="assay-fuzz-")))
        folder.chmod(0o711)
        url = stack.enter_context(installation.running_installation(folder=folder, **FREE))
        known = tokens(url, folder=folder)
        for role in options.role or ROLES:
            outcome = fuzz(
                program,
                url=url,
                role=role,
                token=known[role],
                minutes=options.minutes,
                seed=options.seed,
                folder=folder,
            )
            print(f"{role}: {outcome.requests} requests, {outcome.server_errors} server errors", flush=True)
            if outcome.server_errors or outcome.status not in (0, 1) or not outcome.requests:
                print(outcome.words, flush=True)
            outcomes.append(outcome)
    return int(any(outcome.server_errors or not outcome.requests for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
