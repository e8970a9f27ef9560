"""Which status a submission may change to: one table, pure.

    received → checking → queued ⇄ running → scoring → done
    A predictions archive goes from `checking` straight to `scoring`. Everything unfinished may end `failed` or `cancelled`.

Re-scoring makes a new evaluation and leaves the submission `done`. So does running a case of it again. A submission that failed may
be taken up again where it stopped, at an organizer's word and by one door only (`services.resume_submission`).
"""

from collections.abc import Mapping

from assay.submissions.models import Submission

Status = Submission.Status
FINAL: frozenset[Status] = frozenset({Status.DONE, Status.FAILED, Status.CANCELLED})
ENDINGS: frozenset[Status] = frozenset({Status.FAILED, Status.CANCELLED})
TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.RECEIVED: ENDINGS | {Status.CHECKING},
    Status.CHECKING: ENDINGS | {Status.QUEUED, Status.SCORING},
    Status.QUEUED: ENDINGS | {Status.RUNNING},
    Status.RUNNING: ENDINGS | {Status.QUEUED, Status.SCORING},
    Status.SCORING: ENDINGS | {Status.DONE},
    Status.DONE: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}

RESUMED: frozenset[Status] = frozenset({Status.RECEIVED, Status.QUEUED, Status.SCORING})
"""Where a failed submission may be taken up again: unchecked, unrun, or unscored."""


def sources_of(status: Status) -> frozenset[Status]:
    """From where `status` may be reached."""
    return frozenset(source for source, targets in TRANSITIONS.items() if status in targets)
