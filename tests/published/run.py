"""`python tests/published/run.py [--write]`: run the organizers' code over our inputs, compare with `golden/`, or write it.

The code lies under `var/published`: `README.md` beside this file says how it gets there. What is not there is said and left out.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from published.scripts import FILES, NAMES

HERE = Path(__file__).resolve().parent
PLACE = HERE.parents[1] / "var" / "published"
GOLDEN = HERE / "golden"


def what_is_missing(name: str, *, place: Path = PLACE) -> str:
    """Why a published code cannot be run here, or nothing."""
    if not (place / "venv" / "bin" / "python").exists():
        return f"{place / 'venv'} is not there: tests/published/README.md"
    if name in FILES and not (place / "scripts" / FILES[name]).exists():
        return f"{place / 'scripts' / FILES[name]} is not there: tests/published/README.md"
    return ""


def answers_of(name: str, *, place: Path = PLACE) -> dict[str, Any]:
    """What the published code answers now, in its own environment."""
    command = [str(place / "venv" / "bin" / "python"), str(HERE / "scripts.py"), str(place / "scripts"), name]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    return json.loads(said.stdout)  # type: ignore[no-any-return]  # what we print ourselves


def main() -> int:
    """Compare or write. 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write golden numbers instead of comparing with them")
    parser.add_argument("--place", type=Path, default=PLACE, help="where scripts and their environment lie")
    given = parser.parse_args()
    differing = 0
    for name in NAMES:
        missing = what_is_missing(name, place=given.place)
        if missing:
            print(f"{name}: left out, {missing}")
            continue
        found, file = answers_of(name, place=given.place), GOLDEN / f"{name}.json"
        if given.write:
            file.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{name}: written")
        else:
            same = found == json.loads(file.read_text())
            differing += not same
            print(f"{name}: {'as it was' if same else 'differs'}")
    return int(differing > 0)


if __name__ == "__main__":
    raise SystemExit(main())
