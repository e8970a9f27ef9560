"""`python tests/benchmarks/many_cases.py` (part of `make bench`): one submission on a thousand tiny cases, through a whole installation.

Nothing may grow with the number of cases: not the memory or descriptors of the node agent, the workers and the web server, nor what
lies on the host. Everything is counted by its own names, so that others may use the same machine. Ends with 1 where something grew.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures import keep

import installation
from assay.client.http import Connection
from assay.client.uploads import describe_file, upload_file
from leftovers import loop_devices_now

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "sandbox.md"
WARMING_CASES = 120
"""More than scoring reads at once (`specs.ROWS_AT_ONCE`): so much memory is needed whatever the number of cases."""
WARMING_PHASE = """
  - slug: warming
    title: Warming up
    kind: container
    opens_at: "2026-01-01T00:00:00Z"
    closes_at: "2099-01-01T00:00:00Z"
    submission_limit: 5
    submission_window_days: 1
"""
PASSWORD = "correct horse battery"
SETTLING_SECONDS = 3.0
LOOK_SECONDS = 2.0
ROLES = {"node": "assay.node", "web": "gunicorn", "scoring": "scoring", "workflow": "workflow"}
"""What the command line of each process of an installation has in it. The first that fits counts."""
FLAT_MIB, FLAT_DESCRIPTORS = 12.0, 6
"""How far two looks may differ where nothing grows: allocators and connection pools breathe. A leak of 16 KiB per case is more."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What may not grow: resident memory and open descriptors by role, and what is on the host by kind."""

    mib: dict[str, float]
    descriptors: dict[str, int]
    on_host: dict[str, int]


