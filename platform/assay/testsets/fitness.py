"""Whether a test set can serve a protocol: what an organizer should know before the first submission meets it. Pure."""

from collections.abc import Iterable, Sequence

from assay.testsets.models import Case
from evaluator.protocol import MADE_INPUTS, MOST_SCORES, Protocol, scores_of_a_case

SHOWN = 5


def misfits(*, protocol: Protocol, cases: Sequence[Case], runs_containers: bool) -> list[str]:
    """What is wrong, in sentences. Empty when every case has what the protocol asks for."""
    problems: dict[str, list[str]] = {}
    for case in cases:
        for text in _misfits_of(case, protocol=protocol, runs_containers=runs_containers):
            problems.setdefault(text, []).append(case.case_id)
    found = [f"{text} ({_listed(names)})" for text, names in problems.items()]
    return [*found, *filter(None, [too_many_scores(protocol=protocol, cases=len(cases))])]


def too_many_scores(*, protocol: Protocol, cases: int) -> str:
    """Why no submission can be scored on so many cases. Empty when it can. Every score is a row that is kept."""
    found = scores_of_a_case(protocol) * cases
    if found <= MOST_SCORES:
        return ""
    return (
        f"{found} scores of each submission ({scores_of_a_case(protocol)} of each of {cases} cases); expected at most "
        f"{MOST_SCORES}: fewer cases, labels or metrics"
    )


def never_played(*, played: Iterable[Case], wanted: Iterable[Case]) -> list[str]:
    """The cases of another test set whose inputs are not those that were played: no earlier run has an answer to them."""
    known = {case.case_id: _inputs_of(case) for case in played}
    return [case.case_id for case in wanted if known.get(case.case_id) != _inputs_of(case)]


def _inputs_of(case: Case) -> dict[str, str]:
    return {file["name"]: file["sha256"] for file in case.inputs}


def _misfits_of(case: Case, *, protocol: Protocol, runs_containers: bool) -> list[str]:
    given = {file["name"] for file in case.inputs}
    texts = []
    if runs_containers:
        files = [item for item in protocol.inputs if item.kind not in MADE_INPUTS]
        texts += [f"no input {item.name}" for item in files if item.required and item.name not in given]
        told = [column for item in protocol.inputs for column in item.columns]
        texts += [
            f"no attribute {column}, which algorithms are told" for column in told if column not in case.attributes
        ]
    is_table = any(file["key"].endswith(".csv") for file in case.references)
    if is_table != (protocol.table_form is not None):
        expected = "a table" if protocol.table_form else "volumes"
        texts.append(f"references of another form; expected {expected}")
    return texts


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{'case' if len(names) == 1 else 'cases'} {', '.join(names[:SHOWN])}{more}"
