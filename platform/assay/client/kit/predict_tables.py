"""A sample algorithm that answers every case alike. It shows the contract. Put your own into `answer` and leave the rest as it is."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONTRACT: dict[str, Any] = json.loads(Path(__file__).with_name("contract.json").read_text())
INPUTS = Path(os.environ.get("KIT_INPUTS", CONTRACT["input_folder"]))
OUTPUTS = Path(os.environ.get("KIT_OUTPUTS", CONTRACT["output_folder"]))


def answer(case: str, source: Path) -> dict[str, str]:
    """One cell per column for a case. `source` is the file the case is in."""
    return dict(CONTRACT["columns"])


def main() -> None:
    """One row per case, found by name."""
    path = OUTPUTS / CONTRACT["output"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as target:
        table = csv.DictWriter(target, ["case", *CONTRACT["columns"]], delimiter=CONTRACT["separator"])
        table.writeheader()
        for case, source in cases():
            table.writerow({"case": case, **answer(case, source)})


def cases() -> Iterator[tuple[str, Path]]:
    """The cases of the first input: rows of a table, or files named after them."""
    for template in CONTRACT["inputs"].values():
        before, _, after = template.partition("{case}")
        paths = sorted(INPUTS.glob(template.replace("{case}", "*")))
        for path in paths:
            if path.suffix in (".tsv", ".csv"):
                with path.open(newline="") as source:
                    rows = list(csv.DictReader(source, delimiter="\t" if path.suffix == ".tsv" else ","))
                yield from ((row["case"], path) for row in rows)
            else:
                yield path.relative_to(INPUTS).as_posix()[len(before) : -len(after) or None], path
        if paths:
            return


if __name__ == "__main__":
    main()