def main() -> int:
    """Measure and print. 1 where something grew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--write", action="store_true", help="put the table into docs/reference/sandbox.md")
    options = parser.parse_args()
    cases = options.cases
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with installation.running_installation(folder=folder) as url:
            pia, entered = enter(url=url, folder=folder, cases=cases)
            looks, seconds, submission = watch(lambda: pia.get(f"submissions/{entered}"), folder=folder, cases=cases)
    lines = table(looks)
    print(f"{cases} tiny cases through one submission, {cases / seconds:.1f} per second; it ended {submission['status']}, "
          f"{submission['progress']['failed']} cases failed", *lines, sep="\n")  # fmt: skip
    if options.write:
        keep(lines, program="many_cases", readme=PAGE)
    grown = what_grew(looks[0], looks[-1])
    is_done = (submission["status"], submission["progress"]["failed"]) == ("done", 0)
    print(f"grew: {', '.join(grown) or 'nothing'}")
    return 0 if is_done and not grown else 1


def table(looks: list[Footprint]) -> list[str]:
    """What was seen after a tenth, half and all of the cases, as lines of a README."""
    lines = ["| | after a tenth | after half | after all |", "|---|---|---|---|"]
    for kind, words in (
        ("mib", "{}: resident MiB"),
        ("descriptors", "{}: open descriptors"),
        ("on_host", "{} on the host"),
    ):
        for key in getattr(looks[0], kind):
            cells = (str(getattr(look, kind)[key]) for look in looks)
            lines.append(f"| {words.format(key)} | {' | '.join(cells)} |")
    return lines


def what_grew(warm: Footprint, end: Footprint) -> list[str]:
    """The names of what is larger at the end, or lies on the host at all."""
    memory = [f"memory of {role}" for role, mib in end.mib.items() if mib - warm.mib[role] > FLAT_MIB]
    open_files = [
        f"descriptors of {role}"
        for role, count in end.descriptors.items()
        if count - warm.descriptors[role] > FLAT_DESCRIPTORS
    ]
    return memory + open_files + [kind for kind, count in end.on_host.items() if count]


def enter(*, url: str, folder: Path, cases: int) -> tuple[Connection, str]:
    """Olga opens a phase with that many cases. Pia enters an image that copies its input. Pia, and her submission's id.

    Some cases in a phase of their own come first: every process has then done once what it loads, opens and reads at once.
    """
    olga, pia = person(url, "olga"), person(url, "pia")
    olga.put("challenges/copycat", {"source": installation.CHALLENGE + WARMING_PHASE, "dry_run": False})
    push(olga, folder=folder / "few", cases=WARMING_CASES, phase="warming")
    push(olga, folder=folder / "many", cases=cases, phase="main")
    olga.post("challenges/copycat/publish")
    pia.post("challenges/copycat/join", {})
    image = {"upload_id": upload(pia, installation.copying_image(folder), "image"), "name": "Copier"}
    first = pia.post("challenges/copycat/phases/warming/submissions", image)["id"]
    while not pia.get(f"submissions/{first}")["finished_at"]:
        time.sleep(LOOK_SECONDS)
    return pia, pia.post("challenges/copycat/phases/main/submissions", {**image, "allow_duplicate": True})["id"]


def push(olga: Connection, *, folder: Path, cases: int, phase: str) -> None:
    """A test set of that many cases, for a phase that names it as the phase is named."""
    archive = installation.tar_folder(installation.write_testset(folder, cases=cases))
    testset = {"name": phase, "upload_id": upload(olga, archive, "testset"), "is_public": False, "phases": [phase]}
    olga.post("challenges/copycat/testsets", testset)


def person(url: str, name: str) -> Connection:
    """Somebody new, signed in."""
    nobody = Connection(url=url)
    nobody.post("users", {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "display_name": name})
    token = nobody.post("tokens", {"username": name, "password": PASSWORD, "name": "bench", "days": 1})["token"]
    return Connection(url=url, token=token)


def upload(connection: Connection, path: Path, purpose: str) -> str:
    """Send a file. Its id."""

    def quiet(done: int, total: int) -> None:
        """Progress nobody watches."""

    file = describe_file(path=path, on_progress=quiet)
    return upload_file(connection=connection, file=file, purpose=purpose, on_progress=quiet)


def watch(ask: Callable[[], dict], *, folder: Path, cases: int) -> tuple[list[Footprint], float, dict]:
    """Footprints after a tenth, half and all of the cases, the seconds from first to last, and the submission as it ended."""
    looks: list[Footprint] = []
    wanted = [cases // 10, cases // 2]
    started = time.monotonic()
    while True:
        submission = ask()
        done = (submission["progress"] or {}).get("done", 0)
        if not done and submission["status"] in ("received", "checking", "queued"):
            started = time.monotonic()
        if wanted and done >= wanted[0]:
            wanted.pop(0)
            looks.append(footprint(folder))
        if submission["finished_at"]:
            break
        time.sleep(LOOK_SECONDS)
    seconds = time.monotonic() - started
    time.sleep(SETTLING_SECONDS)
    return [*looks, footprint(folder)], seconds, submission


def footprint(folder: Path) -> Footprint:
    """Of every process of the installation in `folder`, and of the host."""
    mib, descriptors = dict.fromkeys(ROLES, 0.0), dict.fromkeys(ROLES, 0)
    for role, process in processes_of(folder):
        status = (process / "status").read_text("ascii").splitlines()
        resident_kib = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        mib[role] = round(mib[role] + resident_kib / 1024, 1)
        descriptors[role] += len(list((process / "fd").iterdir()))
    return Footprint(mib=mib, descriptors=descriptors, on_host=on_host(folder))


def processes_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """The roles and `/proc` folders of the installation's long-lived processes: those that know its folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended meanwhile, or belongs to somebody else
            continue
        role = next((role for role, word in ROLES.items() if word in command), None)
        if role and f"ASSAY_VAR={folder / 'var'}".encode() in environment:
            yield role, process


def on_host(folder: Path) -> dict[str, int]:
    """Containers, loop devices, mounts and scratch folders of this installation beyond the cases that run just now.

    There are none when nothing runs. While cases run, each has one of each.
    """
    listed = subprocess.run(["docker", "ps", "-aq"], capture_output=True, text=True, check=True).stdout.split()
    inspected = subprocess.run(["docker", "inspect", *listed], capture_output=True, text=True, check=False).stdout
    documents = json.loads(inspected or "[]")
    return {
        "containers": sum(str(folder) in json.dumps(document["Mounts"]) for document in documents),
        "loop devices": len(loop_devices_now(folder)),
        "mounts": sum(str(folder) in line for line in Path("/proc/mounts").read_text().splitlines()),
        "scratch folders": len(list((folder / "var" / "node" / "scratch").glob("*"))),
    }


if __name__ == "__main__":
    raise SystemExit(main())
