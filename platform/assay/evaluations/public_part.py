"""Summaries over the public cases of a phase: what participants see until the release, and never anything of the other cases."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluations.models import CaseScores, Evaluation
from assay.evaluations.specs import stored_result
from assay.testsets.models import TestSet
from assay.testsets.split import public_cases_of
from evaluator.results import CaseResult
from evaluator.scoring import summarise


def public_cases_by_testset(*, phase: Phase, testset_ids: set[int]) -> dict[int, frozenset[str]]:
    """The public cases of each test set that the phase's submissions were judged on. Two queries for each."""
    percent = phase.public_percent or 100
    return {row.pk: public_cases_of(row, percent=percent) for row in TestSet.objects.filter(pk__in=testset_ids)}


def public_aggregates(evaluations: Sequence[Evaluation], *, phase: Phase) -> dict[UUID, dict[str, Any]]:
    """The summary of each evaluation over the public cases alone. Three queries, and two more for each test set.

    Attributes are left out: subgroups of a part are smaller still, and would tell which cases are in it.
    """
    public = public_cases_by_testset(phase=phase, testset_ids={evaluation.testset_id for evaluation in evaluations})
    results: Mapping[UUID, list[CaseResult]] = {evaluation.pk: [] for evaluation in evaluations}
    backends = {evaluation.pk: evaluation.backend for evaluation in evaluations}
    rows = CaseScores.objects.filter(evaluation__in=list(backends)).select_related("case").order_by("case__position")
    for row in rows.iterator(2000):
        if row.case.case_id in public[row.case.testset_id]:
            results[row.evaluation_id].append(stored_result(row, backend=backends[row.evaluation_id]))
    protocols = {evaluation.pk: evaluation.protocol for evaluation in evaluations}
    return {key: summarise(rules_of(protocols[key]), found) for key, found in results.items()}
