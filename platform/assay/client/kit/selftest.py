"""Does the algorithm keep the contract? Runs it on the example and reads the outputs as the platform does.

    python3 selftest.py                # predict.py as it is, without Docker
    python3 selftest.py --image NAME   # in its container, without network and within the limits of the challenge

Needs Assay with its `ingest` part (README.md says how to get it). Sends nothing anywhere.
The example is made up: its scores say nothing about your algorithm.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluator.errors import EvaluatorError
from evaluator.protocol import Protocol, load_protocol
from evaluator.results import CaseResult
from evaluator.scoring import make_prompts, score_case, score_table
from evaluator.volumes import canonicalise, canonicalise_table, read_grid, read_table

HERE = Path(__file__).resolve().parent
CONTRACT: dict[str, Any] = json.loads((HERE / "contract.json").read_text())
EXAMPLE: str = CONTRACT["example_case"]
REFERENCES = HERE / "example" / "references"

Run = Callable[[Path, Path], None]
"""Starts the algorithm on a folder of inputs. It writes into a folder of outputs."""


class Broken(Exception):
    """The algorithm does not keep the contract. The text says where."""


def main() -> int:
    """0 when every output could be used."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image", help="a local Docker image instead of predict.py")
    image = parser.parse_args().image
    run: Run = (lambda inputs, outputs: run_container(image, inputs, outputs)) if image else run_here
    try:
        results = check(load_protocol(HERE / "protocol.yaml"), run=run)
    except (Broken, EvaluatorError) as problem:
        print(problem)
        return 1
    for result in results:
        print(f"{result.case_id}: {describe(result)}")
    return 1 if any(result.failure for result in results) else 0


def check(protocol: Protocol, *, run: Run) -> list[CaseResult]:
    """Run the algorithm on the example, in rounds where the challenge has them, and score what it wrote."""
    with tempfile.TemporaryDirectory(prefix="kit-") as folder:
        inputs, outputs, read = (Path(folder, name) for name in ("inputs", "outputs", "read"))
        shutil.copytree(HERE / "example" / "inputs", inputs)
        outputs.mkdir()
        read.mkdir()
        Path(folder).chmod(0o755)
        outputs.chmod(0o777)  # the container runs as a user of its own
        started = time.monotonic()
        if protocol.interaction is not None:
            return [play(protocol, run=run, inputs=inputs, outputs=outputs, read=read)]
        run(inputs, outputs)
        if protocol.table_form is not None:
            return score_tables(protocol, outputs=outputs, read=read)
        predictions = read_volumes(protocol, outputs=outputs, read=read)
        return [score(protocol, [predictions], seconds=time.monotonic() - started)]


def run_here(inputs: Path, outputs: Path) -> None:
    """predict.py with this Python."""
    folders = {"KIT_INPUTS": str(inputs), "KIT_OUTPUTS": str(outputs)}
    refuse_failure(subprocess.run([sys.executable, HERE / "predict.py"], env={**os.environ, **folders}, check=False))


def run_container(image: str, inputs: Path, outputs: Path) -> None:
    """The image as the platform starts it, as far as plain Docker can. `assay run` has the real sandbox."""
    limits = CONTRACT["limits"]
    options = ["--rm", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    options += [f"--memory={limits['memory_mb']}m", f"--pids-limit={limits['pids']}", f"--shm-size={limits['shm_mb']}m"]
    options += [f"--volume={inputs}:{CONTRACT['input_folder']}:ro", f"--volume={outputs}:{CONTRACT['output_folder']}"]
    if not CONTRACT["runs_as_root"]:
        options += ["--read-only", "--tmpfs=/tmp", "--user=65532:65532"]
    command = CONTRACT["command"] or []
    refuse_failure(subprocess.run(["docker", "run", *options, image, *command], check=False))


def refuse_failure(ended: "subprocess.CompletedProcess[bytes]") -> None:
    """A program that failed has no answer."""
    if ended.returncode != 0:
        raise Broken(f"The algorithm ended with exit code {ended.returncode}; expected 0.")


def play(protocol: Protocol, *, run: Run, inputs: Path, outputs: Path, read: Path) -> CaseResult:
    """Every round: prompts made from where the answer so far is wrong, which are told with that answer."""
    told, seconds = None, 0.0
    answers: list[dict[str, Path]] = []
    for number in range(protocol.interaction.rounds if protocol.interaction else 0):
        latest = answers[-1] if answers else None
        told = make_prompts(
            protocol=protocol, number=number, references=references(protocol), predictions=latest, earlier=told
        )
        prompts = {"round": number, "structures": told.to_json()}
        (inputs / CONTRACT["prompts_file"].replace("{case}", EXAMPLE)).write_text(json.dumps(prompts))
        if latest:
            shutil.copyfile(next(iter(latest.values())), inputs / CONTRACT["previous_file"].replace("{case}", EXAMPLE))
        started = time.monotonic()
        run(inputs, outputs)
        seconds += time.monotonic() - started
        place = read / str(number)
        place.mkdir()
        answers.append(read_volumes(protocol, outputs=outputs, read=place))
    return score(protocol, answers, seconds=seconds)


def references(protocol: Protocol) -> dict[str, Path]:
    """The reference of the example, in the form of an answer."""
    return {name: REFERENCES / path for name, path in protocol.written_files(EXAMPLE).items()}


def read_volumes(protocol: Protocol, *, outputs: Path, read: Path) -> dict[str, Path]:
    """Every file the contract asks for, as the platform's strict reader writes it again."""
    files = {}
    reference = references(protocol)
    for number, (name, path) in enumerate(protocol.written_files(EXAMPLE).items()):
        if not (outputs / path).is_file():
            raise Broken(f"Not written: {path}.")
        files[name] = canonicalise(
            source=outputs / path,
            destination=read / f"{number}.nii.gz",
            grid=read_grid(reference[name]),
            allowed_values=protocol.allowed_values,
            channels=protocol.channels,
            tolerance=protocol.geometry,
        ).path
    return files


def score(protocol: Protocol, answers: list[dict[str, Path]], *, seconds: float) -> CaseResult:
    """The last answer, and the earlier ones where the challenge looks at them."""
    return score_case(
        protocol=protocol,
        case_id=EXAMPLE,
        references=references(protocol),
        predictions=answers[-1],
        earlier_rounds=answers[:-1],
        telemetry={"wall_seconds": seconds},
    )


def score_tables(protocol: Protocol, *, outputs: Path, read: Path) -> list[CaseResult]:
    """Every row of the table, as the platform's strict reader writes it again."""
    reference, table = REFERENCES / "reference.csv", outputs / protocol.output.file
    if protocol.table_form is None or not table.is_file():
        raise Broken(f"Not written: {protocol.output.file}.")
    names = {case: case for case in read_table(reference)}
    made = canonicalise_table(source=table, destination=read / "table.csv", form=protocol.table_form, names=names)
    return score_table(protocol=protocol, reference=reference, prediction=made.path)


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
