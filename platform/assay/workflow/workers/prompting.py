"""The scoring pool's other work: making the prompts of an interactive case from where its last answer is wrong.

    node: ask round n ──► PromptRound row, doorbell ──► scoring worker: reference + answer of n−1 ──► prompts in the row
      ▲                                                                                                   │
      └───────────────────────────── node asks again until they are there ◄───────────────────────────────┘

The reference stays where it always is: with workers that never run a submitted container. What leaves is one voxel per structure
and round, once: a round that was made is never made again for another answer, so a node cannot ask its way through a reference.
"""

import logging
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from assay.challenges.protocols import rules_of
from assay.evaluations import specs
from assay.runs.models import CaseRun, PromptRound
from assay.testsets.models import Case
from assay.workflow import flow
from assay.workflow.flow import doorbells
from assay.workflow.workers.locks import only_one
from evaluator.errors import InvalidReference
from evaluator.protocol import Protocol
from evaluator.scoring import Prompts, make_prompts, wall_seconds_of

log = logging.getLogger(__name__)


def ask_for_round(*, case_run_id: UUID, fence: int, number: int, now: datetime) -> PromptRound:
    """The round as it stands. Asked for, if it was not before. Call under the lease."""
    case_run = CaseRun.objects.select_related("run__submission__protocol", "case").get(id=case_run_id)
    interaction = rules_of(case_run.run.submission.protocol).interaction
    rounds = interaction.rounds if interaction else 0
    made = case_run.prompt_rounds.filter(fence=fence, made_at__isnull=False).count()
    if number >= rounds or number > made:
        raise InvalidError(
            _("This round cannot be asked for."),
            found=_("round %(number)s") % {"number": number},
            expected=_("one of %(min)s, in order") % {"min": min(made + 1, rounds)},
        )
    with transaction.atomic():
        asked, is_new = PromptRound.objects.get_or_create(
            case_run=case_run, fence=fence, number=number, defaults={"asked_at": now}
        )
        if is_new:
            doorbells.ring_prompts(asked.pk)
    return asked


def make_round(*, round_id: int, clock: Callable[[], datetime]) -> None:
    """Make one round's prompts, unless they are there, somebody is at it, or the lease it was asked under is gone."""
    with only_one(purpose="prompts", subject=str(round_id)) as is_mine:
        asked = (
            PromptRound.objects.select_related("case_run__run__submission__protocol", "case_run__case")
            .filter(pk=round_id, made_at=None)
            .first()
        )
        if not is_mine or asked is None or not is_awaited(asked):
            return
        case_run, rules = asked.case_run, rules_of(asked.case_run.run.submission.protocol)
        if case_run.case is None:
            raise LookupError(f"case run {case_run.id} has no case; only single cases are played in rounds")
        try:
            prompts = prompts_of(asked, case=case_run.case, rules=rules)
        except InvalidReference as problem:
            log.warning("reference.invalid", extra={"case_run": str(case_run.id), "why": str(problem)})
            flow.fail_as_reference_fault(case_run_id=case_run.id, fence=asked.fence, now=clock())
            return
        PromptRound.objects.filter(pk=round_id, made_at=None).update(
            prompts=prompts.to_json(), wall_seconds=wall_seconds_of(rules, prompts), made_at=clock()
        )


def is_awaited(asked: PromptRound) -> bool:
    """Whether the node that asked still holds the case run."""
    return asked.case_run.status == CaseRun.Status.RUNNING and asked.case_run.fence == asked.fence


def prompts_of(asked: PromptRound, *, case: Case, rules: Protocol) -> Prompts:
    """What the round is told, from the latest answer there is. Raises InvalidReference."""
    before = asked.case_run.prompt_rounds.filter(fence=asked.fence, number=asked.number - 1).first()
    root = Path(settings.SCRATCH_ROOT)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix="prompts-") as scratch:
        return make_prompts(
            protocol=rules,
            number=asked.number,
            references=specs.references_of(case),
            predictions=latest_answer(asked, case=case, rules=rules, scratch=Path(scratch)),
            earlier=Prompts.from_json(before.prompts) if before and before.prompts is not None else None,
        )


def latest_answer(asked: PromptRound, *, case: Case, rules: Protocol, scratch: Path) -> Mapping[str, Path] | None:
    """A canonical copy of the last usable answer before the round. None when there is none."""
    answers = specs.answers_by_round(asked.case_run, case=case, protocol=rules, scratch=scratch)
    return next((answers[number] for number in sorted(answers, reverse=True) if number < asked.number), None)
