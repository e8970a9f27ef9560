"""A baseline of the organizers on a site's own data, before the data counts. All of it stays here.

References scored against themselves say that they are read. They do not say that scans and references belong together, that the scans
are in the orientation or the units that algorithms expect, or that this machine runs an algorithm at all. A baseline says that.
"""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from assay.node.folder import FolderCase
from assay.node.local import LocalResult, Workbench, provided_image, run_cases
from assay.node.site_data import checked_metrics
from assay.node.site_drafts import named, number_cases
from containers.engines import Engine
from containers.verdicts import Verdict
from evaluator.protocol import OutputKind, Protocol
from evaluator.results import CaseResult
from evaluator.scoring import score_case

OWNER = "site/baseline"
MOST_CASES = 5
"""Enough to see whether scans and references fit, and few enough to wait for."""


def run_baseline(
    image: str, *, cases: Sequence[FolderCase], protocol: Protocol, engine: Engine, folder: Path
) -> Iterable[LocalResult]:
    """The baseline on these cases, under the names that they have here. In the container they are numbers.

    Raises NotRun, UnsuitableHardware, ImageInvalid or EngineError.
    """
    numbered = number_cases(cases, everybody=cases)
    names = {case.case_id: name for case, name in zip(numbered, [case.case_id for case in cases], strict=True)}
    workbench = Workbench(engine=engine, folder=folder, owner=OWNER, may_lack_gpus=False)
    with provided_image(image, workbench=workbench, protocol=protocol) as image_id:
        for result in run_cases(cases=numbered, image_id=image_id, protocol=protocol, workbench=workbench):
            yield named(result, numbered=names)


def why_refused(results: Sequence[LocalResult], *, cases: Sequence[FolderCase], protocol: Protocol) -> str:
    """Why the data does not count as it is. Empty where the baseline answers, and one of its answers is worth more than none."""
    failed = [result for result in results if result.verdict is not Verdict.OK]
    if len(failed) == len(results):
        first = f"{failed[0].verdict} {failed[0].reason}".strip()
        return f"the baseline answered in none of {len(results)} cases ({first}); expected answers, as on the organizers' data."
    by_name = {case.case_id: case for case in cases}
    is_comparable = protocol.output.kind is not OutputKind.TABLE and checked_metrics(protocol)
    if is_comparable and not any(_is_worth_more(result, by_name[result.case_id], protocol) for result in results):
        return (
            f"the baseline's answers in {len(results)} cases are worth no more than no answer; expected at least one that is. Do scans and "
            "references belong together, and are inputs what the challenge calls them (--input)?"
        )
    return ""


def _is_worth_more(result: LocalResult, case: FolderCase, protocol: Protocol) -> bool:
    """Whether any number is another one than for a missing answer, which gets the worst."""
    nothing = score_case(protocol=protocol, case_id=case.case_id, references=case.references, predictions=None)
    wanted = checked_metrics(protocol)
    return _numbers(result.scores, wanted) != _numbers(nothing, wanted)


def _numbers(result: CaseResult, wanted: Collection[str]) -> dict[tuple[str, str], float | None]:
    return {(row.label, row.metric): row.value for row in result.rows if row.metric in wanted}
