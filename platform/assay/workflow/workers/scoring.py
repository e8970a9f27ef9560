"""The scoring worker's work: one evaluation, case by case, under its lease.

The references are here and a submitted container never is. Every case's scores are stored as soon as they are known, so a
worker that takes over after a crash scores only what is missing.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import connection

from assay.challenges.protocols import rules_of
from assay.evaluations import receipts, services, specs
from assay.evaluations.models import CaseScores, Evaluation
from assay.evaluations.services import EvaluationLease
from assay.leases import LeaseLost, LeaseRenewal
from assay.runs.intervals import current_intervals
from assay.signatures import signed
from assay.testsets.models import Case
from assay.workflow import flow
from assay.workflow.workers.limits import OutOfTimeError, limited_memory, limited_processor_time
from assay.workflow.workers.metric_images import MetricImageFailed, run_metric_image
from containers.verdicts import Verdict
from evaluator import __version__ as evaluator_version
from evaluator.errors import InvalidReference
from evaluator.protocol import MetricImage as WantedImage
from evaluator.protocol import Protocol
from evaluator.scoring import ExternalScores, ReferenceCache, score_case, score_rows, summarise, telemetry_rows

log = logging.getLogger(__name__)

CASE_SECONDS = 3600
"""Of processor time, in all threads together: a busy machine makes no case fail. A case of 512 × 512 × 500 voxels takes seconds."""


class ScoringTooMuch(Exception):
    """A case takes longer, or needs more memory, than any protocol may ask for."""


def renewal_of(lease: EvaluationLease, *, lease_seconds: float) -> LeaseRenewal:
    """Keeps the evaluation's lease while cases are scored. Each renewal has a database connection of its own and closes it."""

    def renew() -> float:
        try:
            services.renew_evaluation(lease, lease_seconds=lease_seconds)
        finally:
            connection.close()
        return lease_seconds

    return LeaseRenewal(renew, lease_seconds=lease_seconds, name=f"evaluation {lease.evaluation_id}")


def score_evaluation(*, evaluation_id: UUID, worker: str, clock: Callable[[], datetime]) -> bool:
    """Claim, score and finish one evaluation; False when there was nothing to do or somebody else did it."""
    lease_seconds = current_intervals().evaluation_lease_seconds
    lease = services.claim_evaluation(evaluation_id=evaluation_id, worker=worker, lease_seconds=lease_seconds)
    if lease is None:
        return False
    try:
        with renewal_of(lease, lease_seconds=lease_seconds) as renewal:
            evaluation = (
                Evaluation.objects.select_related(
                    "protocol",
                    "testset",
                    "submission__testset",
                    "submission__challenge",
                    "submission__phase",
                    "submission__team",
                    "submission__image",
                    "submission__predictions",
                )
                .defer("testset__report", "submission__testset__report")
                .get(id=evaluation_id)
            )
            protocol = rules_of(evaluation.protocol)
            score_missing_cases(evaluation=evaluation, protocol=protocol, check=renewal.check)
            results = collect_results(evaluation=evaluation, protocol=protocol, now=clock())
    except LeaseLost:
        return False
    except InvalidReference as problem:
        log.warning("reference.invalid", extra={"evaluation": str(evaluation_id), "why": str(problem)})
        flow.fail_as_organizers_fault(lease=lease, verdict=Verdict.REFERENCE_INVALID, error=str(problem), now=clock())
        return False
    except (MetricImageFailed, ScoringTooMuch) as problem:
        log.warning("evaluation.metrics_failed", extra={"evaluation": str(evaluation_id)})
        flow.fail_as_organizers_fault(lease=lease, verdict=Verdict.METRICS_FAILED, error=str(problem), now=clock())
        return False
    except Exception as error:  # every fault of ours puts the evaluation back. The reaper counts the attempts
        log.exception("evaluation.fault", extra={"evaluation": str(evaluation_id)})
        services.release_evaluation(lease, error=f"{type(error).__name__}: {error}")
        flow.give_up_scoring(evaluation_id=evaluation_id, now=clock())
        return False
    return flow.finish_scoring(lease=lease, results=results, now=clock())


def score_missing_cases(*, evaluation: Evaluation, protocol: Protocol, check: Callable[[], None]) -> None:
    """Score every case of the reference list that has no scores yet."""
    scratch_root = Path(settings.SCRATCH_ROOT)
    scratch_root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if protocol.table_form is not None:
        score_tables(evaluation=evaluation, protocol=protocol, scratch_root=scratch_root)
        return
    missing = evaluation.testset.cases.exclude(scores__evaluation=evaluation)
    keys = list(missing.values_list("pk", flat=True))
    external: Mapping[str, ExternalScores] = {}
    if protocol.evaluation is not None and keys:
        external = ask_metric_image(evaluation=evaluation, protocol=protocol, wanted=protocol.evaluation, check=check)
    kept_references = ReferenceCache(scratch_root / "references", memory_bytes=0)  # the next case has another reference
    for first in range(0, len(keys), specs.ROWS_AT_ONCE):
        cases = list(evaluation.testset.cases.filter(pk__in=keys[first : first + specs.ROWS_AT_ONCE]))
        answers = specs.answers_of(evaluation, cases=cases)
        for case in cases:
            check()
            score_one(
                evaluation=evaluation,
                protocol=protocol,
                case=case,
                answer=answers.get(case.pk),
                external=external.get(case.case_id, {}),
                kept_references=kept_references,
            )


