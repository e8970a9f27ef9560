"""What a run of the driver found: what must not be, a table for people, and the figures kept in `README.md`.

`--write` keeps the figures of a run in `figures/<broker>.json` and rewrites the tables between the markers of the README from
all files there. Nobody types a figure: a test makes the tables again from the files and compares.
"""

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
README, FIGURES = FOLDER / "README.md", FOLDER / "figures"
BEGIN, END = "<!-- chaos: written by tests/chaos/driver.py --write -->", "<!-- chaos ends -->"
MEMORY_GROWTH, MEMORY_SLACK_MIB = 1.2, 24
"""What a role may use at the end of a run, in terms of what it used before: allocators keep a little more than was ever needed."""
FEWEST_SAMPLES = 60
"""Below that a run was too short to say anything about memory."""


@dataclass(frozen=True, kw_only=True)
class Struck:
    """One fault and how long it took until something moved again after it had been mended."""

    name: str
    recovery_seconds: float


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What one role's processes hold of the machine's memory: medians over the third and the last quarter of the samples.

    The first half is left out: a worker grows once, with its first backlog, and stays there.
    """

    role: str
    samples: int
    before_mib: float
    last_mib: float
    most_mib: float

    @property
    def is_flat(self) -> bool:
        """Whether it is where it was."""
        return self.samples < FEWEST_SAMPLES or self.last_mib <= MEMORY_GROWTH * self.before_mib + MEMORY_SLACK_MIB


@dataclass(kw_only=True)
class Report:
    """What was done and what came of it."""

    broker: str
    seed: int
    submissions: int
    cases: int
    """In each submission."""
    struck: list[Struck] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    endings_per_submission: dict[str, int] = field(default_factory=dict)
    """How many final events a submission's history holds → how many submissions; "1" alone is right."""
    scores: int = 0
    doubled: int = 0
    most_attempts: int = 0
    held_against_the_algorithm: int = 0
    """Case runs with any verdict but "ok": the algorithm is perfect."""
    charged_for_our_faults: int = 0
    containers_left: int = 0
    folders_left: int = 0
    pushes: dict[str, int] = field(default_factory=dict)
    """What the hostile organizer was answered: status → how often."""
    push_faults: list[str] = field(default_factory=list)
    """Which of the hostile files were answered with an error of ours."""
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        """Everything that must not be."""
        expected = self.submissions * self.cases
        found = {
            f"statuses {self.statuses}; expected {self.submissions} done": self.statuses != {"done": self.submissions},
            f"endings {self.endings_per_submission}; expected one of every submission": self.endings_per_submission
            != {"1": self.submissions},
            f"{self.scores} scores, {self.doubled} doubled; expected {expected} and none": self.scores != expected
            or self.doubled > 0,
            f"{self.charged_for_our_faults} attempts charged for our faults": self.charged_for_our_faults > 0,
            f"{self.held_against_the_algorithm} cases held against a perfect algorithm": self.held_against_the_algorithm
            > 0,
            f"{self.containers_left} containers left": self.containers_left > 0,
            f"{self.folders_left} folders left in the node's scratch": self.folders_left > 0,
            f"errors of ours for the hostile organizer: {', '.join(self.push_faults)}": bool(self.push_faults),
        } | {
            f"memory of {one.role}: {one.before_mib:.0f} → {one.last_mib:.0f} MiB": not one.is_flat
            for one in self.memory
        }
        return [problem for problem, is_so in found.items() if is_so]


def medians(*, role: str, samples: Sequence[float]) -> Memory:
    """The memory of a role from its samples in MiB, in the order they were taken."""
    quarter = max(1, len(samples) // 4)
    return Memory(
        role=role,
        samples=len(samples),
        before_mib=round(statistics.median(samples[-2 * quarter : -quarter] or samples), 1),
        last_mib=round(statistics.median(samples[-quarter:]), 1),
        most_mib=round(max(samples), 1),
    )


def table(report: Report) -> str:
    """In Markdown, for people on a terminal and in the README alike."""
    times = [one.recovery_seconds for one in report.struck]
    recovery = f"median {statistics.median(times):.1f} s, longest {max(times):.1f} s" if times else "nothing was struck"
    rows = [
        ("submissions, cases", f"{report.submissions}, {report.submissions * report.cases}"),
        ("duration, faults", f"{report.seconds:.0f} s, {len(report.struck)}"),
        ("final statuses", ", ".join(f"{count} {status}" for status, count in sorted(report.statuses.items()))),
        ("submissions that ended exactly once", str(report.endings_per_submission.get("1", 0))),
        ("scores, doubled", f"{report.scores}, {report.doubled}"),
        ("most attempts one case needed", str(report.most_attempts)),
        ("charged for our faults", str(report.charged_for_our_faults)),
        ("cases held against the algorithm", str(report.held_against_the_algorithm)),
        ("containers, scratch folders left", f"{report.containers_left}, {report.folders_left}"),
        ("until something moved again", recovery),
    ]
    if report.pushes:
        answers = ", ".join(f"{count} × {status}" for status, count in sorted(report.pushes.items()))
        rows.append(("the hostile organizer was answered", answers))
    rows += [
        (
            f"memory of {one.role}, third → last quarter (most)",
            f"{one.before_mib:.0f} → {one.last_mib:.0f} MiB ({one.most_mib:.0f})",
        )
        for one in report.memory
    ]
    lines = [f"**{report.broker}**, seed {report.seed}", "", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    lines += ["", "| fault | times | until something moved again: median, longest |", "| --- | --- | --- |"]
    for name, count in sorted(Counter(one.name for one in report.struck).items()):
        times = [one.recovery_seconds for one in report.struck if one.name == name]
        lines.append(f"| {name} | {count} | {statistics.median(times):.1f} s, {max(times):.1f} s |")
    return "\n".join(lines)


def write(report: Report) -> None:
    """Keep the figures and rewrite the tables."""
    FIGURES.mkdir(exist_ok=True)
    text = json.dumps(asdict(report), indent=1, ensure_ascii=False)
    (FIGURES / f"{report.broker}.json").write_text(f"{text}\n")
    README.write_text(with_tables(README.read_text()))


def with_tables(text: str) -> str:
    """The README with the tables of every kept figure between its markers."""
    head, rest = text.split(BEGIN)
    tables = "\n\n".join(table(read(path)) for path in sorted(FIGURES.glob("*.json")))
    return f"{head}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}"


def read(path: Path) -> Report:
    """Figures as `write` kept them."""
    kept = json.loads(path.read_text())
    kept["struck"] = [Struck(**one) for one in kept["struck"]]
    kept["memory"] = [Memory(**one) for one in kept["memory"]]
    return Report(**kept)
