"""JSON that tools and platforms write, as sheets: nnU-Net's summary, grand-challenge's evaluations, CodaBench's leaderboard.

    nnU-Net v2        {"metric_per_case": [{"metrics": {"1": {"Dice": …}}, "reference_file": …}], "mean": …}
    nnU-Net v1        {"results": {"all": [{"1": {"Dice": …}, "reference": …}], "mean": …}}
    grand-challenge   a page or list of evaluations: who submitted, and the metrics.json of each as an output
    CodaBench         {"Results": {"user-id": {"task-column": value}}}, or rows with `owner` and `scores`

The means that these files hold beside the cases are never read where there are cases.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from evaluator.ranking.score_files.sheets import ScoresError, Sheet, sheet_of_records

_ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd", ".tif", ".tiff", ".png")


def sheet_of_json(name: str, document: Any) -> Sheet:
    """The sheet of a JSON document, whatever wrote it. Raises `ScoresError`."""
    for reader in (_nnunet, _grand_challenge, _codabench):
        records = list(reader(document))
        if records:
            return sheet_of_records(name, records)
    return sheet_of_records(name, document)


def _nnunet(document: Any) -> Iterator[Mapping[str, Any]]:
    """One record per case and label, with nnU-Net's own names of metrics. Counts of voxels stay statistics."""
    if not isinstance(document, Mapping):
        return
    cases = document.get("metric_per_case")
    if cases is None:
        results = document.get("results")
        cases = results.get("all") if isinstance(results, Mapping) else None
    for case in cases if isinstance(cases, list) else ():
        file = case.get("reference_file") or case.get("reference") or case.get("prediction_file") or case.get("test")
        if not isinstance(file, str):
            raise ScoresError("nnU-Net summary: found a case without reference_file; expected one in each")
        labels = case.get("metrics", case)
        for label, values in labels.items():
            if isinstance(values, Mapping):
                # An absent structure has NaN there. JSON as nnU-Net writes it has the word.
                yield {"case": case_name(file), "label": str(label), **values}


def case_name(file: str) -> str:
    """The case that a file is named after."""
    name = PurePath(file.replace("\\", "/")).name
    return next((name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending)), name)


def _grand_challenge(document: Any) -> Iterator[Mapping[str, Any]]:
    """One record per submission and case, or per submission where its metrics have no cases."""
    pages = document.get("results") if isinstance(document, Mapping) else document
    if not isinstance(pages, list):
        return
    for evaluation in pages:
        submission = evaluation.get("submission") if isinstance(evaluation, Mapping) else None
        if not isinstance(submission, Mapping):
            return
        creator = submission.get("creator")
        who = creator.get("username") if isinstance(creator, Mapping) else creator
        row = {"algorithm": str(who), "submitted": str(submission.get("created", ""))}
        for metrics in _metrics_documents(evaluation):
            yield from ({**row, **record} for record in _cases_of_metrics(metrics))


def _metrics_documents(evaluation: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for output in evaluation.get("outputs", ()):
        interface = output.get("socket") or output.get("interface") or {}
        if interface.get("slug") == "metrics-json-file" and isinstance(output.get("value"), Mapping):
            yield output["value"]


def _cases_of_metrics(metrics: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A metrics.json: per-case values as {"case": {"dice": {"0": …}}} or a list of results, else its aggregates."""
    by_metric = metrics.get("case")
    if isinstance(by_metric, Mapping) and all(isinstance(values, Mapping) for values in by_metric.values()):
        cases = dict.fromkeys(case for values in by_metric.values() for case in values)
        for case in cases:
            yield {"case": str(case), **{name: values.get(case) for name, values in by_metric.items()}}
        return
    results = metrics.get("results")
    if isinstance(results, Sequence) and not isinstance(results, str):
        for place, result in enumerate(results):
            if isinstance(result, Mapping):
                yield {"case": str(result.get("case", result.get("pk", place))), **_flat(result.get("metrics", result))}
        return
    yield _flat(metrics.get("aggregates", metrics))


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers under their names. The mean stands for a described metric ({"mean": …, "std": …})."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            value = value.get("mean", value.get("value"))
        if name not in ("case", "pk") and (value is None or isinstance(value, int | float)):
            found[name] = value
    return found


def _codabench(document: Any) -> Iterator[Mapping[str, Any]]:
    if not isinstance(document, Mapping):
        return
    submissions = document.get("submissions")
    if isinstance(submissions, list):
        for row in submissions:
            if isinstance(row, Mapping) and isinstance(row.get("scores"), list):
                scores = {str(s.get("column_key")): _number_of(s.get("score")) for s in row["scores"]}
                yield {"algorithm": str(row.get("owner")), "submission": str(row.get("id", "")), **scores}
        return
    for board in document.values():
        if isinstance(board, Mapping) and board and all(isinstance(row, Mapping) for row in board.values()):
            yield from (
                {"algorithm": str(who), **{_column_of(key): _number_of(value) for key, value in row.items()}}
                for who, row in board.items()
            )


def _column_of(key: str) -> str:
    """CodaBench writes `Task (12)-dice`: the column is what follows the number of the task."""
    _, mark, column = key.partition(")-")
    return column if mark else key


def _number_of(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float) else str(value)
