"""`python -m evaluator.bench [--rounds N] [--cases abd,hn,feta] [--quick] [--write]`: print every figure that page quotes.

With `--folders R P` or `--files R P` it measures label maps of your own and nothing else.

`--write` puts the tables between the markers in `docs/reference/evaluator.md`. Contenders that are not installed are left out, and
the output says so.
"""

import argparse
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from evaluator.bench.cases import CASES, Pair, adversarial
from evaluator.bench.contenders import largest_differences
from evaluator.bench.race import Entry, paired_ratio, race
from evaluator.bench.throughput import folders_of, measure_beside_pool, measure_throughput
from evaluator.kernel.library import describe
from evaluator.volumes.strict import present_values, read_label_map

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "evaluator.md"
MARKERS = "<!-- bench: begin -->", "<!-- bench: end -->"
OURS = (
    "assay",
    "assay, one thread",
    "assay, kept reference",
    "assay, kernel alone",
    "assay, untrusted output",
)
OTHERS = ("surface-distance", "exacta")
INFLATE = "libdeflate"


def main() -> int:
    options = _options()
    lines = Page()
    lines += [_host(), ""]
    if options.folders:
        references, predictions = options.folders
        lines += [
            measure_beside_pool(references, predictions, labels=options.labels or [1], most=options.most),
            _host(),
        ]
        return 0
    if options.files:
        labels = options.labels or values_of_both(*options.files)
        lines += _main_table({"files": labels}, {"files": tuple(options.files)}, rounds=options.rounds)
        lines += ["", _host()]
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        pairs = {name: CASES[name]() for name in options.cases}
        files = {name: pair.write(Path(scratch) / name) for name, pair in pairs.items()}
        lines += _main_table({name: pair.labels for name, pair in pairs.items()}, files, rounds=options.rounds)
        if "abd" in pairs and not options.quick:
            lines += ["", *_adversarial_table(pairs["abd"], Path(scratch), rounds=max(1, options.rounds // 3))]
        throughput = measure_throughput(files, pairs, folder=Path(scratch) / "many", count=options.throughput_cases)
        if importlib.util.find_spec("surface_distance"):
            sides = folders_of(files, Path(scratch) / "beside", count=options.pool_cases)
            most = max(len(pair.labels) for pair in pairs.values())
            throughput += "\n" + measure_beside_pool(*sides, labels=range(1, most + 1), most=options.pool_cases)
        lines += ["", throughput, f"`import evaluator`: {_import_seconds() * 1e3:.0f} ms.", _host()]
    if options.write:
        _write("\n".join(lines))
    return 0


def values_of_both(reference: Path, prediction: Path) -> list[int]:
    """The labels that every contender can measure: surface-distance stops at an empty mask."""
    present = [set(present_values(read_label_map(path).array)) for path in (reference, prediction)]
    return sorted((present[0] & present[1]) - {0})


class Page(list[str]):
    """Lines that are printed as they are added."""

    def __iadd__(self, lines: Iterable[str]) -> Self:  # type: ignore[misc,override]  # a narrower += than a list's
        """Add and print them one by one, as they come."""
        for line in lines:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            self.append(line)
        return self


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m evaluator.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="turns every contender takes (default 7)")
    parser.add_argument("--cases", type=lambda text: text.split(","), default=list(CASES), help="default: all")
    parser.add_argument(
        "--quick", action="store_true", help="three rounds, few cases side by side, nothing adversarial"
    )
    parser.add_argument("--write", action="store_true", help="keep the tables in docs/reference/evaluator.md")
    parser.add_argument(
        "--folders", nargs=2, type=Path, metavar=("REFERENCES", "PREDICTIONS"),
        help="only this: two folders of your own, by two jobs and by two processes of surface-distance",
    )  # fmt: skip
    parser.add_argument(
        "--files",
        nargs=2,
        type=Path,
        metavar=("REFERENCE", "PREDICTION"),
        help="only this: the table of one pair of yours",
    )
    parser.add_argument(
        "--labels",
        type=lambda text: [int(v) for v in text.split(",")],
        help="of these folders (default 1) or files (default: every value that both have)",
    )
    parser.add_argument("--most", type=int, default=40, help="pairs of these folders (default 40)")
    options = parser.parse_args()
    options.rounds = min(options.rounds, 3) if options.quick else options.rounds
    options.throughput_cases = 30 if options.quick else 200
    options.pool_cases = 3 if options.quick else 12
    return options


def _main_table(labels: dict[str, Sequence[int]], files: dict[str, tuple[Path, Path]], *, rounds: int) -> Iterator[str]:
    columns = ["case", "contender", "wall, ms", "processor, ms", "peak, MB", *(f"× {name}" for name in OTHERS)]
    columns += ["× surface-distance in processor time", "of libdeflate's inflate alone", "max ΔDice, ΔNSD, ΔHD95 mm"]
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    missing: set[str] = set()
    for case, pair in files.items():
        found = race((*OURS, *OTHERS, INFLATE), pair, labels=labels[case], rounds=rounds)
        missing |= {*OTHERS, INFLATE} - set(found)
        yield from (_row(case, entry, found) for entry in found.values())
    yield from (f"\n{name} is not installed here: left out." for name in sorted(missing))


def _row(case: str, entry: Entry, found: dict[str, Entry]) -> str:
    ratios = [_times_faster(found.get(other), entry) for other in OTHERS]
    differences = processor = inflate = ""
    if entry.name not in (*OTHERS, INFLATE) and "surface-distance" in found:
        processor = f"{found['surface-distance'].cpu_seconds / entry.cpu_seconds:.0f}"
    if entry.name not in (*OTHERS, INFLATE) and INFLATE in found:
        inflate = f"{paired_ratio(entry, found[INFLATE]).median:.2f}×"
    if entry.name != "surface-distance" and entry.scores and "surface-distance" in found:
        differences = _differences(entry, found["surface-distance"])
    return (
        f"| {case} | {entry.name} | {entry.seconds * 1e3:.1f} | {entry.cpu_seconds * 1e3:.1f} "
        f"| {entry.peak_bytes / 1e6:.0f} | {' | '.join(ratios)} | {processor} | {inflate} | {differences} |"
    )


def _times_faster(other: Entry | None, entry: Entry) -> str:
    """The median of paired runs and the extremes. Nothing where a contender would be compared with itself."""
    if other is None or entry.name in (*OTHERS, INFLATE):
        return ""
    ratio = paired_ratio(other, entry)
    return f"**{ratio.median:.0f}** ({ratio.low:.0f}–{ratio.high:.0f})"


def _differences(ours: Entry, theirs: Entry) -> str:
    worst = largest_differences(ours.scores, theirs.scores)
    return ", ".join(f"{value:.0e}" if value else "0" for value in worst)


def _adversarial_table(pair: Pair, scratch: Path, *, rounds: int) -> list[str]:
    lines = ["| adversarial pair | assay, ms | surface-distance, ms | faster by | max ΔDice, ΔNSD, ΔHD95 mm |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for name, hostile in adversarial(pair).items():
        files = hostile.write(scratch / name.replace(" ", "-"))
        found = race(("assay", "surface-distance"), files, labels=hostile.labels, rounds=rounds)
        ours, theirs = found["assay"], found["surface-distance"]
        lines.append(
            f"| {name} | {ours.seconds * 1e3:.1f} | {theirs.seconds * 1e3:.0f} "
            f"| {paired_ratio(theirs, ours).median:.0f}× | {_differences(ours, theirs)} |"
        )
    return lines


def _host() -> str:
    load = os.getloadavg()[0]
    serves = describe().removeprefix("evaluator: ")
    return (
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores, load {load:.1f}, Python {platform.python_version()}. "
        f"{serves[0].upper()}{serves[1:]}."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _import_seconds() -> float:
    """Of a fresh interpreter with the import, less one without: the best of five."""

    def seconds(program: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        return time.perf_counter() - start

    return min(seconds("import evaluator") for _ in range(5)) - min(seconds("") for _ in range(5))


def _write(text: str) -> None:
    page = PAGE.read_text()
    before, rest = page.split(MARKERS[0])
    after = rest.split(MARKERS[1])[1]
    PAGE.write_text(f"{before}{MARKERS[0]}\n{text}\n{MARKERS[1]}{after}")


if __name__ == "__main__":
    sys.exit(main())
