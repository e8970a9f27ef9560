"""Score whatever the platform that started this container has mounted: `python -m evaluator.container [INPUT OUTPUT]`."""

import os
import sys
from pathlib import Path

from evaluator.container.contracts import PROTOCOL_NAME, find_places, pair, result_document
from evaluator.errors import EvaluatorError, InvalidReference
from evaluator.protocol import load_protocol
from evaluator.scoring.case import summarise
from evaluator.scoring.many_cases import Budget, UnusableReference, score_cases
from evaluator.scoring.score_files import write_json

BAKED_IN = Path("/opt/assay") / PROTOCOL_NAME


def main(*, root: Path, arguments: list[str]) -> None:
    """Find the contract, score every reference, write the result."""
    places = find_places(root=root, arguments=arguments)
    source = places.references / PROTOCOL_NAME
    if not source.is_file() and not BAKED_IN.is_file():
        raise EvaluatorError(f"found no protocol; expected {PROTOCOL_NAME} in the references folder or {BAKED_IN}")
    protocol = load_protocol(source if source.is_file() else BAKED_IN)
    pairing = pair(protocol=protocol, places=places)
    budget = Budget(jobs=os.cpu_count() or 1)
    scored = {}
    for result in score_cases(protocol=protocol, cases=pairing.cases, budget=budget):
        if isinstance(result, UnusableReference):
            raise InvalidReference(f"case {result.case_id}: {result.problem}")
        scored[result.case_id] = result
    results = [scored[case.case_id] for case in pairing.cases]
    document = result_document(
        contract=places.contract, protocol=protocol, summary=summarise(protocol, results), results=results
    )
    places.result.parent.mkdir(parents=True, exist_ok=True)
    write_json(places.result, document)
    sys.stdout.write(f"{places.contract}: {len(results)} cases, {len(pairing.missing)} without a prediction\n")


if __name__ == "__main__":
    try:
        main(root=Path("/"), arguments=sys.argv[1:])
    except EvaluatorError as problem:
        sys.exit(str(problem))
