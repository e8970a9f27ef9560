"""The failure policy, on runs small enough to read."""

from assay.runs.policy import CaseState, Outcome, decide
from assay.submissions.reasons import Told, sentence

RESOURCES = {"wall_seconds": 5, "memory_mb": 2048, "output_mb": 64}


def text_of(outcome: Outcome) -> str:
    return sentence(outcome.told.reason, outcome.told.facts)


def states(*words: str) -> list[CaseState]:
    """Case runs from words such as `done`, `timeout`, `queued`. The first is the canary, endings are in the order given."""
    found = []
    for position, word in enumerate(words):
        is_open = word in ("waiting", "queued", "running")
        status = word if is_open or word in ("done", "cancelled") else "failed"
        verdict = {"done": "ok"}.get(word, word)
        found.append(
            CaseState(
                position=position,
                status=status,
                verdict="" if is_open else verdict,
                is_canary=position == 0,
                finished_order=None if is_open else position,
            )
        )
    return found


def judge(*words: str, policy: str = "continue"):
    return decide(states(*words), on_case_failure=policy, resources=RESOURCES)


def test_the_others_wait_until_the_canary_has_ended():
    assert not judge("running", "waiting", "waiting").opens_waiting
    assert judge("done", "waiting", "waiting").opens_waiting


def test_a_failed_canary_opens_the_others_too():
    assert judge("nonzero_exit", "waiting").opens_waiting


def test_a_run_whose_cases_are_all_done_is_done_without_a_word():
    outcome = judge("done", "done").outcome
    assert outcome is not None
    assert (outcome.status, outcome.verdict, outcome.told) == ("done", "ok", Told())


def test_one_failed_case_leaves_the_run_done_and_says_how_many():
    outcome = judge("done", "nonzero_exit", "done").outcome
    assert outcome is not None
    assert outcome.status == "done"
    assert text_of(outcome) == "the program ended with an error; 1 of 3 cases failed"


def test_three_timeouts_in_a_row_give_up_the_cases_that_have_not_started():
    assert judge("timeout", "timeout", "queued").unrun_reason is None
    assert judge("timeout", "timeout", "timeout", "queued").unrun_reason == "timeout"
    assert judge("timeout", "timeout", "done", "timeout", "queued").unrun_reason is None


def test_the_sentence_of_a_run_that_timed_out_three_times():
    outcome = judge(*["timeout"] * 3, *["unrun"] * 5).outcome
    assert outcome is not None
    assert (outcome.status, outcome.verdict, outcome.fault) == ("failed", "timeout", "participant")
    assert text_of(outcome) == "time limit of 5 s reached on 3 cases in a row; 8 of 8 cases failed"


def test_the_failure_of_every_case_fails_the_run_with_the_first_verdict():
    outcome = judge("output_invalid", "nonzero_exit").outcome
    assert outcome is not None
    assert (outcome.status, outcome.verdict) == ("failed", "output_invalid")


def test_stop_gives_up_at_the_first_failure():
    assert judge("done", "nonzero_exit", "queued", policy="stop").unrun_reason == "nonzero_exit"
    outcome = judge("done", "nonzero_exit", "unrun", policy="stop").outcome
    assert outcome is not None
    assert outcome.status == "failed"


def test_a_fault_of_ours_ends_the_run_and_is_named_ours():
    assert judge("done", "infrastructure", "queued").unrun_reason == "infrastructure"
    outcome = judge("done", "infrastructure", "unrun").outcome
    assert outcome is not None
    assert (outcome.status, outcome.fault) == ("failed", "platform")
    assert "not charged" in text_of(outcome)


def test_a_cancelled_case_run_cancels_the_run():
    outcome = judge("done", "cancelled").outcome
    assert outcome is not None
    assert outcome.status == "cancelled"


def test_a_running_case_keeps_the_run_open():
    decision = judge("done", "running")
    assert decision.outcome is None
    assert decision.unrun_reason is None
