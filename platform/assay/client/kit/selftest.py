"""Does the algorithm keep the contract? Runs it on the example and reads the outputs as the platform does.

    python3 selftest.py                # predict.py as it is, without Docker
    python3 selftest.py --image NAME   # in its container, without network and within the limits of the challenge

Needs `pip install assay[ingest]`; sends nothing anywhere. The example is made up: its scores say nothing about your algorithm.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from evaluator.errors import EvaluatorError
from evaluator.protocol import Protocol, load_protocol
from evaluator.results import CaseResult
from evaluator.scoring import score_case
from evaluator.table_files import canonicalise_table, read_table
from evaluator.tables import score_table

HERE = Path(__file__).resolve().parent
CONTRACT: dict[str, Any] = json.loads((HERE / "contract.json").read_text())
INPUTS, REFERENCES = HERE / "example" / "inputs", HERE / "example" / "references"


def main() -> int:
    """0 when every output could be used."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image", help="a local Docker image instead of predict.py")
    image = parser.parse_args().image
    protocol = load_protocol(HERE / "protocol.yaml")
    with tempfile.TemporaryDirectory(prefix="kit-") as folder:
        outputs = Path(folder)
        outputs.chmod(0o777)  # the container runs as a user of its own
        started = time.monotonic()
        ended = run_container(image, outputs) if image else run_here(outputs)
        if ended != 0:
            print(f"The algorithm ended with exit code {ended}; expected 0.")
            return 1
        results = score(protocol, outputs, seconds=time.monotonic() - started)
    for result in results:
        print(f"{result.case_id}: {describe(result)}")
    return 1 if any(result.failure for result in results) else 0


def run_here(outputs: Path) -> int:
    """predict.py with this Python."""
    folders = {"KIT_INPUTS": str(INPUTS), "KIT_OUTPUTS": str(outputs)}
    return subprocess.run([sys.executable, HERE / "predict.py"], env={**os.environ, **folders}, check=False).returncode


def run_container(image: str, outputs: Path) -> int:
    """The image as the platform starts it, as far as plain Docker can; `assay run` has the real sandbox."""
    limits = CONTRACT["limits"]
    options = ["--rm", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    options += [f"--memory={limits['memory_mb']}m", f"--pids-limit={limits['pids']}", f"--shm-size={limits['shm_mb']}m"]
    options += [f"--volume={INPUTS}:{CONTRACT['input_folder']}:ro", f"--volume={outputs}:{CONTRACT['output_folder']}"]
    if not CONTRACT["runs_as_root"]:
        options += ["--read-only", "--tmpfs=/tmp", "--user=65532:65532"]
    command = CONTRACT["command"] or []
    return subprocess.run(["docker", "run", *options, image, *command], check=False).returncode


def score(protocol: Protocol, outputs: Path, *, seconds: float) -> list[CaseResult]:
    """What the platform's strict reader and scorer make of the outputs."""
    try:
        if protocol.table_form is not None:
            reference, table = REFERENCES / "reference.csv", outputs / protocol.output.file
            read = outputs / "read.csv"
            names = {case: case for case in read_table(reference)}
            canonicalise_table(source=table, destination=read, form=protocol.table_form, names=names)
            return score_table(protocol=protocol, reference=reference, prediction=read)
        case_id: str = CONTRACT["example_case"]
        expected = {name: outputs / path for name, path in protocol.output_files(case_id).items()}
        missing = [str(path.relative_to(outputs)) for path in expected.values() if not path.is_file()]
        if missing:
            print(f"Not written: {', '.join(missing)}.")
        result = score_case(
            protocol=protocol,
            case_id=case_id,
            references={name: REFERENCES / path for name, path in protocol.output_files(case_id).items()},
            predictions=None if missing else expected,
            failure="output_missing" if missing else None,
            telemetry={"wall_seconds": seconds},
        )
    except EvaluatorError as problem:
        raise SystemExit(f"The outputs could not be read: {problem}") from problem
    return [result]


def describe(result: CaseResult) -> str:
    """The failure, or the mean of every metric."""
    if result.failure:
        return f"cannot be used: {result.failure}"
    values: dict[str, list[float]] = {}
    for row in result.rows:
        if row.value is not None:
            values.setdefault(row.metric, []).append(row.value)
    return "read; " + ", ".join(f"{metric} {sum(found) / len(found):.3f}" for metric, found in values.items())


if __name__ == "__main__":
    raise SystemExit(main())