def score_one(
    *,
    evaluation: Evaluation,
    protocol: Protocol,
    case: Case,
    answer: specs.Answer | None,
    external: ExternalScores,
    kept_references: ReferenceCache,
) -> None:
    """Score one case and store its scores."""
    with tempfile.TemporaryDirectory(dir=settings.SCRATCH_ROOT, prefix="score-") as scratch:
        prepared = specs.prepare_case(case=case, answer=answer, protocol=protocol, scratch=Path(scratch))
        with naming_case(case), within_limits(case.case_id):
            result = score_case(
                protocol=protocol,
                case_id=case.case_id,
                references=prepared.references,
                predictions=prepared.predictions,
                failure=prepared.failure,
                telemetry=specs.telemetry_of(answer),
                earlier_rounds=prepared.earlier_rounds,
                external=external,
                kept_references=kept_references,
            )
    scores = [row.to_json() for row in result.rows]
    services.store_case_scores(evaluation_id=evaluation.id, case_pk=case.pk, scores=scores)
    if result.backend and result.backend != evaluation.backend:
        evaluation.backend = result.backend


@contextmanager
def within_limits(case_id: str) -> Iterator[None]:
    """Limits of one case: the volumes, labels and metrics are the organizers', and they may ask for too much."""
    try:
        with limited_memory(settings.SCORING_MEMORY_BYTES), limited_processor_time(CASE_SECONDS):
            yield
    except MemoryError as problem:
        raise ScoringTooMuch(
            f"case {case_id} needs more than {settings.SCORING_MEMORY_BYTES >> 20} MiB of memory; expected less: fewer labels, "
            f"metrics without distances, or a smaller volume. Operators set this limit (ASSAY_SCORING_MEMORY_MB)"
        ) from problem
    except OutOfTimeError as problem:
        raise ScoringTooMuch(
            f"case {case_id} took more than {CASE_SECONDS} seconds of processor time; expected less: fewer labels or metrics, a "
            f"smaller `dilation`, or a smaller volume"
        ) from problem


@contextmanager
def naming_case(case: Case) -> Iterator[None]:
    """A reference that cannot be used is told with its case: organizers, who alone read it, have to find it."""
    try:
        yield
    except InvalidReference as problem:
        raise InvalidReference(f"case {case.case_id}: {problem}") from problem


def ask_metric_image(
    *,
    evaluation: Evaluation,
    protocol: Protocol,
    wanted: WantedImage,
    check: Callable[[], None],
) -> Mapping[str, ExternalScores]:
    """What the organizers' metric image says, of all cases in one run. It is stopped when the lease is lost."""

    def is_lost() -> bool:
        try:
            check()
        except LeaseLost:
            return True
        return False

    cases = list(evaluation.testset.cases.all())
    answers = specs.answers_of(evaluation, cases=cases)
    with tempfile.TemporaryDirectory(dir=settings.SCRATCH_ROOT, prefix="metrics-") as folder:
        scratch = Path(folder)
        prepared = {}
        for case in cases:
            own = scratch / "canonical" / str(case.position)
            own.mkdir(parents=True)
            prepared[case.case_id] = specs.prepare_case(
                case=case, answer=answers.get(case.pk), protocol=protocol, scratch=own
            )
        return run_metric_image(
            evaluation=evaluation,
            protocol=protocol,
            wanted=wanted,
            cases=prepared,
            scratch=scratch,
            should_cancel=is_lost,
        )


def score_tables(*, evaluation: Evaluation, protocol: Protocol, scratch_root: Path) -> None:
    """Score all cases together: some scores of tables need the whole column."""
    cases = {case.case_id: case for case in evaluation.testset.cases.all()}
    answers = specs.answers_of(evaluation, cases=list(cases.values()))
    with tempfile.TemporaryDirectory(dir=scratch_root, prefix="score-") as scratch:
        prepared = specs.prepare_rows(
            cases=list(cases.values()), answers=answers, protocol=protocol, scratch=Path(scratch)
        )
    results = score_rows(
        protocol=protocol,
        references=prepared.references,
        predictions=prepared.predictions,
        failures=prepared.failures,
    )
    for result in results:
        case = cases[result.case_id]
        measured = specs.telemetry_of(answers.get(case.pk))
        consumed = telemetry_rows(protocol, measured, failure=result.failure or None, voxels=0)
        scores = [row.to_json() for row in (*result.rows, *consumed)]
        services.store_case_scores(evaluation_id=evaluation.id, case_pk=case.pk, scores=scores)


def collect_results(*, evaluation: Evaluation, protocol: Protocol, now: datetime) -> services.Results:
    """Aggregates and the signed receipt, from the stored scores of all cases."""
    stored = CaseScores.objects.filter(evaluation=evaluation).order_by("case__position").select_related("case")
    rows = stored.only("evaluation", "scores", "case__case_id").iterator(chunk_size=specs.ROWS_AT_ONCE)
    results = [specs.stored_result(row, backend=evaluation.backend) for row in rows]
    attributes = dict(evaluation.testset.cases.values_list("case_id", "attributes"))
    aggregates = summarise(protocol, results, attributes)
    evaluation.evaluator_version = evaluator_version
    key = receipts.signing_key(folder=Path(settings.KEY_FOLDER))
    receipt = signed(receipts.build_receipt(evaluation, results=results, now=now), key=key)
    return services.Results(
        aggregates=aggregates,
        receipt=receipt,
        backend=evaluation.backend,
        evaluator_version=evaluator_version,
    )
